/** The machine of a rollout by itself: every phase with every event, and what must hold whatever comes. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { next, problemOf, type Control } from '../src/rollout.ts'
import { hasEnded, noCounts, queued } from '../src/rollout-state.ts'
import type { Counts, Phase, Rollout, RolloutEvent, RolloutState } from '../src/rollout-state.ts'
import { allAtOnce, instant } from '../src/strategies/all-at-once.ts'
import { linear, staged } from '../src/strategies/staged.ts'
import { twoPhase } from '../src/strategies/two-phase.ts'
import { cutsOf, mayBeMissing, placeOf, stepOf, type Strategy } from '../src/strategy.ts'
import { events, phases, table } from './rollout-table.ts'

const digest = `sha256:${'1'.repeat(64)}`
const rolloutOf = (strategy: Strategy): Rollout => ({ config: 'shop/prod', release: { number: 7, digest }, strategy })
const counts = (over: Partial<Counts> = {}): Counts => ({ ...noCounts, ...over })
const from = { number: 6, digest }

test('docs/rollouts.md shows the table as the machine has it', () => {
  const text = readFileSync(new URL('../../../docs/rollout-states.md', import.meta.url), 'utf8')
  expect(text).toContain(table())
})

describe('every phase with every event', () => {
  test('an end is an end: nothing moves what has ended', () => {
    for (const { state, rollout } of phases().filter((one) => hasEnded(one.state))) {
      for (const { event } of events()) expect(next(rollout, state, event)).toEqual([state, []])
    }
  })

  test('a failure goes back where there is something to go back to, and stops where there is not', () => {
    for (const { state, rollout } of phases()) {
      for (const { event } of events()) {
        const [after, commands] = next(rollout, state, event)
        const failsNow = after.failure !== null && state.failure === null && after.failure.kind !== 'superseded'
        // What is given up in the queue was run by nobody.
        if (!failsNow || state.phase === 'queued') continue
        expect(after.phase).toBe(state.from === null ? 'failed' : 'rolling-back')
        expect(commands.map(({ kind }) => kind)).toEqual(state.from === null ? [] : ['make-rollback'])
      }
    }
  })

  test('whoever controls it is told whether it can be done, and what cannot is not done', () => {
    const of: Record<Control, RolloutEvent> = {
      pause: { kind: 'paused', by: 'a', reason: 'new' },
      resume: { kind: 'resumed', by: 'a', reason: 'x' },
      abort: { kind: 'aborted', by: 'a', reason: 'x' },
      promote: { kind: 'promoted', by: 'a', reason: 'x' },
      confirm: { kind: 'confirmed', by: 'a' },
    }
    for (const { state, rollout } of phases()) {
      for (const control of Object.keys(of) as Control[]) {
        if (problemOf(state, control) === undefined) continue
        expect(next(rollout, state, of[control])[0]).toEqual(state)
      }
    }
  })
})

test('whatever comes, in whatever order: what was decided stays decided, and nothing is decided without a reason', () => {
  const count = fc.nat({ max: 3 })
  const anyCounts = fc
    .record({
      waiting: count,
      prepared: count,
      applied: count,
      failed: fc.nat({ max: 1 }),
      unhealthy: fc.nat({ max: 1 }),
      lost: fc.nat({ max: 1 }),
      away: count,
    })
    .map((found) => counts(found))
  const anyEvent = fc.oneof(
    anyCounts.map((found): RolloutEvent => ({ kind: 'counted', counts: found })),
    fc.nat({ max: 40_000 }).map((ms): RolloutEvent => ({ kind: 'elapsed', ms })),
    fc
      .record({ ok: fc.boolean(), noData: fc.boolean() })
      .map((found): RolloutEvent => ({ kind: 'gate', gate: 'g', found: '', ...found })),
    fc.constantFrom(...events().map(({ event }) => event)),
  )
  const strategies = [
    allAtOnce(100),
    twoPhase(100),
    { ...linear(50, 100), twoPhase: true },
    staged([{ select: { percent: 10 }, bakeMs: 5 }]),
  ]
  const gated = { ...allAtOnce(100), gates: [{ kind: 'webhook', name: 'g', hook: 'h' }] as const }
  fc.assert(
    fc.property(fc.constantFrom(...strategies, gated), fc.array(anyEvent, { maxLength: 30 }), (strategy, all) => {
      const rollout = rolloutOf(strategy)
      let state: RolloutState = queued(from)
      for (const event of all) {
        const [after] = next(rollout, state, event)
        expect(after.decided).toBeGreaterThanOrEqual(state.decided)
        expect(after.confirmed).toBeGreaterThanOrEqual(state.confirmed)
        expect(after.step).toBeGreaterThanOrEqual(state.step)
        expect(after.epoch).toBeGreaterThanOrEqual(state.epoch)
        if (state.rollback !== null) expect(after.rollback).toEqual(state.rollback)
        if (
          strategy.twoPhase &&
          after.decided > state.decided &&
          after.step === state.step &&
          after.phase !== 'completed'
        ) {
          expect(after.counts.failed).toBe(0)
          expect(after.counts.waiting + after.counts.away + after.counts.lost).toBe(0)
        }
        if (
          after.phase === 'completed' &&
          strategy === gated &&
          event.kind !== 'promoted' &&
          state.phase === 'baking'
        ) {
          expect(event.kind === 'gate' ? ['g'] : state.passed).toContain('g')
        }
        state = after
      }
    }),
    { numRuns: 2_000 },
  )
})

describe('a gate', () => {
  const strategy: Strategy = { ...allAtOnce(1_000), gates: [{ kind: 'webhook', name: 'g', hook: 'h' }], gateMs: 500 }
  const rollout = rolloutOf(strategy)
  const baking = (spentMs: number): RolloutState => ({
    ...queued(from),
    phase: 'baking',
    epoch: 1,
    decided: 1,
    cuts: [null],
    spentMs,
    counts: counts({ applied: 3 }),
  })
  const answer = (ok: boolean, noData = false): RolloutEvent => ({ kind: 'gate', gate: 'g', ok, noData, found: 'x' })

  test('that says no ends it at once; that it says nothing is no harm until the bake time is over (I12)', () => {
    expect(next(rollout, baking(10), answer(false))[0]).toMatchObject({
      phase: 'rolling-back',
      failure: { kind: 'gate', gate: 'g' },
    })
    expect(next(rollout, baking(10), answer(false, true))[0].phase).toBe('baking')
    expect(next(rollout, baking(1_000), answer(false, true))[0].phase).toBe('rolling-back')
  })

  test('has to pass at the end of the bake time; that it passed before does not count', () => {
    expect(next(rollout, baking(10), answer(true))[0].passed).toEqual([])
    expect(next(rollout, baking(1_000), answer(true))[0].phase).toBe('completed')
  })

  test('that never answers fails when its time is over', () => {
    expect(next(rollout, baking(1_400), { kind: 'elapsed', ms: 99 })[0].phase).toBe('baking')
    const [state] = next(rollout, baking(1_400), { kind: 'elapsed', ms: 100 })
    expect(state.failure?.found).toBe('gate g: no answer, which counts as a failure')
  })
})

test('a step of which no node is there holds up the next ones; with one step there is nobody to be spared', () => {
  const away: RolloutEvent = { kind: 'began', epoch: 1, from, cuts: [1, null], counts: counts({ away: 3 }) }
  const steps = staged([{ select: { percent: 10 }, bakeMs: 0 }])
  const [held] = next(rolloutOf(steps), queued(from), away)
  expect(held.phase).toBe('applying')
  expect(next(rolloutOf(steps), held, { kind: 'elapsed', ms: 3_600_000 })[0].phase).toBe('applying')
  expect(next(rolloutOf(allAtOnce()), queued(from), { ...away, cuts: [null] })[0].phase).toBe('completed')
})

test('I12: a node that ran it and runs something else at the end of its time is waited for, and then it has failed', () => {
  const strategy = allAtOnce(1_000)
  const baking: RolloutState = {
    ...queued(from),
    phase: 'baking',
    epoch: 1,
    decided: 1,
    cuts: [null],
    spentMs: 1_000,
    counts: counts({ applied: 2, waiting: 1 }),
  }
  const rollout = rolloutOf(strategy)
  const [held] = next(rollout, baking, { kind: 'elapsed', ms: 1 })
  expect(held.phase).toBe('baking')
  expect(next(rollout, held, { kind: 'counted', counts: counts({ applied: 3 }) })[0].phase).toBe('completed')
  const [late] = next(rollout, held, { kind: 'elapsed', ms: strategy.applyMs })
  expect(late).toMatchObject({ phase: 'rolling-back', failure: { kind: 'timeout' } })
  const [tolerated] = next(rolloutOf({ ...strategy, maxFailed: 1 }), baking, { kind: 'elapsed', ms: 1 })
  expect(tolerated.phase).toBe('completed')
})

test('nodes that would not go back are told of with why it went back', () => {
  const back: RolloutState = {
    ...queued(from),
    phase: 'rolling-back',
    epoch: 1,
    cuts: [null],
    failure: { kind: 'nodes', step: 0, found: '1 node failed', nodes: [] },
    rollback: { number: 8, digest },
  }
  const reasons = [{ node: 'n2', reason: 'has no good signature' }]
  const rollout = rolloutOf(allAtOnce())
  const [ended] = next(rollout, back, { kind: 'counted', counts: counts({ applied: 2, failed: 1, reasons }) })
  expect(ended).toMatchObject({
    phase: 'rolled-back',
    failure: { found: '1 node failed; 1 node did not go back', nodes: reasons },
  })
  const waiting: RolloutState = { ...back, counts: counts({ waiting: 2 }) }
  const [late] = next(rollout, waiting, { kind: 'elapsed', ms: rollout.strategy.applyMs })
  expect(late.failure?.found).toBe('1 node failed; 2 nodes did not go back')
})

test('what waited for nothing on its way waits for its nodes on the way back, before it says that they are back', () => {
  const rollout = rolloutOf({ ...instant, confirmMs: 1_000 })
  const back: RolloutState = {
    ...queued(from),
    phase: 'rolling-back',
    epoch: 1,
    cuts: [null],
    failure: { kind: 'unconfirmed', step: 0, found: 'nobody confirmed it', nodes: [] },
    rollback: { number: 8, digest },
  }
  const [waits] = next(rollout, back, { kind: 'counted', counts: counts({ waiting: 2 }) })
  expect(waits.phase).toBe('rolling-back')
  const [ended] = next(rollout, waits, { kind: 'counted', counts: counts({ applied: 2 }) })
  expect(ended).toMatchObject({ phase: 'rolled-back', failure: { found: 'nobody confirmed it' } })
})

test('a step that has just begun is not over before its nodes were counted', () => {
  const rollout = rolloutOf(linear(50, 100))
  const baking: RolloutState = {
    ...queued(from),
    phase: 'baking',
    epoch: 1,
    decided: 1,
    cuts: [1, null],
    counts: counts({ applied: 1 }),
  }
  const [entered] = next(rollout, baking, { kind: 'elapsed', ms: 100 })
  expect(entered).toMatchObject({ phase: 'applying', step: 1, confirmed: 1 })
  expect(next(rollout, entered, { kind: 'elapsed', ms: 1 })[0]).toMatchObject({ phase: 'applying', step: 1 })
  expect(next(rollout, entered, { kind: 'counted', counts: counts({ applied: 2 }) })[0].phase).toBe('baking')
})

test.each([
  ['nobody may be missing', { ...twoPhase(100), maxFailed: 1 }],
  ['nobody may fail', { ...twoPhase(100), absent: { kind: 'count', max: 1 } as const }],
])('I8: a node that was asked for its vote and is gone has not voted; where %s nothing is decided', (_, strategy) => {
  const rollout = rolloutOf(strategy)
  const preparing: RolloutState = { ...queued(from), phase: 'preparing', epoch: 1, cuts: [null] }
  const [waits] = next(rollout, preparing, { kind: 'counted', counts: counts({ prepared: 2, lost: 1 }) })
  expect(waits).toMatchObject({ phase: 'preparing', decided: 0 })
  const [back] = next(rollout, waits, { kind: 'elapsed', ms: strategy.prepareMs })
  expect(back).toMatchObject({ phase: 'rolling-back', decided: 0, failure: { kind: 'absent' } })
})

test('who takes over while the way back is missing asks for it again; one that is there is waited for', () => {
  const rollout = rolloutOf(allAtOnce())
  const back: RolloutState = {
    ...queued(from),
    phase: 'rolling-back',
    epoch: 1,
    cuts: [null],
    failure: { kind: 'nodes', step: 0, found: '1 node failed', nodes: [] },
  }
  const [, commands] = next(rollout, back, { kind: 'recovered', epoch: 2 })
  expect(commands).toEqual([{ kind: 'make-rollback', to: 6, failure: back.failure }])
  const made: RolloutState = { ...back, rollback: { number: 8, digest } }
  expect(next(rollout, made, { kind: 'recovered', epoch: 2 })).toEqual([{ ...made, epoch: 2 }, []])
})

describe('who is in which step', () => {
  const nodes = Array.from({ length: 1_000 }, (_, i) => ({
    uid: `node-${i}`,
    labels: { zone: i % 2 === 0 ? 'a' : 'b' },
  }))

  test('a percentage is that many of the nodes that are there, at least one, and always the same ones', () => {
    for (const count of [1, 2, 3, 7, 1_000]) {
      const few = nodes.slice(0, count)
      const steps = staged([
        { select: { percent: 10 }, bakeMs: 0 },
        { select: { percent: 50 }, bakeMs: 0 },
      ]).steps
      const cuts = cutsOf(steps, few)
      const inFirst = few.filter((node) => stepOf(steps, cuts, node) === 0)
      expect(inFirst).toHaveLength(Math.max(1, Math.ceil(count * 0.1)))
      expect(few.filter((node) => stepOf(steps, cuts, node) <= 1)).toHaveLength(Math.max(1, Math.ceil(count * 0.5)))
      expect(stepOf(steps, cuts, { uid: 'somebody new', labels: {} })).toBeLessThan(3)
    }
  })

  test('places are spread evenly', () => {
    const quarter = nodes.filter(({ uid }) => placeOf(uid) < 2 ** 30).length
    expect(quarter).toBeGreaterThan(200)
    expect(quarter).toBeLessThan(300)
  })

  test('labels and a percentage of those who have them; who is selected by no step is in the last', () => {
    const steps = staged([{ select: { labels: { zone: 'a' }, percent: 10 }, bakeMs: 0 }]).steps
    const cuts = cutsOf(steps, nodes)
    const first = nodes.filter((node) => stepOf(steps, cuts, node) === 0)
    expect(first).toHaveLength(50)
    expect(first.every(({ labels }) => labels.zone === 'a')).toBe(true)
  })
})

test('how many may be missing: by number, by share, by zone', () => {
  expect(mayBeMissing({ kind: 'count', max: 1 }, 1, 3, {})).toBe(true)
  expect(mayBeMissing({ kind: 'count', max: 1 }, 2, 3, {})).toBe(false)
  expect(mayBeMissing({ kind: 'percent', max: 34 }, 1, 3, {})).toBe(true)
  expect(mayBeMissing({ kind: 'percent', max: 33 }, 1, 3, {})).toBe(false)
  expect(mayBeMissing({ kind: 'per-zone', max: 1, label: 'zone' }, 2, 4, { a: 1, b: 1 })).toBe(true)
  expect(mayBeMissing({ kind: 'per-zone', max: 1, label: 'zone' }, 2, 4, { a: 2 })).toBe(false)
})

test('time that passes while it is paused is no bake time', () => {
  const rollout = rolloutOf(allAtOnce(1_000))
  const paused: RolloutState = {
    ...queued(from),
    phase: 'baking',
    decided: 1,
    cuts: [null],
    counts: counts({ applied: 1 }),
    pauses: [{ reason: 'lunch', by: 'a' }],
  }
  const [later] = next(rollout, paused, { kind: 'elapsed', ms: 5_000 })
  expect(later).toEqual(paused)
  const [resumed] = next(rollout, paused, { kind: 'resumed', reason: 'lunch', by: 'a' })
  expect(resumed.phase).toBe('baking' satisfies Phase)
})
