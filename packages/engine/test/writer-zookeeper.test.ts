import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { zookeeper } from '../src/sources/zookeeper.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { zookeeperWriter } from '../src/writers/zookeeper.ts'
import { faultsOf } from './source-peer-rig.ts'
import { addressOf, done, proxied, withoutZookeeper, Zookeeper } from './source-zookeeper-rig.ts'
import { writerTests } from './writer-rig.ts'

let server: Zookeeper
let places = 0
const never = new AbortController().signal

beforeAll(async () => {
  if (withoutZookeeper === undefined) server = await Zookeeper.start()
}, 60_000)

afterAll(() => server?.close())

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
    async close() {
      await proxy.close()
      await server.removeAll(prefix.slice(0, -1))
    },
  }
}

describe('zookeeperWriter(), on a real server', () => {
  writerTests({ open, without: { tls: 'its client library does not speak TLS' } }, withoutZookeeper)

  const why = withoutZookeeper === undefined ? '' : ` (skipped: ${withoutZookeeper})`

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
      await expect(writer.remove('/a/b', 'any', never)).rejects.toThrow('has others below it')
      for (const wrong of ['a', '/', '/a/', '/a/../b', '']) {
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
