import { describe, test } from 'vitest'
import { nats } from '../src/sources/nats.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { NatsServer, withoutNats } from './source-nats-rig.ts'
import { faultsOf } from './source-peer-rig.ts'

/** A bucket that lost its messages tells nobody: that is seen when all is read anew. */
const quick = {
  ...{ bucket: 'config', user: 'admin', password: 'right' },
  ...{ pollMs: 1_000, pingMs: 100, timeoutMs: 500, answerMs: 400, retry: { firstMs: 20, maxMs: 200 } },
} as const

async function open(): Promise<SourceRig> {
  const server = await NatsServer.start()
  const closing = [() => server.close()]
  const removed = new Set<string>()
  const nameOf = (key: string) => (key === 'doc' ? key : `app.${key.replaceAll('/', '.')}`)
  return {
    newSource({ mode, maxBytes }) {
      const place = mode === 'key' ? { key: 'doc' } : { prefix: 'app.' }
      return nats({ ...quick, servers: server.url, ...place, ...(maxBytes !== undefined && { maxBytes }) })
    },
    write: async (key, value) => void (await server.admin.kv.put(nameOf(key), value)),
    async remove(key) {
      await server.admin.kv.delete(nameOf(key))
      removed.add(nameOf(key))
    },
    loseAll: async () => void (await server.admin.manager.streams.purge('KV_config')),
    ...faultsOf(server.proxy),
    stopServer: () => server.stop(),
    startServer: () => server.start(),
    /** Without markers of what was removed, as `purgeDeletes` of clients does it; of values the bucket keeps one. */
    async compact() {
      for (const key of removed) await server.admin.manager.streams.purge('KV_config', { filter: `$KV.config.${key}` })
      removed.clear()
    },
    wrongAuth: async () => ({
      source: nats({ ...quick, servers: server.url, key: 'doc', password: () => 'wrong' }),
      attempts: () => server.proxy.accepted,
    }),
    async wrongTls() {
      const secure = await NatsServer.start({ tls: true })
      closing.push(() => secure.close())
      return { source: nats({ ...quick, servers: secure.url, key: 'doc' }), attempts: () => secure.proxy.accepted }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('nats()', () => {
  for (const { name, skip: lack, run } of testSource({ open })) {
    const skip = withoutNats ?? lack
    test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run)
  }
})
