import { describe, expect, onTestFinished, test } from 'vitest'
import { nacos } from '../src/sources/nacos.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { nacosWriter, type NacosWriterOptions } from '../src/writers/nacos.ts'
import { putIfChanged } from '../src/writers/put-if-changed.ts'
import { NacosPeer } from './nacos-peer.ts'
import { faultsOf, untrusted } from './source-peer-rig.ts'
import { writerTests } from './writer-rig.ts'

const quick = { timeoutMs: 1_000 } as const
const place = { group: 'shop', tenant: 'b3-1' } as const
const soon = () => AbortSignal.timeout(10_000)
const at = (key: string) => [key, place.group, place.tenant] as const

async function open(): Promise<WriterRig> {
  const peer = await NacosPeer.listen()
  const closing: (() => Promise<void>)[] = [() => peer.web.close()]
  return {
    newWriter: () => nacosWriter({ url: peer.url, ...place, ...quick }),
    key: (name) => name.replaceAll('/', '.'),
    put: async (key, value) => peer.put(at(key), value),
    get: async (key) => peer.get(at(key)),
    remove: async (key) => peer.remove(at(key)),
    newSource: (key) => nacos({ url: peer.url, dataId: key, ...place, ...quick }),
    ...faultsOf(peer.web.proxy),
    wrongAuth() {
      peer.user = { username: 'me', password: 'right' }
      return nacosWriter({ url: peer.url, ...place, ...quick, username: 'me', password: 'of-nobody' })
    },
    async wrongTls() {
      const server = await untrusted()
      closing.push(() => server.close())
      return nacosWriter({ url: server.url, ...place, ...quick })
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('nacosWriter(), on a protocol peer written from Nacos’s documentation', () => {
  writerTests({
    open,
    without: {
      list: 'a data id holds a whole document',
      revisions: 'Nacos compares MD5 sums, and a content that came back has the same',
      bytes: 'a content is text',
      empty: 'Nacos takes no empty content',
    },
  })
})

async function peerWith(options: Partial<NacosWriterOptions> = {}) {
  const peer = await NacosPeer.listen()
  const writer = nacosWriter({ url: peer.url, ...place, ...quick, ...options })
  onTestFinished(async () => {
    await writer.close()
    await peer.web.close()
  })
  return { peer, writer }
}

test('a server of Nacos that would not compare is written to by force only', async () => {
  const { peer, writer } = await peerWith()
  peer.version = '2.3.2'
  await expect(putIfChanged(writer, 'app.json', { a: 1 })).rejects.toThrow('older than Nacos 2.4')
  expect(peer.get(at('app.json'))).toBeUndefined()
  expect(await putIfChanged(writer, 'app.json', { a: 1 }, { force: true })).toMatchObject({ kind: 'written' })
  expect(await putIfChanged(writer, 'app.json', { a: 1 })).toMatchObject({ kind: 'unchanged' })
})

test('what Nacos keeps beside a content stays: its type, its description, its tags', async () => {
  const { peer, writer } = await peerWith()
  const about = { type: 'yaml', desc: 'of the shop', configTags: 'a,b', appName: 'shop' }
  peer.put(at('app.json'), Buffer.from('a: 1'), about)
  expect(await putIfChanged(writer, 'app.json', { a: 2 })).toMatchObject({ kind: 'written' })
  expect(peer.about(at('app.json'))).toEqual(about)
  await putIfChanged(writer, 'new.yaml', { a: 1 })
  await putIfChanged(writer, 'new', { a: 1 })
  expect(peer.about(at('new.yaml'))).toMatchObject({ type: 'yaml' })
  expect(peer.about(at('new'))).toMatchObject({ type: 'json' })
})

test('it logs in, and again where the token is not good any more', async () => {
  const { peer, writer } = await peerWith({ username: 'me', password: 'right' })
  peer.user = { username: 'me', password: 'right' }
  await putIfChanged(writer, 'app.json', { a: 1 })
  peer.tokens.clear()
  expect(await putIfChanged(writer, 'app.json', { a: 2 })).toMatchObject({ kind: 'written' })
  expect(peer.logins).toBe(2)
})

test('an error of the server after it was asked leaves it open whether it was written', async () => {
  const { peer, writer } = await peerWith()
  peer.failing = 'caused: CannotGetJdbcConnectionException;'
  await expect(writer.write('a', Buffer.from('1'), 'any', soon())).rejects.toMatchObject({ code: 'unknown' })
})

test('what Nacos cannot take as a data id, a group or a content is refused before it is asked', async () => {
  const { peer, writer } = await peerWith()
  await expect(writer.read('a/b', soon())).rejects.toMatchObject({ code: 'refused' })
  const bytes = Buffer.of(0xff)
  await expect(writer.write('a', bytes, 'any', soon())).rejects.toThrow('is not UTF-8')
  expect(() => nacosWriter({ url: peer.url, group: 'a b' })).toThrow('group is "a b"')
  expect(peer.web.requests).toHaveLength(0)
})
