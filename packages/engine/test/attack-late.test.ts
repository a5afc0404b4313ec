import { describe, expect, test } from 'vitest'
import { componentsFor, type Component, type Event, type Journal } from '../src/index.ts'
import { pause } from '../src/deadline.ts'
import { getEventListeners } from 'node:events'
import { scripted } from '../src/testing/index.ts'
import { anything, gate, started, throwing } from './engine-rig.ts'

const deadlines = { prepareMs: 100, commitMs: 100, rollbackMs: 100 }
const { value, keyed } = componentsFor(anything)

function late(events: Journal, count = 1): Promise<Event[]> {
  return new Promise((resolve) => {
    const seen: Event[] = []
    const stop = events.subscribe((event) => {
      if (event.kind !== 'late') return
      seen.push(event)
      if (seen.length < count) return
      stop()
      resolve(seen)
    })
  })
}

/** A value component with a resource per value, which may be let go once and never used after that. */
function pooled() {
  const made: { of: unknown; open: boolean }[] = []
  const faults: {
    prepare?: (next: unknown) => Promise<void> | undefined
    apply?: (next: unknown) => Promise<void> | undefined
  } = {}
  const mistakes: string[] = []
  let runs: { of: unknown; open: boolean } | undefined
  const component = value({
    name: 'pool',
    path: 'pool' as never,
    async prepare(next) {
      await faults.prepare?.(next)
      const pool = { of: next as unknown, open: true }
      made.push(pool)
      return pool
    },
    async apply(next, pool) {
      await faults.apply?.(next)
      if (!pool.open) mistakes.push(`applied ${String(next)}, which is closed`)
      runs = pool
    },
    discard(pool) {
      if (!pool.open) mistakes.push(`closed ${String(pool.of)} twice`)
      if (pool === runs) mistakes.push(`closed ${String(pool.of)}, which runs`)
      pool.open = false
    },
  })
  return {
    component: component as Component,
    faults,
    mistakes,
    open: () => made.filter((p) => p.open).map((p) => p.of),
    runs: () => runs?.of,
  }
}

describe('F52: what comes late overwrites nothing', () => {
  test('a value that is built after its deadline does not bring back the pool of before', async () => {
    const pool = pooled()
    const { engine, set } = await started([pool.component], { pool: 1 }, { deadlines })
    const { open, passed } = gate()
    pool.faults.prepare = (next) => (next === 2 ? passed : undefined)
    expect(await set({ pool: 2 })).toMatchObject({ kind: 'rolled-back' })
    expect(await set({ pool: 3 })).toMatchObject({ kind: 'committed' })
    const told = late(engine.events)
    open()
    await told
    expect(await set({ pool: 4 })).toMatchObject({ kind: 'committed' })
    expect([pool.open(), pool.runs(), pool.mistakes]).toEqual([[4], 4, []])
    await engine.close()
    expect(pool.open()).toEqual([])
  })

  test('a value that is applied after its deadline is taken back, and what was built for it is let go once', async () => {
    const pool = pooled()
    const { engine, set } = await started([pool.component], { pool: 1 }, { deadlines })
    const { open, passed } = gate()
    pool.faults.apply = (next) => (next === 2 ? passed : undefined)
    expect(await set({ pool: 2 })).toMatchObject({ kind: 'degraded' })
    const told = late(engine.events)
    open()
    expect(await told).toMatchObject([{ phase: 'commit', result: 'runs the old configuration again' }])
    expect(engine.status().healthy).toBe(true)
    expect([pool.open(), pool.runs()]).toEqual([[1], 1])
    expect(pool.mistakes.filter((m) => m.includes('twice'))).toEqual([])
    await engine.close()
  })

  test('a commit and its rollback hang: the component takes nothing until both have returned', async () => {
    const a = scripted('a', { deadlines })
    const { engine, set } = await started([a], { a: 1 })
    const commit = gate()
    const rollback = gate()
    let rollbacks = 0
    a.on = {
      commit: ({ after }) => (after === 2 ? commit.passed : undefined),
      rollback: () => (rollbacks++ === 0 ? rollback.passed : undefined),
    }
    expect(await set({ a: 2 })).toMatchObject({ kind: 'degraded' })
    const first = late(engine.events)
    rollback.open()
    await first
    expect(engine.status().healthy).toBe(false)
    expect(await set({ a: 3 })).toMatchObject({ kind: 'rejected', phase: 'check' })
    const second = late(engine.events)
    commit.open()
    await second
    expect(a.live).toBe(1)
    expect(engine.status().healthy).toBe(true)
    expect(await set({ a: 3 })).toMatchObject({ kind: 'committed' })
    expect(a.live).toBe(3)
    await engine.close()
  })

  test('a commit hangs and its rollback fails: the component takes nothing until the commit has returned', async () => {
    const a = scripted('a', { deadlines })
    const { engine, set } = await started([a], { a: 1 })
    const commit = gate()
    a.on = {
      commit: ({ after }) => (after === 2 ? commit.passed : undefined),
      rollback: throwing(new Error('no way back')),
    }
    expect(await set({ a: 2 })).toMatchObject({ kind: 'degraded', cause: expect.stringContaining('no way back') })
    expect(await set({ a: 3 })).toMatchObject({ kind: 'rejected', phase: 'check' })
    a.on = { commit: a.on.commit! }
    const told = late(engine.events)
    commit.open()
    await told
    expect(a.live).toBe(1)
    expect(await set({ a: 3 })).toMatchObject({ kind: 'committed' })
    expect(a.live).toBe(3)
    await engine.close()
  })
})

test('I2: while a component may run something else, no outcome says that the old is live everywhere', async () => {
  const [a, b] = [scripted('a'), scripted('b')]
  const { engine, set } = await started([a, b], { a: 1, b: 1 })
  a.on = { rollback: throwing(new Error('cannot go back')) }
  b.on = { commit: throwing(new Error('no')) }
  expect(await set({ a: 2, b: 2 })).toMatchObject({ kind: 'degraded' })
  a.on = {}
  b.on = { prepare: throwing(new Error('no')) }
  expect(await set({ a: 3, b: 3 })).toMatchObject({
    kind: 'degraded',
    components: [{ runs: 'unknown' }, { runs: 'old' }],
  })
  b.on = {}
  expect(await engine.plan()).toMatchObject({ kind: 'ready' })
  expect(await set({ a: 3, b: 3 })).toMatchObject({ kind: 'committed' })
  expect(engine.status().healthy).toBe(true)
  await engine.close()
})

test('I2: a rollback that fails keeps no other component from being rolled back', async () => {
  const [a, b, c] = [scripted('a'), scripted('b'), scripted('c')]
  const { engine, set } = await started([a, b, c], { a: 1, b: 1, c: 1 })
  b.on = { rollback: throwing(new Error('cannot go back')) }
  c.on = { commit: throwing(new Error('no')) }
  const runs = [{ runs: 'old' }, { runs: 'unknown' }, { runs: 'old' }]
  expect(await set({ a: 2, b: 2, c: 2 })).toMatchObject({ kind: 'degraded', components: runs })
  expect([a.live, c.live]).toEqual([1, 1])
  await engine.close()
})

test('an entry whose stop hangs keeps no other entry from being stopped', async () => {
  const stopped: string[] = []
  const rules = keyed({
    name: 'rules',
    path: 'rules' as never,
    key: 'id',
    deadlines,
    start: (_entry, id: string) => id,
    stop: (_rule, id: string) => (id === 'a' ? new Promise<void>(() => {}) : void stopped.push(id)),
  })
  const { engine, set } = await started([rules], { rules: [{ id: 'a' }, { id: 'b' }, { id: 'c' }] })
  const warning = expect.stringContaining('did not finish within 100 ms')
  expect(await set({ rules: [{ id: 'c' }] })).toMatchObject({ kind: 'committed', warnings: [warning] })
  expect(stopped).toEqual(['b'])
  await engine.close()
  expect(stopped).toEqual(['b', 'c'])
})

test('a deadline of Infinity means none', async () => {
  const a = scripted('a')
  a.on = { prepare: () => new Promise((resolve) => setTimeout(resolve, 20)) }
  const infinite = {
    loadMs: Infinity,
    validateMs: Infinity,
    prepareMs: Infinity,
    commitMs: 2 ** 40,
    rollbackMs: Infinity,
  }
  const { engine, set } = await started([a], { a: 1 }, { deadlines: infinite })
  expect(await set({ a: 2 })).toMatchObject({ kind: 'committed' })
  await engine.close()
})

test('a wait that was stopped before it began leaves no listener behind', async () => {
  const over = AbortSignal.abort()
  const closing = new AbortController().signal
  expect(await pause(1000, over, closing)).toBe('stopped')
  expect(getEventListeners(closing, 'abort')).toEqual([])
})
