import { describe, test } from 'vitest'
import { redis, type RedisOptions } from '../src/sources/redis.ts'
import { testSource, type SourceFactory, type SourceRig } from '../src/testing/index.ts'
import { faultsOf } from './source-peer-rig.ts'
import { RedisServer, withoutRedis } from './source-redis-rig.ts'

const quick = { pollMs: 100, timeoutMs: 500, answerMs: 400, retry: { firstMs: 20, maxMs: 200 } } as const

interface How {
  readonly args?: readonly string[]
  readonly options?: Partial<RedisOptions>
  readonly isHash?: boolean
  readonly without?: SourceFactory['without']
}

const notifying = ['--notify-keyspace-events', 'Kg$hxe']
const silent = { notifications: false }
const unseen = { removal: 'without notifications a removal cannot be told from a loss, where nothing is left' }

const ways: Readonly<Record<string, How>> = {
  'redis(), with keyspace notifications': { args: notifying, options: { pollMs: 2_000 } },
  'redis(), asked now and then': { options: silent, without: unseen },
  'redis(), with hints on a channel': {
    options: { ...silent, channel: 'changed', pollMs: 2_000 },
    without: unseen,
  },
  'redis(), the fields of a hash': {
    args: notifying,
    options: { pollMs: 2_000 },
    isHash: true,
    without: { key: 'its fields are a tree' },
  },
}

async function open({ args = [], options = {}, isHash = false }: How): Promise<SourceRig> {
  const password = 'right'
  const server = await RedisServer.start({ args, password })
  const closing = [() => server.close()]
  const common = { ...quick, url: server.url, password, ...options }
  const hinted = async () => {
    if (options.channel !== undefined) await server.admin.publish(options.channel, 'look')
  }
  const nameOf = (key: string) => (key === 'doc' ? key : `app:${key.replaceAll('/', ':')}`)
  return {
    newSource({ mode, maxBytes }) {
      const place = isHash ? { hash: 'app' } : mode === 'key' ? { key: 'doc' } : { prefix: 'app:' }
      return redis({ ...common, ...place, ...(maxBytes !== undefined && { maxBytes }) })
    },
    async write(key, value) {
      if (isHash) await server.admin.hset('app', key.replaceAll('/', ':'), Buffer.from(value))
      else await server.admin.set(nameOf(key), Buffer.from(value))
      await hinted()
    },
    async remove(key) {
      if (isHash) await server.admin.hdel('app', key.replaceAll('/', ':'))
      else await server.admin.del(nameOf(key))
      await hinted()
    },
    loseAll: async () => void (await server.admin.flushdb()),
    ...faultsOf(server.proxy),
    stopServer: () => server.stop(),
    startServer: () => server.start(),
    // It keeps no history at all: what was missed is gone in any case.
    compact: async () => {},
    wrongAuth: async () => ({
      source: redis({ ...common, key: 'doc', password: () => 'wrong' }),
      attempts: () => server.proxy.accepted,
    }),
    async wrongTls() {
      const secure = await RedisServer.start({ tls: true })
      closing.push(() => secure.close())
      return { source: redis({ ...quick, key: 'doc', url: secure.url }), attempts: () => secure.proxy.accepted }
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

for (const [title, how] of Object.entries(ways)) {
  describe(`${title}`, () => {
    const { without = {} } = how
    for (const { name, skip: lack, run } of testSource({ open: () => open(how), without })) {
      const skip = withoutRedis ?? lack
      test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run)
    }
  })
}
