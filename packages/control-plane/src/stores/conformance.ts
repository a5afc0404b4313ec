/**
 * What every store promises, as cases that any test runner can run: `for (const { name, run } of testStore(…))
 * test(name, run)`. Each case has a store of its own.
 */
import assert from 'node:assert/strict'
import { digest, type Json, type JsonObject } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type {
  AuditEntry,
  ConfigRecord,
  DraftRecord,
  NodeRecord,
  Store,
  StoreRead,
  StoreTx,
  TokenRecord,
} from '../store.ts'
import { linkHash, linkText } from './audit-chain.ts'

export interface StoreFactory {
  /** A new, empty store. */
  newStore(): Promise<Store>
  /** Closes a store that `newStore` made and opens what it left. Left out by stores that forget. */
  reopen?(store: Store): Promise<Store>
}

export interface StoreCase {
  /** What is promised. */
  readonly name: string
  run(): Promise<void>
}

export const sample = { config: 'shop/gateway/prod', at: '2026-01-01T00:00:00.000Z' } as const

export function configOf(name: string = sample.config): Omit<ConfigRecord, 'head'> {
  return { name, createdAt: sample.at, schema: { type: 'object' }, rules: [], reviewers: 0 }
}

export function releaseOf(number: number, content: Json, config: string = sample.config): ReleaseInfo {
  return {
    config,
    number,
    digest: digest(content),
    parent: number === 1 ? null : number - 1,
    createdAt: new Date(Date.parse(sample.at) + number * 1000).toISOString(),
    author: 'ada',
    message: `number ${number}`,
    kind: 'publish',
  }
}

/** Adds the next release. */
export function publish(tx: StoreTx, content: Json, config: string = sample.config): ReleaseInfo {
  const release = releaseOf((tx.config(config)?.head?.number ?? 0) + 1, content, config)
  tx.addRelease(release, content)
  return release
}

/** A content large enough to be kept as patches. */
export function rulesOf(count: number, changes: Readonly<Record<number, number>> = {}): JsonObject {
  return {
    rules: Array.from({ length: count }, (_, i) => ({ id: `r${i}`, limit: changes[i] ?? 100, path: `/api/${i}` })),
  }
}

export function nodeOf(uid: string, over: Partial<NodeRecord> = {}): NodeRecord {
  return {
    uid,
    config: sample.config,
    labels: { zone: 'a' },
    agent: { name: 'midflight', version: '1' },
    runs: null,
    seen: null,
    status: 'UNSET',
    firstSeenAt: sample.at,
    lastSeenAt: sample.at,
    leaseUntil: sample.at,
    ...over,
  }
}

export function draftOf(id: string, content: Json, over: Partial<DraftRecord> = {}): DraftRecord {
  const { config, at } = sample
  const own = { id, config, base: null, digest: digest(content), author: 'ada', message: '', approvals: [] }
  return { ...own, createdAt: at, updatedAt: at, status: 'open', ...over }
}

export function tokenOf(id: string, over: Partial<TokenRecord> = {}): TokenRecord {
  const own = { id, hash: `hash-of-${id}`, name: 'ci', role: 'publisher', prefix: 'shop', createdBy: 'ada' } as const
  return { ...own, createdAt: sample.at, expiresAt: null, revokedAt: null, ...over }
}

export const auditEntry: AuditEntry = {
  at: sample.at,
  actor: 'ada',
  action: 'publish',
  config: sample.config,
  detail: { a: 'é' },
}

type Check = (store: Store) => Promise<void>

export function testStore(factory: StoreFactory): readonly StoreCase[] {
  const cases = Object.entries(checks).map(([name, check]) => ({
    name,
    async run() {
      const store = await factory.newStore()
      try {
        await check(store)
      } finally {
        await store.close()
      }
    },
  }))
  const { reopen } = factory
  if (reopen === undefined) return cases
  return [
    ...cases,
    { name: 'what was acknowledged is there, and the same, when it is opened again', run: () => kept(factory, reopen) },
  ]
}

async function kept({ newStore }: StoreFactory, reopen: (store: Store) => Promise<Store>): Promise<void> {
  const store = await newStore()
  await fill(store)
  const everything = await store.read(all)
  const again = await reopen(store)
  try {
    assert.deepEqual(await again.read(all), everything)
    assert.deepEqual((await again.verify()).problems, [])
    await again.transaction((tx) => publish(tx, rulesOf(200, { 0: 7 })))
  } finally {
    await again.close()
  }
}

/** One of each kind of record. */
async function fill(store: Store): Promise<void> {
  await store.transaction((tx) => {
    tx.putConfig(configOf())
    tx.putConfig(configOf('shop/web'))
    for (let n = 0; n < 5; n++) publish(tx, rulesOf(200, { [n]: n }))
    tx.putNode(nodeOf('u1', { runs: { number: 2, digest: 'd' } }))
    tx.addAttempt({
      uid: 'u1',
      config: sample.config,
      number: 2,
      digest: 'd',
      status: 'APPLIED',
      attempt: 1,
      at: sample.at,
    })
    tx.putDraft(draftOf('d1', { a: 1 }), { a: 1 })
    tx.putToken(tokenOf('t1'))
    tx.putIdempotency({ key: 'k', request: 'r', response: { ok: true }, createdAt: sample.at })
    tx.appendAudit(auditEntry)
    tx.appendAudit({ ...auditEntry, config: null })
    tx.pin(sample.config, 3, 'rollout 1')
  })
}

/** Everything that can be read. */
export function all(tx: StoreRead): unknown {
  const configs = tx.configs('', undefined, 1000)
  return {
    configs,
    releases: configs.map(({ name }) =>
      tx.releases(name, undefined, 1000).map((release) => ({
        release,
        content: tx.content(name, release.number),
        appliedAt: tx.appliedAt(name, release.number),
      })),
    ),
    nodes: configs.map(({ name }) =>
      tx.nodes(name, {}, undefined, 1000).map((node) => ({ node, attempts: tx.attempts(node.uid, 1000) })),
    ),
    drafts: tx.drafts(undefined, undefined, 1000).map((draft) => ({ draft, content: tx.draftContent(draft.id) })),
    tokens: tx.tokens(undefined, 1000),
    audit: tx.audit(undefined, 1000),
  }
}

const checks: Readonly<Record<string, Check>> = {
  'nothing is there at first': async (store) => {
    assert.deepEqual(await store.read(all), { configs: [], releases: [], nodes: [], drafts: [], tokens: [], audit: [] })
    assert.deepEqual(await store.verify(), { configs: 0, releases: 0, contents: 0, audit: 0, problems: [] })
  },

  'a transaction returns what its work returned, and sees what it wrote': async (store) => {
    const head = await store.transaction((tx) => {
      tx.putConfig(configOf())
      publish(tx, { a: 1 })
      assert.deepEqual(tx.content(sample.config, 1), { a: 1 })
      return tx.config(sample.config)?.head
    })
    assert.deepEqual(head, { number: 1, digest: digest({ a: 1 }) })
  },

  'a transaction that throws leaves nothing, and what it threw is what the caller gets': async (store) => {
    await fill(store)
    const before = await store.read(all)
    const thrown = new Error('no')
    const failing = store.transaction((tx) => {
      publish(tx, { a: 1 })
      tx.putConfig({ ...configOf(), reviewers: 3 })
      tx.putNode(nodeOf('u1', { status: 'FAILED' }))
      tx.removeNode('u1')
      tx.removeDraft('d1')
      tx.putToken(tokenOf('t1', { revokedAt: sample.at }))
      tx.appendAudit(auditEntry)
      tx.prune({ keepNewest: 1, attemptsPerNode: 0, idempotencyBefore: '9999' })
      throw thrown
    })
    await assert.rejects(failing, (error) => error === thrown)
    assert.deepEqual(await store.read(all), before)
    assert.equal((await store.read((tx) => tx.idempotency('k')))?.request, 'r')
    await store.transaction((tx) => publish(tx, { b: 1 }))
    assert.deepEqual(await store.read((tx) => tx.content(sample.config, 6)), { b: 1 })
  },

  'of transactions asked for together, those that throw take nothing with them': async (store) => {
    await store.transaction((tx) => tx.putConfig(configOf()))
    const results = await Promise.allSettled(
      Array.from({ length: 300 }, (_, i) =>
        store.transaction((tx) => {
          const { number } = publish(tx, { i })
          if (i % 3 === 0) throw new Error(`no ${i}`)
          return number
        }),
      ),
    )
    const numbers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
    assert.deepEqual(
      numbers,
      Array.from({ length: 200 }, (_, i) => i + 1),
    )
    const contents = await store.read((tx) => numbers.map((number) => tx.content(sample.config, number)))
    const wanted = Array.from({ length: 300 }, (_, i) => ({ i })).filter(({ i }) => i % 3 !== 0)
    assert.deepEqual(contents, wanted)
  },

  'a transaction that returns a promise is refused, and leaves nothing': async (store) => {
    const work = async (tx: StoreTx): Promise<void> => tx.putConfig(configOf())
    await assert.rejects(store.transaction(work), RangeError)
    assert.deepEqual(await store.read((tx) => tx.configs('', undefined, 9)), [])
  },

  'nothing can be written once a transaction is over': async (store) => {
    const tx = await store.transaction((given) => () => given.putConfig(configOf()))
    assert.throws(tx, RangeError)
  },

  'releases are numbered without gaps, each after the head, and are what their digest says': async (store) => {
    await store.transaction((tx) => tx.putConfig(configOf()))
    const add = (release: ReleaseInfo, content: Json) => store.transaction((tx) => tx.addRelease(release, content))
    await assert.rejects(add(releaseOf(2, {}), {}), /cannot follow release 0/)
    await assert.rejects(add({ ...releaseOf(1, {}), parent: 1 }, {}), /parent/)
    await assert.rejects(add(releaseOf(1, { a: 1 }), { a: 2 }), /digest/)
    await assert.rejects(add(releaseOf(1, {}, 'not/there'), {}), /there is no config/)
    await add(releaseOf(1, {}), {})
    await assert.rejects(add(releaseOf(1, {}), {}), /cannot follow release 1/)
    assert.deepEqual(await store.read((tx) => tx.release(sample.config, 1)), releaseOf(1, {}))
    assert.equal(await store.read((tx) => tx.release(sample.config, 2)), undefined)
  },

  'a content reads back as it was, frozen, over many releases of every kind of change': async (store) => {
    await store.transaction((tx) => tx.putConfig(configOf()))
    const contents: Json[] = []
    let list = (rulesOf(300)['rules'] as Json[]).slice()
    for (let n = 1; n <= 150; n++) {
      if (n % 5 === 0) list = [...list.slice(7), ...list.slice(0, 7)]
      else if (n % 7 === 0) list = list.slice(0, -1)
      else if (n % 11 === 0) list = [{ id: `new ${n}`, 'a/b~c': null }, ...list]
      else list = list.with(n % list.length, { id: `r${n}`, limit: n, text: 'é\u{1f600}"\\' })
      contents.push(n % 40 === 0 ? n : { rules: list, n })
      await store.transaction((tx) => publish(tx, JSON.parse(JSON.stringify(contents.at(-1))) as Json))
    }
    await store.read((tx) => {
      for (const number of [150, 149, 1, 75, 40, 41, ...contents.keys()].filter((n) => n > 0)) {
        const content = tx.content(sample.config, number)
        assert.deepEqual(content, contents[number - 1], `release ${number}`)
        assert.ok(Object.isFrozen(content))
      }
    })
    assert.deepEqual((await store.verify()).problems, [])
  },

  'contents of releases beside each other share what did not change': async (store) => {
    await store.transaction((tx) => {
      tx.putConfig(configOf())
      publish(tx, rulesOf(1000))
      publish(tx, rulesOf(1000, { 5: 1 }))
    })
    const [one, two] = await store.read((tx) => [1, 2].map((n) => tx.content(sample.config, n) as { rules: Json[] }))
    assert.notEqual(one?.rules[5], two?.rules[5])
    assert.equal(one?.rules[6], two?.rules[6])
  },

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

  'nodes are found by status, by what they do not run and by their lease, and counted': async (store) => {
    const runs = { number: 4, digest: 'd' }
    await store.transaction((tx) => {
      tx.putNode(nodeOf('u3', { runs, status: 'APPLIED', leaseUntil: '2026-01-02T00:00:00.000Z' }))
      tx.putNode(nodeOf('u1', { runs: { ...runs, number: 3 }, status: 'FAILED', detail: 'limit is 0' }))
      tx.putNode(nodeOf('u2'))
      tx.putNode(nodeOf('other', { config: 'shop/web' }))
    })
    const list = (filter: Parameters<StoreRead['nodes']>[1], after?: string) =>
      store.read((tx) => tx.nodes(sample.config, filter, after, 100).map(({ uid }) => uid))
    assert.deepEqual(await list({}), ['u1', 'u2', 'u3'])
    assert.deepEqual(await list({}, 'u1'), ['u2', 'u3'])
    assert.deepEqual(await list({ status: 'FAILED' }), ['u1'])
    assert.deepEqual(await list({ notOn: 4 }), ['u1', 'u2'])
    assert.deepEqual(await list({ leaseEndedBefore: '2026-01-01T12:00:00.000Z' }), ['u1', 'u2'])
    assert.deepEqual(await store.read((tx) => tx.nodeCounts(sample.config)), { APPLIED: 1, FAILED: 1, UNSET: 1 })
    assert.equal((await store.read((tx) => tx.node('u1')))?.detail, 'limit is 0')
    await store.transaction((tx) => tx.removeNode('u1'))
    assert.deepEqual(await list({}), ['u2', 'u3'])
  },

  'attempts are kept newest first, and a release was applied when the first node said so': async (store) => {
    await fill(store)
    const attempt = { uid: 'u1', config: sample.config, number: 3, digest: 'd', attempt: 1 }
    await store.transaction((tx) => {
      tx.addAttempt({ ...attempt, status: 'FAILED', detail: 'no', at: '2026-01-03T00:00:00.000Z' })
      tx.addAttempt({ ...attempt, attempt: 2, status: 'APPLIED', at: '2026-01-04T00:00:00.000Z' })
      tx.addAttempt({ ...attempt, attempt: 3, status: 'APPLIED', at: '2026-01-05T00:00:00.000Z' })
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
    await store.transaction((tx) => tx.removeDraft('d1'))
    assert.equal(await store.read((tx) => tx.draft('d1') ?? tx.draftContent('d1')), undefined)
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

  'pruning keeps what is new, run, drafted, pinned, the head, and the history': async (store) => {
    await store.transaction((tx) => {
      tx.putConfig(configOf())
      for (let n = 1; n <= 100; n++) publish(tx, rulesOf(200, { 0: n }))
      tx.putNode(nodeOf('u1', { runs: { number: 20, digest: 'd' } }))
      tx.putDraft(draftOf('open', {}, { base: 30 }), {})
      tx.putDraft(draftOf('gone', {}, { base: 35, status: 'withdrawn' }), {})
      tx.pin(sample.config, 40, 'rollout 1')
      tx.pin(sample.config, 45, 'rollout 2')
      tx.unpin(sample.config, 45, 'rollout 2')
    })
    const pruned = await store.transaction((tx) => tx.prune({ keepNewest: 5, keepSince: releaseOf(91, {}).createdAt }))
    await store.read((tx) => {
      const contents = Array.from({ length: 100 }, (_, i) => tx.content(sample.config, i + 1))
      for (const number of [20, 30, 40, 91, 95, 100]) {
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
          tx.addAttempt({
            uid,
            config: sample.config,
            number: 1,
            digest: 'd',
            status: 'FAILED',
            attempt,
            at: sample.at,
          })
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

  'closing waits for what is under way; afterwards everything is refused': async (store) => {
    const last = store.transaction((tx) => tx.putConfig(configOf()))
    await store.close()
    await last
    await store.close()
    const closed = { name: 'StoreError', code: 'closed' }
    await assert.rejects(
      store.transaction(() => 1),
      closed,
    )
    await assert.rejects(
      store.read(() => 1),
      closed,
    )
    await assert.rejects(store.verify(), closed)
  },
}
