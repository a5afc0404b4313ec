import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { nacos, type NacosOptions } from '../src/sources/nacos.ts'
import type { SourceRig } from '../src/testing/index.ts'
import { NacosPeer } from './nacos-peer.ts'
import { faultsOf, quick, testsOf, untrusted } from './source-peer-rig.ts'

const soon = () => AbortSignal.timeout(10_000)
/** Enough for a loop without a wait to show itself. */
const watchedMs = 200
const usual = { ...quick, waitMs: 1_000, paceMs: 10 } as const
const at = ['doc', 'DEFAULT_GROUP'] as const

describe('nacos(), on a protocol peer written from Nacos’s documentation', () => {
  testsOf({
    open,
    without: {
      prefix: 'one data id is one document',
      removal: '404 is absence, whoever removed it',
      compact: 'it compares sums, and has no history',
    },
  })
})

async function open(): Promise<SourceRig> {
  const peer = await NacosPeer.listen()
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  return {
    ...faultsOf(peer.web.proxy),
    newSource: ({ maxBytes }) =>
      nacos({ url: peer.url, dataId: 'doc', ...usual, ...(maxBytes !== undefined && { maxBytes }) }),
    write: async (_, value) => peer.put(at, Buffer.from(value)),
    remove: async () => peer.remove(at),
    loseAll: async () => peer.remove(at),
    stopServer: () => peer.web.stop(),
    startServer: () => peer.web.start(),
    async wrongAuth() {
      peer.user = { username: 'me', password: 'right' }
      const source = nacos({ url: peer.url, dataId: 'doc', ...usual, username: 'me', password: 'wrong' })
      return { source, attempts: () => peer.web.requests.length }
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return { source: nacos({ url: server.url, dataId: 'doc', ...usual }), attempts: server.attempts }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

async function peerWith(content: string | undefined, options: Partial<NacosOptions> = {}) {
  const peer = await NacosPeer.listen()
  const { dataId = 'doc', group = 'DEFAULT_GROUP', tenant } = options
  const put = (value: string) => peer.put([dataId, group, tenant], Buffer.from(value))
  if (content !== undefined) put(content)
  const source = nacos({ url: peer.url, ...usual, dataId, ...options })
  onTestFinished(async () => {
    await source.close()
    await peer.web.close()
  })
  return { peer, source, put }
}

const paths = ({ web }: NacosPeer) => web.requests.map(({ url }) => new URL(url ?? '', 'http://peer').pathname)

test('a long poll names data id, group, sum and namespace with the separators that are documented', async () => {
  const { peer, source } = await peerWith('a: 1\n', { dataId: 'app.yaml', group: 'shop:web', tenant: 'b3-1' })
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  await expect.poll(() => peer.listened.length).toBeGreaterThan(0)
  const md5 = 'e0ccdaf42c593022e15b18cc0e96d201' // md5sum
  expect(peer.listened[0]).toEqual({
    body: `Listening-Configs=app.yaml%02shop%3Aweb%02${md5}%02b3-1%01`,
    timeout: '1000',
  })
})

test('without a namespace there is no field for one, and what is not there has no sum', async () => {
  const { peer, source } = await peerWith(undefined)
  await expect(source.load(soon())).rejects.toThrow('is not there')
  await expect.poll(() => peer.listened.length).toBeGreaterThan(0)
  expect(peer.listened[0]?.body).toBe('Listening-Configs=doc%02DEFAULT_GROUP%02%01')
})

test('what did not change is not read again', async () => {
  const { peer, source, put } = await peerWith('a: 1')
  await source.load(soon())
  put('a: 1')
  await expect.poll(() => peer.listened.length, { timeout: 10_000 }).toBeGreaterThan(1)
  expect(paths(peer).filter((path) => path.endsWith('/configs'))).toHaveLength(1)
})

test('a user logs in once, and again when the token is refused or has lived', async () => {
  const { peer, source } = await peerWith('a: 1', { username: 'me', password: 'p&=+ü' })
  peer.user = { username: 'me', password: 'p&=+ü' }
  await source.load(soon())
  await source.load(soon())
  expect(peer.logins).toBe(1)
  peer.tokens.clear()
  peer.tokenTtlSeconds = 0
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  expect(source.following().state).toBe('following')
  expect(peer.logins).toBeGreaterThan(1)
  const before = peer.logins
  await source.load(soon())
  expect(peer.logins).toBeGreaterThan(before)
})

test('a token that is given is sent with each request, and asked for each time', async () => {
  let asked = 0
  const { peer, source } = await peerWith('a: 1', { accessToken: () => `given-${++asked}` })
  peer.user = { username: 'me', password: 'x' }
  for (let i = 1; i <= 100; i++) peer.tokens.add(`given-${i}`)
  await source.load(soon())
  await source.load(soon())
  expect(asked).toBeGreaterThan(1)
  expect(peer.logins).toBe(0)
})

for (const wrong of [{ username: 'me', password: 'my-own-secret' }, { accessToken: 'my-own-secret' }]) {
  test(`wrong credentials (${Object.keys(wrong).join(', ')}) are named as such, and not shown`, async () => {
    const { peer, source } = await peerWith('a: 1', wrong)
    peer.user = { username: 'me', password: 'another' }
    const error = await source.load(soon()).catch((reason: unknown) => reason)
    expect(String(error)).toMatch(/refuses the (user name or the password|token or the lack of one) \(403\)/)
    expect(String(error)).not.toContain('my-own-secret')
    expect(JSON.stringify(source.following())).not.toContain('my-own-secret')
  })
}

test('answers that are no configuration are refused', async () => {
  const { peer, source } = await peerWith('a: 1')
  const answer = peer.web.answering
  peer.web.answering = (_, response) => response.writeHead(200, { 'content-type': 'text/html' }).end('<form>')
  await expect(source.load(soon())).rejects.toThrow('is a page; want a configuration')
  peer.web.answering = answer
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('a server without version 1 of the open API is told from a configuration that is not there', async () => {
  const { peer, source } = await peerWith('a: 1')
  peer.web.answering = (_, response) => response.writeHead(404).end('{"status":404,"error":"Not Found"}')
  await expect(source.load(soon())).rejects.toThrow('want Nacos with version 1 of its open API')
})

test('what answers a long poll with other than names of configurations is told', async () => {
  const { peer, source } = await peerWith('a: 1')
  const answer = peer.web.answering
  peer.web.answering = (request, response) =>
    request.method === 'POST' ? response.writeHead(200).end('%<form>') : answer?.(request, response)
  await source.load(soon())
  await expect
    .poll(() => source.following())
    .toMatchObject({
      state: 'lost',
      error: expect.stringContaining('answers with what does not name doc; want a server of Nacos'),
    })
})

test('a server that finds another sum for the same content is not asked in a busy loop', async () => {
  const { peer, source } = await peerWith('a: 1', { paceMs: 600_000 })
  const answer = peer.web.answering
  peer.web.answering = (request, response) =>
    request.method === 'POST' ? response.writeHead(200).end('doc%02DEFAULT_GROUP%01\n') : answer?.(request, response)
  await source.load(soon())
  await expect.poll(() => peer.web.requests.length).toBe(7)
  await sleep(watchedMs)
  expect(peer.web.requests.length).toBe(7)
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('a configuration that is being written (409) is asked for again', async () => {
  const { peer, source } = await peerWith('a: 1')
  const answer = peer.web.answering
  let refused = 0
  peer.web.answering = (request, response) =>
    ++refused === 1 ? response.writeHead(409).end() : answer?.(request, response)
  await expect(source.load(soon())).rejects.toMatchObject({ transient: true })
  await expect.poll(() => source.following().state).toBe('following')
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('options that cannot be meant are refused at the call', () => {
  const url = 'http://127.0.0.1:1'
  expect(() => nacos({ url, dataId: 'a b' })).toThrow('dataId is "a b"; want letters')
  expect(() => nacos({ url, dataId: 'a', group: '' })).toThrow('group is ""; want letters')
  expect(() => nacos({ url, dataId: 'a', username: 'me' })).toThrow('want a username and a password, or an accessToken')
  expect(() => nacos({ url, dataId: 'a', username: 'me', password: 'x', accessToken: 'y' })).toThrow(
    'or an accessToken',
  )
  expect(() => nacos({ url, dataId: 'a', waitMs: 1 })).toThrow('waitMs is 1; want 1000 to 600000')
})
