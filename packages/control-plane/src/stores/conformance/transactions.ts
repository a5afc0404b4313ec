/** What every store promises of transactions, and of releases and their contents. */
import assert from 'node:assert/strict'
import { digest, type Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type { Store, StoreTx } from '../../store.ts'
import { all, auditEntry, configOf, fill, nodeOf, publish, releaseOf, rulesOf, sample, tokenOf } from './samples.ts'

export const transactionCases: Readonly<Record<string, (store: Store) => Promise<void>>> = {
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
