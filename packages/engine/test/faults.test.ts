import { expect, test } from 'vitest'
import { start, type Component, type Event, type Json } from '../src/index.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { anything, fail, gate, started as startedWith } from './engine-rig.ts'

const deadlines = { loadMs: 300, validateMs: 300, prepareMs: 300, commitMs: 300, rollbackMs: 300 }

function started(components: Component[], config: Record<string, Json>, more: object = {}) {
  return startedWith(components, config, { deadlines, ...more })
}

function late(events: { subscribe(fn: (event: Event) => void): () => void }) {
  return new Promise<Event>((resolve) => {
    const stop = events.subscribe((event) => {
      if (event.kind !== 'late') return
      stop()
      resolve(event)
    })
  })
}

test('F50, F51: a prepare that hangs and ignores its abort ends at its deadline; everything runs the old', async () => {
  const a = scripted('a')
  const { engine, set } = await started([a], { a: 1 })
  a.on = { prepare: () => new Promise(() => {}) }
  const cause = expect.stringContaining('did not finish within 300 ms')
  expect(await set({ a: 2 })).toMatchObject({ kind: 'rolled-back', phase: 'prepare', cause })
  a.on = {}
  expect(await set({ a: 3 })).toMatchObject({ kind: 'committed' })
  expect(a.live).toBe(3)
  await engine.close()
})

test('F52: a prepare that settles after its deadline is undone and overwrites nothing that came after', async () => {
  const a = scripted('a')
  const { engine, set } = await started([a], { a: 1 })
  const { open, passed } = gate()
  a.on = { prepare: ({ after }) => (after === 2 ? passed : undefined) }
  expect(await set({ a: 2 })).toMatchObject({ kind: 'rolled-back' })
  expect(await set({ a: 3 })).toMatchObject({ kind: 'committed' })
  const told = late(engine.events)
  // The double's rollback would put back what ran when it was prepared; a real one lets go of what it had built.
  a.on = { rollback: fail('nothing to go back to') }
  open()
  const result = expect.stringContaining('nothing to go back to')
  expect(await told).toMatchObject({ component: 'a', phase: 'prepare', result })
  expect(a.live).toBe(3)
  await engine.close()
})

test('F52: a commit that settles after the rollback is rolled back again; until then the component takes nothing else', async () => {
  const [a, b] = [scripted('a'), scripted('b')]
  const { engine, set } = await started([a, b], { a: 1, b: 1 })
  const { open, passed } = gate()
  a.on = { commit: () => passed }
  expect(await set({ a: 2, b: 1 })).toMatchObject({
    kind: 'degraded',
    components: [{ component: 'a', runs: 'unknown' }],
  })
  expect(engine.status().healthy).toBe(false)
  expect(await set({ a: 3, b: 1 })).toMatchObject({ kind: 'rejected', phase: 'check' })
  const told = late(engine.events)
  open()
  expect(await told).toMatchObject({ component: 'a', phase: 'commit', result: 'runs the old configuration again' })
  expect(a.live).toBe(1)
  expect(engine.status().healthy).toBe(true)
  a.on = {}
  expect(await set({ a: 3, b: 1 })).toMatchObject({ kind: 'committed' })
  expect(a.live).toBe(3)
  await engine.close()
})

test('F54: a rollback that hangs is reported as degraded; when it returns the component is well again', async () => {
  const [a, b] = [scripted('a'), scripted('b')]
  const { engine, set } = await started([a, b], { a: 1, b: 1 })
  const { open, passed } = gate()
  a.on = { rollback: () => passed }
  b.on = { commit: fail('no') }
  expect(await set({ a: 2, b: 2 })).toMatchObject({ kind: 'degraded' })
  const told = late(engine.events)
  open()
  expect(await told).toMatchObject({ component: 'a', phase: 'rollback' })
  expect(engine.status().healthy).toBe(true)
  expect(a.live).toBe(1)
  await engine.close()
})

test('F56: a prepare that blocks the event loop past its deadline has not made it, though it returned', async () => {
  const a = scripted('a')
  const { engine, set } = await started([a], { a: 1 })
  a.on = {
    prepare: () => {
      const until = performance.now() + 400
      while (performance.now() < until);
    },
  }
  expect(await set({ a: 2 })).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
  expect(a.live).toBe(1)
  await engine.close()
})

test('F58: a late rejection of a component does not become an unhandled one', async () => {
  const unhandled: unknown[] = []
  const listen = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', listen)
  const a = scripted('a')
  const { engine, set } = await started([a], { a: 1 })
  let reject = (_: Error) => {}
  a.on = { prepare: () => new Promise((_, no) => (reject = no)) }
  await set({ a: 2 })
  const told = late(engine.events)
  reject(new Error('too late'))
  await told
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', listen)
  expect(unhandled).toEqual([])
  await engine.close()
})

test('a source that hangs is named when its deadline passes; what it returns later is ignored', async () => {
  const { open, passed } = gate()
  let hang = false
  const slow = {
    name: 'slow',
    load: async () => {
      if (!hang) return { config: { a: 1 } }
      await passed
      return { config: { a: 2 } }
    },
  }
  const a = scripted('a')
  const engine = await start({ schema: anything, sources: [slow], components: [a], logger: false, deadlines })
  hang = true
  const issues = [{ code: 'timeout', message: expect.stringContaining('slow') }]
  expect(await engine.reload()).toMatchObject({ kind: 'rejected', phase: 'load', issues })
  open()
  hang = false
  expect(await engine.reload()).toMatchObject({ kind: 'unchanged' })
  expect(a.live).toBe(1)
  await engine.close()
})

test('a validator that never answers ends at its deadline, and the configuration is refused', async () => {
  let hang = false
  const schema = {
    '~standard': {
      version: 1 as const,
      vendor: 'test',
      validate: (value: unknown) => (hang ? new Promise<never>(() => {}) : { value: value as Record<string, Json> }),
    },
  }
  const source = memory({ a: 1 })
  const engine = await start({ schema, sources: [source], logger: false, deadlines })
  hang = true
  source.set({ a: 2 })
  expect(await engine.reload()).toMatchObject({ kind: 'rejected', phase: 'validate', issues: [{ code: 'timeout' }] })
  await engine.close()
})

test('close() during a reload: what has begun to commit ends whole, what has not is given up', async () => {
  const a = scripted('a')
  const { engine, set } = await started([a], { a: 1 }, { deadlines: {} })
  const [entered, release] = [gate(), gate()]
  a.on = {
    commit: () => {
      entered.open()
      return release.passed
    },
  }
  const first = set({ a: 2 })
  await entered.passed
  const second = engine.reload()
  const closed = engine.close()
  release.open()
  expect(await first).toMatchObject({ kind: 'committed' })
  expect(await second).toMatchObject({ kind: 'closed' })
  await closed
  expect(a.live).toBe(2)
})
