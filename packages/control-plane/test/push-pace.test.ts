/** Delivery under publishers that do not pause. */
import { expect, test } from 'vitest'
import { publish } from '../src/publish.ts'
import { createInbox } from '../src/push/inbox.ts'
import type { Link } from '../src/push/websocket.ts'
import { config, rig, TestNode } from './push-rig.ts'

test('newest wins: who publishes without a pause gets ahead of the nodes, which are spared what came in between', async () => {
  let ms = 0
  // By this clock every pass is a long one.
  const clock = { now: () => new Date(), monotonicMs: () => (ms += 5) }
  const server = await rig({ clock, limits: { leaseMs: 86_400_000, answerMs: 86_400_000 } })
  await server.release({ content: { n: 1 } })
  const nodes = await Promise.all(Array.from({ length: 10 }, () => new TestNode(server.url).on(1)))
  for (let n = 2; n <= 21; n++) {
    await publish(server.domain, { author: 'ada', changes: [{ config, content: { n } }] })
    void server.hub.announce(config)
    for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(nodes.map((node) => node.on(21)))
  for (const node of nodes) {
    const numbers = node.releases().map(({ release }) => release.number)
    expect(numbers.length, String(numbers)).toBeLessThan(11)
    expect(node.content).toEqual({ n: 21 })
  }
  // A pause later a single one is there at once: it is announced when it is written, and that is what they wait for.
  await server.release({ content: { n: 22 } })
  await Promise.all(nodes.map((node) => node.on(22)))
})

test('reports are taken by the hundred, though each makes the fan-out look at its node', async () => {
  let looking: Promise<void> | undefined
  const taken: Link[] = []
  const inbox = createInbox({
    take(link) {
      taken.push(link)
      looking ??= Promise.resolve().then(() => {
        looking = undefined
      })
    },
    isBusy: () => looking !== undefined,
    idle: async () => await looking,
  })
  const report = { type: 'report', number: 1, digest: '', status: 'APPLIED', attempt: 1, at: '' } as const
  for (let n = 0; n < 200; n++) inbox.put({ n } as unknown as Link, report)
  expect(taken).toHaveLength(0)
  await new Promise((resolve) => setImmediate(resolve))
  expect(taken).toHaveLength(200)
})
