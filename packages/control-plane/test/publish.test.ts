/** Publishing, through the one path that all releases take, on the real stores. */
import { digest, type Json } from 'midflight'
import { describe, expect, test } from 'vitest'
import { changeDemands, createConfig } from '../src/configs.ts'
import { publish, type PublishRequest } from '../src/publish.ts'
import { ConflictError, IdempotencyError, RefusedError, type ConfigChange } from '../src/release.ts'
import { StoreError, type Store } from '../src/store.ts'
import { defaultContentLimits } from '../src/validation.ts'
import { config, headContent, limits, publishOne, ready, refusal, releaseCount, stores } from './domain-rig.ts'

describe.each(stores)('on %s', (_name, open) => {
  test('R1: r1 → 500 is the next release, on the one before, with the digest of its content', async () => {
    const domain = await ready(await open())
    const first = await publishOne(domain, { content: structuredClone(limits) })
    expect(first).toMatchObject({ created: true, release: { number: 1, parent: null, kind: 'publish', author: 'ada' } })
    const second = await publishOne(domain, {
      patch: [{ op: 'replace', path: '/rules/0/limit', value: 500 }],
      ifMatch: first.release.digest,
      message: 'half of it',
    })
    expect(second.release).toMatchObject({ number: 2, parent: 1, message: 'half of it' })
    const content = await headContent(domain)
    expect(content).toMatchObject({
      rules: [
        { id: 'r1', limit: 500 },
        { id: 'r2', limit: 200 },
      ],
    })
    expect(second.release.digest).toBe(digest(content as Json))
  })

  test('R3: limit 0 while on release 5 is refused, and 5 stays the head', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) })
    for (const limit of [900, 800, 700, 600]) {
      await publishOne(domain, { patch: [{ op: 'replace', path: '/rules/0/limit', value: limit }] })
    }
    const work = publishOne(domain, { patch: [{ op: 'replace', path: '/rules/0/limit', value: 0 }] })
    const error = await refusal(work)
    expect(error).toBeInstanceOf(RefusedError)
    expect(error.code).toBe('invalid')
    expect(error.issues).toMatchObject([{ code: 'schema', path: ['rules', 'r1', 'limit'] }])
    expect(await domain.store.read((read) => read.config(config)?.head?.number)).toBe(5)
    expect(await headContent(domain)).toMatchObject({ rules: [{ limit: 600 }, {}] })
  })

  test('R4: r2 deleted by a patch is gone, and by a merge patch with null likewise', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: { ...(structuredClone(limits) as object), note: 'x' } })
    await publishOne(domain, { patch: [{ op: 'remove', path: '/rules/1' }] })
    expect(await headContent(domain)).toMatchObject({ rules: [{ id: 'r1' }], note: 'x' })
    await publishOne(domain, { mergePatch: { note: null } })
    expect(await headContent(domain)).not.toHaveProperty('note')
  })

  test('B6: 1 → "1" is a release; the same with keys in another order is none, unless it is forced', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { a: 1, b: 2 } })
    expect((await publishOne(domain, { content: { a: '1', b: 2 } })).release.number).toBe(2)
    const same = await publishOne(domain, { content: { b: 2, a: '1' } })
    expect(same).toMatchObject({ created: false, release: { number: 2 } })
    const forced = await publishOne(domain, { content: { b: 2, a: '1' }, force: true })
    expect(forced).toMatchObject({ created: true, release: { number: 3, parent: 2 } })
    expect(await releaseCount(domain)).toBe(3)
  })

  test('F66: good → bad → the same good: three releases, the last with the content of the first', async () => {
    const domain = await ready(await open())
    const good = await publishOne(domain, { content: structuredClone(limits) })
    await publishOne(domain, { patch: [{ op: 'replace', path: '/rules/0/limit', value: 1 }] })
    const again = await publishOne(domain, { content: structuredClone(limits) })
    expect(again).toMatchObject({ created: true, release: { number: 3, digest: good.release.digest } })
  })

  test.each([
    ['the digest', (head: { digest: string }) => head.digest],
    ['the number', () => 1],
    ['none', () => 'none' as const],
  ])('a change made against an older head (%s) is refused with the head', async (_how, ifMatch) => {
    const domain = await ready(await open())
    const first = await publishOne(domain, { content: structuredClone(limits), ifMatch: 'none' })
    const second = await publishOne(domain, { mergePatch: { note: 'b' } })
    const error = await refusal(publishOne(domain, { mergePatch: { note: 'c' }, ifMatch: ifMatch(first.release) }))
    expect(error).toBeInstanceOf(ConflictError)
    expect((error as ConflictError).head).toEqual({ config, number: 2, digest: second.release.digest })
    expect(await releaseCount(domain)).toBe(2)
  })

  test('I4: the same key and request has the one true answer, also when the head has moved since', async () => {
    const domain = await ready(await open())
    const request = { idempotencyKey: 'k-1' }
    const change = { content: limits, ifMatch: 'none' } as const
    const first = await publishOne(domain, structuredClone(change), request)
    await publishOne(domain, { mergePatch: { note: 'meanwhile' } })
    const again = await publish(domain, {
      author: 'ada',
      ...request,
      changes: [{ config, ...structuredClone(change) }],
    })
    expect(again).toEqual({ published: [first], replayed: true })
    expect(await releaseCount(domain)).toBe(2)
  })

  test('I4: the same key with another request is refused, and with the same from somebody else is another', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) }, { idempotencyKey: 'k' })
    const error = await refusal(publishOne(domain, { mergePatch: { note: 'x' } }, { idempotencyKey: 'k' }))
    expect(error).toBeInstanceOf(IdempotencyError)
    expect(error.message).toContain('"k"')
    const other = await publishOne(domain, { mergePatch: { note: 'x' } }, { idempotencyKey: 'k', author: 'bob' })
    expect(other).toMatchObject({ created: true, release: { author: 'bob' } })
  })

  test('I4: twice at the same time under one key is one release', async () => {
    const domain = await ready(await open())
    const results = await Promise.all(
      [1, 2, 3].map(() => publishOne(domain, { content: structuredClone(limits) }, { idempotencyKey: 'k' })),
    )
    expect(new Set(results.map(({ release }) => release.number))).toEqual(new Set([1]))
    expect(results.every(({ created }) => created)).toBe(true)
    expect(await releaseCount(domain)).toBe(1)
  })

  test('I4: forced, and twice at the same time under one key, is one release too', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { a: 1 } })
    const again = () => publishOne(domain, { content: { a: 1 }, force: true }, { idempotencyKey: 'k' })
    const results = await Promise.all([again(), again()])
    expect(results.map(({ release }) => release.number)).toEqual([2, 2])
    expect(await releaseCount(domain)).toBe(2)
  })

  test('what was refused leaves its key free for the corrected request', async () => {
    const domain = await ready(await open())
    await refusal(publishOne(domain, { content: { rules: 'no' } }, { idempotencyKey: 'k' }))
    expect(await publishOne(domain, { content: structuredClone(limits) }, { idempotencyKey: 'k' })).toMatchObject({
      created: true,
    })
  })

  test('several configs are one publish: all of them, or with one refused none', async () => {
    const domain = await ready(await open())
    await createConfig(domain, { name: 'shop/gateway', actor: 'root', schema: { required: ['port'] } })
    const changes = (gateway: Json): ConfigChange[] => [
      { config, content: structuredClone(limits) },
      { config: 'shop/gateway', content: gateway, ifMatch: 'none' },
    ]
    const error = await refusal(publish(domain, { author: 'ada', changes: changes({}) }))
    expect(error.code).toBe('invalid')
    expect(await releaseCount(domain)).toBe(0)
    const { published } = await publish(domain, { author: 'ada', changes: changes({ port: 80 }) })
    expect(published.map(({ release }) => [release.config, release.number])).toEqual([
      [config, 1],
      ['shop/gateway', 1],
    ])
    const stale = await refusal(
      publish(domain, {
        author: 'ada',
        changes: [
          { config, mergePatch: { note: 'b' } },
          { config: 'shop/gateway', content: { port: 81 }, ifMatch: 'none' },
        ],
      }),
    )
    expect(stale).toMatchObject({ code: 'conflict', head: { config: 'shop/gateway', number: 1 } })
    expect(await releaseCount(domain)).toBe(1)
  })

  test('I11: absent, empty and null are never a content', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { a: 1 } })
    for (const content of [undefined, null, '', [], 0] as Json[]) {
      const error = await refusal(publishOne(domain, { content }))
      expect(error).toMatchObject({ code: 'invalid', issues: [{ code: 'empty', path: [] }] })
    }
    expect((await refusal(publishOne(domain, { mergePatch: null }))).code).toBe('invalid')
    expect((await refusal(publishOne(domain, {} as { content: Json }))).code).toBe('invalid')
    expect(await headContent(domain)).toEqual({ a: 1 })
  })

  test('F65: of many who publish against the same head exactly one gets it, and all are told the truth', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { by: 'nobody' } })
    const results = await Promise.allSettled(
      Array.from({ length: 20 }, (_, i) => publishOne(domain, { content: { by: `p${i}` }, ifMatch: 1 })),
    )
    const won = results.flatMap((result, i) => (result.status === 'fulfilled' ? [i] : []))
    expect(won).toHaveLength(1)
    expect(await headContent(domain)).toEqual({ by: `p${won[0]}` })
    const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as ConflictError] : []))
    expect(lost.every((error) => error instanceof ConflictError && error.head.number === 2)).toBe(true)
  })

  test('F65: patches without a condition that race are all in it', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: {} })
    await Promise.all(Array.from({ length: 20 }, (_, i) => publishOne(domain, { mergePatch: { [`k${i}`]: i } })))
    expect(Object.keys((await headContent(domain)) as object)).toHaveLength(20)
    expect(await releaseCount(domain)).toBe(21)
  })

  test('a schema that comes between the look and the transaction is obeyed', async () => {
    const domain = await ready(await open(), {})
    const [published, changed] = await Promise.allSettled([
      publishOne(domain, { content: { limit: 'many' } }),
      changeDemands(domain, config, { schema: { properties: { limit: { type: 'integer' } } } }, 'root'),
    ])
    // Whichever came first, the other one was held against it.
    expect([published.status, changed.status].sort()).toEqual(['fulfilled', 'rejected'])
  })

  test('every release stands in the audit log, and what was none does not', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) })
    await publishOne(domain, { content: structuredClone(limits) })
    await refusal(publishOne(domain, { mergePatch: { rules: 1 } }))
    const log = await domain.store.read((read) => read.audit(undefined, 100))
    expect(log.map(({ action, actor }) => [action, actor])).toEqual([
      ['config-created', 'root'],
      ['publish', 'ada'],
    ])
    expect(log[1]).toMatchObject({ config, detail: { number: 1, parent: null } })
  })
})

test('I3: a publish that the store does not acknowledge is not acknowledged', async () => {
  const { memoryStore } = await import('../src/stores/memory.ts')
  const store = memoryStore()
  const domain = await ready(store, {})
  await publishOne(domain, { content: { a: 1 } })
  await store.close()
  await expect(publishOne(domain, { content: { a: 2 } })).rejects.toBeInstanceOf(StoreError)
})

describe('bad requests are refused by name, and nothing changes', () => {
  const requests: [string, (store: Store) => Promise<unknown>, string][] = []
  const refused = (name: string, code: string, request: Partial<PublishRequest> | undefined, change: object = {}) =>
    requests.push([
      name,
      async (store) => {
        const domain = await ready(
          store,
          {},
          { limits: { ...defaultContentLimits, maxContentBytes: 1000, maxDepth: 5 } },
        )
        await publishOne(domain, { content: { a: 1 } })
        const one = { config, content: { a: 2 }, ...change } as ConfigChange
        return await publish(domain, { author: 'ada', changes: [one], ...request })
      },
      code,
    ])
  refused('no changes', 'invalid', { changes: [] })
  refused('a config twice', 'invalid', {
    changes: [
      { config, content: {} },
      { config, content: {} },
    ],
  })
  refused('a config that is not there', 'not-found', {}, { config: 'shop/other' })
  refused('no author', 'invalid', { author: '' })
  refused('a message of half a surrogate pair', 'invalid', {}, { message: '\ud800' })
  refused('a message of 5,000 characters', 'invalid', {}, { message: 'x'.repeat(5000) })
  refused('an empty key', 'invalid', { idempotencyKey: '' })
  refused('a key with a line break', 'invalid', { idempotencyKey: 'a\nb' })
  refused('content and patch both', 'invalid', {}, { patch: [] })
  refused('a patch that does not fit', 'invalid', {}, { mergePatch: undefined, patch: [{ op: 'remove', path: '/b' }] })
  refused('__proto__', 'invalid', {}, { content: JSON.parse('{"__proto__": {"admin": true}}') as Json })
  refused('1e400', 'invalid', {}, { content: { a: Infinity } })
  refused('an integer beyond 2^53', 'invalid', {}, { content: { a: 2 ** 53 } })
  refused('a depth beyond the limit', 'invalid', {}, { content: { a: { a: { a: { a: { a: { a: {} } } } } } } })
  refused('more bytes than the limit', 'too-large', {}, { content: { a: 'x'.repeat(1000) } })
  refused('a break of the glass without a reason', 'invalid', { breakGlass: { reason: '' } })

  test.each(requests)('%s', async (name, work, code) => {
    const { memoryStore } = await import('../src/stores/memory.ts')
    const store = memoryStore()
    const error = await refusal(work(store))
    expect([name, error.code]).toEqual([name, code])
    expect(error.message).not.toBe('')
    expect(await store.read((read) => [read.config(config)?.head?.number, read.content(config, 1)])).toEqual([
      1,
      { a: 1 },
    ])
  })
})

test('what is published is what was given: defaults of the schema are not filled in', async () => {
  const { memoryStore } = await import('../src/stores/memory.ts')
  const domain = await ready(memoryStore(), { schema: { properties: { port: { type: 'integer', default: 80 } } } })
  await publishOne(domain, { content: { a: 1 } })
  expect(await headContent(domain)).toEqual({ a: 1 })
})

test('a secret value is not in what is said of it', async () => {
  const { memoryStore } = await import('../src/stores/memory.ts')
  const domain = await ready(memoryStore())
  const work = publishOne(domain, { content: { rules: [], password: { canary: 'hunter2-canary' } } })
  const error = await refusal(work)
  expect(JSON.stringify([error.message, error.issues])).not.toContain('hunter2-canary')
})
