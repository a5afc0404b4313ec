/** What happens to the fleet and when, all of it fixed by a seed before anything begins. What real processes make of it, no seed fixes. */
import type { StrategySpec } from '../../packages/control-plane/src/strategies/spec.ts'
import type { StrategyKind } from '../../packages/control-plane/src/strategy.ts'
import { Chance } from '../simulation/world.ts'
import type { Content, Mood } from './evidence.ts'

export type Spec = StrategySpec & { readonly kind: StrategyKind | 'instant' }
export type Fault = 'reset' | 'half-open' | 'one-way' | 'slow' | 'trickle' | 'mid-frame' | 'refuse'
export type Deed =
  | { readonly kind: 'publish'; readonly content: Content; readonly strategy: Spec }
  | { readonly kind: 'control'; readonly control: 'pause' | 'resume' | 'abort' | 'promote' | 'confirm' }
  | { readonly kind: 'kill-nodes' | 'stop-nodes'; readonly nodes: readonly number[]; readonly ms: number }
  | { readonly kind: 'kill-plane' | 'stop-plane'; readonly ms: number }
  | { readonly kind: 'wire'; readonly fault: Fault; readonly nodes: readonly number[]; readonly ms: number }

export interface Happening {
  readonly atMs: number
  readonly deed: Deed
}

/** So often at most, in milliseconds: half of it to one and a half times. */
const every = {
  publish: 3_000,
  control: 5_000,
  'kill-nodes': 4_000,
  'stop-nodes': 7_000,
  'kill-plane': 20_000,
  'stop-plane': 25_000,
  wire: 4_000,
} as const
/** Storm and calm take turns: where there is never any rest nothing comes to a good end, and less is seen. */
const stormMs = 8_000
const calmMs = 8_000

export function schedule(seed: number, nodes: readonly string[], durationMs: number): Happening[] {
  const chance = new Chance(seed)
  let id = 1
  const happenings: Happening[] = []
  for (const kind of Object.keys(every) as (keyof typeof every)[]) {
    for (let atMs = chance.int(every[kind]); atMs < durationMs; atMs += every[kind] * (0.5 + chance.next())) {
      const isCalm = atMs % (stormMs + calmMs) >= stormMs
      const deed = deedOf(kind)
      if (isCalm && kind !== 'publish') continue
      happenings.push({ atMs: Math.round(atMs), deed })
    }
  }
  return happenings.toSorted((a, b) => a.atMs - b.atMs)

  function deedOf(kind: keyof typeof every): Deed {
    switch (kind) {
      case 'publish':
        return { kind, content: anyContent(chance, ++id, nodes), strategy: anyStrategy(chance) }
      case 'control':
        return { kind, control: chance.pick(['pause', 'resume', 'resume', 'abort', 'promote', 'confirm']) }
      case 'kill-nodes':
        return { kind, nodes: some(), ms: chance.int(4_000) }
      case 'stop-nodes':
        return { kind, nodes: some(), ms: 500 + chance.int(7_000) }
      case 'kill-plane':
        return { kind, ms: chance.int(3_000) }
      case 'stop-plane':
        return { kind, ms: 300 + chance.int(2_500) }
      case 'wire':
        return { kind, fault: chance.pick(faults), nodes: some(), ms: 1_000 + chance.int(8_000) }
    }
  }

  /** One, a few, or all. */
  function some(): number[] {
    const share = chance.pick([0, 0, 0.1, 0.3, 1])
    const one = chance.int(nodes.length)
    return nodes.flatMap((_, i) => (i === one || chance.is(share) ? [i] : []))
  }
}

const faults: readonly Fault[] = ['reset', 'half-open', 'one-way', 'slow', 'trickle', 'mid-frame', 'refuse']

function anyContent(chance: Chance, id: number, nodes: readonly string[]): Content {
  const gate = chance.is(0.8) ? 'good' : 'bad'
  if (chance.is(0.6)) return { id, moods: {}, gate }
  const mood = chance.pick<Mood>(['refused', 'unprepared', 'fails-late', 'sick', 'dies'])
  const share = chance.pick([0, 0.2, 1])
  const one = chance.pick(nodes)
  const moods = Object.fromEntries(nodes.filter((name) => name === one || chance.is(share)).map((name) => [name, mood]))
  return { id, moods, gate }
}

function anyStrategy(chance: Chance): Spec {
  const kind = chance.pick([
    'all-at-once',
    'two-phase',
    'two-phase',
    'staged',
    'linear',
    'exponential',
    'by-zone',
    'instant',
  ] as const)
  if (kind === 'instant') return { kind }
  return {
    kind,
    bakeMs: chance.pick([0, 200, 1_000]),
    prepareMs: chance.pick([1_500, 4_000]),
    applyMs: chance.pick([3_000, 6_000]),
    twoPhase: kind === 'two-phase' || chance.is(0.4),
    ...(kind === 'staged' && { steps: [{ percent: 10 }, { percent: 50 }] }),
    ...(kind === 'linear' && { percent: 34 }),
    ...(kind === 'exponential' && { percent: 10, factor: 3 }),
    ...(chance.is(0.3) && { absent: { kind: 'count', max: 3 } as const }),
    ...(chance.is(0.2) && { maxFailed: 2 }),
    ...(chance.is(0.15) && { confirmMs: 2_000 }),
    ...(chance.is(0.15) && { revertMs: 4_000 }),
    ...(chance.is(0.2) && { gates: [{ kind: 'webhook', name: 'fleet', hook: 'fleet' }] as const, gateMs: 3_000 }),
    whenBusy: chance.pick(['wait', 'supersede']),
  }
}
