/** What is known of a change's past: from releases, from what nodes tried, and from the schema's marks. */
import { changes, diff, digest, type Json } from 'midflight'
import type { NodeStatus } from 'midflight/protocol'
import { describe, expect, test } from 'vitest'
import type { Domain } from '../src/domain.ts'
import { planPublish } from '../src/plan.ts'
import { configIn } from '../src/publish.ts'
import type { Edit } from '../src/release.ts'
import { riskInput, riskInputFrom, type RiskQuestion } from '../src/risk-history.ts'
import { riskOf, type RiskInput } from '../src/risk.ts'
import { rollback } from '../src/rollback.ts'
import type { Store } from '../src/store.ts'
import { attemptOf, draftOf, nodeOf } from '../src/stores/conformance/samples.ts'
import { config, limits, limitsSchema, memory, publishOne, ready, stores } from './domain-rig.ts'

/** What is known of the edit, as a publish would ask. */
async function inputOf(domain: Domain, edit: Edit, over: Partial<RiskQuestion> = {}): Promise<RiskInput> {
  const plan = await planPublish(domain, { config, ...edit })
  const { restartPaths, content } = plan
  const nodes = { affected: 3, total: 4 }
  return await riskInput(domain, config, {
    changes: plan.changes,
    restartPaths,
    content,
    author: 'ada',
    nodes,
    ...over,
  })
}

const replace = (path: string, value: Json): Edit => ({ patch: [{ op: 'replace', path, value }] })
const limitOf = (value: number, index = 0): Edit => replace(`/rules/${index}/limit`, value)
const limitsTo = (last: number): Edit[] => Array.from({ length: last }, (_, i) => limitOf(i + 1))

/** Nodes that ended with the newest release like this, the first ones with `status`. */
async function tried(domain: Domain, status: NodeStatus, nodes = 3, of = nodes): Promise<void> {
  await domain.store.transaction((tx) => {
    const { head } = configIn(tx, config)
    if (head === null) throw new Error('there is no release')
    for (let i = 0; i < of; i++) {
      const end = i < nodes ? status : 'APPLIED'
      const uid = `node-${i}`
      tx.putNode(nodeOf(uid, { config, status: end, runs: end === 'APPLIED' ? head : null, seen: head.number }))
      tx.addAttempts([attemptOf(uid, head.number, { config, digest: head.digest, status: end })])
    }
  })
}

/** `limits` as the first release, then one for each edit. */
async function published(open: () => Promise<Store>, ...edits: readonly Edit[]): Promise<Domain> {
  const domain = await ready(await open())
  for (const edit of [{ content: structuredClone(limits) }, ...edits]) await publishOne(domain, edit)
  return domain
}

/** As `published`, and all nodes took each of them. */
async function ran(open: () => Promise<Store>, ...edits: readonly Edit[]): Promise<Domain> {
  const domain = await published(open)
  await tried(domain, 'APPLIED')
  for (const edit of edits) {
    await publishOne(domain, edit)
    await tried(domain, 'APPLIED')
  }
  return domain
}

describe.each(stores)('on %s', (_name, open) => {
  test('counts how often each path was changed, by key where entries have one, and what those releases came to', async () => {
    const domain = await ran(open, limitOf(500), { patch: [{ op: 'move', from: '/rules/1', path: '/rules/0' }] })
    await publishOne(domain, limitOf(400, 1))
    await tried(domain, 'FAILED')
    const input = await inputOf(domain, {
      patch: [
        { op: 'replace', path: '/rules/1/limit', value: 300 },
        { op: 'replace', path: '/rules/0/limit', value: 300 },
      ],
    })
    expect(input.past.toSorted((a, b) => (a.path < b.path ? -1 : 1))).toEqual([
      // The first release counts too: it made what is there.
      { path: 'rules.r1.limit', changed: 3, bad: 1 },
      { path: 'rules.r2.limit', changed: 1, bad: 0 },
    ])
    expect(input).toMatchObject({
      changes: [
        { kind: 'changed', path: 'rules.r2.limit', values: 1 },
        { kind: 'changed', path: 'rules.r1.limit', values: 1 },
      ],
      values: 8,
      emptied: [],
      looked: 4,
      sinceStable: 1,
      nodes: { affected: 3, total: 4 },
      returnsTo: null,
      consistent: false,
    })
  })

  test('a release that the next one takes back was bad; the way back itself proves nothing', async () => {
    const domain = await ran(open, limitOf(1))
    await rollback(domain, { config, to: 1, author: 'bob' })
    await tried(domain, 'APPLIED')
    const input = await inputOf(domain, limitOf(2))
    expect(input.past).toEqual([{ path: 'rules.r1.limit', changed: 2, bad: 1 }])
    expect(input.sinceStable).toBe(0)
    expect(riskOf(input).reasons).toContainEqual({
      factor: 'failed-before',
      points: 10,
      text: 'rules.r1.limit was changed 2 times in the last 3 releases, and 1 of those went badly',
    })
  })

  test('one that is released again as it is was not taken back', async () => {
    const domain = await ran(open)
    await rollback(domain, { config, to: 1, author: 'bob', force: true })
    expect((await inputOf(domain, limitOf(2))).past).toEqual([{ path: 'rules.r1.limit', changed: 1, bad: 0 }])
  })

  test('what ran well and comes back is known as such; what was rolled back is not', async () => {
    const domain = await ran(open, limitOf(1))
    expect((await inputOf(domain, { content: structuredClone(limits) })).returnsTo).toBe(1)
    await rollback(domain, { config, to: 1, author: 'bob' })
    expect((await inputOf(domain, limitOf(1))).returnsTo).toBeNull()
    expect((await inputOf(domain, limitOf(77))).returnsTo).toBeNull()
  })

  test('what ran well once and was rolled back when it came again is not known as good', async () => {
    const domain = await ran(open, limitOf(1), { content: structuredClone(limits) })
    await rollback(domain, { config, to: 2, author: 'bob' })
    await tried(domain, 'APPLIED')
    expect((await inputOf(domain, { content: structuredClone(limits) })).returnsTo).toBeNull()
  })

  test('a head is stable when all nodes run it; what nobody has applied is not known to be anything', async () => {
    const domain = await ready(await open())
    expect((await inputOf(domain, { content: structuredClone(limits) })).sinceStable).toBeNull()
    await publishOne(domain, { content: structuredClone(limits) })
    expect((await inputOf(domain, limitOf(1))).sinceStable).toBeNull()
    await tried(domain, 'APPLIED')
    expect((await inputOf(domain, limitOf(1))).sinceStable).toBe(0)
    await publishOne(domain, limitOf(2))
    await tried(domain, 'RESTART_REQUIRED', 1, 3)
    expect((await inputOf(domain, limitOf(1))).sinceStable).toBe(1)
  })

  test('a release failed where more than a tenth of the nodes refused it to the end', async () => {
    const domain = await published(open)
    const badAfter = async (nodes: number, of: number): Promise<number | undefined> => {
      await tried(domain, 'FAILED', nodes, of)
      return (await inputOf(domain, limitOf(1))).past[0]?.bad
    }
    expect(await badAfter(1, 20)).toBe(0)
    expect(await badAfter(2, 20)).toBe(0)
    expect(await badAfter(3, 20)).toBe(1)
    // They tried again, and took it.
    await tried(domain, 'APPLIED', 3, 3)
    expect((await inputOf(domain, limitOf(1))).past[0]?.bad).toBe(0)
  })

  test('what is known for sure goes before what releases and nodes tell', async () => {
    const domain = await ran(open)
    await publishOne(domain, limitOf(1))
    await tried(domain, 'FAILED')
    const input = await inputOf(domain, limitOf(2), {
      outcomeOf: ({ number }) => (number === 2 ? 'completed' : number === 1 ? 'failed' : undefined),
    })
    expect(input).toMatchObject({ past: [{ changed: 2, bad: 1 }], sinceStable: 0 })
  })

  test('an author is known by releases of this config', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) }, { author: 'bob' })
    await publishOne(domain, limitOf(1), { author: 'bob' })
    expect((await inputOf(domain, limitOf(2))).authorReleases).toBe(0)
    expect((await inputOf(domain, limitOf(2), { author: 'bob' })).authorReleases).toBe(2)
  })

  test('contents that are no longer kept are not looked at', async () => {
    const domain = await published(open, ...limitsTo(6))
    await domain.store.transaction((tx) => tx.prune({ keepNewest: 3 }))
    const input = await inputOf(domain, limitOf(9))
    expect(input.looked).toBe(3)
    expect(input.past).toEqual([{ path: 'rules.r1.limit', changed: 2, bad: 0 }])
  })

  test('across a content that is no longer kept nothing is laid at the door of the release after it', async () => {
    const domain = await published(open, ...limitsTo(6))
    await domain.store.transaction((tx) => {
      tx.putDraft(draftOf('held', {}, { config, base: 2 }), {})
      tx.prune({ keepNewest: 1 })
    })
    const input = await inputOf(domain, limitOf(9))
    expect(input).toMatchObject({ looked: 2, past: [{ changed: 0 }] })
  })

  test('only so many releases are looked at', async () => {
    const domain = await published(open, ...limitsTo(40))
    expect(await inputOf(domain, limitOf(99))).toMatchObject({
      looked: 30,
      past: [{ changed: 29 }],
      authorReleases: 30,
    })
  })
})

describe('the size of a change', () => {
  const emptiedBy = async (content: Json, edit: Edit): Promise<readonly string[]> => {
    const domain = await ready(await memory(), {})
    await publishOne(domain, { content })
    return (await inputOf(domain, edit)).emptied
  }
  const plugins = { a: { on: true }, b: { on: true } }

  test('a list or a map that loses all it has is emptied: at once, entry by entry, or with something else in its place', async () => {
    expect(await emptiedBy({ list: [1, 2, 3], x: 1 }, { mergePatch: { list: null } })).toEqual(['list'])
    expect(await emptiedBy({ list: [1, 2, 3], x: 1 }, { mergePatch: { list: [] } })).toEqual(['list'])
    expect(await emptiedBy({ list: [1, 2, 3], x: 1 }, { mergePatch: { list: 'none' } })).toEqual(['list'])
    expect(await emptiedBy({ plugins }, { content: { plugins: {} } })).toEqual(['plugins'])
    expect(await emptiedBy({ deep: { plugins } }, { content: { deep: {} } })).toEqual(['deep.plugins'])
  })

  test('one entry that goes empties nothing, and one thing with several fields is no collection', async () => {
    expect(await emptiedBy({ plugins }, { mergePatch: { plugins: { a: null } } })).toEqual([])
    expect(await emptiedBy({ rule: { id: 'r1', limit: 3 }, x: 1 }, { mergePatch: { rule: null } })).toEqual([])
  })

  test('a keyed list of two thousand entries, all gone', async () => {
    const domain = await ready(await memory())
    const rules = Array.from({ length: 2000 }, (_, i) => ({ id: `r${i}`, resource: 'x', limit: 1 }))
    await publishOne(domain, { content: { rules } })
    const input = await inputOf(domain, { content: { rules: [] } })
    expect(input).toMatchObject({ emptied: ['rules'], values: 6000 })
    expect(riskOf(input)).toMatchObject({ level: 'high', recommended: { strategy: 'staged', bakeFactor: 3 } })
  })

  test('what stands in the place of a list or an object counts as its removal, with all its values', async () => {
    const domain = await ready(await memory(), {})
    await publishOne(domain, { content: { a: { b: [1, 2], c: 3 }, d: 1 } })
    expect((await inputOf(domain, replace('/a', 0))).changes).toEqual([{ kind: 'removed', path: 'a', values: 3 }])
    expect((await inputOf(domain, replace('/d', [1, 2, 3, 4]))).changes).toEqual([
      { kind: 'changed', path: 'd', values: 4 },
    ])
  })

  test('the changes of the engine will do as well as shown ones', async () => {
    const domain = await published(memory)
    const after = { rules: [{ id: 'r1', resource: 'api:GET:/api/users', limit: 1000, unit: 'second' }] }
    const found = changes(diff(limits, after, { rules: 'id' }))
    const input = await domain.store.read((read) =>
      riskInputFrom(read, configIn(read, config), {
        changes: found,
        content: digest(after),
        restartPaths: [],
        author: 'ada',
        nodes: { affected: 0, total: 0 },
      }),
    )
    expect(input.changes).toEqual([{ kind: 'removed', path: 'rules.r2', values: 4 }])
  })
})

describe('the mark x-midflight-consistent', () => {
  const mark = { 'x-midflight-consistent': true }
  const consistent = async (schema: Json, edit: Edit): Promise<boolean> => {
    const domain = await ready(await memory(), { schema })
    await publishOne(domain, { content: { quota: { total: 1 }, list: [{ id: 'a', n: 1 }], other: 1 } })
    return (await inputOf(domain, edit)).consistent
  }
  const quota = replace('/quota/total', 2)
  const other = replace('/other', 2)

  test('at the root it is about everything', async () => {
    expect(await consistent({ type: 'object', ...mark }, other)).toBe(true)
    expect(await consistent({ type: 'object' }, other)).toBe(false)
  })

  test('elsewhere about what is at it, above it and below it', async () => {
    const above = { type: 'object', properties: { quota: { type: 'object', ...mark }, other: {} } }
    expect(await consistent(above, quota)).toBe(true)
    expect(await consistent(above, other)).toBe(false)
    const below = { type: 'object', properties: { quota: { properties: { total: { ...mark } } }, other: {} } }
    expect(await consistent(below, replace('/quota', 0))).toBe(true)
    expect(await consistent(below, quota)).toBe(true)
    expect(await consistent(below, other)).toBe(false)
  })

  test('within the entries of a list, and behind a reference', async () => {
    const schema = {
      type: 'object',
      properties: {
        list: { type: 'array', 'x-midflight-key': 'id', items: { $ref: '#/$defs/entry' } },
        quota: { allOf: [{ $ref: '#/$defs/quota' }] },
      },
      $defs: {
        entry: { type: 'object', properties: { id: { type: 'string' }, n: mark } },
        quota: { type: 'object', properties: { total: mark } },
      },
    }
    expect(await consistent(schema, replace('/list/0/n', 2))).toBe(true)
    expect(await consistent(schema, quota)).toBe(true)
    expect(await consistent(schema, other)).toBe(false)
  })
})

describe('bounds', () => {
  test('a schema with long lists and with parts that refer to each other', async () => {
    const many = Array.from({ length: 200_000 }, (_, i) => i)
    const schema: Json = {
      properties: { note: { enum: many }, a: { $ref: '#/properties/b' }, b: { $ref: '#/properties/a' } },
      $defs: { x: { 'x-midflight-consistent': true } },
      allOf: [{ $ref: '#' }],
    }
    const domain = await ready(await memory(), { schema: null })
    await publishOne(domain, { content: { a: { c: 1 } } })
    const asked = await domain.store.read((read) =>
      riskInputFrom(
        read,
        { ...configIn(read, config), schema },
        {
          changes: [{ kind: 'changed', path: 'a.c' }],
          content: '',
          restartPaths: [],
          author: 'ada',
          nodes: { affected: 1, total: 1 },
        },
      ),
    )
    expect(asked.consistent).toBe(false)
  })

  test('a hundred thousand changes at once: each counts, and the past is asked at a thousand places at most', async () => {
    const domain = await ready(await memory())
    const rulesOf = (limit: number): Json => ({
      rules: Array.from({ length: 100_000 }, (_, i) => ({ id: `r${i}`, resource: 'x', limit })),
    })
    await publishOne(domain, { content: rulesOf(1) })
    await publishOne(domain, limitOf(5))
    const listed = Array.from({ length: 100_000 }, (_, i) => ({ kind: 'changed', path: `rules.r${i}.limit` }) as const)
    const input = await riskInput(domain, config, {
      changes: listed,
      content: '',
      restartPaths: [],
      author: 'ada',
      nodes: { affected: 1, total: 1 },
    })
    expect(input.changes).toHaveLength(100_000)
    expect(input.past).toEqual([{ path: 'rules', changed: 2, bad: 0 }])
    expect(riskOf(input).reasons.find(({ factor }) => factor === 'bulk')?.points).toBe(13)
  })

  test('odd paths are places like others, or one step that is not there', async () => {
    const domain = await ready(await memory(), {})
    const odd = ['a.b', '', '[', 'x"y', '\n', 'constructor', 'toString', '\u202e', '*']
    await publishOne(domain, { content: Object.fromEntries(odd.map((name) => [name, 1])) })
    const input = await inputOf(domain, { content: Object.fromEntries(odd.map((name) => [name, 2])) })
    expect(input.past).toHaveLength(odd.length)
    expect(input.past.every(({ changed }) => changed === 1)).toBe(true)
    const broken = ['a..b', '[', '["x', 'x'.repeat(5000), 'a.'.repeat(1500)].map(
      (path) => ({ kind: 'changed', path }) as const,
    )
    expect((await inputOf(domain, { mergePatch: {} }, { changes: broken })).past.length).toBeGreaterThan(3)
  })

  test('no value is in it, and no secret', async () => {
    const domain = await ready(await memory(), { schema: limitsSchema })
    await publishOne(domain, { content: { ...(limits as object), password: 'canary-1' } as Json })
    const input = await inputOf(domain, { mergePatch: { password: 'canary-2', note: 'canary-3' } })
    expect(JSON.stringify([input, riskOf(input)])).not.toContain('canary')
  })
})

test('a number that jumps is more than one that moves: ten times, a sign, zero; a secret one is not looked at', async () => {
  const domain = await ready(await memory(), {})
  await publishOne(domain, { content: { limit: 500, off: 0, level: 'a' } })
  const jumpOf = async (edit: Json): Promise<unknown> => (await inputOf(domain, { mergePatch: edit })).changes[0]?.jump
  expect(await jumpOf({ limit: 50 })).toBe(10)
  expect(await jumpOf({ limit: 5000 })).toBe(10)
  expect(await jumpOf({ limit: 400 })).toBeCloseTo(1.25)
  expect(await jumpOf({ limit: -500 })).toBe(Infinity)
  expect(await jumpOf({ off: 1 })).toBe(Infinity)
  expect(await jumpOf({ level: 'b' })).toBeUndefined()
  const risk = riskOf(await inputOf(domain, { mergePatch: { limit: 3 } }))
  expect(risk.reasons[0]).toEqual({ factor: 'jump', points: 30, text: 'takes limit by 167 times' })
  expect(risk.level).not.toBe('low')
})
