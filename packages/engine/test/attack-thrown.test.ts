import { describe, expect, test } from 'vitest'
import { componentsFor, notifyWith, type Json } from '../src/index.ts'
import { scripted } from '../src/testing/index.ts'
import { anything, started, throwing, unhandledDuring } from './engine-rig.ts'

const hostile: readonly (readonly [string, unknown])[] = [
  ['undefined', undefined],
  ['null', null],
  ['a symbol', Symbol('why')],
  ['an object without a prototype', Object.create(null)],
  ['an error whose message throws', Object.defineProperty(new Error(), 'message', { get: throwing(new Error('no')) })],
  ['an error whose message is a number', Object.assign(new Error(), { message: 42 })],
  ['an object whose toString throws', { toString: throwing(new Error('no')) }],
  [
    'a proxy that refuses to be read',
    new Proxy(
      {},
      {
        get: throwing(new Error('no')),
        has: throwing(new Error('no')),
      },
    ),
  ],
  ['an aggregate that holds itself', selfHolding()],
]

function selfHolding() {
  const error = new AggregateError([], 'round')
  error.errors.push(error)
  return error
}

describe('whatever a component throws, all or nothing holds', () => {
  test.each(hostile)('%s from a commit: the earlier component runs the old again', async (_, thrown) => {
    const [a, b] = [scripted('a'), scripted('b')]
    const { engine, set } = await started([a, b], { a: 1, b: 1 })
    b.on = { commit: throwing(thrown) }
    expect(await set({ a: 2, b: 2 })).toMatchObject({ kind: 'rolled-back', failed: 'b', cause: expect.any(String) })
    expect([a.live, engine.live['a']]).toEqual([1, 1])
    b.on = { rollback: throwing(thrown), commit: throwing(thrown) }
    expect(await set({ a: 2, b: 2 })).toMatchObject({ kind: 'degraded' })
    b.on = { dispose: throwing(thrown) }
    expect(await set({ a: 2, b: 2 })).toMatchObject({ kind: 'committed', warnings: [expect.any(String)] })
    await engine.close()
  })

  test.each(hostile)('%s from start of an entry, and from a source', async (_, thrown) => {
    const { keyed } = componentsFor(anything)
    let bad = false
    const rules = keyed({
      name: 'rules',
      path: 'rules' as never,
      key: 'id',
      start: (_entry, id: string) => {
        if (bad) throw thrown
        return id
      },
    })
    const { engine, source, set } = await started([rules], { rules: [{ id: 'a' }] })
    bad = true
    expect(await set({ rules: [{ id: 'b' }] })).toMatchObject({ kind: 'rolled-back', failed: 'rules' })
    expect([...rules.running.keys()]).toEqual(['a'])
    bad = false
    await engine.close()
    let refuse = false
    const other = await started(
      [],
      { a: 1 },
      {
        sources: [
          {
            name: 'hostile',
            load: async () => {
              if (refuse) throw thrown
              return source.load(new AbortController().signal)
            },
          },
        ],
      },
    )
    refuse = true
    expect(await other.engine.reload()).toMatchObject({ kind: 'rejected', phase: 'load' })
    await other.engine.close()
  })

  test.each(hostile)(
    '%s from a notification and from a listener is a warning, and the process lives',
    async (_, thrown) => {
      const a = scripted('a')
      const unhandled = await unhandledDuring(async () => {
        const { engine, set } = await started([a], { a: 1 }, { notify: [notifyWith(throwing(thrown))] })
        engine.events.subscribe(throwing(thrown))
        engine.watch('a' as never, throwing(thrown))
        expect(await set({ a: 2 })).toMatchObject({ kind: 'committed' })
        expect(a.live).toBe(2)
        await engine.close()
      })
      expect(unhandled).toEqual([])
    },
  )
})

test('an async listener of watch() that fails is a warning, and the process lives', async () => {
  const unhandled = await unhandledDuring(async () => {
    const { engine, set } = await started([], { a: 1 })
    engine.watch(
      'a' as never,
      (async () => {
        throw new Error('late no')
      }) as () => void,
    )
    expect(await set({ a: 2 })).toMatchObject({ kind: 'committed' })
    await new Promise((resolve) => setImmediate(resolve))
    expect(engine.status().warnings).toEqual([expect.stringContaining('late no')])
    await engine.close()
  })
  expect(unhandled).toEqual([])
})

test('a listener of watch() that puts itself in again is called once for each change', async () => {
  const { engine, set } = await started([], { a: 1 })
  let calls = 0
  const again = () => {
    if (++calls > 1000) throw new Error('without end')
    stop()
    stop = engine.watch('a' as never, again)
  }
  let stop = engine.watch('a' as never, again)
  await set({ a: 2 })
  expect(calls).toBe(1)
  await set({ a: 3 })
  expect(calls).toBe(2)
  await engine.close()
})

test('a logger that throws changes nothing about a reload', async () => {
  const logger = { info: throwing(new Error('disk full')), warn: throwing(new Error('x')), error: throwing(undefined) }
  const unhandled = await unhandledDuring(async () => {
    const a = scripted('a')
    const { engine, set } = await started([a], { a: 1 }, { logger })
    expect(await set({ a: 2 })).toMatchObject({ kind: 'committed' })
    a.on = { commit: throwing(new Error('no')) }
    expect(await set({ a: 3 })).toMatchObject({ kind: 'rolled-back' })
    expect(engine.status().lastOutcome).toMatchObject({ kind: 'rolled-back' })
    await engine.close()
  })
  expect(unhandled).toEqual([])
})

describe('what a program returns that it should not', () => {
  test('a prepare that returns nothing has not prepared: the reload fails instead of counting as committed', async () => {
    const a = scripted('a')
    const prepare = a.prepare.bind(a)
    const { engine, set } = await started([a], { a: 1 })
    Object.assign(a, { prepare: async () => undefined })
    expect(await set({ a: 2 })).toMatchObject({ kind: 'rolled-back', phase: 'prepare', failed: 'a' })
    expect(engine.live).toEqual({ a: 1 })
    Object.assign(a, { prepare })
    expect(await set({ a: 2 })).toMatchObject({ kind: 'committed' })
    await engine.close()
  })

  test('a slice that throws refuses the configuration; the live one stays', async () => {
    const a = scripted('a')
    const { engine, set } = await started(
      [Object.assign(a, { slice: ([value]: readonly unknown[]) => (value as { x: { y: 1 } }).x.y })],
      { a: { x: { y: 1 } } },
    )
    expect(await set({ a: {} })).toMatchObject({ kind: 'rejected', phase: 'check', issues: [{ code: 'internal' }] })
    expect(await set({ a: { x: { y: 2 } } })).toMatchObject({ kind: 'committed' })
    await engine.close()
  })

  const cyclic: Record<string, unknown> = { a: 1 }
  cyclic['self'] = cyclic
  test.each<[string, unknown]>([
    ['nothing', undefined],
    ['a document without a configuration', {}],
    ['undefined inside', { config: { a: undefined } }],
    ['a Map', { config: { a: new Map() } }],
    ['a Date', { config: { a: new Date() } }],
    ['a class instance', { config: { a: new (class Thing {})() } }],
    ['a function', { config: { a: () => 1 } }],
    ['a cycle', { config: cyclic }],
    ['a bigint', { config: { a: 1n } }],
  ])('a source that returns %s is refused, and a good last configuration stays', async (_, document) => {
    let bad = false
    for (const count of [1, 2]) {
      bad = false
      const { engine } = await started(
        [],
        {},
        {
          secrets: ['self', '*.*.x'],
          sources: Array.from({ length: count }, (_each, i) => ({
            name: `hostile ${i}`,
            load: async () => (bad ? document : { config: { a: 1 } }),
          })),
        },
      )
      bad = true
      expect(await engine.reload()).toMatchObject({ kind: 'rejected' })
      expect(engine.live).toEqual({ a: 1 })
      bad = false
      expect(await engine.reload()).toMatchObject({ kind: 'unchanged' })
      await engine.close()
    }
  })

  test('no source at all: the bundled configuration, or a StartError', async () => {
    const { engine } = await started([], {}, { sources: [], bundled: { a: 1 } })
    expect(engine.live).toEqual({ a: 1 })
    expect(await engine.reload()).toMatchObject({ kind: 'rejected', phase: 'load' })
    await engine.close()
    await expect(started([], {}, { sources: [] })).rejects.toThrow(/cannot start: .*no source/s)
  })

  test('promises of another kind (thenables) are waited for, in start, update and apply', async () => {
    const later = <T>(value: T, error?: string) =>
      ({
        // oxlint-disable-next-line unicorn/no-thenable
        then: (yes: (value: T) => void, no: (error: Error) => void) =>
          void setTimeout(() => (error === undefined ? yes(value) : no(new Error(error))), 1),
      }) as unknown as Promise<T>
    const { keyed, value } = componentsFor(anything)
    const faults: { update?: string } = {}
    const rules = keyed({
      name: 'rules',
      path: 'rules' as never,
      key: 'id',
      start: (_entry, id: string) => later({ id }),
      update: () => later(undefined, faults.update),
    })
    const log = value({ name: 'log', path: 'log' as never, apply: () => later(undefined) })
    const { engine, set } = await started([rules, log], { rules: [{ id: 'a', n: 1 }], log: 1 })
    expect(rules.running.get('a')).toEqual({ id: 'a' })
    faults.update = 'no'
    expect(await set({ rules: [{ id: 'a', n: 2 }] as Json, log: 1 })).toMatchObject({ kind: 'degraded' })
    await engine.close()
  })
})
