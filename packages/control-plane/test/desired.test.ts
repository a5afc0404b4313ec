/** What is to be done about a node, as a pure function of what it said. */
import type { NodeStatus } from 'midflight/protocol'
import { describe, expect, test } from 'vitest'
import {
  defaultPatience,
  deliveredAt,
  desired,
  desiredOfAll,
  failedAt,
  fullJitterMs,
  nextStep,
  type Delivery,
  type Step,
} from '../src/desired.ts'
import type { RolloutRecord } from '../src/store.ts'
import { phases } from './rollout-table.ts'

const digestOf = (number: number): string => `sha256:${String(number).padStart(64, '0')}`
const release = (number: number) => ({ number, digest: digestOf(number) })
const wish = (number: number) => ({ ...release(number), prepare: false, epoch: 0, revertMs: null })
const node = (runs: number | null, seen: number | null, status: NodeStatus) => ({
  runs: runs === null ? null : release(runs),
  seen,
  status,
})
const sentAt = (number: number, sentAtMs: number, over: Partial<Delivery> = {}): Delivery => ({
  number,
  sentAtMs,
  failures: 0,
  retryAtMs: undefined,
  ...over,
})

test('desired is the head, for every node', () => {
  const someone = { uid: 'n1', labels: {} }
  expect(desired({ head: release(7), rollout: null }, someone)).toEqual(wish(7))
  expect(desired({ head: null, rollout: null }, someone)).toBeNull()
})

describe('what all are to run', () => {
  const cases = phases().flatMap(({ rollout, state }) =>
    [0, 1, rollout.strategy.steps.length].flatMap((decided) =>
      [null, 60_000].map((revertMs) => {
        const { release: target, config } = rollout
        const strategy = { ...rollout.strategy, revertMs }
        const record = { ...target, config, strategy, state: { ...state, decided, confirmed: 0 } }
        return { head: target, rollout: record as unknown as RolloutRecord }
      }),
    ),
  )

  test('is what each is to run, wherever it stands; else there is nothing that all are', () => {
    let [same, different] = [0, 0]
    for (const releases of cases) {
      const { cuts } = releases.rollout.state
      const { steps } = releases.rollout.strategy
      // Half of the places for each step that is not the last.
      const middle = { ...releases.rollout.state, cuts: cuts.map(() => 2 ** 31) }
      const placed = { ...releases, rollout: { ...releases.rollout, state: middle } }
      const all = Array.from({ length: 50 }, (_, i) => desired(placed, { uid: `node-${i}`, labels: {} }))
      const found = desiredOfAll(placed)
      if (found === null) {
        // To a later node it may be another release, though all that are here are in one step.
        different++
        if (steps.length === 1 && releases.rollout.state.decided >= 1)
          expect(all.every((wish) => wish === null)).toBe(true)
        continue
      }
      same++
      for (const wish of all) expect(wish).toEqual(found)
    }
    expect(Math.min(same, different)).toBeGreaterThan(10)
  })
})

describe('the next step', () => {
  const step = (...[wanted, state, delivery, nowMs = 0]: [number, ReturnType<typeof node>, Delivery?, number?]): Step =>
    nextStep(wish(wanted), state, delivery, nowMs)

  test('nothing, where there is no release, or the node runs it', () => {
    expect(nextStep(null, node(null, null, 'UNSET'), undefined, 0)).toEqual({ kind: 'settled' })
    expect(step(5, node(5, 5, 'APPLIED'))).toEqual({ kind: 'settled' })
  })

  test('a node that is behind is sent the release, and once it is sent it is waited for', () => {
    expect(step(5, node(4, 4, 'APPLIED'))).toEqual({ kind: 'send', why: 'behind', force: false })
    expect(step(5, node(null, null, 'UNSET'))).toEqual({ kind: 'send', why: 'behind', force: false })
    // R7: it came by another way, before this connection.
    for (const status of ['RECEIVED', 'APPLYING'] as const) {
      expect(step(5, node(4, 5, status))).toEqual({ kind: 'send', why: 'behind', force: false })
    }
    const sent = sentAt(5, 1_000)
    expect(step(5, node(4, 4, 'APPLIED'), sent, 2_000)).toEqual({ kind: 'wait', why: 'delivery', untilMs: 11_000 })
    expect(step(5, node(4, 5, 'APPLYING'), sent, 2_000)).toEqual({ kind: 'wait', why: 'applying', untilMs: 121_000 })
  })

  test('what was lost on the way is sent again', () => {
    expect(step(5, node(4, 4, 'APPLIED'), sentAt(5, 0), 10_000)).toMatchObject({ kind: 'send', why: 'lost' })
    expect(step(5, node(4, 5, 'APPLYING'), sentAt(5, 0), 120_000)).toMatchObject({
      kind: 'send',
      why: 'lost',
      force: true,
    })
  })

  test('drift: the number with another content is repaired by sending it again, forced', () => {
    const drifted = { runs: { number: 5, digest: digestOf(99) }, seen: 5, status: 'APPLIED' as const }
    expect(nextStep(wish(5), drifted, undefined, 0)).toEqual({ kind: 'send', why: 'drift', force: true })
    expect(nextStep(wish(5), drifted, sentAt(5, 0), 1)).toMatchObject({ kind: 'wait' })
  })

  test('I5: a node that runs a newer release is never sent an older one', () => {
    expect(step(5, node(6, 6, 'APPLIED'))).toEqual({ kind: 'stuck', why: 'ahead' })
  })

  test('what failed is tried again when its back-off is over, and a newer release cancels that', () => {
    const failed = node(4, 5, 'ROLLED_BACK')
    const waiting = failedAt(sentAt(5, 0), 5, 100, 0.5, defaultPatience.retry) as Delivery
    expect(waiting).toEqual(sentAt(5, 0, { failures: 1, retryAtMs: 600 }))
    expect(step(5, failed, waiting, 599)).toEqual({ kind: 'wait', why: 'back-off', untilMs: 600 })
    expect(step(5, failed, waiting, 600)).toEqual({ kind: 'send', why: 'retry', force: true })
    expect(step(6, failed, waiting, 101)).toEqual({ kind: 'send', why: 'behind', force: false })
    const again = deliveredAt(release(5), waiting, 600)
    expect(again).toEqual(sentAt(5, 600, { failures: 1 }))
    expect(step(5, failed, again, 601)).toMatchObject({ kind: 'wait', why: 'back-off' })
    expect(deliveredAt(release(6), waiting, 600)).toEqual(sentAt(6, 600))
  })

  test('K4: what was refused is not sent again, in this connection or the next; a newer one, or a node that knows nothing of it, is', () => {
    const refused = node(4, 5, 'FAILED')
    const reported = failedAt(sentAt(5, 0), 5, 100, 0.5) as Delivery
    for (const delivery of [undefined, sentAt(5, 0), reported, sentAt(4, 0)]) {
      expect(step(5, refused, delivery, 1e9)).toEqual({ kind: 'stuck', why: 'refused' })
    }
    expect(step(6, refused, reported, 101)).toMatchObject({ kind: 'send', why: 'behind' })
    expect(step(5, node(4, 4, 'APPLIED'))).toMatchObject({ kind: 'send', why: 'behind' })
  })

  test('R2: the failure of an older release changes nothing, and a duplicate report counts once', () => {
    const newer = sentAt(6, 0)
    expect(failedAt(newer, 5, 10, 0.5)).toBe(newer)
    const once = failedAt(newer, 6, 10, 0.5)
    expect(failedAt(once, 6, 20, 0.5)).toBe(once)
  })

  test('after so many failures it is given up; a restart is not forced upon anybody', () => {
    const tired = sentAt(5, 0, { failures: defaultPatience.retry.maxFailures, retryAtMs: 1 })
    expect(step(5, node(4, 5, 'ROLLED_BACK'), tired, 10)).toEqual({ kind: 'stuck', why: 'given-up' })
    expect(step(5, node(4, 5, 'RESTART_REQUIRED'))).toEqual({ kind: 'stuck', why: 'restart-required' })
    expect(step(6, node(4, 5, 'RESTART_REQUIRED'))).toMatchObject({ kind: 'send', why: 'behind' })
  })

  test('every status and every relation of releases has a step, and only what runs the release is settled', () => {
    const statuses = ['UNSET', 'RECEIVED', 'PREPARED', 'APPLYING', 'APPLIED'] as const
    const ends = ['FAILED', 'ROLLED_BACK', 'RESTART_REQUIRED', 'DEGRADED'] as const
    for (const status of [...statuses, ...ends]) {
      for (const runs of [null, 4, 5, 6]) {
        for (const seen of [null, 4, 5, 6]) {
          for (const delivery of [
            undefined,
            sentAt(4, 0),
            sentAt(5, 0),
            sentAt(5, 0, { failures: 1, retryAtMs: 50 }),
          ]) {
            const found = step(5, node(runs, seen, status), delivery, 10)
            if (found.kind === 'settled') expect(runs).toBe(5)
            if (found.kind === 'wait') expect(found.untilMs).toBeGreaterThan(10)
            if (runs === 6) expect(found).toEqual({ kind: 'stuck', why: 'ahead' })
          }
        }
      }
    }
  })
})

test('full jitter: anything from nothing to a cap that doubles up to its limit', () => {
  const retry = { firstMs: 1_000, maxMs: 30_000 }
  expect([0, 1, 2, 3, 9, 5_000].map((failures) => fullJitterMs(failures, 1, retry))).toEqual([
    1_000, 2_000, 4_000, 8_000, 30_000, 30_000,
  ])
  expect(fullJitterMs(4, 0, retry)).toBe(0)
})
