/** What every store promises of rollouts: one to a release, moved by the newest coordinator only, and what they need is kept. */
import assert from 'node:assert/strict'
import { queued, type RolloutEvent } from '../../rollout-state.ts'
import { FencedError, type RolloutRecord, type Store } from '../../store.ts'
import { instant } from '../../strategies/all-at-once.ts'
import { configOf, fill, publish, sample } from './samples.ts'

const at = '2026-01-01T00:00:00.000Z'
const event: RolloutEvent = { kind: 'elapsed', ms: 1 }

function rolloutOf(number: number, over: Partial<RolloutRecord> = {}): RolloutRecord {
  const state = queued(null)
  const { config } = sample
  return {
    config,
    number,
    digest: 'sha256:d',
    strategy: instant,
    by: 'ada',
    createdAt: at,
    startedAt: null,
    endedAt: null,
    state,
    ...over,
  }
}

export const rolloutCases: Readonly<Record<string, (store: Store) => Promise<void>>> = {
  'a release has one rollout at most, and none before it is there': async (store) => {
    await fill(store)
    await store.transaction((tx) => tx.rollouts.add(rolloutOf(5)))
    await assert.rejects(
      store.transaction((tx) => tx.rollouts.add(rolloutOf(5))),
      RangeError,
    )
    await assert.rejects(
      store.transaction((tx) => tx.rollouts.add(rolloutOf(99))),
      RangeError,
    )
    assert.deepEqual(await store.read((tx) => tx.rollouts.get(sample.config, 5)), rolloutOf(5))
    assert.equal(await store.read((tx) => tx.rollouts.get(sample.config, 4)), undefined)
  },

  'rollouts are listed newest first, and those that are open oldest first': async (store) => {
    await fill(store)
    await store.transaction((tx) => {
      for (const number of [2, 3, 5]) tx.rollouts.add(rolloutOf(number, number === 3 ? { endedAt: at } : {}))
    })
    const numbers = (rollouts: readonly RolloutRecord[]): number[] => rollouts.map(({ number }) => number)
    assert.deepEqual(numbers(await store.read((tx) => tx.rollouts.list(sample.config, undefined, 2))), [5, 3])
    assert.deepEqual(numbers(await store.read((tx) => tx.rollouts.list(sample.config, 3, 2))), [2])
    assert.deepEqual(numbers(await store.read((tx) => tx.rollouts.open(sample.config))), [2, 5])
    assert.deepEqual(numbers(await store.read((tx) => tx.rollouts.open())), [2, 5])
    assert.deepEqual(await store.read((tx) => tx.rollouts.open('shop/none')), [])
  },

  'I10: only the coordinator that took over last can move a rollout; what another wants to write is not there': async (
    store,
  ) => {
    await fill(store)
    const first = await store.transaction((tx) => tx.takeOver())
    await store.transaction((tx) => tx.rollouts.add(rolloutOf(5)))
    const second = await store.transaction((tx) => tx.takeOver())
    assert.ok(second > first)
    assert.equal(await store.read((tx) => tx.epoch()), second)
    const moved = rolloutOf(5, { startedAt: at })
    await assert.rejects(
      store.transaction((tx) => {
        tx.appendAudit({ at, actor: 'a', action: 'late', config: null, detail: {} })
        tx.rollouts.move(moved, event, first, at)
      }),
      FencedError,
    )
    assert.equal((await store.read((tx) => tx.rollouts.get(sample.config, 5)))?.startedAt, null)
    assert.equal((await store.read((tx) => tx.audit(0, 1000))).filter(({ action }) => action === 'late').length, 0)
    await store.transaction((tx) => tx.rollouts.move(moved, event, second, at))
    await store.transaction((tx) => tx.rollouts.move({ ...moved, endedAt: at }, null, second, at))
    assert.equal((await store.read((tx) => tx.rollouts.get(sample.config, 5)))?.endedAt, at)
    assert.deepEqual(await store.read((tx) => tx.rollouts.open(sample.config)), [])
    const events = await store.read((tx) => tx.rollouts.events(sample.config, 5, undefined, 10))
    assert.deepEqual(events, [{ seq: 1, at, epoch: second, event }])
  },

  'what an open rollout may have to go back to is not pruned; once it has ended it may be': async (store) => {
    const config = 'shop/web'
    // Nothing in common, so that none is kept as a patch on another.
    const [one] = await store.transaction((tx) => {
      tx.putConfig(configOf(config))
      return ['a', 'b', 'c'].map((key) => publish(tx, { [key]: key.repeat(5_000) }, config))
    })
    const from = { number: 1, digest: one?.digest ?? '' }
    const epoch = await store.transaction((tx) => tx.takeOver())
    const open = rolloutOf(2, { config, state: { ...queued(from), phase: 'applying' } })
    const kept = (number: number) => store.read((tx) => tx.content(config, number) !== undefined)
    await store.transaction((tx) => tx.rollouts.add(open))
    await store.transaction((tx) => tx.prune({ keepNewest: 1 }))
    assert.deepEqual([await kept(1), await kept(2)], [true, true])
    const events = () => store.read((tx) => tx.rollouts.events(config, 2, undefined, 10).length)
    await store.transaction((tx) => tx.rollouts.move(open, event, epoch, at))
    await store.transaction((tx) => tx.prune({ keepNewest: 1 }))
    assert.equal(await events(), 1)
    await store.transaction((tx) => tx.rollouts.move({ ...open, endedAt: at }, event, epoch, at))
    await store.transaction((tx) => tx.prune({ keepNewest: 1 }))
    assert.deepEqual([await kept(1), await kept(2), await kept(3)], [false, false, true])
    assert.equal(await events(), 0)
    assert.equal((await store.read((tx) => tx.rollouts.get(config, 2)))?.endedAt, at)
  },
}
