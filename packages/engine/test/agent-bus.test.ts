/** A node without a connection on a bus that somebody else may write to as well. Between real servers it is `test/bus-fleet`. */
import { generateKeyPairSync, sign } from 'node:crypto'
import { afterEach, expect, test } from 'vitest'
import { busFormat, releaseTopic, seal, toProve } from '../src/protocol/bus.ts'
import { encode } from '../src/protocol/codec.ts'
import { Rig, until } from './agent-rig.ts'
import { FakeControlPlane } from './fake-control-plane.ts'
import { LossyServer } from './lossy-bus.ts'

const rig = new Rig()
afterEach(() => rig.close())

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const key = publicKey.export({ format: 'der', type: 'spki' }).toString('base64url')
/** So rarely that nothing in a test comes by it. */
const rarely = { heartbeatMs: 600_000, leaseMs: 1_800_000, pollMs: 600_000 }

async function plane(bus?: { readonly key: string }) {
  const server = new LossyServer()
  rig.add({ close: async () => server.close() })
  const fake = rig.add(await FakeControlPlane.listen({ pacing: { ...rarely, ...(bus && { bus }) } }))
  const polls: { readonly isLong: boolean; readonly atMs: number }[] = []
  fake.intercept = (request) => {
    if (request.url?.includes('/poll'))
      polls.push({ isLong: !request.url.includes('wait=0s'), atMs: performance.now() })
    return false
  }
  const speaker = server.newBus()
  const topic = releaseTopic(fake.config)
  const sealed = (message: Parameters<typeof encode>[0]) => {
    const body = Buffer.from(encode(message))
    return seal(busFormat, [], sign(null, toProve(busFormat, [], body), privateKey).toString('base64url'), body)
  }
  const say = (message: Parameters<typeof encode>[0], times = 1) => {
    const bytes = sealed(message)
    return Promise.all(Array.from({ length: times }, () => speaker.publish(topic, bytes)))
  }
  return { server, fake, polls, say }
}

test('a true word that is said again and again makes a node ask no more than once a second, and it still asks', async () => {
  const { server, fake, polls, say } = await plane({ key })
  fake.publish({ limit: 1 })
  const node = await rig.program(fake, { bus: server.newBus(), websocket: false })
  await until(() => node.source.status().via === 'bus' && node.applied.length === 1)
  // Of a canary, which is another node: for this one there is nothing yet.
  const word = { type: 'moved', config: fake.config, number: 2, spreadMs: 0 } as const
  const began = performance.now()
  const before = polls.length
  while (polls.length < before + 3) {
    await say(word, 20)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
  const seconds = (performance.now() - began) / 1000
  expect(polls.length - before).toBeLessThanOrEqual(1 + seconds)
  fake.publish({ limit: 2 })
  await say(word)
  await until(() => node.applied.length === 2)
  expect(node.applied).toEqual([1, 2])
})

test('a node of which the control plane speaks on no bus waits in polls, and says so', async () => {
  const { server, fake, polls } = await plane()
  fake.publish({ limit: 1 })
  const node = await rig.program(fake, { bus: server.newBus(), websocket: false })
  await until(() => polls.some(({ isLong }) => isLong))
  fake.publish({ limit: 2 })
  await until(() => node.applied.length === 2)
  expect(node.source.status().via).toBe('poll')
})

test('nodes that are told again and again within the span are as spread over it as if they had been told once', async () => {
  const { server, fake, polls, say } = await plane({ key })
  fake.publish({ limit: 1 })
  const join = () => rig.program(fake, { bus: server.newBus(), websocket: false })
  const nodes = await Promise.all(Array.from({ length: 12 }, join))
  await until(() => nodes.every(({ source, applied }) => source.status().via === 'bus' && applied.length === 1))
  const spreadMs = 2_000
  // Whatever they asked last is longer ago than that.
  await new Promise((resolve) => setTimeout(resolve, spreadMs + 100))
  fake.publish({ limit: 2 })
  const before = polls.length
  const began = performance.now()
  // The least of so many random times would be now.
  await say({ type: 'moved', config: fake.config, number: 2, spreadMs }, 100)
  await until(() => nodes.every(({ applied }) => applied.length === 2))
  const later = polls.slice(before).filter(({ atMs }) => atMs - began > spreadMs / 2)
  expect(later.length).toBeGreaterThan(0)
})

test('a node without a connection reports after it has said hello, so that its start is no warning', async () => {
  const { server, fake } = await plane({ key })
  fake.publish({ limit: 1 })
  const node = await rig.program(fake, { bus: server.newBus(), websocket: false })
  await fake.heard('report', ({ status }) => status === 'APPLIED')
  expect(fake.said[0]?.message.type).toBe('hello')
  expect(node.warnings).toEqual([])
})
