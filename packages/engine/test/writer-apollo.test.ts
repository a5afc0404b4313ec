import { describe, expect, onTestFinished, test } from 'vitest'
import { apollo } from '../src/sources/apollo.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { apolloWriter, type ApolloWriterOptions } from '../src/writers/apollo.ts'
import { putIfChanged } from '../src/writers/put-if-changed.ts'
import { ApolloPeer } from './apollo-peer.ts'
import { faultsOf, untrusted } from './source-peer-rig.ts'
import { writerTests } from './writer-rig.ts'

const portal = { env: 'DEV', appId: 'app', operator: 'jo', token: 'portal-token', timeoutMs: 1_000 } as const
const soon = () => AbortSignal.timeout(10_000)
const at = (namespace: string) => `app/default/${namespace}`

async function open(): Promise<WriterRig> {
  const peer = await ApolloPeer.listen()
  peer.mostCharacters = Infinity
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  return {
    newWriter: () => apolloWriter({ url: peer.url, ...portal }),
    key(name) {
      const namespace = `${name.replaceAll('/', '.')}.json`
      peer.create(at(namespace))
      return namespace
    },
    put: async (key, value) => peer.release(at(key), { content: Buffer.from(value).toString() }),
    async get(key) {
      const { content } = peer.items(at(key))
      return content === undefined ? undefined : Buffer.from(content)
    },
    remove: async (key) => peer.release(at(key), {}),
    newSource: (key) => apollo({ url: peer.url, appId: 'app', namespace: key, timeoutMs: 1_000, waitMs: 1_000 }),
    ...faultsOf(peer.web.proxy),
    wrongAuth: () => apolloWriter({ url: peer.url, ...portal, token: 'of-nobody' }),
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return apolloWriter({ url: server.url, ...portal })
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('apolloWriter(), on a protocol peer written from Apollo’s documentation', () => {
  writerTests({
    open,
    without: {
      compare: 'Apollo has no compare-and-set',
      list: 'namespaces are documents of their own',
      bytes: 'items are texts',
    },
  })
})

async function peerWith(
  items: Readonly<Record<string, string>> | undefined,
  options: Partial<ApolloWriterOptions> = {},
) {
  const peer = await ApolloPeer.listen()
  peer.create(at('application'))
  if (items) peer.release(at('application'), items)
  const writer = apolloWriter({ url: peer.url, ...portal, ...options })
  onTestFinished(async () => {
    await writer.close()
    await peer.web.close()
  })
  return { peer, writer }
}

test('a namespace of properties is one document: what differs is edited, and all of it is one release', async () => {
  const { peer, writer } = await peerWith({ 'server.port': '80', 'server.host': 'a', gone: '1' })
  peer.drafts(at('application')).set('server.port', { key: 'server.port', value: '80', comment: 'of the gateway' })
  const config = { server: { port: 81, host: 'a' }, word: 'true', list: [1, 'x'], none: {} }
  const put = await putIfChanged(writer, 'application', config)
  expect(put).toMatchObject({ kind: 'written', revision: '2', unguarded: expect.stringContaining('compare-and-set') })
  const items = { 'server.port': '81', 'server.host': 'a', word: '"true"', list: '[1,"x"]', none: '{}' }
  expect(peer.items(at('application'))).toEqual(items)
  expect(peer.drafts(at('application')).get('server.port')).toMatchObject({ comment: 'of the gateway' })
  const edited = peer.web.requests.filter(({ method, url }) => method !== 'GET' && url?.includes('/items'))
  expect(edited).toHaveLength(5)
  const once = ['DELETE', 'PUT'].map((method) => edited.filter((one) => one.method === method).length)
  expect(once).toEqual([1, 1])
  expect(peer.releases).toBe(2)

  expect(await putIfChanged(writer, 'application', config)).toMatchObject({ kind: 'unchanged', revision: '2' })
  expect(peer.releases).toBe(2)
  const source = apollo({ url: peer.url, appId: 'app', timeoutMs: 1_000, waitMs: 1_000 })
  onTestFinished(() => source.close())
  expect((await source.load(soon())).config).toEqual(config)
})

test('what is compared with is the latest release, not what is edited', async () => {
  const { peer, writer } = await peerWith({ a: '1' })
  peer.edit(at('application'), 'a', '2')
  expect(await putIfChanged(writer, 'application', { a: 1 })).toMatchObject({ kind: 'unchanged' })
  expect(await putIfChanged(writer, 'application', { a: 2 })).toMatchObject({ kind: 'written' })
  expect(peer.items(at('application'))).toEqual({ a: '2' })
})

test('edits of others that are not released are neither overwritten nor released: it is refused', async () => {
  const { peer, writer } = await peerWith({ a: '1', b: '1' })
  peer.edit(at('application'), 'b', '5')
  peer.edit(at('application'), 'theirs', '1')
  const put = putIfChanged(writer, 'application', { a: 2, b: 1 })
  await expect(put).rejects.toThrow('application holds edits that are not released (b, theirs)')
  expect(peer.items(at('application'))).toEqual({ a: '1', b: '1' })
  expect([...peer.drafts(at('application')).values()].map(({ value }) => value)).toEqual(['1', '5', '1'])
})

test('a release that fails leaves drafts, which is said; written again, it is released', async () => {
  const { peer, writer } = await peerWith({ a: '1', b: '1' })
  peer.beforeRelease = () => 'Config can not be published by yourself.'
  const put = () => putIfChanged(writer, 'application', { a: 2, b: 2 })
  const failed = put()
  await expect(failed).rejects.toMatchObject({ code: 'refused' })
  await expect(failed).rejects.toThrow(
    /answers 400: Config can not be published by yourself.; 2 of 2 items are edited, as drafts/,
  )
  await expect(put()).rejects.toThrow('2 of 2 items are edited')
  expect(peer.items(at('application'))).toEqual({ a: '1', b: '1' })
  peer.beforeRelease = undefined
  expect(await put()).toMatchObject({ kind: 'written' })
  expect(peer.items(at('application'))).toEqual({ a: '2', b: '2' })
})

test('drafts that a writer left itself do not stand in the way of what it writes next; for another they are somebody’s', async () => {
  const { peer, writer } = await peerWith({ a: '1', gone: '1' })
  peer.beforeRelease = () => 'not now'
  await expect(putIfChanged(writer, 'application', { a: 2 })).rejects.toThrow('not now; 2 of 2 items are edited')
  peer.beforeRelease = undefined
  const another = apolloWriter({ url: peer.url, ...portal })
  onTestFinished(() => another.close())
  await expect(putIfChanged(another, 'application', { a: 3 })).rejects.toThrow('not released (a)')
  expect(await putIfChanged(writer, 'application', { a: 3, gone: 1 })).toMatchObject({ kind: 'written' })
  expect(peer.items(at('application'))).toEqual({ a: '3', gone: '1' })
  peer.edit(at('application'), 'a', '2')
  await expect(putIfChanged(writer, 'application', { a: 4 })).rejects.toThrow('not released (a)')
})

test('an item that is refused half-way leaves drafts, and what is live is as before', async () => {
  const { peer, writer } = await peerWith({ a: '1' })
  peer.mostCharacters = 10
  const put = putIfChanged(writer, 'application', { a: 2, b: 'canary'.repeat(10) })
  await expect(put).rejects.toThrow('value too long. length limit:10; 1 of 2 items is edited, as drafts')
  await expect(put).rejects.not.toThrow('canary')
  expect(peer.items(at('application'))).toEqual({ a: '1' })
})

test('whoever ends a write half-way is told of the drafts that it leaves', async () => {
  const { peer, writer } = await peerWith({ a: '1' })
  const usual = peer.web.answering
  for (const [ending, told] of [
    ['/items', 'items may be edited, as drafts'],
    ['/releases', '2 of 2 items are edited, as drafts'],
  ] as const) {
    const stop = new AbortController()
    peer.web.answering = (request, response) => {
      if (request.method === 'POST' && request.url?.endsWith(ending)) stop.abort(new Error('stopped'))
      else usual?.(request, response)
    }
    const put = putIfChanged(writer, 'application', { a: 1, b: 'x', c: 'y' }, { signal: stop.signal })
    await expect(put).rejects.toThrow(told)
    peer.web.answering = usual
    // What was asked for may be there after all: it is the writer's own.
    if (ending === '/items') await putIfChanged(writer, 'application', { a: 1 }, { force: true })
  }
  expect(peer.items(at('application'))).toEqual({ a: '1' })
})

test('an item whose name a URL takes for another place is left alone, and so is the namespace', async () => {
  const { peer, writer } = await peerWith({ a: '1', '..': '1', 'b/c': '1' })
  await expect(putIfChanged(writer, 'application', { a: 2 })).rejects.toThrow('whose names no URL can hold (.., b/c)')
  expect(peer.web.requests.filter(({ method }) => method !== 'GET')).toEqual([])
  for (const name of ['..', '.', '', '.properties']) {
    await expect(writer.read(name, soon())).rejects.toMatchObject({ code: 'refused' })
    await expect(writer.remove(name, 'any', soon())).rejects.toMatchObject({ code: 'refused' })
  }
  expect(peer.items(at('application'))).toHaveProperty('a', '1')
})

test('what somebody else edits while it is released is told, as it is live', async () => {
  const { peer, writer } = await peerWith({ a: '1' })
  peer.beforeRelease = () => peer.edit(at('application'), 'theirs', '1')
  const put = putIfChanged(writer, 'application', { a: 2 })
  await expect(put).rejects.toMatchObject({ code: 'unknown' })
  await expect(put).rejects.toThrow('release 2 of application holds what somebody else edited meanwhile (theirs)')
})

test('what no source would read as it was written, or that would remove all, is refused', async () => {
  const { peer, writer } = await peerWith({ a: '1' })
  const put = (key: string, text: string) => writer.write(key, Buffer.from(text), 'any', soon())
  await expect(put('application', '{"a.b":1}')).rejects.toThrow('cannot have an item with "a.b" in its name')
  await expect(put('application', '{"a":{"":1}}')).rejects.toThrow('cannot have an item with ""')
  await expect(put('application', '{}')).rejects.toThrow('an empty document removes nothing')
  await expect(put('application', '[1]')).rejects.toThrow('want an object')
  await expect(put('a.xml', '1')).rejects.toThrow('is of XML')
  await expect(put('nobody-made', '{"a":1}')).rejects.toThrow('there is no namespace nobody-made')
  await expect(writer.write('application', Buffer.from('{"a":2}'), 'absent', soon())).rejects.toThrow('compare-and-set')
  expect(peer.items(at('application'))).toEqual({ a: '1' })
  expect(peer.releases).toBe(1)
})

test('names and values that mean something in a URL, in JSON or in lines are kept as they are', async () => {
  const { peer, writer } = await peerWith({})
  const names = ['a&b=c', 'q?r#s', '%2e%2e', '100%', 'ü €😀', ' s p ', 'x:y;z', '"', "'"]
  const of = (last: string) => Object.fromEntries(names.map((name) => [name, `${name}${last}`]))
  for (const last of ['', '\r\n\t&=%20+\u0000', '😀']) {
    expect(await putIfChanged(writer, 'application', of(last))).toMatchObject({ kind: 'written' })
    expect(JSON.parse(String((await writer.read('application', soon()))?.value))).toEqual(of(last))
    expect(Object.keys(peer.items(at('application')))).toEqual(names)
    expect(await putIfChanged(writer, 'application', of(last))).toMatchObject({ kind: 'unchanged' })
  }
  expect(await putIfChanged(writer, 'application', { a: 1 })).toMatchObject({ kind: 'written' })
  expect(peer.items(at('application'))).toEqual({ a: '1' })
})

test('items both as a and a.b are no tree, and are written over as such', async () => {
  const { peer, writer } = await peerWith({ a: '1', 'a.b': '2' })
  expect(await putIfChanged(writer, 'application', { a: { b: 2 } })).toMatchObject({ kind: 'written' })
  expect(peer.items(at('application'))).toEqual({ 'a.b': '2' })
})

test('a token of a user is sent as such, one of an application as it is', async () => {
  const { peer, writer } = await peerWith({ a: '1' }, { token: () => 'apollo_pat_1' })
  peer.portalToken = 'Bearer apollo_pat_1'
  expect(await putIfChanged(writer, 'application.properties', { a: 2 })).toMatchObject({ kind: 'written' })
})

test('options that cannot be meant are refused at the call', () => {
  expect(() => apolloWriter({ url: 'http://portal.example', ...portal, operator: '' })).toThrow(
    'operator is not there, or empty',
  )
  expect(() => apolloWriter({ url: 'http://portal.example', ...portal, env: '..' })).toThrow('env is ".."')
})
