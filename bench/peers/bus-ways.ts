/**
 * The ways of the benchmark of buses: a real server of each, how the control plane and a node reach it, and beside that
 * the client library's own publish and subscribe. A way is opened once, by the process that publishes; who listens is
 * in another, and knows the address only.
 */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import type { Bus } from 'midflight/buses/bus'
import { startBroker, withoutKafka } from '../../packages/engine/test/kafka-broker.ts'
import { isThere, serverOf } from './server.ts'

export type WayName = 'websocket' | 'nats' | 'redis' | 'kafka'

/** In the process that publishes. */
export interface Server {
  readonly address: string
  /** By the client library alone, to all who listen by `listen`. Settles when the server has it. */
  publish(bytes: Buffer): Promise<unknown>
  close(): Promise<void>
}

export interface Way {
  readonly name: WayName
  /** What is beside it. */
  readonly bare: string
  /** Why it cannot be measured here. */
  readonly lacking: string | undefined
  open(): Promise<Server>
  /** For a control plane or one node; `undefined`: there is none, and a WebSocket. */
  bus(address: string): Promise<Bus | undefined>
  /** By the client library alone. Settles when it is heard. */
  listen(address: string, onMessage: (bytes: Buffer) => void): Promise<void>
}

export const config = 'bench'
const topic = 'bare'

export const ways: readonly Way[] = [
  {
    name: 'websocket',
    bare: 'a frame of ws to all',
    lacking: undefined,
    async open() {
      const { WebSocketServer } = await import('ws')
      const server = new WebSocketServer({ port: 0, host: '127.0.0.1', perMessageDeflate: false })
      await once(server, 'listening')
      return {
        address: `ws://127.0.0.1:${(server.address() as AddressInfo).port}`,
        async publish(bytes) {
          for (const client of server.clients) client.send(bytes)
        },
        async close() {
          for (const client of server.clients) client.terminate()
          server.close()
        },
      }
    },
    bus: async () => undefined,
    async listen(address, onMessage) {
      const { WebSocket } = await import('ws')
      const socket = new WebSocket(address, { perMessageDeflate: false })
      socket.on('message', (bytes: Buffer) => onMessage(bytes))
      await once(socket, 'open')
    },
  },
  {
    name: 'nats',
    bare: 'publish of @nats-io/transport-node',
    lacking: isThere('nats-server', '--version') ? undefined : 'nats-server is not installed',
    async open() {
      const server = await serverOf(
        'nats-server',
        (_, port) => ['-a', '127.0.0.1', '-p', String(port)],
        (_, said) => said.some((line) => line.includes('Server is ready')),
      )
      const address = `nats://127.0.0.1:${server.port}`
      const { connect } = await import('@nats-io/transport-node')
      const connection = await connect({ servers: address })
      return {
        address,
        async publish(bytes) {
          connection.publish(topic, bytes)
          await connection.flush()
        },
        async close() {
          await connection.close()
          await server.stop()
        },
      }
    },
    bus: async (address) => (await import('midflight/buses/nats')).natsBus({ servers: address }),
    async listen(address, onMessage) {
      const { connect } = await import('@nats-io/transport-node')
      const connection = await connect({ servers: address })
      connection.subscribe(topic, { callback: (_, { data }) => onMessage(Buffer.from(data)) })
      await connection.flush()
    },
  },
  {
    name: 'redis',
    bare: 'publish of ioredis',
    lacking: isThere('redis-server', '--version') ? undefined : 'redis-server is not installed',
    async open() {
      const server = await serverOf(
        'redis-server',
        (folder, port) => ['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', ''],
        (_, said) => said.some((line) => line.includes('Ready to accept connections')),
      )
      const { Redis } = await import('ioredis')
      const client = new Redis(server.port, '127.0.0.1')
      return {
        address: `redis://127.0.0.1:${server.port}`,
        publish: (bytes) => client.publish(topic, bytes),
        async close() {
          client.disconnect()
          await server.stop()
        },
      }
    },
    bus: async (address) => (await import('midflight/buses/redis')).redisBus({ url: address }),
    async listen(address, onMessage) {
      const { Redis } = await import('ioredis')
      const client = new Redis(address)
      client.on('messageBuffer', (_, bytes: Buffer) => onMessage(bytes))
      await client.subscribe(topic)
    },
  },
  {
    name: 'kafka',
    bare: 'send and stream of @platformatic/kafka',
    lacking: withoutKafka,
    async open() {
      const broker = await startBroker()
      const { Admin, Producer } = await import('@platformatic/kafka')
      const settings = { clientId: 'bench', bootstrapBrokers: [broker.bootstrap] }
      const admin = new Admin(settings)
      await admin.createTopics({ topics: [topic, `midflight.releases.${config}`], partitions: 1, replicas: 1 })
      await admin.close()
      const producer = new Producer(settings)
      return {
        address: `kafka://${broker.bootstrap}`,
        publish: (bytes) => producer.send({ messages: [{ topic, value: bytes }], acks: -1 }),
        async close() {
          await producer.close()
          await broker.close()
        },
      }
    },
    bus: async (address) => (await import('midflight/buses/kafka')).kafkaBus({ brokers: address }),
    async listen(address, onMessage) {
      const { Consumer, MessagesStreamModes } = await import('@platformatic/kafka')
      const groupId = `bare-${Math.random()}`
      const consumer = new Consumer({ clientId: 'bench', bootstrapBrokers: [new URL(address).host], groupId })
      // As whoever listens to a bus does: from what is newest, and nothing is committed.
      const stream = await consumer.consume({ topics: [topic], mode: MessagesStreamModes.LATEST, autocommit: false })
      stream.on('data', ({ value }) => onMessage(value))
    },
  },
]
