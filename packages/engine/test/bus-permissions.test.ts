/** What docs/buses.md says that a server has to allow is enough, and what it does not allow is said. */
import { describe, expect, test } from 'vitest'
import type { Bus } from '../src/buses/bus.ts'
import { natsBus } from '../src/buses/nats.ts'
import { redisBus } from '../src/buses/redis.ts'
import { NatsServer, withoutNats } from './source-nats-rig.ts'
import { RedisServer, withoutRedis } from './source-redis-rig.ts'

/** The control plane speaks to a config's nodes; these read their own config and may report. */
async function shows(plane: Bus, node: Bus): Promise<void> {
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
  await expect(node.publish('releases.shop.gateway', Buffer.from('forged'))).rejects.toThrow(/permission/i)
  await at('releases.shop.payments')
  await expect.poll(() => lost.join()).toMatch(/permission/i)
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
})
