/** Bad networks and herds, on real sockets: F20 to F28 for what the control plane sends. */
import { setTimeout as wait } from 'node:timers/promises'
import type { Json } from 'midflight'
import { encode } from 'midflight/protocol'
import { expect, test } from 'vitest'
import { anyAgent, clientFrame, config, eventually, FaultProxy, helloOf, rawSocket, rig, TestNode } from './push-rig.ts'

const long = process.env.MIDFLIGHT_LONG !== undefined
const settings = (limit: number, bytes = 2000): Json => ({ limit, pad: 'x'.repeat(bytes) })
/** Nodes that are quick to notice. */
const quick = { heartbeatMs: 100, leaseMs: 400, helloMs: 2_000, probeMs: 200, closeMs: 100 }

/** Says what it runs, every `ms`, until it is closed. */
function beating(node: TestNode, ms = 100): TestNode {
  const timer = setInterval(() => {
    if (node.ws.readyState === node.ws.OPEN && node.runs) {
      node.say({ type: 'heartbeat', runs: node.runs, status: 'APPLIED' })
    }
  }, ms)
  node.ws.on('close', () => clearInterval(timer))
  return node
}

/** It again, after its connection was lost. */
function again(url: string, { hello, runs, content }: TestNode): TestNode {
  const seen = runs?.number ?? null
  const node = new TestNode(url, { hello: { uid: hello.uid, runs, seen, status: 'APPLIED' } })
  if (runs && content !== undefined) node.remember(runs.number, content)
  return node
}

test.each(['drop-both', 'drop-to-client', 'drop-to-server'] as const)(
  'F20 F21 F22 a partition (%s): the node counts as away after its lease, others are served, and it converges after',
  async (which) => {
    const server = await rig({ limits: quick })
    const proxy = await FaultProxy.before(server.port)
    await server.release({ content: settings(1) })
    const cutOff = beating(await new TestNode(proxy.url).on(1))
    const other = beating(await new TestNode(server.url).on(1))
    await eventually(() => server.hub.nodes().inFlight === 0)
    proxy.partition(which)
    await server.release({ content: settings(2) })
    await other.on(2)
    if (which === 'drop-to-client') {
      // It is heard, and says that it still runs 1: what did not arrive is known.
      await eventually(() => server.hub.nodes().inFlight === 1)
      expect(server.roster.node(cutOff.hello.uid)).toMatchObject({ runs: { number: 1 } })
      proxy.cutAll()
    } else {
      await eventually(() => server.hub.nodes().closed.silent === 1)
      await eventually(() => server.roster.isAway(cutOff.hello.uid))
    }
    proxy.heal()
    const back = await again(proxy.url, cutOff).on(2)
    // What still reached it, though its answer did not come back, is not sent again.
    expect(back.releases()).toHaveLength(which === 'drop-to-server' ? 0 : 1)
    expect(other.closed).toBeUndefined()
  },
)

test('F23 500 ms latency: everything works, once, later', async () => {
  const server = await rig({ limits: { closeMs: 100 } })
  const proxy = await FaultProxy.before(server.port)
  proxy.delay(250)
  await server.release({ content: settings(1) })
  const node = await new TestNode(proxy.url).on(1)
  for (let n = 2; n <= 5; n++) await server.release({ content: settings(n) })
  await node.on(5)
  await eventually(() => server.roster.node(node.hello.uid)?.runs?.number === 5)
  // The first, at most one that was under way, and the newest.
  expect(node.releases().length).toBeLessThanOrEqual(3)
})

test('F25 readers at 1 kB/s: dropped after a while, never a burden to others, in bounded memory', async () => {
  const server = await rig({ limits: { drainMs: 1_000, drainBytesPerSecond: 64 * 1024 * 1024 } })
  const proxy = await FaultProxy.before(server.port)
  const megabytes = 8 * 1024 * 1024
  await server.release({ content: settings(1, megabytes) })
  const others = await Promise.all(Array.from({ length: 5 }, () => new TestNode(server.url).on(1)))
  const before = process.memoryUsage()
  proxy.slow(1_000)
  const slow = Array.from({ length: 40 }, () => new TestNode(proxy.url, { applies: false }))
  await eventually(() => server.hub.nodes().connected === 45)
  await eventually(() => server.hub.nodes().bufferedBytes > megabytes)
  for (let n = 2; n <= 6; n++) {
    await server.release({ content: settings(n, megabytes) })
    for (const other of others) await other.on(n)
  }
  // 40 readers with one release of 8 MiB in flight each: the bytes are shared, and none has a second one.
  expect(process.memoryUsage().arrayBuffers - before.arrayBuffers).toBeLessThan(120 * 1024 * 1024)
  await eventually(() => server.hub.nodes().closed.slow === 40)
  await eventually(() => server.hub.nodes().connected === 5)
  expect(server.hub.nodes().bufferedBytes).toBe(0)
  for (const node of slow) node.ws.terminate()
  // Whoever can read again catches up at once.
  await again(server.url, slow[0]!).on(6)
})

test('F26 a reset in the middle of a frame: nothing is half applied, and the next connection brings it', async () => {
  const server = await rig({ limits: quick })
  const proxy = await FaultProxy.before(server.port)
  await server.release({ content: settings(1) })
  const node = await new TestNode(proxy.url).on(1)
  for (let bytes = 1; bytes < 300; bytes += 37) {
    const cut = await again(proxy.url, node).welcomed()
    const { number } = node.runs!
    proxy.cutAfter(bytes)
    await server.release({ content: settings(1000 + bytes) })
    await cut.end()
    expect(cut.runs?.number).toBe(number)
    const back = await again(proxy.url, cut).on(number + 1)
    Object.assign(node, { runs: back.runs, content: back.content })
    back.ws.terminate()
    await eventually(() => !server.hub.isConnected(node.hello.uid))
  }
  expect(server.problems).toEqual([])
})

test('F27 releases that come twice and out of order on a second way: each is applied once, forward', async () => {
  const server = await rig()
  const all = []
  for (let n = 1; n <= 5; n++) all.push(await server.release({ content: settings(n) }))
  const node = await new TestNode(server.url).on(5)
  for (const index of [0, 3, 1]) {
    const answer = await server.hub.poll({ config, identity: anyAgent, index, waitMs: 0, whole: false })
    if (answer.kind === 'release') node.take(JSON.parse(answer.body.toString()))
  }
  expect(node.applied).toBe(1)
  expect(node.runs?.number).toBe(5)
})

const herd = long ? 5_000 : 300

test(`F28 ${herd} agents reconnect at once: let in at a rate, the rest told when to come back, all converge`, async () => {
  const limits = { connectsPerSecond: herd / 2, connectBurst: Math.ceil(herd / 10) }
  const server = await rig({ limits })
  await server.release({ content: settings(1) })
  const neighbour = await new TestNode(server.url).on(1)
  let sentAway = 0
  const retryAfters: number[] = []
  const join = async (): Promise<void> => {
    for (;;) {
      const retryAfterMs = await oneTry(server.port)
      if (retryAfterMs === undefined) return
      sentAway++
      retryAfters.push(retryAfterMs)
      await wait(retryAfterMs * (1 + Math.random() / 2))
    }
  }
  const joining = Promise.all(Array.from({ length: herd }, join))
  // In the middle of it, the one who is there is served.
  await server.release({ content: settings(2) })
  await neighbour.on(2)
  await joining
  await eventually(() => server.hub.nodes().connected === herd + 1)
  expect(sentAway).toBeGreaterThan(0)
  expect(server.hub.nodes().sentAway).toBe(sentAway)
  expect(Math.min(...retryAfters)).toBeGreaterThanOrEqual(1000)
  expect(neighbour.closed).toBeUndefined()
  expect(server.problems).toEqual([])
}, 120_000)

/** `undefined`: it is in. Otherwise what `Retry-After` says, in milliseconds. */
async function oneTry(port: number): Promise<number | undefined> {
  const { socket, head } = await rawSocket(port)
  if (head.startsWith('HTTP/1.1 101')) {
    socket.write(clientFrame(1, Buffer.from(encode(helloOf()))))
    socket.resume()
    return undefined
  }
  expect(head).toMatch(/^HTTP\/1\.1 503 /)
  socket.destroy()
  return Number(/retry-after: (\d+)/i.exec(head)?.[1]) * 1000
}

test('F8 a node that stands still is away after its lease; a heartbeat of others keeps them in', async () => {
  const server = await rig({ limits: quick })
  await server.release({ content: settings(1) })
  const still = await new TestNode(server.url).on(1)
  const lively = beating(await new TestNode(server.url).on(1))
  await eventually(() => server.hub.nodes().closed.silent === 1)
  expect(still.ws.readyState).not.toBe(still.ws.CONNECTING)
  expect(server.hub.isConnected(lively.hello.uid)).toBe(true)
})

test('F10 the store fails while nodes report: they are served, and what they said is written when it works again', async () => {
  const server = await rig({ limits: { recordMs: 10 } })
  await server.release({ content: settings(1) })
  const node = await new TestNode(server.url).on(1)
  const { transaction } = server.store
  let failures = 0
  server.store.transaction = () => {
    failures++
    return Promise.reject(new Error('no room'))
  }
  node.say({ type: 'heartbeat', runs: node.runs, status: 'DEGRADED' })
  await eventually(() => failures >= 3)
  expect(node.closed).toBeUndefined()
  server.store.transaction = transaction
  await eventually(async () => (await server.store.read((read) => read.node(node.hello.uid)))?.status === 'DEGRADED')
  expect(server.problems.length).toBeGreaterThanOrEqual(3)
})
