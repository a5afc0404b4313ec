import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { nats } from '../src/sources/nats.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { natsWriter } from '../src/writers/nats.ts'
import { NatsServer, withoutNats } from './source-nats-rig.ts'
import { faultsOf } from './source-peer-rig.ts'
import { writerTests } from './writer-rig.ts'

let server: NatsServer
let places = 0

beforeAll(async () => {
  if (withoutNats === undefined) server = await NatsServer.start()
}, 60_000)

afterAll(() => server?.close())

const quick = { timeoutMs: 1_000, user: 'admin', password: 'right', bucket: 'config' } as const

async function open(): Promise<WriterRig> {
  const prefix = `place-${++places}.`
  const closing: (() => Promise<void>)[] = []
  return {
    newWriter: () => natsWriter({ ...quick, servers: server.url }),
    key: (name) => prefix + name.replaceAll('/', '.'),
    put: async (key, value) => void (await server.admin.kv.put(key, value)),
    async get(key) {
      const entry = await server.admin.kv.get(key)
      return entry?.operation === 'PUT' ? entry.value : undefined
    },
    remove: (key) => server.admin.kv.delete(key),
    newSource: (key) => nats({ ...quick, servers: server.url, key }),
    ...faultsOf(server.proxy),
    wrongAuth: () => natsWriter({ ...quick, servers: server.url, password: 'of-nobody' }),
    async wrongTls() {
      const secure = await NatsServer.start({ tls: true })
      closing.push(() => secure.close())
      return natsWriter({ ...quick, servers: secure.url })
    },
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('natsWriter(), on a real server', () => {
  writerTests({ open }, withoutNats)

  test.skipIf(withoutNats !== undefined)(
    'a value that is larger than a message may be is refused, not unknown',
    async () => {
      const writer = natsWriter({ ...quick, servers: server.url })
      onTestFinished(() => writer.close())
      const write = writer.write('large', new Uint8Array(1_100_000), 'any', new AbortController().signal)
      await expect(write).rejects.toMatchObject({
        code: 'refused',
        message: expect.stringContaining('1100000 bytes, more than this server takes; nothing was sent'),
      })
    },
  )
})
