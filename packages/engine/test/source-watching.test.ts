/** What all sources of keys and values share: documents that are made anew only where something changed. */
import fc from 'fast-check'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { start } from '../src/engine.ts'
import type { Json } from '../src/json.ts'
import type { Outcome } from '../src/outcome.ts'
import { jsonSchema } from '../src/schema.ts'
import { watching, type News, type Place, type WatchingSource } from '../src/sources/watching.ts'
import { Joined } from '../src/sources/watching/joined.ts'

const closing: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const end of closing.splice(0)) await end()
})

/** A source whose store is the test. */
function told(place: Place, first: Readonly<Record<string, string>>) {
  const queue: News[] = [{ kind: 'whole', entries: new Map(Object.entries(first).map(([k, v]) => [k, bytes(v)])) }]
  let wake = () => {}
  const source = watching(
    'store:test',
    place,
    {},
    {
      async *follow(signal) {
        signal.addEventListener('abort', () => wake(), { once: true })
        while (!signal.aborted) {
          const news = queue.shift()
          if (news) yield news
          else await new Promise<void>((resolve) => (wake = resolve))
        }
      },
    },
  )
  closing.push(() => source.close())
  const tell = (news: News) => {
    queue.push(news)
    wake()
  }
  return {
    source,
    put: (...pairs: [key: string, value: string | undefined][]) =>
      tell({ kind: 'changes', changes: pairs.map(([key, v]) => ({ key, value: v === undefined ? v : bytes(v) })) }),
    all: (entries: Readonly<Record<string, string>>) =>
      tell({ kind: 'whole', entries: new Map(Object.entries(entries).map(([k, v]) => [k, bytes(v)])) }),
  }
}

function bytes(text: string): Uint8Array {
  return Buffer.from(text)
}

/** The documents that an engine would load, one for each request. */
async function documents(source: WatchingSource) {
  const stop = new AbortController()
  const requests = source.requests(stop.signal)[Symbol.asyncIterator]()
  closing.unshift(async () => stop.abort())
  source.attached?.(undefined as never)
  const load = async () => {
    const document = await source.load(stop.signal)
    source.settled?.({ kind: 'committed' } as Outcome)
    return document
  }
  return {
    first: load,
    async next() {
      await requests.next()
      return load()
    },
  }
}

const tree = { prefix: 'app/', separator: '/' }

describe('a document of many keys', () => {
  test('what lies beside a change is the same object as before', async () => {
    const store = told(tree, { 'app/a/x': '1', 'app/a/y': '{"deep":[1,2]}', 'app/b/c/d': '2', 'app/b/e': '3' })
    const loads = await documents(store.source)
    const first = (await loads.first()).config as Record<string, Record<string, Json>>
    store.put(['app/b/e', '4'])
    const second = (await loads.next()).config as Record<string, Record<string, Json>>
    expect(second).toEqual({ a: { x: 1, y: { deep: [1, 2] } }, b: { c: { d: 2 }, e: 4 } })
    expect(second['a']).toBe(first['a'])
    expect(second['b']?.['c']).toBe(first['b']?.['c'])
    expect(first['b']?.['e']).toBe(3)
  })

  test('the same of all keys again, told whole, is the same object', async () => {
    const store = told(tree, { 'app/a/x': '1', 'app/b/y': '2' })
    const loads = await documents(store.source)
    const first = (await loads.first()).config as Record<string, Json>
    store.all({ 'app/a/x': '1', 'app/b/y': '3' })
    const second = (await loads.next()).config as Record<string, Json>
    expect(second['a']).toBe(first['a'])
    store.put(['app/b/y', '4'])
    store.put(['app/b/y', '3'])
    store.put(['app/a/x', '1'])
    expect((await loads.next()).config).toBe(second)
  })

  test('the same keys make the same document, whatever way they came', async () => {
    const store = told(tree, { 'app/m': '1' })
    const loads = await documents(store.source)
    await loads.first()
    store.put(['app/z/b', '1'], ['app/a', '2'], ['app/z/a', '3'])
    expect(JSON.stringify((await loads.next()).config)).toBe('{"a":2,"m":1,"z":{"a":3,"b":1}}')
    store.put(['app/m', undefined], ['app/m', '1'], ['app/z/a', undefined], ['app/z/a', '3'])
    expect(JSON.stringify((await loads.first()).config)).toBe('{"a":2,"m":1,"z":{"a":3,"b":1}}')
  })

  test('a document knows where its values were written, also after the next one', async () => {
    const store = told(tree, { 'app/a': '{"x":\n1}', 'app/b/c': 'text' })
    const loads = await documents(store.source)
    const first = await loads.first()
    store.put(['app/b/c', undefined], ['app/a', '{"x":1}'])
    const second = await loads.next()
    expect(first.origin?.(['b', 'c'])).toEqual({ file: 'store:test app/b/c' })
    expect(first.origin?.(['a', 'x'])).toMatchObject({ file: 'store:test app/a', line: 2 })
    expect(second.origin?.(['a', 'x'])).toMatchObject({ line: 1 })
    expect(second.origin?.(['b', 'c'])).toBeUndefined()
  })

  test('everything that is wrong is told with its key until it is mended, and only then', async () => {
    const joined = new Joined('store', tree, undefined, 1_000)
    const put = (key: string, value?: string) => joined.change(key, value === undefined ? value : bytes(value))
    const issues = () =>
      joined.document().then(
        ({ config }) => config,
        (error: Error) =>
          error.message.split('\n').map((line) => line.replace(/:.*? /, ' ').split(' ').slice(0, 4).join(' ')),
      )
    put('app/good', '1')
    put('app/bad', '{')
    put('app//empty', '1')
    put('app/__proto__', '1')
    put(`app/${'d/'.repeat(1_000)}e`, '1')
    expect(await issues()).toHaveLength(4)
    put('app/good', '2')
    expect(await issues()).toHaveLength(4)
    for (const key of ['app//empty', 'app/__proto__', `app/${'d/'.repeat(1_000)}e`]) put(key)
    put('app/bad', '{}')
    expect(await issues()).toEqual({ bad: {}, good: 2 })
    put('app/good/below', '1')
    put('app/good/and/below', '1')
    put('app/folder/', '')
    await expect(joined.document()).rejects.toThrow('goes below the key app/good, which has a value')
    expect(await issues()).toHaveLength(2)
    put('app/good')
    expect(await issues()).toEqual({ bad: {}, good: { and: { below: 1 }, below: 1 } })
    put('app/big', 'x'.repeat(1_000))
    await expect(joined.document()).rejects.toThrow('want')
    put('app/big')
    expect(await issues()).toEqual({ bad: {}, good: { and: { below: 1 }, below: 1 } })
  })

  test('made by change upon change, it is what it would be made at once', async () => {
    const step = fc.constantFrom('a', 'b', 'c')
    const key = fc.array(step, { minLength: 1, maxLength: 3 }).map((steps) => `app/${steps.join('/')}`)
    const change = fc.tuple(key, fc.option(fc.constantFrom('1', '2', '{"a":1}', '{'), { nil: undefined }))
    const said = (joined: Joined) =>
      joined.document().then(
        ({ config }) => JSON.stringify(config),
        (error: Error) => error.message.split('\n').sort().join('\n'),
      )
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(change, { maxLength: 4 }), { maxLength: 12 }), async (batches) => {
        const grown = new Joined('store', tree, undefined, 1_000)
        const entries = new Map<string, Uint8Array>()
        for (const batch of batches) {
          for (const [name, value] of batch) {
            grown.change(name, value === undefined ? value : bytes(value))
            if (value === undefined) entries.delete(name)
            else entries.set(name, bytes(value))
          }
          const atOnce = new Joined('store', tree, undefined, 1_000)
          atOnce.replace(entries)
          expect(await said(grown)).toBe(await said(atOnce))
        }
      }),
    )
  })

  test('two documents that are asked for at once are each of one moment', async () => {
    const joined = new Joined('store', tree, 'yaml', 1_000)
    const both = (value: string) => {
      joined.change('app/a', bytes(value))
      joined.change('app/b', bytes(value))
    }
    both('1')
    const first = joined.document()
    both('2')
    const second = joined.document()
    await Promise.resolve()
    both('3')
    for (const { config } of [await first, await second]) {
      const { a, b } = config as Record<string, Json>
      expect(a).toBe(b)
    }
    expect((await joined.document()).config).toEqual({ a: 3, b: 3 })
  })
})

test('an answer that comes as a load asks again is not lost, also where the server then says that nothing changed', async () => {
  let answer = (_: string) => {}
  let isAsked = false
  const source = watching(
    'store:test',
    { key: 'app.json' },
    {},
    {
      // As with ETags: what was given once is not given again.
      async *follow(signal) {
        if (isAsked) yield { kind: 'same' }
        else yield { kind: 'whole', entries: new Map([['app.json', bytes('{"seq":1}')]]) }
        isAsked = true
        const text = await new Promise<string>((resolve) => {
          answer = resolve
          signal.addEventListener('abort', () => resolve(''))
        })
        if (text !== '') yield { kind: 'whole', entries: new Map([['app.json', bytes(text)]]) }
      },
    },
  )
  closing.push(() => source.close())
  const { signal } = new AbortController()
  expect((await source.load(signal)).config).toEqual({ seq: 1 })
  answer('{"seq":2}')
  expect((await source.load(signal)).config).toEqual({ seq: 2 })
})

test('a thousand keys that change at once are one reload, and a component is given what did not change as it was', async () => {
  const keys = Array.from({ length: 1_000 }, (_, i) => `app/g${i % 10}/k${i}`)
  const store = told(tree, { 'app/other/x': '0', ...Object.fromEntries(keys.map((key) => [key, '0'])) })
  const engine = await start({ schema: jsonSchema({ type: 'object' }), sources: [store.source], logger: false })
  closing.unshift(() => engine.close())
  const before = engine.live as Record<string, Json>
  store.put(...keys.map((key): [string, string] => [key, '1']))
  await vi.waitFor(() => expect((engine.live as Record<string, Record<string, Json>>)['g3']?.['k3']).toBe(1))
  const after = engine.live as Record<string, Record<string, Json>>
  expect(keys.every((_, i) => after[`g${i % 10}`]?.[`k${i}`] === 1)).toBe(true)
  expect(after['other']).toBe(before['other'])
  expect(engine.stats().runs).toBe(2)
})
