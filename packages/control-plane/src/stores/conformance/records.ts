/** What every store promises of the other records: how they are found, listed, linked and pruned. */
import assert from 'node:assert/strict'
import type { AuditEntry, Store, StoreRead } from '../../store.ts'
import { linkHash, linkText } from '../audit-chain.ts'
import {
  attemptOf,
  auditEntry,
  configOf,
  draftOf,
  fill,
  nodeOf,
  publish,
  releaseOf,
  rulesOf,
  sample,
  tokenOf,
} from './samples.ts'

export const recordCases: Readonly<Record<string, (store: Store) => Promise<void>>> = {
  'configs are listed by name, by whole segments of a prefix, page by page': async (store) => {
    const names = ['a', 'shop', 'shop-two', 'shop/a', 'shop/a/b', 'shop0', 'zoo']
    await store.transaction((tx) => names.toReversed().forEach((name) => tx.putConfig(configOf(name))))
    const list = (prefix: string, after?: string, limit = 100) =>
      store.read((tx) => tx.configs(prefix, after, limit).map(({ name }) => name))
    assert.deepEqual(await list(''), names)
    assert.deepEqual(await list('shop'), ['shop', 'shop/a', 'shop/a/b'])
    assert.deepEqual(await list('shop', 'shop', 1), ['shop/a'])
    assert.deepEqual(await list('', 'shop0'), ['zoo'])
    assert.deepEqual(await list('sho'), [])
  },

  'releases are listed newest first, page by page': async (store) => {
    await fill(store)
    const list = (before: number | undefined, limit: number) =>
      store.read((tx) => tx.releases(sample.config, before, limit).map(({ number }) => number))
    assert.deepEqual(await list(undefined, 3), [5, 4, 3])
    assert.deepEqual(await list(3, 3), [2, 1])
  },

  'a config that is put again keeps its head; a schema that did not change is the same object': async (store) => {
    await fill(store)
    const before = await store.read((tx) => tx.config(sample.config))
    await store.transaction((tx) => publish(tx, { a: 1 }))
    const after = await store.read((tx) => tx.config(sample.config))
    assert.equal(after?.schema, before?.schema)
    await store.transaction((tx) => tx.putConfig({ ...configOf(), schema: null }))
    assert.deepEqual(await store.read((tx) => tx.config(sample.config)), { ...after, schema: null })
  },

  'nodes are found by what they do not run': async (store) => {
    const runs = { number: 4, digest: 'd' }
    await store.transaction((tx) => {
      tx.putNode(nodeOf('u3', { runs, status: 'APPLIED' }))
      tx.putNode(nodeOf('u1', { runs: { ...runs, number: 3 }, status: 'FAILED', detail: 'limit is 0' }))
      tx.putNode(nodeOf('u2'))
      tx.putNode(nodeOf('other', { config: 'shop/web' }))
    })
    const list = (filter: Parameters<StoreRead['nodes']>[1], after?: string) =>
      store.read((tx) => tx.nodes(sample.config, filter, after, 100).map(({ uid }) => uid))
    assert.deepEqual(await list({}), ['u1', 'u2', 'u3'])
    assert.deepEqual(await list({}, 'u1'), ['u2', 'u3'])
    assert.deepEqual(await list({ notOn: 4 }), ['u1', 'u2'])
    assert.equal((await store.read((tx) => tx.node('u1')))?.detail, 'limit is 0')
    await store.transaction((tx) => tx.removeNode('u1'))
    assert.deepEqual(await list({}), ['u2', 'u3'])
  },

  'attempts are kept newest first, and a release was applied when the first node said so': async (store) => {
    await fill(store)
    await store.transaction((tx) => {
      tx.addAttempts([attemptOf('u1', 3, { status: 'FAILED', detail: 'no', at: '2026-01-03T00:00:00.000Z' })])
      tx.addAttempts([attemptOf('u1', 3, { attempt: 2, at: '2026-01-04T00:00:00.000Z' })])
      tx.addAttempts([attemptOf('u1', 3, { attempt: 3, at: '2026-01-05T00:00:00.000Z' })])
    })
    await store.read((tx) => {
      assert.deepEqual(
        tx.attempts('u1', 2).map(({ attempt: number }) => number),
        [3, 2],
      )
      assert.equal(tx.attempts('u1', 10).length, 4)
      assert.equal(tx.appliedAt(sample.config, 3), '2026-01-04T00:00:00.000Z')
      assert.equal(tx.appliedAt(sample.config, 4), undefined)
    })
  },

  'attempts that are added together are those of each node, in their order, and go one by one': async (store) => {
    await fill(store)
    const uids = ['n-1', 'n-2', 'n-3']
    const of = (uid: string, status: 'FAILED' | 'APPLIED', attempt: number) =>
      ({
        uid,
        config: sample.config,
        number: 3,
        digest: 'd',
        status,
        attempt,
        at: `2026-01-0${attempt}T00:00:00.000Z`,
      }) as const
    await store.transaction((tx) => {
      for (const uid of uids) tx.putNode(nodeOf(uid))
      tx.addAttempts([
        ...uids.flatMap((uid) => [of(uid, 'FAILED', 1), of(uid, 'FAILED', 2)]),
        of('n-2', 'APPLIED', 3),
        of('n-2', 'FAILED', 1),
        of('n-1', 'APPLIED', 4),
      ])
      tx.addAttempts([])
    })
    const list = (uid: string, limit = 10) =>
      store.read((tx) => tx.attempts(uid, limit).map((one) => `${one.status} ${one.attempt} ${one.at.slice(8, 10)}`))
    assert.deepEqual(await list('n-1'), ['APPLIED 4 04', 'FAILED 2 02', 'FAILED 1 01'])
    assert.deepEqual(await list('n-2'), ['FAILED 1 01', 'APPLIED 3 03', 'FAILED 2 02', 'FAILED 1 01'])
    assert.deepEqual(await list('n-3', 1), ['FAILED 2 02'])
    assert.equal(await store.read((tx) => tx.appliedAt(sample.config, 3)), '2026-01-03T00:00:00.000Z')
    await store.transaction((tx) => tx.removeNode('n-1'))
    const policy = { config: sample.config, keepNewest: 9, attemptsPerNode: 3 }
    assert.equal((await store.transaction((tx) => tx.prune(policy))).attempts, 1)
    assert.deepEqual([await list('n-1'), (await list('n-2')).length], [[], 3])
    assert.deepEqual(await list('n-3'), ['FAILED 2 02', 'FAILED 1 01'])
    assert.deepEqual((await store.verify()).problems, [])
  },

  'a draft keeps its content until it gets another': async (store) => {
    await store.transaction((tx) => tx.putDraft(draftOf('d1', { a: 1 }), { a: 1 }))
    const approved = draftOf('d1', { a: 1 }, { approvals: [{ by: 'bob', digest: 'x', at: sample.at }] })
    await store.transaction((tx) => tx.putDraft(approved))
    await store.transaction((tx) => tx.putDraft(draftOf('d2', { b: 2 }, { config: 'shop/web' }), { b: 2 }))
    await store.read((tx) => {
      assert.deepEqual(tx.draft('d1'), approved)
      assert.deepEqual(tx.draftContent('d1'), { a: 1 })
      assert.deepEqual(
        tx.drafts(undefined, undefined, 9).map(({ id }) => id),
        ['d1', 'd2'],
      )
      assert.deepEqual(
        tx.drafts('shop/web', undefined, 9).map(({ id }) => id),
        ['d2'],
      )
      assert.deepEqual(
        tx.drafts(undefined, 'd1', 9).map(({ id }) => id),
        ['d2'],
      )
    })
  },

  'a token is found by its hash and by its id, and changed by its id': async (store) => {
    await store.transaction((tx) => [tokenOf('t2'), tokenOf('t1')].forEach((token) => tx.putToken(token)))
    await store.transaction((tx) => tx.putToken(tokenOf('t1', { revokedAt: sample.at })))
    await store.read((tx) => {
      assert.equal(tx.token('hash-of-t1')?.revokedAt, sample.at)
      assert.deepEqual(tx.tokenById('t2'), tokenOf('t2'))
      assert.equal(tx.token('t1'), undefined)
      assert.deepEqual(
        tx.tokens(undefined, 9).map(({ id }) => id),
        ['t1', 't2'],
      )
      assert.deepEqual(
        tx.tokens('t1', 9).map(({ id }) => id),
        ['t2'],
      )
    })
  },

  'the audit log is a chain that anybody can follow': async (store) => {
    const entries = Array.from({ length: 20 }, (_, i): AuditEntry => ({
      ...auditEntry,
      detail: { z: i, a: [1.5, null] },
    }))
    const written = await store.transaction((tx) => entries.map((entry) => tx.appendAudit(entry)))
    const read = await store.read((tx) => tx.audit(undefined, 100))
    assert.deepEqual(read, written)
    let prev = '0'.repeat(64)
    for (const [i, record] of read.entries()) {
      assert.equal(record.number, i + 1)
      assert.equal(record.prev, prev)
      assert.equal(linkHash(prev, linkText(record)), record.hash)
      prev = record.hash
    }
    assert.deepEqual(await store.read((tx) => tx.auditHead()), { number: 20, hash: prev })
    assert.deepEqual(
      (await store.read((tx) => tx.audit(17, 2))).map(({ number }) => number),
      [18, 19],
    )
  },

  'pruning keeps what is new, run, drafted, the head, and the history': async (store) => {
    await store.transaction((tx) => {
      tx.putConfig(configOf())
      for (let n = 1; n <= 100; n++) publish(tx, rulesOf(200, { 0: n }))
      tx.putNode(nodeOf('u1', { runs: { number: 20, digest: 'd' } }))
      tx.putDraft(draftOf('open', {}, { base: 30 }), {})
      tx.putDraft(draftOf('gone', {}, { base: 35, status: 'withdrawn' }), {})
    })
    const pruned = await store.transaction((tx) => tx.prune({ keepNewest: 5, keepSince: releaseOf(91, {}).createdAt }))
    await store.read((tx) => {
      const contents = Array.from({ length: 100 }, (_, i) => tx.content(sample.config, i + 1))
      for (const number of [20, 30, 91, 95, 100]) {
        assert.deepEqual(contents[number - 1], rulesOf(200, { 0: number }), `release ${number}`)
      }
      assert.equal(contents.filter((content) => content === undefined).length, pruned.contents)
      assert.equal(tx.releases(sample.config, undefined, 1000).length, 100)
    })
    assert.deepEqual((await store.verify()).problems, [])
    await store.transaction((tx) => publish(tx, { a: 1 }))
    await assert.rejects(
      store.transaction((tx) => tx.prune({ keepNewest: 0 })),
      RangeError,
    )
  },

  'pruning keeps the newest attempts of each node and the younger idempotency keys': async (store) => {
    await store.transaction((tx) => {
      for (const uid of ['u1', 'u2']) {
        tx.putNode(nodeOf(uid))
        for (let attempt = 1; attempt <= 5; attempt++) {
          tx.addAttempts([attemptOf(uid, 1, { status: 'FAILED', attempt })])
        }
      }
      for (const day of ['1', '2', '3']) {
        tx.putIdempotency({ key: day, request: 'r', response: null, createdAt: `2026-01-0${day}T00:00:00.000Z` })
      }
    })
    const idempotencyBefore = '2026-01-03T00:00:00.000Z'
    const pruned = await store.transaction((tx) => tx.prune({ keepNewest: 1, attemptsPerNode: 2, idempotencyBefore }))
    assert.deepEqual(pruned, { contents: 0, attempts: 6, idempotency: 2 })
    await store.read((tx) => {
      assert.deepEqual(
        tx.attempts('u2', 9).map(({ attempt }) => attempt),
        [5, 4],
      )
      assert.deepEqual(
        ['1', '2', '3'].filter((key) => tx.idempotency(key) !== undefined),
        ['3'],
      )
    })
  },
}
