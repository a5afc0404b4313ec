import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { zookeeper } from '../src/sources/zookeeper.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { zookeeperWriter } from '../src/writers/zookeeper.ts'
import { faultsOf } from './source-peer-rig.ts'
import { addressOf, done, proxied, withoutZookeeper, Zookeeper } from './source-zookeeper-rig.ts'
import { writerTests } from './writer-rig.ts'

let server: Zookeeper
/** One whose port speaks TLS. */
let secure: Promise<Zookeeper> | undefined
let places = 0
const never = new AbortController().signal

beforeAll(async () => {
  if (withoutZookeeper === undefined) server = await Zookeeper.start()
}, 60_000)

afterAll(async () => {
  await server?.close()
  await (await secure)?.close()
})

async function open(): Promise<WriterRig> {
  const proxy = await proxied(server.servers[0] as (typeof server.servers)[0])
  const prefix = `/place${++places}/`
  const servers = addressOf(proxy)
  return {
    newWriter: () => zookeeperWriter({ servers, timeoutMs: 1_000 }),
    key: (name) => prefix + name,
    put: (key, value) => server.write(key, value),
    get: (key) => server.read(key),
    remove: (key) => server.remove(key),
    newSource: (key) => zookeeper({ servers, key }),
    ...faultsOf(proxy),
    async wrongAuth() {
      await server.write(`${prefix}a`, '1')
      await server.protect(`${prefix}a`, 'writer:right')
      return zookeeperWriter({ servers, user: 'writer', password: 'of-nobody' })
    },
    async wrongTls() {
      const [other] = (await (secure ??= Zookeeper.start({ tls: 'own' }))).servers
      return zookeeperWriter({ servers: `127.0.0.1:${other?.securePort}`, timeoutMs: 1_000, tls: {} })
    },
    async close() {
      await proxy.close()
      await server.removeAll(prefix.slice(0, -1))
    },
  }
}

describe('zookeeperWriter(), on a real server', () => {
  writerTests({ open }, withoutZookeeper)

  const why = withoutZookeeper === undefined ? '' : ` (skipped: ${withoutZookeeper})`

  test.skipIf(withoutZookeeper !== undefined)(
    `over TLS, with a certificate of its own, it writes${why}`,
    async () => {
      const mutual = await Zookeeper.start({ tls: 'mutual' })
      onTestFinished(() => mutual.close())
      const [ca, cert, key] = [
        mutual.tls?.server.pem ?? '',
        mutual.tls?.client.pem ?? '',
        mutual.tls?.client.keyPem ?? '',
      ]
      const servers = `127.0.0.1:${mutual.servers[0]?.securePort}`
      const writer = zookeeperWriter({ servers, tls: { ca, cert, key } })
      onTestFinished(() => writer.close())
      expect(await writer.write('/a', Buffer.from('1'), 'absent', never)).toMatchObject({ kind: 'written' })
      expect(await mutual.read('/a')).toEqual(Buffer.from('1'))
      const nobody = zookeeperWriter({ servers, tls: { ca } })
      onTestFinished(() => nobody.close())
      await expect(nobody.write('/a', Buffer.from('2'), 'any', never)).rejects.toMatchObject({ code: 'denied' })
    },
    60_000,
  )

  test.skipIf(withoutZookeeper !== undefined)(
    `what goes beyond a quota is refused, and was not written${why}`,
    async () => {
      const own = await Zookeeper.start({ lines: ['enforceQuota=true'] })
      onTestFinished(() => own.close())
      await own.write('/app/a', '1')
      await own.write('/zookeeper/quota/app/zookeeper_limits', 'count=-1,bytes=-1=;byteHardLimit=10;countHardLimit=3')
      await own.write('/zookeeper/quota/app/zookeeper_stats', 'count=2,bytes=1=;byteHardLimit=-1;countHardLimit=-1')
      const writer = zookeeperWriter({ servers: `127.0.0.1:${own.servers[0]?.port}` })
      onTestFinished(() => writer.close())
      const long = writer.write('/app/a', Buffer.alloc(100, 'x'), 'any', never)
      await expect(long).rejects.toMatchObject({ code: 'refused', message: expect.stringContaining('a quota') })
      // Of what is made above it too.
      const many = writer.write('/app/b/c/d', Buffer.from('1'), 'absent', never)
      await expect(many).rejects.toMatchObject({ code: 'refused' })
      expect(await own.read('/app/a')).toEqual(Buffer.from('1'))
    },
    60_000,
  )

  test.skipIf(withoutZookeeper !== undefined)(
    `what it is to be below is made, and what it cannot be is told${why}`,
    async () => {
      const place = `/place${++places}`
      const servers = `127.0.0.1:${server.servers[0]?.port}`
      const writer = zookeeperWriter({ servers: `${servers}${place}/chroot` })
      onTestFinished(async () => {
        await writer.close()
        await server.removeAll(place)
      })
      const value = Buffer.from('1')
      expect(await writer.write('/a/b/c', value, 'absent', never)).toMatchObject({ kind: 'written' })
      expect(await server.read(`${place}/chroot/a/b/c`)).toEqual(value)
      const listed = []
      for await (const { key } of writer.list('/', never)) listed.push(key)
      expect(listed).toEqual(['/a/b/c'])
      // No key begins with it, but another place does.
      await server.write(`${place}/chrootx/y`, '1')
      for await (const { key } of writer.list('x/y', never)) listed.push(key)
      expect(listed).toEqual(['/a/b/c'])
      await expect(writer.remove('/a/b', 'any', never)).rejects.toThrow('has others below it')
      for (const wrong of ['a', '/', '/a/', '/a/../b', '', '/\u{1f600}']) {
        await expect(writer.write(wrong, value, 'any', never)).rejects.toMatchObject({ code: 'refused' })
      }
      const large = Buffer.alloc(1024 * 1024 - 4_096, 'x')
      expect(await writer.write('/large', large, 'any', never)).toMatchObject({ kind: 'written' })
      await expect(writer.write('/large', Buffer.alloc(1024 * 1024), 'any', never)).rejects.toThrow(
        'want at most 1044480',
      )
      const client = await server.admin()
      await done((end) => client.create(`${place}/chroot/here`, Buffer.from('1'), 1, end))
      await expect(writer.write('/here/a', value, 'any', never)).rejects.toThrow('is below an ephemeral znode')
    },
  )
})
