/** When a config is frozen, and what that does to a rollout. Over HTTP: `http-rollouts.test.ts`. */
import { describe, expect, test } from 'vitest'
import { activeFreeze, checkFreezes, freezeMoves, type Freeze } from '../src/freeze.ts'
import type { Recommendation } from '../src/risk.ts'
import { queued } from '../src/rollout-state.ts'
import { settled } from '../src/strategies/by-risk.ts'

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
