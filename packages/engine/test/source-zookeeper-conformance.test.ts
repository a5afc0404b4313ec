import { afterAll, describe, test } from 'vitest'
import { zookeeper } from '../src/sources/zookeeper.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { faultsOf } from './source-peer-rig.ts'
import { addressOf, proxied, withoutZookeeper, Zookeeper } from './source-zookeeper-rig.ts'
import type { TcpProxy } from './tcp-proxy.ts'

const quick = { pingMs: 100, timeoutMs: 500, answerMs: 400, retry: { firstMs: 20, maxMs: 200 } } as const

/** One for all cases: it takes seconds to start. */
let shared: Promise<Zookeeper> | undefined
/** One whose port speaks TLS. */
let secure: Promise<Zookeeper> | undefined
let places = 0

afterAll(async () => {
  await Promise.all([shared, secure].map(async (server) => (await server)?.close()))
})

async function open(): Promise<SourceRig> {
  const server = await (shared ??= Zookeeper.start())
  const proxy = await proxied(server.servers[0] as (typeof server.servers)[0])
  let toSecure: TcpProxy | undefined
  const place = `/place${++places}`
  const servers = `${addressOf(proxy)}${place}`
  const pathOf = (key: string) => `${place}${key === 'doc' ? '/doc' : `/app/${key}`}`
  const faults = faultsOf(proxy)
  return {
    newSource({ mode, maxBytes }) {
      const at = mode === 'key' ? { key: '/doc' } : { prefix: '/app/' }
      return zookeeper({ ...quick, servers, ...at, ...(maxBytes !== undefined && { maxBytes }) })
    },
    write: (key, value) => server.write(pathOf(key), value),
    remove: (key) => server.removeAll(pathOf(key)),
    /** While nobody looks. */
    async loseAll() {
      await faults.cutOff()
      await server.removeAll(place)
      await faults.letBack()
    },
    ...faults,
    stopServer: () => server.stop(),
    startServer: () => server.start(),
    async wrongAuth() {
      await server.write(pathOf('doc'), '{}')
      await server.protect(pathOf('doc'), 'reader:right')
      const source = zookeeper({ ...quick, servers, key: '/doc', user: 'reader', password: () => 'wrong' })
      return { source, attempts: () => proxy.accepted }
    },
    async wrongTls() {
      const other = await (secure ??= Zookeeper.start({ tls: 'own' }))
      toSecure = await proxied(other.servers[0] as (typeof other.servers)[0])
      const to = toSecure
      const source = zookeeper({ ...quick, servers: addressOf(to), key: '/doc', tls: {} })
      return { source, attempts: () => to.accepted }
    },
    async close() {
      await toSecure?.close()
      await proxy.close()
      await server.removeAll(place)
    },
  }
}

const without = { compact: 'ZooKeeper keeps no history: after each cut all is read anew' }

describe('zookeeper()', () => {
  for (const { name, skip: lack, run } of testSource({ open, without })) {
    const skip = withoutZookeeper ?? lack
    test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run, 60_000)
  }
})
