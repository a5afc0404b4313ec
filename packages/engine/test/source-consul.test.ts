import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { consul, type ConsulOptions, type ConsulPlace } from '../src/sources/consul.ts'
import { Pace } from '../src/sources/watching/pace.ts'
import type { SourceRig } from '../src/testing/index.ts'
import { ConsulPeer } from './consul-peer.ts'
import { ConsulServer, done, noConsul, version } from './source-consul-rig.ts'
import { faultsOf, quick, testsOf, untrusted } from './source-peer-rig.ts'
import { TcpProxy } from './tcp-proxy.ts'

const soon = () => AbortSignal.timeout(10_000)
/** Enough for a loop without a wait to show itself. */
const watchedMs = 200
const usual = { ...quick, waitMs: 1_000, paceMs: 10 } as const

describe('consul(), on a protocol peer written from Consul’s documentation', () => {
  testsOf({ open: openPeer })
})

async function openPeer(): Promise<SourceRig> {
  const peer = await ConsulPeer.listen()
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  return {
    ...faultsOf(peer.web.proxy),
    newSource: ({ mode, maxBytes }) =>
      consul({
        url: peer.url,
        ...(mode === 'key' ? { key: 'app/doc' } : { prefix: 'app/' }),
        ...usual,
        ...(maxBytes !== undefined && { maxBytes }),
      }),
    write: async (key, value) => peer.put(`app/${key}`, Buffer.from(value)),
    remove: async (key) => peer.remove(`app/${key}`),
    loseAll: async () => peer.restore({ empty: true }),
    compact: async () => peer.restore(),
    stopServer: () => peer.web.stop(),
    startServer: () => peer.web.start(),
    async wrongAuth() {
      peer.token = 'right'
      peer.put('app/a', Buffer.from('1'))
      const source = consul({ url: peer.url, prefix: 'app/', ...usual, token: () => 'wrong' })
      return { source, attempts: () => peer.web.requests.length }
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return { source: consul({ url: server.url, prefix: 'app/', ...usual }), attempts: server.attempts }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

async function peerWith(
  values: Record<string, string>,
  place: ConsulPlace = { prefix: 'app/' },
  options: Omit<Partial<ConsulOptions>, 'key' | 'prefix'> = {},
) {
  const peer = await ConsulPeer.listen()
  for (const [key, value] of Object.entries(values)) peer.put(key, Buffer.from(value))
  const source = consul({ url: peer.url, ...place, ...usual, ...options })
  onTestFinished(async () => {
    await source.close()
    await peer.web.close()
  })
  return { peer, source }
}

/** The questions that the peer was asked, each as its query. */
const queries = ({ web }: ConsulPeer) => web.requests.map(({ url }) => new URL(url ?? '', 'http://peer').searchParams)

test('an index that goes down starts over with a look at once (F42)', async () => {
  const { peer, source } = await peerWith({ 'app/a': '1' })
  await source.load(soon())
  await expect.poll(() => queries(peer).at(-1)?.get('index')).toBe('11')
  peer.restore()
  await expect.poll(() => queries(peer).length).toBe(4)
  expect(queries(peer).map((query) => query.get('index'))).toEqual([null, '11', null, '5'])
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('what a server tells that has not read its log yet is not told (F35)', async () => {
  const { peer, source } = await peerWith({ 'app/a': '1' })
  await source.load(soon())
  source.settled?.({ kind: 'committed' } as never)
  let reloads = 0
  const listening = (async () => {
    for await (const _ of source.requests(AbortSignal.timeout(watchedMs))) reloads++
  })()
  peer.isBehind = true
  const before = queries(peer).length
  peer.put('app/a', Buffer.from('1'))
  await expect.poll(() => queries(peer).length).toBeGreaterThan(before + 1)
  await listening
  expect(reloads).toBe(0)
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('an index of 0 is asked for as 1, and is no removal (F42)', async () => {
  const { peer, source } = await peerWith({}, { key: 'app/doc' })
  peer.zeroIndex = true
  await expect(source.load(soon())).rejects.toThrow('is not there at http://127.0.0.1:')
  await expect.poll(() => queries(peer).at(1)?.get('index')).toBe('1')
})

test('a key that was never there is not removed; one that was there and is gone at a higher index is', async () => {
  const { peer, source } = await peerWith({ other: '1' }, { key: 'app/doc' })
  await expect(source.load(soon())).rejects.toThrow('is not there')
  peer.put('app/doc', Buffer.from('{"a":1}'))
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  peer.remove('app/doc')
  expect((await source.load(soon())).config).toEqual({})
  peer.put('other', Buffer.from('2'))
  expect((await source.load(soon())).config).toEqual({})
})

test('a key that is gone with another history stays refused, however high the index gets', async () => {
  const { peer, source } = await peerWith({ 'app/doc': '{"a":1}' }, { key: 'app/doc' })
  await source.load(soon())
  peer.restore({ empty: true })
  await expect(source.load(soon())).rejects.toThrow('is not there')
  for (let i = 0; i < 20; i++) peer.put('other', Buffer.from(String(i)))
  await expect(source.load(soon())).rejects.toThrow('is not there')
})

test('a removal while the connection was cut is seen afterwards', async () => {
  const { peer, source } = await peerWith({ 'app/a': '1' })
  await source.load(soon())
  peer.web.proxy.refuse = true
  peer.web.proxy.reset()
  peer.remove('app/a')
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  peer.web.proxy.refuse = false
  await expect.poll(() => source.following().state).toBe('following')
  expect((await source.load(soon())).config).toEqual({})
})

for (const told of [true, false]) {
  test(`keys that a token may no longer read are not removed, ${told ? 'as a header tells' : 'though nothing tells of it'}`, async () => {
    const { peer, source } = await peerWith({ 'app/a': '1', 'app/b': '2' })
    await source.load(soon())
    peer.hidden = { keys: /^app\/b/, told }
    await expect(source.load(soon())).rejects.toThrow(told ? 'may not read' : 'lacks app/b')
    peer.hidden = { keys: /^app/, told }
    await expect(source.load(soon())).rejects.toThrow(told ? 'may not read' : 'lacks app/a')
    peer.hidden = undefined
    expect((await source.load(soon())).config).toEqual({ a: 1, b: 2 })
  })
}

test('values are bytes, folders are passed over, and keys may hold what URLs may not', async () => {
  const under = 'ä %41 ?/'
  const values = { [`${under}?#%/`]: '', [`${under}?#%/c d/e+f`]: '"x&y"', [`${under}g`]: 'ü' }
  const { source } = await peerWith(values, { prefix: under })
  expect((await source.load(soon())).config).toEqual({ '?#%': { 'c d': { 'e+f': 'x&y' } }, g: 'ü' })
})

test('a folder that is left over when all below it was removed is nothing', async () => {
  const { peer, source } = await peerWith({ 'app/': '', 'app/a': '1' })
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  peer.remove('app/a')
  expect((await source.load(soon())).config).toEqual({})
})

test('an empty store at a first start: where nothing was found, and what to do; later only why nothing is taken away', async () => {
  const { peer, source } = await peerWith({})
  await expect(source.load(soon())).rejects.toThrow(
    /app\/ has no keys below it at http:\/\/127\.0\.0\.1:\d+; put one there, or is the prefix wrong\? \(nobody saw it removed, so nothing is taken away\)$/,
  )
  peer.put('app/a', Buffer.from('1'))
  await expect.poll(() => source.load(soon()).catch(() => undefined)).toMatchObject({ config: { a: 1 } })
  peer.restore({ empty: true })
  await expect(source.load(soon())).rejects.toThrow(/; what was never seen to be removed is not taken for removed$/)
})

test('a folder is no sign that what was below it was removed', async () => {
  const { peer, source } = await peerWith({ 'app/': '', 'app/a': '1' })
  await source.load(soon())
  peer.restore({ empty: true })
  peer.put('app/', Buffer.from(''))
  await expect(source.load(soon())).rejects.toThrow('has no keys below it')
})

test('datacenter, consistency and token are sent, the token as a header only', async () => {
  const { peer, source } = await peerWith({ 'app/a': '1' }, undefined, {
    token: 'secret',
    datacenter: 'east',
    consistency: 'consistent',
  })
  await source.load(soon())
  const [request] = peer.web.requests
  expect(request?.url).toBe('/v1/kv/app/?recurse=&consistent=&dc=east')
  expect(request?.headers.authorization).toBe('Bearer secret')
})

test('a wrong token is named as such, and not shown', async () => {
  const { peer, source } = await peerWith({ 'app/a': '1' }, undefined, { token: 'my-own-secret' })
  peer.token = 'another'
  const error = await source.load(soon()).catch((reason: unknown) => reason)
  expect(String(error)).toContain('refuses the token or the lack of one (403)')
  expect(String(error)).not.toContain('my-own-secret')
})

test('what answers without an index is no Consul', async () => {
  const { peer, source } = await peerWith({})
  peer.web.answering = (_, response) => response.writeHead(404).end()
  await expect(source.load(soon())).rejects.toThrow(
    'answers 404 without X-Consul-Index; want the URL of a Consul agent',
  )
})

test('what answers with other than keys and values is refused, and what was read stays', async () => {
  const { peer, source } = await peerWith({ 'app/a': '1' })
  const web = peer.web.answering
  for (const body of ['<html>', '{}', '[1]', '[{"Key":"other","Value":""}]']) {
    peer.web.answering = (_, response) => response.writeHead(200, { 'x-consul-index': '7' }).end(body)
    await expect(source.load(soon()), body).rejects.toThrow('no list of keys and values')
  }
  peer.web.answering = web
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('what changes all the time is read at a pace: two at once, then one per interval', () => {
  const pace = new Pace(2, 1_000)
  expect([0, 0, 0, 1_000, 2_000].map((now) => pace.nextMs(now))).toEqual([0, 0, 1_000, 1_000, 1_000])
  expect([60_000, 60_000, 60_000].map((now) => pace.nextMs(now))).toEqual([0, 0, 1_000])
})

test('a server that never holds a query is not asked in a busy loop', async () => {
  const { peer, source } = await peerWith({}, undefined, { paceMs: 600_000 })
  let index = 100
  peer.web.answering = (_, response) => {
    const list = [{ Key: 'app/a', Value: Buffer.from(String(++index)).toString('base64'), Flags: 0 }]
    response.writeHead(200, { 'x-consul-index': String(index) }).end(JSON.stringify(list))
  }
  await source.load(soon())
  await expect.poll(() => queries(peer).length).toBe(3)
  await sleep(watchedMs)
  expect(queries(peer).length).toBe(3)
  expect((await source.load(soon())).config).toEqual({ a: 104 })
})

test('options that cannot be meant are refused at the call', () => {
  expect(() => consul({} as ConsulOptions)).toThrow('want either a key or a prefix')
  expect(() => consul({ key: 'a', prefix: 'b/' } as ConsulOptions)).toThrow('want either a key or a prefix')
  expect(() => consul({ prefix: 'app' })).toThrow('want it to end in /')
  expect(() => consul({ key: '/app' })).toThrow('begins with a slash')
  expect(() => consul({ key: 'a', url: 'ftp://x' })).toThrow('want http:// or https://')
  expect(() => consul({ key: 'a', waitMs: 10 })).toThrow('waitMs is 10; want 1000 to 600000')
  expect(() => consul({ key: 'a', consistency: 'weak' as 'stale' })).toThrow('want default, consistent or stale')
})

const lacking = noConsul === undefined ? '' : ` (skipped: ${noConsul})`

describe.skipIf(noConsul !== undefined)(`consul(), on the real Consul ${version ?? ''}${lacking}`, () => {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-consul-'))
  let server: ConsulServer
  let places = 0
  beforeAll(async () => {
    server = await ConsulServer.start(folder)
  }, 60_000)
  afterAll(async () => {
    await server.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  testsOf({
    async open() {
      const proxy = await TcpProxy.listen(server.port)
      const at = `place-${++places}`
      const closing: (() => Promise<void>)[] = [() => proxy.close()]
      const before = await server.snapshot()
      const kv = (key: string) => `${server.url}/v1/kv/${at}/${key}`
      return {
        ...faultsOf(proxy),
        newSource: ({ mode, maxBytes }) =>
          consul({
            url: proxy.url,
            ...(mode === 'key' ? { key: `${at}/doc` } : { prefix: `${at}/` }),
            ...usual,
            ...(maxBytes !== undefined && { maxBytes }),
          }),
        write: (key, value) => done(fetch(kv(key), { method: 'PUT', body: Buffer.from(value) })),
        remove: (key) => done(fetch(kv(key), { method: 'DELETE' })),
        loseAll: () => server.restore(before),
        compact: async () => server.restore(await server.snapshot()),
        stopServer: () => server.stop(),
        startServer: () => server.again(),
        async wrongAuth() {
          let attempts = 0
          const token = () => {
            attempts++
            return 'd4a6e0c7-0000-4000-8000-000000000000'
          }
          const source = consul({ url: proxy.url, key: 'doc', ...usual, token })
          return { source, attempts: () => attempts }
        },
        async wrongTls() {
          const other = await untrusted()
          closing.push(() => other.close())
          return { source: consul({ url: other.url, key: 'doc', ...usual }), attempts: other.attempts }
        },
        async close() {
          for (const end of closing) await end()
        },
      }
    },
    deadlineMs: 30_000,
  })
})
