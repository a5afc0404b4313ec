/** The table of a rollout's phases and events, found out from the machine itself: for the docs, and for who wants to see it whole. */
import { next } from '../src/rollout.ts'
import {
  noCounts,
  queued,
  type Counts,
  type Phase,
  type Rollout,
  type RolloutEvent,
  type RolloutState,
} from '../src/rollout-state.ts'
import { allAtOnce } from '../src/strategies/all-at-once.ts'
import { linear } from '../src/strategies/staged.ts'
import { twoPhase } from '../src/strategies/two-phase.ts'
import type { Strategy } from '../src/strategy.ts'

const digest = `sha256:${'1'.repeat(64)}`
const from = { number: 6, digest }
const release = { number: 7, digest }
const counts = (over: Partial<Counts>): Counts => ({ ...noCounts, ...over })

const strategies: readonly Strategy[] = [
  allAtOnce(100),
  twoPhase(100),
  { ...linear(50, 100), confirmMs: 1_000 },
  { ...allAtOnce(0), gates: [{ kind: 'webhook', name: 'g', hook: 'h' }], gateMs: 100 },
]

const all: readonly Phase[] = [
  'queued',
  'preparing',
  'applying',
  'baking',
  'confirming',
  'rolling-back',
  'failed',
  'completed',
  'rolled-back',
  'superseded',
]

/** States of every phase, with and without something to go back to. */
export function phases(): { readonly rollout: Rollout; readonly state: RolloutState }[] {
  return strategies.flatMap((strategy) =>
    all.flatMap((phase) =>
      [from, null].flatMap((before) =>
        [null, { number: 8, digest }].flatMap((rollback) => {
          const isPossible = rollback === null || (before !== null && ['rolling-back', 'rolled-back'].includes(phase))
          // Two-phase is what has something to prepare; who waits for no confirmation never gets there.
          if (!isPossible || (phase === 'preparing' && !strategy.twoPhase)) return []
          if (phase === 'confirming' && strategy.confirmMs === null) return []
          if (before === null && phase === 'rolling-back') return []
          const isDecided = !['queued', 'preparing'].includes(phase)
          const state: RolloutState = {
            ...queued(before),
            phase,
            epoch: phase === 'queued' ? 0 : 1,
            cuts: strategy.steps.map(() => null),
            decided: isDecided ? 1 : 0,
            pauses: phase === 'baking' ? [{ reason: 'x', by: 'a' }] : [],
            counts: phase === 'queued' ? noCounts : counts({ waiting: 1 }),
            failure: ['failed', 'rolling-back', 'rolled-back'].includes(phase)
              ? { kind: 'nodes', step: 0, found: '1 node failed', nodes: [] }
              : null,
            rollback,
          }
          return [{ rollout: { config: 'shop/prod', release, strategy }, state }]
        }),
      ),
    ),
  )
}

/** Every kind of event, in every kind of content that makes a difference. */
export function events(): { readonly name: string; readonly event: RolloutEvent }[] {
  const counted = (name: string, over: Partial<Counts>) => ({
    name: `counted: ${name}`,
    event: { kind: 'counted', counts: counts(over) } as const,
  })
  const began = (over: Partial<Counts>) =>
    ({ kind: 'began', epoch: 1, from, cuts: [null, null], counts: counts(over) }) as const
  return [
    { name: 'began', event: began({ waiting: 3 }) },
    { name: 'began: no nodes', event: began({}) },
    counted('some wait', { waiting: 1, applied: 1 }),
    counted('all prepared', { prepared: 3 }),
    counted('all applied', { applied: 3 }),
    counted('one failed', { applied: 2, failed: 1 }),
    counted('one unhealthy', { applied: 2, unhealthy: 1 }),
    { name: 'elapsed: a moment', event: { kind: 'elapsed', ms: 1 } },
    { name: 'elapsed: past every deadline', event: { kind: 'elapsed', ms: 10_000_000 } },
    { name: 'gate: no', event: { kind: 'gate', gate: 'g', ok: false, found: 'x' } },
    { name: 'gate: yes', event: { kind: 'gate', gate: 'g', ok: true, found: 'x' } },
    { name: 'recovered', event: { kind: 'recovered', epoch: 2 } },
    { name: 'paused', event: { kind: 'paused', reason: 'y', by: 'a' } },
    { name: 'resumed', event: { kind: 'resumed', reason: 'x', by: 'a' } },
    { name: 'aborted', event: { kind: 'aborted', by: 'a', reason: 'x' } },
    { name: 'aborted: the newest', event: { kind: 'aborted', by: 'a', reason: 'x', back: { from, release: from } } },
    { name: 'aborted: the first of all', event: { kind: 'aborted', by: 'a', reason: 'x', back: null } },
    { name: 'promoted', event: { kind: 'promoted', by: 'a', reason: 'x' } },
    { name: 'confirmed', event: { kind: 'confirmed', by: 'a' } },
    { name: 'rollback made', event: { kind: 'rollback-made', release: { number: 8, digest } } },
    { name: 'rollback impossible', event: { kind: 'rollback-impossible', reason: 'x' } },
    { name: 'superseded', event: { kind: 'superseded', by: 9, reason: 'x' } },
  ]
}

/** Markdown: which phases an event may lead to; a dot where it changes nothing. */
export function table(): string {
  const open = all.slice(0, 7)
  const rows = events().map(({ name, event }) => {
    const cells = open.map((phase) => {
      const led = new Set<string>()
      for (const { rollout, state } of phases()) {
        if (state.phase !== phase) continue
        const [after] = next(rollout, state, event)
        if (after.phase !== phase) led.add(after.phase)
        else if (after !== state) led.add('stays')
      }
      return led.size === 0 ? '·' : [...led].sort().join(', ')
    })
    return `| ${name} | ${cells.join(' | ')} |`
  })
  return [`| | ${open.join(' | ')} |`, `|---|${open.map(() => '---').join('|')}|`, ...rows].join('\n')
}
