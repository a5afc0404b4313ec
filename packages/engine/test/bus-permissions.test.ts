/** What docs/buses.md says that a server has to allow is enough, and what it does not allow is said. */
import {
  AclOperations,
  AclPermissionTypes,
  Admin,
  Producer,
  ResourcePatternTypes,
  ResourceTypes,
  type Acl,
} from '@platformatic/kafka'
import { describe, expect, test } from 'vitest'
import type { Bus } from '../src/buses/bus.ts'
import { kafkaBus } from '../src/buses/kafka.ts'
import { natsBus } from '../src/buses/nats.ts'
import { redisBus } from '../src/buses/redis.ts'
import { startBroker, withoutKafka } from './kafka-broker.ts'
import { NatsServer, withoutNats } from './source-nats-rig.ts'
import { RedisServer, withoutRedis } from './source-redis-rig.ts'

/** The control plane speaks to a config's nodes; these read their own config and may report. */
async function shows(plane: Bus, node: Bus, refused = /permission/i): Promise<void> {
  const heard: string[] = []
  const lost: string[] = []
  const at = (topic: string) =>
    new Promise<void>((resolve) => {
      node.subscribe(topic, {
        message: (bytes) => void heard.push(Buffer.from(bytes).toString()),
        listening: resolve,
        lost({ message }) {
          lost.push(message)
          resolve()
        },
      })
    })
  await at('releases.shop.gateway')
  expect(lost).toEqual([])
  await plane.publish('releases.shop.gateway', Buffer.from('a release'))
  await expect.poll(() => heard).toEqual(['a release'])
  await node.publish('reports', Buffer.from('a report'))
  await expect(node.publish('releases.shop.gateway', Buffer.from('forged'))).rejects.toThrow(refused)
  await at('releases.shop.payments')
  await expect.poll(() => lost.join()).toMatch(refused)
}

describe('permissions', () => {
  test.skipIf(withoutNats)(`NATS${withoutNats ? ` (skipped: ${withoutNats})` : ''}`, async () => {
    const users = [
      '{ user: plane, password: p, permissions: { publish: "midflight.releases.>", subscribe: "midflight.reports" } }',
      '{ user: node, password: n, permissions: { publish: "midflight.reports", subscribe: "midflight.releases.shop.gateway" } }',
    ].join('\n')
    const server = await NatsServer.start({ users })
    const plane = natsBus({ servers: server.url, user: 'plane', password: 'p' })
    const node = natsBus({ servers: server.url, user: 'node', password: 'n' })
    try {
      await shows(plane, node)
    } finally {
      await plane.close()
      await node.close()
      await server.close()
    }
  })

  test.skipIf(withoutRedis)(`Redis${withoutRedis ? ` (skipped: ${withoutRedis})` : ''}`, async () => {
    const server = await RedisServer.start()
    const commands = ['+publish', '+subscribe', '+unsubscribe', '+ping']
    const allow = (name: string, password: string, ...channels: string[]) =>
      server.admin.acl('SETUSER', name, 'on', `>${password}`, 'resetchannels', ...channels, ...commands)
    await allow('plane', 'p', '&midflight.releases.*', '&midflight.reports')
    await allow('node', 'n', '&midflight.releases.shop.gateway', '&midflight.reports')
    const plane = redisBus({ url: server.url, username: 'plane', password: 'p' })
    const node = redisBus({ url: server.url, username: 'node', password: 'n' })
    try {
      const heard: string[] = []
      await new Promise<void>((resolve, reject) => {
        node.subscribe('releases.shop.gateway', {
          message: (bytes) => void heard.push(Buffer.from(bytes).toString()),
          listening: resolve,
          lost: reject,
        })
      })
      await plane.publish('releases.shop.gateway', Buffer.from('a release'))
      await expect.poll(() => heard).toEqual(['a release'])
      await node.publish('reports', Buffer.from('a report'))
      await expect(node.publish('releases.shop.payments', Buffer.from('forged'))).rejects.toThrow(/permission/i)
    } finally {
      await plane.close()
      await node.close()
      await server.close()
    }
  })

  test.skipIf(withoutKafka)(
    `Kafka, with SCRAM; on a topic as described nothing can be put that unfolds${withoutKafka ? ` (skipped: ${withoutKafka})` : ''}`,
    async () => {
      const broker = await startBroker({
        proxied: 'sasl',
        settings: {
          'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
          // Whoever comes past the proxy.
          'super.users': 'User:ANONYMOUS',
          'listener.name.proxied.plain.sasl.jaas.config':
            'org.apache.kafka.common.security.plain.PlainLoginModule required user_node="n";',
        },
      })
      const client = { clientId: 'tests', bootstrapBrokers: [broker.bootstrap], retries: 0 }
      const admin = new Admin(client)
      const attacker = new Producer({ ...client, compression: 'gzip' })
      const brokers = `kafka://${broker.proxied}`
      const plane = kafkaBus({ brokers, user: 'app', password: 'right' })
      const asNode = () => kafkaBus({ brokers, user: 'node', password: 'n', mechanism: 'PLAIN' })
      const [node, other] = [asNode(), asNode()]
      try {
        const topics = ['reports', 'releases.shop.gateway', 'releases.shop.payments'].map((name) => `midflight.${name}`)
        const configs = [{ name: 'compression.type', value: 'uncompressed' }]
        await admin.createTopics({ topics, partitions: 1, replicas: 1, configs })
        const { LITERAL, PREFIXED } = ResourcePatternTypes
        const allow = (user: string, name: string, patternType: number, ...operations: number[]) =>
          operations.map((operation) => ({
            ...{
              resourceType: ResourceTypes.TOPIC,
              resourceName: `midflight.${name}`,
              resourcePatternType: patternType,
            },
            ...{ principal: `User:${user}`, host: '*', operation, permissionType: AclPermissionTypes.ALLOW },
          }))
        const { READ, WRITE, DESCRIBE } = AclOperations
        await admin.createAcls({
          creations: [
            ...allow('app', 'releases.', PREFIXED, WRITE, DESCRIBE),
            ...allow('app', 'reports', LITERAL, READ, DESCRIBE),
            ...allow('node', 'releases.shop.gateway', LITERAL, READ, DESCRIBE),
            ...allow('node', 'reports', LITERAL, WRITE, DESCRIBE),
          ] as Acl[],
        })
        const reports: number[] = []
        await new Promise<void>((resolve, reject) => {
          plane.subscribe('reports', {
            message: (bytes) => void reports.push(bytes.length),
            listening: resolve,
            lost: reject,
          })
        })
        await shows(plane, node, /authorization/i)
        await expect.poll(() => reports).toEqual([8])
        // 50 KB on the wire, of which each reader would have to make 50 MB.
        const unfolds = { topic: 'midflight.reports', key: Buffer.from('k'), value: Buffer.alloc(50_000_000) }
        await expect(attacker.send({ messages: [unfolds] })).rejects.toThrow()
        // That of before is cut off again and again, for what it may not hear.
        await node.close()
        await other.publish('reports', Buffer.from('after it'))
        await expect.poll(() => reports).toEqual([8, 8])
      } finally {
        await Promise.all([plane.close(), node.close(), other.close()])
        await admin.close()
        attacker.close(true)
        await broker.close()
      }
    },
    60_000,
  )
})
