import { afterAll, beforeAll, describe } from 'vitest'
import { redis } from '../src/sources/redis.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { redisWriter } from '../src/writers/redis.ts'
import { faultsOf } from './source-peer-rig.ts'
import { RedisServer, withoutRedis } from './source-redis-rig.ts'
import { writerTests } from './writer-rig.ts'

let server: RedisServer
let places = 0

beforeAll(async () => {
  if (withoutRedis === undefined) server = await RedisServer.start({ password: 'right' })
}, 60_000)

afterAll(() => server?.close())

const quick = { timeoutMs: 1_000, password: 'right' } as const

async function open(): Promise<WriterRig> {
  const prefix = `place-[${++places}]*:`
  const closing: (() => Promise<void>)[] = []
  return {
    newWriter: () => redisWriter({ ...quick, url: server.url }),
    key: (name) => prefix + name.replaceAll('/', ':'),
    put: async (key, value) => void (await server.admin.set(key, Buffer.from(value))),
    get: async (key) => (await server.admin.getBuffer(key)) ?? undefined,
    remove: async (key) => void (await server.admin.del(key)),
    newSource: (key) => redis({ ...quick, url: server.url, key, notifications: false }),
    ...faultsOf(server.proxy),
    wrongAuth: () => redisWriter({ ...quick, url: server.url, password: 'of-nobody' }),
    async wrongTls() {
      const secure = await RedisServer.start({ tls: true })
      closing.push(() => secure.close())
      return redisWriter({ timeoutMs: 1_000, url: secure.url })
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

const without = { revisions: 'Redis keeps none' }

describe('redisWriter(), on a real server', () => {
  writerTests({ open, without }, withoutRedis)
})
