import { createServer } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import { start, type Component, type Endpoint, type Json, type Trigger } from '../src/index.ts'
import { adminHttp } from '../src/triggers/admin-http.ts'
import { grpcEndpoint } from '../src/triggers/grpc.ts'
import { memory, scripted } from '../src/testing/index.ts'
import { anything, gate, started, throwing, unhandledDuring } from './engine-rig.ts'

describe('prepare()', () => {
  test('commit and rollback count once, the first of them, and the next reload runs', async () => {
    const a = scripted('a')
    const { engine } = await started([a], { a: 1 })
    const prepared = await engine.prepare({ a: 2 })
    if (prepared.kind !== 'prepared') throw new Error(prepared.kind)
    const all = await Promise.all([prepared.commit(), prepared.rollback(), prepared.commit()])
    expect(all.map((outcome) => outcome.kind)).toEqual(['committed', 'committed', 'committed'])
    expect(a.steps.slice(3)).toEqual(['prepare', 'commit', 'dispose'])
    expect(await engine.reload()).toMatchObject({ kind: 'committed' })
    expect(await prepared.rollback()).toMatchObject({ kind: 'committed' })
    expect(a.live).toBe(1)
    await engine.close()
  })

  test('after close() it is closed; a decision after close() is told that it was given up', async () => {
    const a = scripted('a')
    const { engine } = await started([a], { a: 1 })
    const prepared = await engine.prepare({ a: 2 })
    if (prepared.kind !== 'prepared') throw new Error(prepared.kind)
    const closing = engine.close()
    expect(await prepared.commit()).toMatchObject({ kind: 'rolled-back' })
    await closing
    expect(a.live).toBe(1)
    expect(await engine.prepare({ a: 3 })).toMatchObject({ kind: 'closed' })
    expect(await engine.prepare({ a: 1 })).toMatchObject({ kind: 'closed' })
    expect(await engine.plan()).toMatchObject({ kind: 'closed' })
    expect(await engine.reload()).toMatchObject({ kind: 'closed' })
    expect(a.live).toBe(1)
  })

  test('plans, reloads and prepares at the same time run one after the other', async () => {
    const a = scripted('a')
    let inside = 0
    let most = 0
    const enter = async () => {
      most = Math.max(most, ++inside)
      await new Promise((resolve) => setTimeout(resolve, 2))
      inside--
    }
    const { engine, source } = await started([a], { a: 0 })
    a.on = { prepare: enter, commit: enter, rollback: enter }
    const work: Promise<unknown>[] = []
    for (let n = 1; n <= 20; n++) {
      source.set({ a: n })
      work.push(engine.reload(), engine.plan())
      work.push(
        engine.prepare({ a: -n }).then((p) => (p.kind === 'prepared' ? (n % 2 ? p.commit() : p.rollback()) : p)),
      )
    }
    await Promise.all(work)
    expect(most).toBe(1)
    await engine.reload()
    expect([a.live, engine.live['a']]).toEqual([20, 20])
    await engine.close()
  })
})

describe('close()', () => {
  test('from a listener of watch(), of events, twice and at once: it ends, once', async () => {
    let closes = 0
    const a: Component = Object.assign(scripted('a'), { close: async () => void closes++ })
    const { engine, set } = await started([a], { a: 1 })
    const ended: Promise<void>[] = []
    engine.watch('a' as never, () => void ended.push(engine.close(), engine.close()))
    engine.events.subscribe(() => void ended.push(engine.close()))
    expect(await set({ a: 2 })).toMatchObject({ kind: expect.stringMatching(/committed|closed/) as string })
    await engine.close()
    await Promise.all(ended)
    expect(closes).toBe(1)
    expect(engine.status().state).toBe('closed')
  })

  test('from inside a component that waits for it: both end, by the deadline of the component', async () => {
    const a = scripted('a', { deadlines: { prepareMs: 100, commitMs: 100, rollbackMs: 100 } })
    const { engine, set } = await started([a], { a: 1 })
    a.on = { commit: () => engine.close() }
    const outcome = await set({ a: 2 })
    expect(['degraded', 'closed']).toContain(outcome.kind)
    await engine.close()
  })
})

describe('triggers', () => {
  const asking = (name: string, requests: Trigger['requests']): Trigger => ({ name, requests })
  test('one that throws, ends, or has no iterator is a warning at most; the others go on', async () => {
    let change = () => {}
    const changed = new Promise<void>((resolve) => (change = resolve))
    const source = memory({ a: 1 })
    const unhandled = await unhandledDuring(async () => {
      const engine = await start({
        schema: anything,
        sources: [source],
        logger: false,
        triggers: [
          asking('throws at once', throwing(new Error('at once'))),
          asking('throws later', async function* () {
            await changed
            yield { trigger: 'x' }
            throw Object.create(null)
          }),
          asking('ends', async function* () {}),
          asking('is none', () => undefined as never),
          asking('never ends', () => ({
            [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}), return: throwing(undefined) }),
          })),
        ],
      })
      source.set({ a: 2 })
      change()
      for (let i = 0; i < 500 && engine.live['a'] !== 2; i++) await new Promise((resolve) => setTimeout(resolve, 5))
      expect(engine.live).toEqual({ a: 2 })
      expect(engine.status().warnings).toHaveLength(3)
      await engine.close()
    })
    expect(unhandled).toEqual([])
  })
})

describe('endpoints', () => {
  const free = (port: number) =>
    new Promise<boolean>((resolve) => {
      const server = createServer()
      server.once('error', () => resolve(false))
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
    })
  const freePort = () =>
    new Promise<number>((resolve) => {
      const server = createServer()
      server.listen(0, '127.0.0.1', () => {
        const { port } = server.address() as { port: number }
        server.close(() => resolve(port))
      })
    })

  test('one that cannot open fails the start: components closed, triggers ended, every port free again', async () => {
    const [http, grpc] = [await freePort(), await freePort()]
    let closed = 0
    let over = false
    const a: Component = Object.assign(scripted('a'), { close: async () => void closed++ })
    const trigger: Trigger = {
      name: 't',
      // oxlint-disable-next-line require-yield
      async *requests(signal) {
        await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()))
        over = true
      },
    }
    const bad: Endpoint = { name: 'bad', open: () => Promise.reject(new Error('no door')) }
    await expect(
      started(
        [a],
        { a: 1 },
        {
          triggers: [trigger],
          endpoints: [adminHttp({ port: http }), grpcEndpoint({ port: grpc }), bad],
        },
      ),
    ).rejects.toThrow('no door')
    expect([closed, over, await free(http), await free(grpc)]).toEqual([1, true, true, true])
  })

  test('one that reloads while it opens gets its outcome', async () => {
    const outcomes: string[] = []
    const eager: Endpoint = {
      name: 'eager',
      async open(lifecycle) {
        outcomes.push(
          (await lifecycle.reload({ trigger: 'eager' })).kind,
          (await lifecycle.plan({ trigger: 'eager' })).kind,
        )
        return { address: 'here', close: async () => {} }
      },
    }
    const { engine } = await started([], { a: 1 }, { endpoints: [eager] })
    expect(outcomes).toEqual(['unchanged', 'unchanged'])
    await engine.close()
  })
})

test('I13: whatever fails, each of many requests gets an outcome, and the newest is live', async () => {
  const [a, b] = [scripted('a'), scripted('b')]
  const { engine, source } = await started([a, b], { a: 0, b: 0 })
  let n = 0
  const sometimes = () => {
    n = (n * 1103515245 + 12345) % 2147483648
    if (n % 3 === 0) throw new Error('sometimes')
  }
  a.on = { prepare: sometimes, commit: sometimes }
  b.on = { prepare: sometimes, commit: sometimes, dispose: sometimes }
  const outcomes: Promise<{ kind: string }>[] = []
  for (let i = 1; i <= 300; i++) {
    source.set({ a: i, b: -i } as Json)
    outcomes.push(engine.reload())
    if (i % 7 === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  for (const { kind } of await Promise.all(outcomes)) expect(['committed', 'rolled-back', 'unchanged']).toContain(kind)
  expect([a.live, b.live]).toEqual([engine.live['a'], engine.live['b']])
  ;[a.on, b.on] = [{}, {}]
  await engine.reload()
  expect(engine.live).toEqual({ a: 300, b: -300 })
  await engine.close()
})

/** What is reachable, in bytes. */
function heldBytes(): number {
  setFlagsFromString('--expose-gc')
  const gc = runInNewContext('gc') as () => void
  gc()
  return process.memoryUsage().heapUsed
}

test('ten thousand reloads leave no listener, no handle and no memory behind', async () => {
  const warnings: string[] = []
  const listen = (warning: Error) => void warnings.push(warning.message)
  process.on('warning', listen)
  const a = scripted('a')
  const { engine, set } = await started([a], { a: 0 })
  const stop = gate()
  await Promise.race([stop.passed, set({ a: -1 })])
  const handles = process.getActiveResourcesInfo().length
  for (let i = 0; i < 1000; i++) await set({ a: i, rest: { list: [i] } })
  const before = heldBytes()
  for (let i = 0; i < 9000; i++) {
    ;(a.steps as unknown[]).length = 0
    await set({ a: i, rest: { list: [i] } })
  }
  expect(process.getActiveResourcesInfo().length).toBeLessThan(handles + 10)
  expect(heldBytes() - before).toBeLessThan(20e6)
  await engine.close()
  process.off('warning', listen)
  expect(warnings).toEqual([])
})
