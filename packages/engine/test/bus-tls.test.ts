/** Buses to servers with TLS: a certificate that is not trusted is an error that says so, and nothing is sent. */
import { Admin } from '@platformatic/kafka'
import { expect, test } from 'vitest'
import type { Bus } from '../src/buses/bus.ts'
import { kafkaBus } from '../src/buses/kafka.ts'
import { natsBus } from '../src/buses/nats.ts'
import { redisBus } from '../src/buses/redis.ts'
import { startBroker, withoutKafka } from './kafka-broker.ts'
import { NatsServer, withoutNats } from './source-nats-rig.ts'
import { RedisServer, withoutRedis } from './source-redis-rig.ts'

async function shows(trusting: Bus, wary: Bus): Promise<void> {
  const heard: string[] = []
  try {
    await new Promise<void>((resolve, reject) => {
      trusting.subscribe('topic', {
        message: (bytes) => void heard.push(Buffer.from(bytes).toString()),
        listening: resolve,
        lost: reject,
      })
    })
    await trusting.publish('topic', Buffer.from('over TLS'))
    await expect.poll(() => heard, { timeout: 30_000 }).toEqual(['over TLS'])
    await expect(wary.publish('topic', Buffer.from('x'))).rejects.toThrow(/certificate|self.signed/i)
  } finally {
    await trusting.close()
    await wary.close()
  }
}

const why = (missing: string | undefined) => (missing ? ` (skipped: ${missing})` : '')

test.skipIf(withoutNats)(`NATS${why(withoutNats)}`, async () => {
  const server = await NatsServer.start({ tls: true })
  const at = { servers: server.url, user: 'admin', password: 'right' }
  try {
    await shows(natsBus({ ...at, tls: { ca: server.ca as string } }), natsBus(at))
  } finally {
    await server.close()
  }
})

test.skipIf(withoutRedis)(`Redis${why(withoutRedis)}`, async () => {
  const server = await RedisServer.start({ tls: true })
  try {
    await shows(redisBus({ url: server.url, tls: { ca: server.ca as string } }), redisBus({ url: server.url }))
  } finally {
    await server.close()
  }
})

test.skipIf(withoutKafka)(
  `Kafka${why(withoutKafka)}`,
  async () => {
    const broker = await startBroker({ proxied: 'tls' })
    const brokers = `kafka://${broker.proxied}`
    try {
      const admin = new Admin({ clientId: 'tests', bootstrapBrokers: [broker.bootstrap], retries: 0 })
      await admin.createTopics({ topics: ['midflight.topic'], partitions: 1, replicas: 1 })
      await admin.close()
      await shows(kafkaBus({ brokers, tls: { ca: broker.ca as string } }), kafkaBus({ brokers, tls: {} }))
    } finally {
      await broker.close()
    }
  },
  120_000,
)
