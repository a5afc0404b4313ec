/** Every bus against its real server, by the suite that all of them pass. */
import { Admin } from '@platformatic/kafka'
import { describe, test } from 'vitest'
import type { Bus } from '../src/buses/bus.ts'
import { kafkaBus } from '../src/buses/kafka.ts'
import { natsBus } from '../src/buses/nats.ts'
import { redisBus } from '../src/buses/redis.ts'
import { testBus, type BusFactory } from '../src/testing/bus-conformance.ts'
import { startBroker, withoutKafka } from './kafka-broker.ts'
import { NatsServer, withoutNats } from './source-nats-rig.ts'
import { RedisServer, withoutRedis } from './source-redis-rig.ts'
import type { TcpProxy } from './tcp-proxy.ts'

const wrong = 'nobody-may-read-this'

interface Server {
  readonly proxy: TcpProxy
  stop(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

/** @param bus to the server by way of its proxy; `right` is its password. */
function rigOf(server: Server, bus: (password: string) => Bus): Awaited<ReturnType<BusFactory['open']>> {
  return {
    newBus: () => bus('right'),
    wrongPassword: () => ({ bus: bus(wrong), password: wrong }),
    stopServer: () => server.stop(),
    startServer: () => server.start(),
    silence: () => void (server.proxy.swallow = true),
    letBack: () => void (server.proxy.swallow = false),
    connections: () => server.proxy.connections,
    close: () => server.close(),
  }
}

const nats: BusFactory = {
  async open() {
    const server = await NatsServer.start()
    const bus = (password: string) =>
      natsBus({ servers: server.url, user: 'admin', password, pingMs: 200, timeoutMs: 2_000 })
    return rigOf(server, bus)
  },
}

const redis: BusFactory = {
  async open() {
    const server = await RedisServer.start({ password: 'right' })
    const bus = (password: string) => redisBus({ url: server.url, password, pingMs: 200, timeoutMs: 2_000 })
    return rigOf(server, bus)
  },
}

const kafka: BusFactory = {
  async open() {
    const broker = await startBroker({ proxied: 'sasl' })
    const admin = new Admin({ clientId: 'tests', bootstrapBrokers: [broker.bootstrap], retries: 0 })
    const topics = ['a.b', 'a.c', 'large', 'topic'].map((topic) => `midflight.${topic}`)
    await admin.createTopics({ topics, partitions: 2, replicas: 1 })
    await admin.close()
    const bus = (password: string) =>
      kafkaBus({ brokers: `kafka://${broker.proxied}`, user: 'app', password, mechanism: 'PLAIN', timeoutMs: 5_000 })
    const { proxy, kill, restart, close } = broker
    return rigOf({ proxy, stop: kill, start: restart, close }, bus)
  },
}

const all: readonly (readonly [string, BusFactory, string | undefined])[] = [
  ['NATS', nats, withoutNats],
  ['Redis', redis, withoutRedis],
  ['Kafka', kafka, withoutKafka],
]

for (const [server, factory, missing] of all) {
  describe(`${server}${missing === undefined ? '' : ` (skipped: ${missing})`}`, () => {
    for (const { name, run } of testBus(factory)) test.skipIf(missing)(`${name}`, run, 120_000)
  })
}
