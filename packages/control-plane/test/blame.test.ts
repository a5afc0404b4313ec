/** What changed between two releases, and which release last changed a path. */
import type { Json } from 'midflight'
import { describe, expect, onTestFinished, test } from 'vitest'
import { blame } from '../src/blame.ts'
import { domainOf } from '../src/domain.ts'
import { diffReleases, planPublish } from '../src/plan.ts'
import { openSqlite } from '../src/stores/sqlite.ts'
import {
  config,
  limits,
  limitsSchema,
  publishOne,
  ready,
  refusal,
  releaseCount,
  stores,
  temporaryFolder,
} from './domain-rig.ts'

describe.each(stores)('on %s', (_name, open) => {
  test('blame names the release that last changed a path, by key where entries have one', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) })
    await publishOne(domain, { patch: [{ op: 'replace', path: '/rules/0/limit', value: 500 }] })
    await publishOne(domain, { patch: [{ op: 'move', from: '/rules/1', path: '/rules/0' }] })
    await publishOne(domain, { mergePatch: { note: 'x' } })
    await publishOne(domain, { mergePatch: { note: null } })
    const found = async (path: string) => {
      const { release, kind } = await blame(domain, config, path)
      return [release.number, kind]
    }
    expect(await found('rules.r1.limit')).toEqual([2, 'changed'])
    expect(await found('rules.r1.id')).toEqual([1, 'added'])
    expect(await found('rules.r2')).toEqual([1, 'added'])
    expect(await found('rules')).toEqual([3, 'changed'])
    expect(await found('note')).toEqual([5, 'removed'])
    expect(await found('')).toEqual([5, 'changed'])
    expect((await refusal(blame(domain, config, 'never'))).code).toBe('not-found')
    expect((await refusal(blame(domain, config, 'a..b'))).code).toBe('invalid')
    expect((await refusal(blame(domain, 'shop/other', 'a'))).code).toBe('not-found')
  })

  test('keys behind references in the schema are followed', async () => {
    const schema: Json = {
      $defs: { rules: { type: 'array', 'x-midflight-key': 'id', items: { $ref: '#/$defs/rule' } }, rule: {} },
      type: 'object',
      properties: { rules: { $ref: '#/$defs/rules' } },
    }
    const domain = await ready(await open(), { schema })
    await publishOne(domain, {
      content: {
        rules: [
          { id: 'a', n: 1 },
          { id: 'b', n: 1 },
        ],
      },
    })
    await publishOne(domain, { patch: [{ op: 'replace', path: '/rules/1/n', value: 2 }] })
    await publishOne(domain, { patch: [{ op: 'move', from: '/rules/1', path: '/rules/0' }] })
    expect(await blame(domain, config, 'rules.b.n')).toMatchObject({ kind: 'changed', release: { number: 2 } })
    expect(await blame(domain, config, 'rules.a')).toMatchObject({ kind: 'added', release: { number: 1 } })
    expect((await refusal(blame(domain, config, 'rules.0'))).code).toBe('not-found')
  })

  test('blame looks back through more releases than are read at once', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { old: 1, n: 0 } })
    await publishOne(domain, { content: { old: 2, n: 0 } })
    for (let n = 1; n <= 230; n++) await publishOne(domain, { mergePatch: { n } })
    expect(await blame(domain, config, 'old')).toMatchObject({ kind: 'changed', release: { number: 2 } })
    expect(await blame(domain, config, 'n')).toMatchObject({ kind: 'changed', release: { number: 232 } })
  })

  test('blame says "since" where older contents are no longer kept', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { a: 1, n: 0 } })
    for (let n = 1; n <= 200; n++) await publishOne(domain, { mergePatch: { n } })
    await domain.store.transaction((tx) => tx.prune({ keepNewest: 3 }))
    expect(await blame(domain, config, 'a')).toMatchObject({ kind: 'since' })
    expect(await blame(domain, config, 'n')).toMatchObject({ kind: 'changed', release: { number: 201 } })
  })

  test('the diff of any two releases: by key, in both directions, from nothing', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) })
    await publishOne(domain, { patch: [{ op: 'replace', path: '/rules/0/limit', value: 500 }] })
    await publishOne(domain, { patch: [{ op: 'remove', path: '/rules/1' }] })
    expect(await diffReleases(domain, config, 1, 3)).toMatchObject({
      shown: 'values',
      changes: [
        { kind: 'changed', path: 'rules.r1.limit', before: 1000, after: 500 },
        { kind: 'removed', path: 'rules.r2' },
      ],
    })
    expect((await diffReleases(domain, config, 3, 1)).changes).toMatchObject([
      { kind: 'changed', path: 'rules.r1.limit', before: 500, after: 1000 },
      { kind: 'added', path: 'rules.r2' },
    ])
    expect((await diffReleases(domain, config, 0, 1)).changes).toMatchObject([{ kind: 'added', path: '' }])
    expect((await diffReleases(domain, config, 2, 2)).changes).toEqual([])
    expect((await refusal(diffReleases(domain, config, 1, 4))).code).toBe('not-found')
  })

  test('B5: a plan stores nothing, and says what a publish would change and why it would be refused', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) })
    const same = await planPublish(domain, { config, content: structuredClone(limits) })
    expect(same).toMatchObject({ same: true, changes: [], issues: [], head: { number: 1 } })
    const bad = await planPublish(domain, { config, patch: [{ op: 'replace', path: '/rules/0/limit', value: 0 }] })
    expect(bad).toMatchObject({ same: false, issues: [{ path: ['rules', 'r1', 'limit'] }], shown: 'places' })
    expect(bad.changes).toEqual([expect.objectContaining({ kind: 'changed', path: 'rules.r1.limit' })])
    expect((await refusal(planPublish(domain, { config, mergePatch: {}, ifMatch: 7 }))).code).toBe('conflict')
    expect(await releaseCount(domain)).toBe(1)
  })

  test('no secret in a diff, a plan or an issue: not even where a side does not fit the schema', async () => {
    const canary = 'canary-of-the-diff'
    const domain = await ready(await open(), {
      schema: { ...(limitsSchema as object), additionalProperties: true } as Json,
    })
    await publishOne(domain, { content: { rules: [], password: `${canary}-1` } })
    await publishOne(domain, { content: { rules: [], password: `${canary}-2`, note: 'seen' } })
    const shown = [
      await diffReleases(domain, config, 0, 1),
      await diffReleases(domain, config, 1, 2),
      await planPublish(domain, { config, mergePatch: { password: `${canary}-3` } }),
      await planPublish(domain, { config, mergePatch: { password: `${canary}-3`, rules: 7 } }),
      await planPublish(domain, { config, mergePatch: { password: [`${canary}-4`] } }),
    ]
    expect(JSON.stringify(shown)).toContain('seen')
    expect(JSON.stringify(shown)).not.toContain(canary)
  })
})

test('after a start contents are read from disk one by one, and what did not change is still the same', async () => {
  const directory = await temporaryFolder()
  const text = 'x'.repeat(8192)
  const before = await openSqlite({ directory, wholeEvery: 4 })
  const domain = await ready(before, {})
  await publishOne(domain, { content: { text, old: {}, n: 0 } })
  await publishOne(domain, { mergePatch: { old: { deep: {} } } })
  for (let n = 1; n <= 20; n++) await publishOne(domain, { mergePatch: { n } })
  await before.close()
  const after = await openSqlite({ directory, wholeEvery: 4, cacheBytes: 1 })
  onTestFinished(() => after.close())
  expect(await blame(domainOf({ store: after }), config, 'old')).toMatchObject({
    kind: 'changed',
    release: { number: 2 },
  })
})
