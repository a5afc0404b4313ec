import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { apollo, type ApolloOptions } from '../src/sources/apollo.ts'
import type { SourceRig } from '../src/testing/index.ts'
import { ApolloPeer } from './apollo-peer.ts'
import { WebServer } from './source-http-rig.ts'
import { faultsOf, quick, testsOf, untrusted } from './source-peer-rig.ts'

const soon = () => AbortSignal.timeout(10_000)
/** Enough for a loop without a wait to show itself. */
const watchedMs = 200
const usual = { ...quick, appId: 'app', waitMs: 1_000, paceMs: 10 } as const
const raw = 'values are texts in JSON; what is no UTF-8 cannot be there'

describe('apollo() with a namespace of JSON, on a protocol peer written from Apollo’s documentation', () => {
  testsOf({
    open: () => open('doc.json', (_, value) => ({ content: value })),
    without: {
      prefix: 'the content of the namespace is one document',
      removal: 'a content can be replaced, not removed; 404 is absence, whoever removed the namespace',
      raw,
    },
  })
})

describe('apollo() with a namespace of properties, on a protocol peer written from Apollo’s documentation', () => {
  testsOf({
    open: () =>
      open('application', (key, value, { [key.replaceAll('/', '.')]: _, ...others }) => ({
        ...others,
        ...(value !== undefined && { [key.replaceAll('/', '.')]: value }),
      })),
    without: { key: 'the items of the namespace are a tree', raw },
  })
})

type Items = Readonly<Record<string, string>>

async function open(
  namespace: string,
  written: (key: string, value: string | undefined, before: Items) => Record<string, string | undefined>,
): Promise<SourceRig> {
  const peer = await ApolloPeer.listen()
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  const at = `app/default/${namespace}`
  const change = (key: string, value: string | undefined) =>
    peer.release(at, written(key, value, peer.items(at)) as Items)
  const options = { ...usual, namespace }
  return {
    ...faultsOf(peer.web.proxy),
    newSource: ({ maxBytes }) => apollo({ url: peer.url, ...options, ...(maxBytes !== undefined && { maxBytes }) }),
    write: async (key, value) => change(key, String(value)),
    remove: async (key) => change(key, undefined),
    loseAll: async () => peer.deleteNamespace(at),
    compact: async () => peer.forgetMessages(),
    stopServer: () => peer.web.stop(),
    startServer: () => peer.web.start(),
    async wrongAuth() {
      peer.secret = 'right'
      change('a', '1')
      return {
        source: apollo({ url: peer.url, ...options, secret: 'wrong' }),
        attempts: () => peer.web.requests.length,
      }
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return { source: apollo({ url: server.url, ...options }), attempts: server.attempts }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

async function peerWith(namespace: string, items: Items | undefined, options: Partial<ApolloOptions> = {}) {
  const peer = await ApolloPeer.listen()
  const cluster = options.cluster ?? 'default'
  if (items) peer.release(`app/${cluster}/${namespace}`, items)
  const source = apollo({ url: peer.url, ...usual, namespace, ...options })
  onTestFinished(async () => {
    await source.close()
    await peer.web.close()
  })
  return { peer, source }
}

test('the items of properties are a tree, or one flat object', async () => {
  const items = { 'server.port': '8080', 'server.name': 'a', on: 'true' }
  const tree = await peerWith('application', items, { namespace: 'application.properties' })
  expect((await tree.source.load(soon())).config).toEqual({ server: { port: 8080, name: 'a' }, on: true })
  const flat = await peerWith('application', { ...items, server: 'x' }, { flat: true, format: 'text' })
  const { config } = await flat.source.load(soon())
  expect(config).toEqual({ ...items, server: 'x' })
})

test('the content of a namespace of YAML is the document', async () => {
  const { source } = await peerWith('app.yaml', { content: 'a: 1\nb: [x]\n' })
  expect((await source.load(soon())).config).toEqual({ a: 1, b: ['x'] })
})

test('an item that is not in the next release is removed, also the last one; a namespace that is gone is not', async () => {
  const { peer, source } = await peerWith('application', { a: '1', b: '2' })
  await source.load(soon())
  peer.release('app/default/application', { a: '1' })
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  peer.release('app/default/application', {})
  expect((await source.load(soon())).config).toEqual({})
  peer.deleteNamespace('app/default/application')
  expect((await source.load(soon())).config).toEqual({})
  peer.release('app/default/application', { a: '2' })
  expect((await source.load(soon())).config).toEqual({ a: 2 })
  peer.deleteNamespace('app/default/application')
  await expect(source.load(soon())).rejects.toThrow('has no keys below it')
})

test('a gray release reaches whom its rule names, by address or by label', async () => {
  const { peer, source } = await peerWith('application', undefined, { label: 'canary' })
  const others = [apollo({ url: peer.url, ...usual, ip: '10.0.0.7' }), apollo({ url: peer.url, ...usual })]
  onTestFinished(async () => void (await Promise.all(others.map((other) => other.close()))))
  peer.release('app/default/application', { a: '1' }, [
    { label: 'canary', items: { a: '2' } },
    { ip: '10.0.0.7', items: { a: '3' } },
  ])
  const configs = await Promise.all([source, ...others].map(async (one) => (await one.load(soon())).config))
  expect(configs).toEqual([{ a: 2 }, { a: 3 }, { a: 1 }])
})

test('a release whose notification is lost is read when the long poll ends', async () => {
  const { peer, source } = await peerWith('application', { a: '1' })
  await source.load(soon())
  const asked = source.requests(soon())[Symbol.asyncIterator]()
  source.settled?.({ kind: 'committed' } as never)
  peer.isMute = true
  peer.release('app/default/application', { a: '2' })
  expect((await asked.next()).value).toEqual({ trigger: 'apollo' })
  expect((await source.load(soon())).config).toEqual({ a: 2 })
})

test('a server that never holds a long poll is not asked in a busy loop', async () => {
  const { peer, source } = await peerWith('application', { a: '1' }, { paceMs: 600_000 })
  const answer = peer.web.answering
  let notificationId = 100
  peer.web.answering = (request, response) => {
    if (!request.url?.startsWith('/notifications')) return answer?.(request, response)
    response.end(JSON.stringify([{ namespaceName: 'application', notificationId: ++notificationId }]))
  }
  await source.load(soon())
  await expect.poll(() => peer.web.requests.length).toBe(7)
  await sleep(watchedMs)
  expect(peer.web.requests.length).toBe(7)
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('what is known is not sent again, and what was refused is asked for as if it were not known', async () => {
  const { peer, source } = await peerWith('application', { a: '1' }, { cluster: 'east/1' })
  await source.load(soon())
  await source.load(soon())
  const answer = peer.web.answering
  peer.web.answering = (_, response) => response.writeHead(200).end('<html>')
  await expect(source.load(soon())).rejects.toThrow('is answered with what is no release')
  peer.web.answering = answer
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  const configs = peer.web.requests.flatMap(({ url }) => {
    const { pathname, searchParams } = new URL(url ?? '', 'http://peer')
    return pathname === '/configs/app/east%2F1/application' ? [searchParams.get('releaseKey')] : []
  })
  expect(configs[0]).toBeNull()
  expect(configs.filter((key) => key === null)).toHaveLength(2)
})

test('a release that could not be found for a while is taken again, though it is the same', async () => {
  const { peer, source } = await peerWith('application', { a: '1' })
  await source.load(soon())
  const answer = peer.web.answering
  peer.web.answering = (_, response) => response.writeHead(404).end()
  await expect(source.load(soon())).rejects.toThrow('has no keys below it')
  peer.web.answering = answer
  expect((await source.load(soon())).config).toEqual({ a: 1 })
})

test('a long poll names the last notification that came, however often it ends without one', async () => {
  const { peer, source } = await peerWith('application', { a: '1' })
  peer.holdMs = 10
  await source.load(soon())
  const ids = () =>
    peer.web.requests.flatMap(({ url }) => {
      const text = new URL(url ?? '', 'http://peer').searchParams.get('notifications')
      return text === null ? [] : (JSON.parse(text) as { notificationId: number }[]).map((one) => one.notificationId)
    })
  await expect.poll(() => ids().length).toBeGreaterThan(3)
  expect(ids().slice(0, 4)).toEqual([-1, 101, 101, 101])
})

test('requests are signed with the access key, over the path and the query as they are sent', async () => {
  const { peer, source } = await peerWith('ä b.json', { content: '{"a":1}' }, { secret: 'my-secret', ip: '10.0.0.1' })
  peer.secret = 'my-secret'
  expect((await source.load(soon())).config).toEqual({ a: 1 })
  await expect.poll(() => peer.web.requests.length).toBeGreaterThan(2)
  expect(source.following().state).toBe('following')
  for (const { headers, url } of peer.web.requests) {
    expect(headers.authorization).toMatch(/^Apollo app:[\w+/]{27}=$/)
    expect(headers['timestamp']).toMatch(/^\d{13}$/)
    expect(`${url}${JSON.stringify(headers)}`).not.toContain('my-secret')
  }
})

test('the signature of a known request is the one that Apollo’s own tests expect', async () => {
  const web = await WebServer.listen()
  const secret = 'df23df3f59884980844ff3dada30fa97'
  const source = apollo({ ...usual, url: web.proxy.url, appId: '100004458', secret, ip: '10.0.0.1' })
  vi.useFakeTimers({ toFake: ['Date'], now: 1_576_478_257_344 })
  onTestFinished(async () => {
    vi.useRealTimers()
    await source.close()
    await web.close()
  })
  await expect(source.load(soon())).rejects.toThrow('has no keys below it')
  const [request] = web.requests
  expect(request?.url).toBe('/configs/100004458/default/application?ip=10.0.0.1')
  expect(request?.headers).toMatchObject({
    authorization: 'Apollo 100004458:EoKyziXvKqzHgwx+ijDJwgVTDgE=',
    timestamp: '1576478257344',
  })
})

test('a wrong access key is named as such, and not shown', async () => {
  const { peer, source } = await peerWith('application', { a: '1' }, { secret: 'my-own-secret' })
  peer.secret = 'another'
  const error = await source.load(soon()).catch((reason: unknown) => reason)
  expect(String(error)).toContain('(401)')
  expect(String(error)).not.toContain('my-own-secret')
})

test('answers that are no release are refused', async () => {
  const { peer, source } = await peerWith('application', { a: '1' })
  for (const body of [
    '[]',
    '{"configurations":{"a":1},"releaseKey":"x"}',
    '{"configurations":[],"releaseKey":"x"}',
    '{}',
  ]) {
    peer.web.answering = (_, response) => response.writeHead(200).end(body)
    await expect(source.load(soon()), body).rejects.toThrow('is answered with what is no release')
  }
})

test('options that cannot be meant are refused at the call', () => {
  const url = 'http://127.0.0.1:1'
  expect(() => apollo({ url, appId: '' })).toThrow('want a appId that is not empty')
  expect(() => apollo({ url, appId: 'a', namespace: '.properties' })).toThrow('want a namespace that is not empty')
  expect(() => apollo({ url: 'x', appId: 'a' })).toThrow('want http:// or https://')
  expect(() => apollo({ url, appId: 'a', waitMs: 1 })).toThrow('waitMs is 1; want 1000 to 600000')
})
