/** A strategy as people write it, and what is wrong with it. Pure. */
import type { GateSpec } from '../gates/gate.ts'
import { RefusedError } from '../release.ts'
import { strategyKinds, type Absent, type Step, type Strategy, type StrategyKind } from '../strategy.ts'
import { allAtOnce, instant } from './all-at-once.ts'
import { byZone, exponential, linear, staged } from './staged.ts'
import { twoPhase } from './two-phase.ts'

/** What is left out is as `all-at-once.ts` says. Times in milliseconds. */
export interface StrategySpec {
  /** `by-risk`: what the risk of the change recommends. `instant`: for emergencies; waits for nothing, goes back for nothing. */
  readonly kind: StrategyKind | 'by-risk' | 'instant'
  /** `staged`: 1 to 99 steps; all that are left are one more. */
  readonly steps?: readonly (Partial<Pick<Step, 'bakeMs'>> & Step['select'])[]
  /** `linear`: with each step; `exponential`: with the first. */
  readonly percent?: number
  /** `exponential`: more than 1, at most 100. */
  readonly factor?: number
  /** `by-zone`: the label whose value is the zone. */
  readonly label?: string
  /** Of each step that does not say another. */
  readonly bakeMs?: number
  readonly twoPhase?: boolean
  readonly absent?: Absent
  readonly prepareMs?: number
  readonly applyMs?: number
  readonly maxFailed?: number
  readonly probes?: Strategy['probes']
  readonly gates?: readonly GateSpec[]
  readonly gateMs?: number
  readonly confirmMs?: number | null
  readonly revertMs?: number | null
  readonly whenBusy?: Strategy['whenBusy']
}

const dayMs = 86_400_000
const defaultBakeMs = 60_000
const maxSteps = 100

const times = { bakeMs: 0, prepareMs: 100, applyMs: 100, gateMs: 0, confirmMs: 1_000, revertMs: 1_000 } as const

/**
 * @param zonesOf the values that nodes of the config have for a label.
 * @throws RefusedError `invalid`, with what was found and what was wanted.
 */
export function strategyOf(
  spec: StrategySpec & { readonly kind: StrategyKind | 'instant' },
  zonesOf: (label: string) => readonly string[],
): Strategy {
  if (spec.kind !== 'instant' && !strategyKinds.includes(spec.kind)) {
    throw wrong(`kind is ${JSON.stringify(spec.kind)}; want ${strategyKinds.join(', ')}, by-risk or instant`)
  }
  for (const [name, min] of Object.entries(times)) {
    const isTold = name === 'revertMs' || name === 'prepareMs'
    const ms = spec[name as keyof typeof times] ?? undefined
    // What nodes are told of is at most a day, and whole (`protocol/messages.ts`): they would not take the message.
    inRange(ms, name, min, isTold ? dayMs : 7 * dayMs, 'milliseconds')
    if (isTold && ms !== undefined && !Number.isInteger(ms)) throw wrong(`${name} is ${ms}; want whole milliseconds`)
  }
  inRange(spec.maxFailed, 'maxFailed', 0, Number.MAX_SAFE_INTEGER, 'nodes')
  checkAbsent(spec.absent)
  const base = baseOf(spec, zonesOf)
  if (base.steps.length > maxSteps) throw wrong(`it has ${base.steps.length} steps; want at most ${maxSteps}`)
  const names = (spec.gates ?? []).map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw wrong(`two gates are named ${JSON.stringify(twice)}; want a name for each`)
  const { absent, prepareMs, applyMs, maxFailed, probes, gates, gateMs, confirmMs, revertMs, whenBusy } = spec
  const given = { absent, prepareMs, applyMs, maxFailed, probes, gates, gateMs, confirmMs, revertMs, whenBusy }
  const longestMs = Math.max(...base.steps.map((step) => step.bakeMs))
  if (typeof revertMs === 'number' && revertMs <= longestMs) {
    throw wrong(`revertMs is ${revertMs}, and a step is watched for ${longestMs} ms; want more, or all nodes go back`)
  }
  const isTwoPhase = spec.twoPhase ?? base.twoPhase
  return { ...base, ...defined(given), twoPhase: isTwoPhase }
}

function baseOf(spec: StrategySpec, zonesOf: (label: string) => readonly string[]): Strategy {
  const { kind, bakeMs = defaultBakeMs, percent, factor = 2, label = 'zone' } = spec
  switch (kind) {
    case 'instant':
      return instant
    case 'two-phase':
      return twoPhase(spec.bakeMs)
    case 'staged': {
      const steps = spec.steps ?? [{ percent: 10 }, { percent: 50 }]
      if (steps.length === 0) throw wrong('steps is empty; want 1 to 99 of them')
      let before = 0
      return staged(
        steps.map(({ bakeMs: own = bakeMs, labels, percent: share }, i): Step => {
          inRange(own, `steps[${i}].bakeMs`, 0, 7 * dayMs, 'milliseconds')
          inRange(share, `steps[${i}].percent`, 0.01, 100, 'percent')
          if (share !== undefined && labels === undefined) {
            if (share <= before)
              throw wrong(`steps[${i}].percent is ${share}, after ${before}; want each to reach more nodes`)
            before = share
          }
          return { select: { ...(labels && { labels }), ...(share !== undefined && { percent: share }) }, bakeMs: own }
        }),
      )
    }
    case 'linear':
      inRange(percent, 'percent', 1, 100, 'percent')
      return linear(percent ?? 20, bakeMs)
    case 'exponential':
      inRange(percent, 'percent', 0.01, 100, 'percent')
      inRange(factor, 'factor', 1.1, 100, 'times')
      return exponential(percent ?? 1, factor, bakeMs)
    case 'by-zone': {
      const zones = zonesOf(label)
      if (zones.length === 0) throw wrong(`no node has the label ${JSON.stringify(label)}; want one that names zones`)
      return byZone(label, zones, bakeMs)
    }
    default:
      return allAtOnce(spec.bakeMs)
  }
}

function checkAbsent(absent: Absent | undefined): void {
  if (absent === undefined) return
  inRange(absent.max, 'absent.max', 0, absent.kind === 'percent' ? 100 : Number.MAX_SAFE_INTEGER, 'nodes or percent')
}

function inRange(value: number | undefined, name: string, min: number, max: number, unit: string): void {
  if (value === undefined || (value >= min && value <= max)) return
  throw wrong(`${name} is ${value}; want ${min} to ${max} ${unit}`)
}

function wrong(what: string): RefusedError {
  return new RefusedError('invalid', `the strategy cannot be used: ${what}`)
}

function defined<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as never
}
