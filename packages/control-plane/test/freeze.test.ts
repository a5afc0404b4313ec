/** When a config is frozen, and what that does to a rollout. Over HTTP: `http-rollouts.test.ts`. */
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { createConfig } from '../src/configs.ts'
import { Coordinator } from '../src/coordinator.ts'
import { domainOf } from '../src/domain.ts'
import { activeFreeze, checkFreezes, freezeMoves, type Freeze } from '../src/freeze.ts'
import type { Recommendation } from '../src/risk.ts'
import { publish } from '../src/publish.ts'
import { changeRolloutPolicy } from '../src/rollout-policy.ts'
import { queued } from '../src/rollout-state.ts'
import { Roster } from '../src/roster.ts'
import { allAtOnce } from '../src/strategies/all-at-once.ts'
import { settled } from '../src/strategies/by-risk.ts'
import { config, HandClock, memory } from './domain-rig.ts'

const at = (text: string): Date => new Date(text)
// 2026-11-20 is a Friday.
const weekend: Freeze[] = [
  { weekly: { days: [5], from: '16:00', to: '24:00' }, reason: 'weekend' },
  { weekly: { days: [6, 0], from: '00:00', to: '24:00' }, reason: 'weekend' },
  { weekly: { days: [1], from: '00:00', to: '08:00' }, reason: 'weekend' },
]

describe('a freeze', () => {
  test('is from its first moment to before its last', () => {
    const freezes: Freeze[] = [{ from: '2026-12-24T12:00:00Z', to: '2026-12-26T12:00:00Z', reason: 'holidays' }]
    expect(activeFreeze(freezes, at('2026-12-24T11:59:59.999Z'))).toBeUndefined()
    const holidays = { reason: 'holidays', endsAt: '2026-12-26T12:00:00.000Z' }
    expect(activeFreeze(freezes, at('2026-12-24T12:00:00Z'))).toEqual(holidays)
    expect(activeFreeze(freezes, at('2026-12-26T11:59:59.999Z'))).toEqual(holidays)
    expect(activeFreeze(freezes, at('2026-12-26T12:00:00Z'))).toBeUndefined()
  })

  test('of every week ends where the last that joins it ends', () => {
    expect(activeFreeze(weekend, at('2026-11-20T15:59:59.999Z'))).toBeUndefined()
    const friday = activeFreeze(weekend, at('2026-11-20T16:00:00Z'))
    expect(friday).toEqual({ reason: 'weekend', endsAt: '2026-11-23T08:00:00.000Z' })
    expect(activeFreeze(weekend, at('2026-11-22T23:59:59.999Z'))?.endsAt).toBe('2026-11-23T08:00:00.000Z')
    expect(activeFreeze(weekend, at('2026-11-23T08:00:00Z'))).toBeUndefined()
  })

  test('that never ends is told as one, and not looked at for ever', () => {
    const always: Freeze[] = [{ weekly: { days: [0, 1, 2, 3, 4, 5, 6], from: '00:00', to: '24:00' }, reason: 'x' }]
    const found = activeFreeze(always, at('2026-11-20T00:00:00Z'))
    expect(Date.parse(found?.endsAt ?? '')).toBeGreaterThan(Date.parse('2026-12-20T00:00:00Z'))
    expect(checkFreezes([...weekend, ...always])).toEqual([])
  })

  test('a reason that is empty, too long or half a character is refused', () => {
    const reasons = [' ', 'x'.repeat(201), '\ud800']
    const found = checkFreezes(reasons.map((reason) => ({ ...(weekend[0] as Freeze), reason })))
    expect(found.map(({ path }) => path)).toEqual([
      [0, 'reason'],
      [1, 'reason'],
      [2, 'reason'],
    ])
  })
})

describe('what a freeze does to a rollout', () => {
  const state = { ...queued(null), phase: 'baking' } as const
  const freeze = { reason: 'weekend', endsAt: '2026-11-23T08:00:00.000Z' }
  const pauses = [
    { reason: 'lunch', by: 'ada' },
    { reason: 'freeze: weekend', by: 'midflight' },
  ]

  test('it is paused once, and let go once it is over; what people paused stays paused', () => {
    expect(freezeMoves({ state }, freeze, 'm')).toEqual([{ kind: 'paused', reason: 'freeze: weekend', by: 'm' }])
    expect(freezeMoves({ state: { ...state, pauses } }, freeze, 'm')).toEqual([])
    const over = [{ kind: 'resumed', reason: 'freeze: weekend', by: 'm' }]
    expect(freezeMoves({ state: { ...state, pauses } }, undefined, 'm')).toEqual(over)
  })

  test('from one freeze into the next nothing goes on between them', () => {
    const moves = freezeMoves({ state: { ...state, pauses } }, { ...freeze, reason: 'holidays' }, 'm')
    expect(moves.map(({ kind, reason }) => `${kind} ${reason}`)).toEqual([
      'paused freeze: holidays',
      'resumed freeze: weekend',
    ])
  })

  test('what is urgent, what goes back and what has ended is not held', () => {
    expect(freezeMoves({ state, urgent: true }, freeze, 'm')).toEqual([])
    for (const phase of ['rolling-back', 'failed', 'completed', 'rolled-back', 'superseded'] as const) {
      expect(freezeMoves({ state: { ...state, phase } }, freeze, 'm')).toEqual([])
    }
  })
})

describe('a coordinator', () => {
  test('begins nothing in a freeze, also after a restart, and begins it by itself when that is over', async () => {
    const clock = new HandClock()
    const domain = domainOf({ store: await memory(), now: clock.now })
    await createConfig(domain, { name: config, actor: 'tests' })
    const rolloutOf = (): { strategy: ReturnType<typeof allAtOnce> } => ({ strategy: allAtOnce() })
    await publish(domain, { changes: [{ config, content: { a: 1 } }], author: 'ada', rolloutOf })
    const freezes = [{ from: '2026-11-20T00:00:00Z', to: '2026-11-21T00:00:00Z', reason: 'stocktaking' }]
    await changeRolloutPolicy(domain, config, { freezes }, 'ada')
    const roster = await Roster.open(domain, { monotonicMs: () => performance.now(), leaseMs: 60_000 })
    const problems: unknown[] = []
    const begun = async (): Promise<Coordinator> => {
      const coordinator = await Coordinator.start({
        domain,
        roster,
        monotonicMs: () => performance.now(),
        gateOf: ({ name }) => ({ name, check: async () => ({ ok: true, found: '' }) }),
        moved: async () => {},
        onProblem: (error) => problems.push(error),
        tickMs: 5,
      })
      onTestFinished(() => coordinator.close())
      return coordinator
    }
    const held = { phase: 'queued', pauses: [{ reason: 'freeze: stocktaking', by: 'midflight' }] }
    const first = await begun()
    await vi.waitFor(async () => expect((await first.rollout(config, 1))?.state).toMatchObject(held))
    await first.close()
    const second = await begun()
    expect((await second.rollout(config, 1))?.state).toMatchObject(held)
    clock.atMs = Date.parse('2026-11-21T00:00:00Z')
    await vi.waitFor(async () =>
      expect((await second.rollout(config, 1))?.state).toMatchObject({ phase: 'completed', pauses: [] }),
    )
    const audit = (await domain.store.read((read) => read.audit(0, 100))).map(({ action }) => action)
    expect(audit.filter((action) => /paused|resumed/.test(action))).toEqual(['rollout-paused', 'rollout-resumed'])
    expect(problems).toEqual([])
  })
})

describe('by-risk', () => {
  const steps: Recommendation = { strategy: 'staged', why: '', firstPercent: 10, bakeFactor: 4 }

  test('takes what is recommended, watched for longer where that is; what else was asked for stays', () => {
    const spec = { kind: 'by-risk', bakeMs: 1000, maxFailed: 2 } as const
    expect(settled(spec, steps)).toEqual({
      ...spec,
      kind: 'staged',
      steps: [{ percent: 10 }, { percent: 50 }],
      bakeMs: 4000,
    })
    expect(settled(spec, { strategy: 'two-phase', why: '' })).toEqual({ ...spec, kind: 'two-phase' })
    expect(settled({ kind: 'all-at-once' }, steps)).toEqual({ kind: 'all-at-once' })
  })

  test('what could not be judged goes in steps', () => {
    expect(settled({ kind: 'by-risk' }, undefined)).toMatchObject({
      kind: 'staged',
      steps: [{ percent: 10 }, { percent: 50 }],
    })
  })
})
