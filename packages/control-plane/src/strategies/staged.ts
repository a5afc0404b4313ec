/** A part of the nodes first, then more of them: by given steps, in equal steps, in growing steps, zone by zone. */
import type { Step, Strategy, StrategyKind } from '../strategy.ts'
import { defaults } from './all-at-once.ts'

/** The last step is always all that are left. @param steps all but the last need not select all. */
export function staged(steps: readonly Step[], kind: StrategyKind = 'staged'): Strategy {
  const last = steps.at(-1)
  const isAll = last !== undefined && last.select.labels === undefined && (last.select.percent ?? 100) >= 100
  return { ...defaults, kind, steps: isAll ? steps : [...steps, { select: {}, bakeMs: last?.bakeMs ?? 0 }] }
}

/** @param percent of the nodes with each step, 1 to 100. */
export function linear(percent: number, bakeMs: number): Strategy {
  const steps: Step[] = []
  for (let sum = percent; sum < 100; sum += percent) steps.push({ select: { percent: sum }, bakeMs })
  return staged([...steps, { select: {}, bakeMs }], 'linear')
}

/** @param first percent of the nodes, of which each step reaches `factor` times as many as the one before; 1 and 2: 1, 2, 4, 8 … */
export function exponential(first: number, factor: number, bakeMs: number): Strategy {
  const steps: Step[] = []
  for (let sum = first; sum < 100; sum *= factor)
    steps.push({ select: { percent: Math.round(sum * 100) / 100 }, bakeMs })
  return staged([...steps, { select: {}, bakeMs }], 'exponential')
}

/** @param zones the values of `label`, in the order in which they come. Nodes without one come last. */
export function byZone(label: string, zones: readonly string[], bakeMs: number): Strategy {
  const steps = zones.map((zone): Step => ({ select: { labels: { [label]: zone } }, bakeMs }))
  return staged([...steps, { select: {}, bakeMs }], 'by-zone')
}
