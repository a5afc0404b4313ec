/** What `etcd()` promises beyond every source, on real servers. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import * as grpc from '@grpc/grpc-js'
import { load as loadProto } from '@grpc/proto-loader'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { connect, type Cluster, type Connection } from '../src/sources/etcd/client.ts'
import { etcdFeed, listed } from '../src/sources/etcd/follow.ts'
import { etcd, type EtcdOptions } from '../src/sources/etcd.ts'
import type { News, WatchingSource } from '../src/sources/watching.ts'
import { selfSigned } from './self-signed.ts'
import { EtcdServer, noEtcd } from './source-etcd-rig.ts'
import { TcpProxy } from './tcp-proxy.ts'

const folder = mkdtempSync(join(tmpdir(), 'midflight-etcd-tls-'))
const protoFolder = fileURLToPath(new URL('../proto/', import.meta.url))
const deadlineMs = 20_000
const quick = { timeoutMs: 2_000, keepAliveMs: 6_000, answerMs: 1_000, retry: { firstMs: 20, maxMs: 200 } } as const

let main: EtcdServer
let places = 0
const ends: (() => Promise<void>)[] = []

beforeAll(async () => {
  if (noEtcd !== undefined) return
  main = await EtcdServer.start({ args: ['--experimental-watch-progress-notify-interval', '100ms'] })
}, 60_000)

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end()
})

afterAll(async () => {
  await main?.close()
  rmSync(folder, { recursive: true, force: true })
})

function newPrefix(): string {
  return `/test/${++places}/`
}

function clusterAt(port: number, more: Partial<Cluster> = {}): Cluster {
  return {
    endpoints: [{ host: `127.0.0.1:${port}`, isTls: false }],
    tls: undefined,
    login: undefined,
    token: undefined,
    timeoutMs: quick.timeoutMs,
    keepAliveMs: quick.keepAliveMs,
    maxMessageBytes: 5_000_000,
    ...more,
  }
}

/** A feed of its own, whose news are taken one by one: what happens between two of them is up to the test. */
function feed(
  prefix: string,
  { port = main.port, maxBytes = 1_000_000, ...more }: Partial<Cluster> & FeedOptions = {},
) {
  const cluster = clusterAt(port, { maxMessageBytes: maxBytes + 4 * 1024 * 1024, ...more })
  const warnings: string[] = []
  const over = new AbortController()
  const one = etcdFeed({ prefix, separator: '/' }, cluster, maxBytes)
  ends.push(async () => {
    over.abort()
    await one.close?.()
  })
  return {
    warnings,
    follow() {
      const stop = new AbortController()
      const signal = AbortSignal.any([stop.signal, over.signal])
      const news = one.follow(signal, (message) => warnings.push(message))[Symbol.asyncIterator]()
      return {
        /** What is new; what says that nothing is, is passed over. */
        async next(): Promise<News> {
          for (;;) {
            const { done, value } = await news.next()
            assert.ok(!done, 'it has ended')
            if (value.kind !== 'same') return value
          }
        },
        /** That nothing is new, said by the server after the call: what did not have to be waited for came before. */
        async same(): Promise<void> {
          for (let waitedFor = 0; waitedFor < 2;) {
            const began = performance.now()
            assert.equal((await news.next()).value?.kind, 'same')
            if (performance.now() - began > 30) waitedFor++
          }
        },
        async end(): Promise<void> {
          stop.abort()
          assert.equal((await news.next()).done, true)
        },
      }
    },
  }
}

interface FeedOptions {
  readonly port?: number
  readonly maxBytes?: number
}

/** As texts. */
function shown(news: News) {
  const text = (bytes: Uint8Array | undefined) => bytes && Buffer.from(bytes).toString()
  if (news.kind === 'whole') return Object.fromEntries([...news.entries].map(([key, value]) => [key, text(value)]))
  if (news.kind === 'changes') return news.changes.map(({ key, value }) => [key, text(value)])
  return news
}

function source(options: Partial<EtcdOptions> & Pick<EtcdOptions, 'endpoints'>): WatchingSource {
  const one = etcd({ ...quick, ...options })
  ends.push(() => one.close())
  return one
}

async function load(one: WatchingSource): Promise<unknown> {
  return (await one.load(AbortSignal.timeout(deadlineMs))).config
}

/** What the source asks for reloads with, until one gives `config`. */
async function reaches(one: WatchingSource, config: unknown): Promise<void> {
  const signal = AbortSignal.timeout(deadlineMs)
  for await (const _ of one.requests(signal)) {
    const loaded = (await one.load(signal)).config
    one.settled?.(undefined)
    if (isEqual(loaded, config)) return
  }
  assert.fail(`${JSON.stringify(config)} was not reached within ${deadlineMs} ms`)
}

function isEqual(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b)
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const lastAt = performance.now() + deadlineMs
  while (!(await holds())) {
    if (performance.now() > lastAt) assert.fail(`not within ${deadlineMs} ms: ${what}`)
    await sleep(10)
  }
}

async function server(...options: Parameters<typeof EtcdServer.start>): Promise<EtcdServer> {
  const one = await EtcdServer.start(...options)
  ends.push(() => one.close())
  return one
}

const real = `${noEtcd === undefined ? '' : ` (skipped: ${noEtcd})`}`

describe.skipIf(noEtcd !== undefined)(`etcd(), nothing is lost${real}`, { timeout: 60_000 }, () => {
  test('what is written between the list and the watch comes, in order, removals too (Z5)', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    await main.put(`${prefix}b`, '1')
    const following = feed(prefix).follow()
    expect(shown(await following.next())).toEqual({ [`${prefix}a`]: '1', [`${prefix}b`]: '1' })
    const wanted: [string, string | undefined][] = []
    for (let i = 2; i <= 50; i++) {
      await main.put(`${prefix}a`, String(i))
      wanted.push([`${prefix}a`, String(i)])
    }
    await main.remove(`${prefix}b`)
    wanted.push([`${prefix}b`, undefined])
    const seen: unknown[] = []
    while (seen.length < wanted.length) seen.push(...(shown(await following.next()) as unknown[]))
    expect(seen).toEqual(wanted)
  })

  test('where history goes between the list and the watch, it lists again (F34)', async () => {
    const prefix = newPrefix()
    await main.putAll({ [`${prefix}a`]: '1', [`${prefix}b`]: '1' })
    const following = feed(prefix).follow()
    await following.next()
    await main.put(`${prefix}a`, '2')
    await main.remove(`${prefix}b`)
    await main.put(`${prefix}c`, '1')
    await main.compact()
    const news = await following.next()
    expect(news.kind).toBe('whole')
    expect(shown(news)).toEqual({ [`${prefix}a`]: '2', [`${prefix}c`]: '1' })
    await main.put(`${prefix}a`, '3')
    expect(shown(await following.next())).toEqual([[`${prefix}a`, '3']])
  })

  test('a removal that is forgotten as the newest of what history forgets is not lost (F34)', async () => {
    const prefix = newPrefix()
    await main.putAll({ [`${prefix}a`]: '1', [`${prefix}b`]: '1' })
    const following = feed(prefix).follow()
    await following.next()
    await main.remove(`${prefix}b`)
    await main.compact()
    expect(shown(await following.next())).toEqual({ [`${prefix}a`]: '1' })
  })

  test('history that goes up to the list itself is not missed', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const following = feed(prefix).follow()
    await following.next()
    await main.compact()
    await main.put(`${prefix}a`, '2')
    expect(shown(await following.next())).toEqual([[`${prefix}a`, '2']])
  })

  test('a list of many pages is of one revision, and holds out against compaction', async () => {
    const prefix = newPrefix()
    const keys = Array.from({ length: 2_500 }, (_, i) => `${prefix}key/${String(i).padStart(5, '0')}`)
    for (let i = 0; i < keys.length; i += 100) {
      await main.putAll(Object.fromEntries(keys.slice(i, i + 100).map((key) => [key, 'x'])))
    }
    // On the first page and on the last, always the same.
    const both = (value: string) => main.putAll({ [`${prefix}first`]: value, [`${prefix}zlast`]: value })
    await both('0')
    let isOver = false
    const writing = (async () => {
      for (let i = 1; !isOver; i++) {
        await both(String(i))
        if (i % 10 === 0) await main.compact()
      }
    })()
    try {
      const one = feed(prefix)
      for (let round = 0; round < 15; round++) {
        const following = one.follow()
        const all = shown(await following.next()) as Record<string, string>
        expect(Object.keys(all)).toHaveLength(keys.length + 2)
        expect(all[`${prefix}first`]).toBe(all[`${prefix}zlast`])
        await following.end()
      }
    } finally {
      isOver = true
      await writing
    }
  })

  test('a list whose revision is compacted between two pages is begun again', async () => {
    const prefix = newPrefix()
    const keys = Array.from({ length: 1_100 }, (_, i) => `${prefix}${String(i).padStart(4, '0')}`)
    for (let i = 0; i < keys.length; i += 100) {
      await main.putAll(Object.fromEntries(keys.slice(i, i + 100).map((key) => [key, 'old'])))
    }
    const cluster = clusterAt(main.port)
    const { signal } = new AbortController()
    const real = await connect(cluster, cluster.endpoints[0] as Cluster['endpoints'][number], signal, () => {})
    ends.push(async () => real.close())
    let pages = 0
    const watched: Connection = {
      ...real,
      async range(...args) {
        if (++pages === 2) {
          await main.put(keys[0] as string, 'new')
          await main.compact()
        }
        return real.range(...args)
      },
    }
    const end = Buffer.from(`${prefix.slice(0, -1)}0`)
    const { entries } = await listed(watched, { key: Buffer.from(prefix), end }, 1_000_000, signal)
    expect(entries.size).toBe(keys.length)
    expect(Buffer.from(entries.get(keys[0] as string) ?? []).toString()).toBe('new')
    expect(pages).toBe(4)
  })

  test('a transaction is one change, also where the server sends it in pieces', async () => {
    const prefix = newPrefix()
    const both = (value: string) => main.putAll({ [`${prefix}a`]: value, [`${prefix}b`]: value })
    await both('0')
    const following = feed(prefix, { maxBytes: 16_000_000 }).follow()
    await following.next()
    // Together more than etcd sends at once.
    for (let i = 1; i <= 9; i++) await both(String(i).repeat(600_000))
    for (let last = ''; last !== '9';) {
      const changes = shown(await following.next()) as [string, string][]
      const latest = new Map(changes)
      expect(latest.get(`${prefix}a`)).toBe(latest.get(`${prefix}b`))
      last = latest.get(`${prefix}a`)?.[0] ?? ''
    }
  })

  test('a key whose lease has ended is a removal that was seen, and so is one whose lease was revoked', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}ends`, '1', await main.lease(1))
    const lease = await main.lease(600)
    await main.put(`${prefix}revoked`, '1', lease)
    const following = feed(prefix).follow()
    expect(Object.keys(shown(await following.next()) as object)).toHaveLength(2)
    expect(shown(await following.next())).toEqual([[`${prefix}ends`, undefined]])
    await main.revoke(lease)
    expect(shown(await following.next())).toEqual([[`${prefix}revoked`, undefined]])
  })

  test('the last key, removed while nobody watched, was removed where history says so (I11)', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    await main.put(`${prefix}b`, '1')
    const one = feed(prefix)
    const first = one.follow()
    await first.next()
    await first.end()
    await main.remove(`${prefix}a`)
    await main.put(`${prefix}c`, '1')
    await main.removeBelow(prefix)
    expect(await one.follow().next()).toEqual({ kind: 'whole', entries: new Map(), emptied: true })
  })

  test('and where history no longer says so, it was not', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const one = feed(prefix)
    const first = one.follow()
    await first.next()
    await first.end()
    await main.removeBelow(prefix)
    await main.compact()
    expect(await one.follow().next()).toEqual({ kind: 'whole', entries: new Map(), emptied: false })
  })

  test('by progress notifications it knows how far history was seen, though nothing of its own changed', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const one = feed(prefix)
    const first = one.follow()
    await first.next()
    for (let i = 0; i < 5; i++) await main.put('/elsewhere', String(i))
    await first.same()
    await main.compact()
    await first.end()
    await main.remove(`${prefix}a`)
    expect(await one.follow().next()).toEqual({ kind: 'whole', entries: new Map(), emptied: true })
  })

  test('a server that begins again from nothing removes nothing, and is told', async () => {
    const other = await server()
    for (let i = 0; i < 5; i++) await other.put('/p/a', String(i))
    const one = feed('/p/', { port: other.port })
    const first = one.follow()
    await first.next()
    await first.end()
    await other.wipe()
    expect(await one.follow().next()).toEqual({ kind: 'whole', entries: new Map(), emptied: false })
    expect(one.warnings.join()).toMatch(/gone back from revision 6 to 1/)
  })

  test('whatever is written, cut and compacted, what it tells adds up to what is there', async () => {
    const prefix = newPrefix()
    const proxy = await TcpProxy.listen(main.port)
    ends.push(() => proxy.close())
    const one = feed(prefix, { port: Number(new URL(proxy.url).port) })
    const told = new Map<string, string>()
    let isOver = false
    const following = (async () => {
      while (!isOver) {
        const news = one.follow()
        try {
          while (!isOver) take(told, await news.next())
        } catch {
          // It was cut off, and follows again.
          await sleep(1)
        }
      }
    })()
    const there = new Map<string, string>()
    const seed = Math.floor(Math.random() * 2 ** 31)
    const random = randomFrom(seed)
    for (let i = 0; i < 800; i++) {
      const key = `${prefix}${Math.floor(random() * 8)}`
      const fate = random()
      if (fate < 0.5) {
        there.set(key, String(i))
        await main.put(key, String(i))
      } else if (fate < 0.8) {
        there.delete(key)
        await main.remove(key)
      } else if (fate < 0.9) await main.compact()
      else proxy.reset()
    }
    there.set(`${prefix}last`, 'x')
    await main.put(`${prefix}last`, 'x')
    await until(() => told.has(`${prefix}last`), 'the last key is told')
    isOver = true
    await main.put(`${prefix}last`, 'x')
    await following
    expect(sorted(Object.fromEntries(told)), `seed ${seed}`).toBe(sorted(Object.fromEntries(there)))
  })

  test('the neighbours of a prefix are none of its keys, and the empty prefix has them all', async () => {
    const other = await server()
    for (const key of ['app', 'app/a', 'app0', 'apq', 'ap/z']) await other.put(key, key)
    expect(shown(await feed('app/', { port: other.port }).follow().next())).toEqual({ 'app/a': 'app/a' })
    expect(Object.keys(shown(await feed('', { port: other.port }).follow().next()) as object)).toHaveLength(5)
  })
})

describe.skipIf(noEtcd !== undefined)(`etcd(), what is no configuration${real}`, { timeout: 60_000 }, () => {
  test('a key that is not UTF-8 is refused by name, listed or watched, until it is gone', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const following = feed(prefix).follow()
    await following.next()
    const wrong = Buffer.concat([Buffer.from(prefix), Buffer.of(0xff)])
    await main.put(wrong, '1')
    const news = await following.next()
    expect(news).toMatchObject({ kind: 'unusable', code: 'encoding' })
    expect(news.kind === 'unusable' && news.key).toContain(wrong.toString('hex'))
    await main.remove(wrong)
    expect(shown(await following.next())).toEqual({ [`${prefix}a`]: '1' })
  })

  test('values of more than one answer may hold are refused, and followed until they fit', async () => {
    const prefix = newPrefix()
    for (let i = 0; i < 5; i++) await main.put(`${prefix}${i}`, 'x'.repeat(1_200_000))
    const following = feed(prefix, { maxBytes: 1_000 }).follow()
    expect(await following.next()).toMatchObject({ kind: 'unusable', key: prefix, code: 'limit' })
    await main.removeBelow(prefix)
    await main.put(`${prefix}a`, '1')
    expect(shown(await following.next())).toEqual({ [`${prefix}a`]: '1' })
  })

  test('more pages than may be held are not read', async () => {
    const prefix = newPrefix()
    for (let i = 0; i < 11; i++) {
      await main.putAll(Object.fromEntries(Array.from({ length: 100 }, (_, j) => [`${prefix}${i}/${j}`, 'xx'])))
    }
    const following = feed(prefix, { maxBytes: 1_000 }).follow()
    expect(await following.next()).toMatchObject({ kind: 'unusable', key: prefix, code: 'limit' })
  })
})

describe.skipIf(noEtcd !== undefined)(`etcd(), its servers${real}`, { timeout: 90_000 }, () => {
  test('of several endpoints those that are dead are passed over, and named when all are', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const port = await closedPort()
    for (let i = 0; i < 4; i++) {
      const one = source({ endpoints: [`http://127.0.0.1:${port}`, main.url], prefix })
      expect(await load(one)).toEqual({ a: 1 })
    }
    const none = source({ endpoints: [`127.0.0.1:${port}`, `127.0.0.2:${port}`], prefix })
    const error = await load(none).catch((thrown: unknown) => String(thrown))
    expect(error).toContain(`127.0.0.1:${port}`)
    expect(error).toContain(`127.0.0.2:${port}`)
    expect(error).toContain('ECONNREFUSED')
  })

  test('reloads that others ask for need no further connection, also where one overtakes another', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const proxy = await TcpProxy.listen(main.port)
    ends.push(() => proxy.close())
    const one = source({ endpoints: proxy.url, prefix })
    await load(one)
    proxy.delayMs = 30
    for (let i = 2; i < 10; i++) {
      await main.put(`${prefix}a`, String(i))
      const first = load(one)
      await sleep(10) // in the middle of its answer, which is under way for longer
      await Promise.all([first, load(one)])
      expect(await load(one)).toEqual({ a: i })
    }
    expect(proxy.accepted).toBe(1)
  })

  test('a connection that went silent while it was watched is noticed, and left for another', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const proxy = await TcpProxy.listen(main.port)
    ends.push(() => proxy.close())
    const one = source({ endpoints: proxy.url, prefix })
    expect(await load(one)).toEqual({ a: 1 })
    one.settled?.(undefined)
    await main.put(`${prefix}a`, '2')
    await reaches(one, { a: 2 })
    proxy.swallow = true
    await main.put(`${prefix}a`, '3')
    await until(() => one.following().state === 'lost', 'it noticed')
    proxy.swallow = false
    proxy.reset()
    await reaches(one, { a: 3 })
  })

  test('when the leader is killed, it goes on with another member and has every key (F35)', async () => {
    const members = await EtcdServer.cluster()
    for (const member of members) ends.push(() => member.close())
    const leader = await leaderOf(members)
    const others = members.filter((member) => member !== leader)
    const [writer] = others as [EtcdServer]
    await writer.put('/p/a', '0')
    const ways = await Promise.all([leader, ...others].map(({ port }) => TcpProxy.listen(port)))
    for (const way of ways) ends.push(() => way.close())
    // At first only the leader can be reached.
    for (const way of ways.slice(1)) way.refuse = true
    const one = source({ endpoints: ways.map(({ url }) => url), prefix: '/p/' })
    expect(await load(one)).toEqual({ a: 0 })
    for (const way of ways) way.refuse = false
    const want: Record<string, number> = { a: 0 }
    for (let i = 1; i <= 30; i++) {
      if (i === 10) await leader.stop('SIGKILL')
      // While there is no leader it may be refused.
      await until(
        () =>
          writer.put(`/p/k${i}`, String(i)).then(
            () => true,
            () => false,
          ),
        `k${i} is written`,
      )
      want[`k${i}`] = i
    }
    await until(async () => sorted(await load(one)) === sorted(want), 'all keys are there')
    await leader.start()
    await writer.put('/p/a', '1')
    await until(async () => sorted(await load(one)) === sorted({ ...want, a: 1 }), 'the next change is there')
  })

  test('a member that has lost the others is not believed; what was there stays, and comes back with them (F36)', async () => {
    const members = await EtcdServer.cluster()
    for (const member of members) ends.push(() => member.close())
    const [left, ...others] = members as [EtcdServer, EtcdServer, EtcdServer]
    await left.put('/p/a', '1')
    const one = source({ endpoints: left.url, prefix: '/p/' })
    expect(await load(one)).toEqual({ a: 1 })
    await until(() => one.following().state === 'following', 'it follows')
    for (const other of others) await other.stop('SIGKILL')
    // Not asked: the watch itself ends.
    await until(() => one.following().state === 'lost', 'it notices')
    expect(await load(one)).toEqual({ a: 1 })
    await Promise.all(others.map((other) => other.start()))
    await others[0]?.put('/p/a', '2')
    await reaches(one, { a: 2 })
  })
})

describe.skipIf(noEtcd !== undefined)(`etcd(), who may${real}`, { timeout: 60_000 }, () => {
  test('with a password or a token it reads what it may, and is told what it may not, without them', async () => {
    const other = await server()
    await other.put('/mine/a', '1')
    await other.enableAuth('/mine/')
    const login = { username: 'reader', password: 'of-reader' }
    expect(await load(source({ endpoints: other.url, prefix: '/mine/', ...login }))).toEqual({ a: 1 })
    const token = () => other.tokenOf('reader', 'of-reader')
    expect(await load(source({ endpoints: other.url, prefix: '/mine/', token }))).toEqual({ a: 1 })
    for (const [options, why] of [
      [{ prefix: '/theirs/', ...login }, /permission denied/],
      [{ prefix: '/mine/', username: 'reader', password: 'of-nobody' }, /authentication failed/],
      [{ prefix: '/mine/', token: 'of-nobody' }, /invalid auth token/],
      [{ prefix: '/mine/' }, /user name is empty/],
    ] as const) {
      const error: unknown = await load(source({ endpoints: other.url, ...options })).catch((thrown: unknown) => thrown)
      expect(String(error)).toMatch(why)
      expect(String(error)).not.toMatch(/of-nobody|of-reader/)
      expect(error).toMatchObject({ transient: false })
    }
  })

  test('where the server has forgotten the token, it logs in again, and nobody hears of it', async () => {
    const other = await server()
    await other.put('/mine/a', '1')
    await other.enableAuth('/mine/')
    const one = source({ endpoints: other.url, prefix: '/mine/', username: 'reader', password: 'of-reader' })
    const said: string[] = []
    const over = new AbortController()
    ends.push(async () => over.abort())
    void one
      .requests(over.signal, (message) => said.push(message))
      [Symbol.asyncIterator]()
      .next()
    expect(await load(one)).toEqual({ a: 1 })
    // With a new password, even the same, etcd forgets the tokens of the old.
    await other.post('auth/user/changepw', { name: 'reader', password: 'of-reader' })
    // The first may take what was asked for; the second looks.
    await load(one)
    expect(await load(one)).toEqual({ a: 1 })
    expect(one.following().state).toBe('following')
    expect(said).toEqual([])
    await other.stop()
    await other.start()
    await other.login()
    await other.put('/mine/a', '2')
    await until(async () => isEqual(await load(one), { a: 2 }), 'it is followed again')
  })

  test('a password where nobody is asked for one is told, and does no harm', async () => {
    const prefix = newPrefix()
    await main.put(`${prefix}a`, '1')
    const one = feed(prefix, { login: { username: 'reader', password: 'of-reader' } })
    expect(shown(await one.follow().next())).toEqual({ [`${prefix}a`]: '1' })
    expect(one.warnings).toEqual(['is given a user name, and the server asks nobody for one'])
  })

  test('over TLS with its authority it reads; without, or without the certificate asked for, it says why', async () => {
    const [ours, theirs] = [selfSigned(folder, 'ours'), selfSigned(folder, 'client')]
    const other = await server({ tls: { ...ours, clientCa: theirs.cert } })
    const endpoints = `127.0.0.1:${other.port}`
    const { cert, key } = { cert: theirs.pem, key: theirs.keyPem }
    const good = source({ endpoints, key: 'doc', tls: { ca: ours.pem, cert, key } })
    // Nothing is there, and it was a good answer that said so.
    await expect(load(good)).rejects.toThrow(`doc is not there at ${endpoints}; put it there, or is the key wrong?`)
    for (const [tls, why] of [
      [{ cert, key }, /self-signed certificate/],
      [{ ca: ours.pem }, /certificate/],
      [{ ca: ours.pem, cert, key, servername: 'elsewhere.example' }, /altnames/],
    ] as const) {
      const error: unknown = await load(source({ endpoints, key: 'doc', tls })).catch((thrown: unknown) => thrown)
      expect(String(error)).toMatch(why)
      expect(error).toMatchObject({ transient: false })
    }
    await expect(load(source({ endpoints: `http://${endpoints}`, key: 'doc' }))).rejects.toThrow(endpoints)
  })
})

test('a peer, not etcd, that ends each watch as if history were gone is not asked without end', async () => {
  const peer = new grpc.Server()
  const definitions = await loadProto('etcd/v3.proto', { includeDirs: [protoFolder], keepCase: true })
  const header = { revision: 7, cluster_id: 1 }
  let lists = 0
  peer.addService(definitions['etcdserverpb.KV'] as grpc.ServiceDefinition, {
    Range: (_: unknown, reply: grpc.sendUnaryData<object>) => {
      lists++
      reply(null, { header, kvs: [] })
    },
  })
  peer.addService(definitions['etcdserverpb.Watch'] as grpc.ServiceDefinition, {
    Watch: (call: grpc.ServerDuplexStream<object, object>) => {
      call.on('data', () => call.write({ header, created: true, canceled: true, compact_revision: 8 }))
      call.on('end', () => call.end())
    },
  })
  const port = await new Promise<number>((resolve, reject) =>
    peer.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, bound) =>
      error ? reject(error) : resolve(bound),
    ),
  )
  ends.push(async () => peer.forceShutdown())
  const following = feed('/p/', { port }).follow()
  expect(await following.next()).toMatchObject({ kind: 'whole' })
  await expect(following.next()).rejects.toThrow('as if history were gone')
  expect(lists).toBe(2)
})

test('a port that is usual for the web is meant as it stands', async () => {
  await expect(load(source({ endpoints: 'http://127.0.0.1:80', key: 'a' }))).rejects.toThrow('127.0.0.1:80: ')
})

test('etcd() refuses options that cannot be meant, and shows no password', () => {
  const endpoints = 'http://127.0.0.1:2379'
  for (const [options, why] of [
    [{ endpoints }, /either key or prefix/],
    [{ endpoints, key: 'a', prefix: '/' }, /either key or prefix/],
    [{ endpoints, prefix: '/app' }, /want it to end in \//],
    [{ endpoints, key: '' }, /key that is not empty/],
    [{ endpoints: [], key: 'a' }, /want at least one/],
    [{ endpoints: 'ftp://x', key: 'a' }, /want http:\/\//],
    [{ endpoints: 'http://x/path', key: 'a' }, /want http:\/\//],
    [{ endpoints, key: 'a', tls: {} }, /has none/],
    [{ endpoints, key: 'a', keepAliveMs: 5_000 }, /want 6000/],
    [{ endpoints, key: 'a', timeoutMs: Number.NaN }, /timeoutMs is NaN/],
    [{ endpoints, key: 'a', username: 'me' }, /username and password/],
    [{ endpoints, key: 'a', username: 'me', password: 'secret', token: 'secret' }, /not both/],
    [{ endpoints: 'http://me:secret@x', key: 'a' }, /user name or a password/],
    [{ endpoints: 'x', key: 'a', tls: { cert: 'secret' } }, /PEM/],
  ] as const) {
    const made = () => etcd(options)
    expect(made).toThrow(why)
    expect(made).not.toThrow(/secret/)
  }
})

function take(told: Map<string, string>, news: News): void {
  assert.ok(news.kind === 'whole' || news.kind === 'changes', news.kind)
  if (news.kind === 'whole') {
    told.clear()
    for (const [key, value] of news.entries) told.set(key, Buffer.from(value).toString())
  } else {
    for (const { key, value } of news.changes) {
      if (value) told.set(key, Buffer.from(value).toString())
      else told.delete(key)
    }
  }
}

/** The same numbers for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff
    return state / 2 ** 31
  }
}

async function leaderOf(members: readonly EtcdServer[]): Promise<EtcdServer> {
  for (;;) {
    for (const member of members) if (await member.isLeader()) return member
    await sleep(20)
  }
}

async function closedPort(): Promise<number> {
  const proxy = await TcpProxy.listen(1)
  const port = Number(new URL(proxy.url).port)
  await proxy.close()
  return port
}

function sorted(config: unknown): string {
  return JSON.stringify(Object.entries(config as object).sort(([a], [b]) => (a < b ? -1 : 1)))
}
