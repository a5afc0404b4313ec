/** What comes over a WebSocket and should not: a named error, the right close code, and everyone else goes on. */
import { connect } from 'node:net'
import { once } from 'node:events'
import { setTimeout as wait } from 'node:timers/promises'
import { encode, subprotocol } from 'midflight/protocol'
import { expect, onTestFinished, test } from 'vitest'
import { WebSocket } from 'ws'
import { clientFrame, eventually, helloOf, rawSocket, readClose, rig, TestNode, type Rig } from './push-rig.ts'

const unknown = `sha256:${'e'.repeat(64)}`

/** Someone who does everything right, and must not notice anything. */
async function withNeighbour(limits: Parameters<typeof rig>[0] = {}): Promise<Rig & { neighbour: TestNode }> {
  const server = await rig({ ...limits, limits: { closeMs: 100, ...limits.limits } })
  await server.release({ content: { limit: 1 } })
  return { ...server, neighbour: await new TestNode(server.url).on(1) }
}

async function goesOn({ release, neighbour, problems }: Rig & { neighbour: TestNode }): Promise<void> {
  await release({ content: { limit: 2 } })
  await neighbour.on(2)
  expect(neighbour.closed).toBeUndefined()
  expect(problems).toEqual([])
}

const beforeHello: readonly (readonly [string, Buffer, number, string])[] = [
  ['a binary frame', clientFrame(2, Buffer.from('{}')), 1003, 'bad-message'],
  ['bad UTF-8', clientFrame(1, Buffer.from([0x7b, 0xff, 0xfe, 0x7d])), 1007, 'bad-message'],
  ['16 MiB', clientFrame(1, Buffer.alloc(16 * 1024 * 1024, 'x')), 1009, 'too-large'],
  ['64 KiB and a byte', clientFrame(1, Buffer.alloc(65_537, ' ')), 1009, 'too-large'],
  ['no JSON', clientFrame(1, Buffer.from('hello')), 1008, 'bad-message'],
  ['an unknown type', clientFrame(1, Buffer.from('{"type":"gossip"}')), 1008, 'bad-message'],
  ['a field that does not fit', clientFrame(1, Buffer.from('{"type":"heartbeat","runs":7}')), 1008, 'bad-message'],
  ['a list', clientFrame(1, Buffer.from('[]')), 1008, 'bad-message'],
  ['a heartbeat first', frameOf({ type: 'heartbeat', runs: null, status: 'UNSET' }), 1008, 'expected-hello'],
  ['a config that there is not', frameOf(helloOf({ config: 'shop/none' })), 1008, 'unknown-config'],
  ['a config that it may not see', frameOf(helloOf({ config: 'bank/prod' })), 1008, 'unknown-config'],
  ['an opcode that there is not', clientFrame(3, Buffer.from('x')), 1002, 'bad-message'],
  ['a frame that is not masked', Buffer.from([0x81, 0x02, 0x7b, 0x7d]), 1002, 'bad-message'],
  ['reserved bits', Buffer.from([0xf1, 0x80, 0, 0, 0, 0]), 1002, 'bad-message'],
  ['a fragmented ping', clientFrame(9, Buffer.from('x'), false), 1002, 'bad-message'],
]

function frameOf(message: Parameters<typeof encode>[0]): Buffer {
  return clientFrame(1, Buffer.from(encode(message)))
}

test.each(beforeHello)('%s', async (_name, frame, code, error) => {
  const server = await withNeighbour()
  const { socket, head } = await rawSocket(server.port)
  expect(head).toMatch(/^HTTP\/1\.1 101 [\s\S]*Sec-WebSocket-Protocol: midflight\.v1/)
  socket.write(frame)
  expect(await readClose(socket)).toEqual({ code, error })
  await goesOn(server)
})

const digest = unknown
const at = '2026-11-20T09:00:00.000Z'
const afterHello = [
  [
    'a report on a release that there is not yet',
    { type: 'report', number: 2, digest, status: 'RECEIVED', attempt: 0, at },
    'not-sent',
  ],
  [
    'a report on a release with another digest',
    { type: 'report', number: 1, digest, status: 'APPLIED', attempt: 1, at },
    'not-sent',
  ],
  [
    'to run a release that there is not yet',
    { type: 'heartbeat', runs: { number: 9, digest }, status: 'APPLIED' },
    'not-sent',
  ],
  ['to want a release whole that there is not yet', { type: 'whole', number: 2 }, 'not-sent'],
  ['a second hello', helloOf(), 'bad-message'],
] as const

test.each(afterHello)('%s', async (_name, message, error) => {
  const server = await withNeighbour()
  const node = await new TestNode(server.url).on(1)
  node.say(message)
  expect(await node.end()).toEqual({ code: 1008, reason: error, error })
  await goesOn(server)
})

test('a sequence that goes back: the release that a node runs never gets older (I5)', async () => {
  const server = await withNeighbour()
  const node = await new TestNode(server.url).on(1)
  await server.release({ content: { limit: 3 } })
  const first = node.releases()[0]!.release
  await node.on(2)
  node.say({ type: 'heartbeat', runs: { number: 1, digest: first.digest }, status: 'APPLIED' })
  expect(await node.end()).toMatchObject({ code: 1008, error: 'went-back' })
  expect(server.roster.node(node.hello.uid)).toMatchObject({ runs: { number: 2 } })
})

test('the same live uid twice: the second is refused, and the first stays', async () => {
  const server = await withNeighbour()
  const first = await new TestNode(server.url).on(1)
  const second = new TestNode(server.url, { hello: { uid: first.hello.uid } })
  expect(await second.end()).toMatchObject({ code: 1008, error: 'duplicate-node' })
  expect(first.closed).toBeUndefined()
  await goesOn(server)
  await first.on(2)
})

test('F22 the same uid while its first connection is half open: the second takes its place', async () => {
  const server = await withNeighbour({ limits: { probeMs: 200 } })
  const { socket } = await rawSocket(server.port)
  const hello = helloOf()
  socket.write(frameOf(hello))
  await eventually(() => server.hub.isConnected(hello.uid))
  // Nothing that the server sends is answered any more.
  socket.pause()
  const second = await new TestNode(server.url, { hello: { uid: hello.uid } }).on(1)
  expect(second.closed).toBeUndefined()
  expect(server.hub.nodes()).toMatchObject({ connected: 2, closed: { replaced: 1 } })
  await goesOn(server)
})

test.each([
  ['messages', frameOf({ type: 'heartbeat', runs: null, status: 'UNSET' })],
  ['pings', clientFrame(9, Buffer.from('x'))],
  ['pongs', clientFrame(10, Buffer.from('x'))],
])('a flood of %s', async (_name, frame) => {
  const server = await withNeighbour()
  const { socket } = await rawSocket(server.port)
  socket.write(frameOf(helloOf()))
  socket.write(Buffer.concat(Array.from({ length: 2_000 }, () => frame)))
  expect(await readClose(socket)).toEqual({ code: 1008, error: 'flood' })
  await goesOn(server)
})

test('a flood of fragments', async () => {
  const server = await withNeighbour()
  const { socket } = await rawSocket(server.port)
  socket.write(clientFrame(1, Buffer.from(' '), false))
  socket.write(Buffer.concat(Array.from({ length: 10_000 }, () => clientFrame(0, Buffer.alloc(0), false))))
  expect(await readClose(socket)).toEqual({ code: 1008, error: 'flood' })
  await goesOn(server)
})

test('a message in a few fragments is one message', async () => {
  const server = await withNeighbour()
  const { socket } = await rawSocket(server.port)
  const hello = helloOf()
  const text = Buffer.from(encode(hello))
  socket.write(clientFrame(1, text.subarray(0, 10), false))
  socket.write(clientFrame(0, text.subarray(10, 20), false))
  socket.write(clientFrame(0, text.subarray(20)))
  await eventually(() => server.hub.isConnected(hello.uid))
})

test('one who says nothing after the upgrade is sent away', async () => {
  const server = await withNeighbour({ limits: { helloMs: 100 } })
  const { socket } = await rawSocket(server.port)
  expect(await readClose(socket)).toEqual({ code: 1008, error: 'expected-hello' })
  await goesOn(server)
})

test('one who sends the upgrade byte by byte is sent away, and one who sends hello so too', async () => {
  const server = await withNeighbour({ limits: { helloMs: 300 } })
  const slow = connect({ port: server.port, host: '127.0.0.1' })
  const { socket } = await rawSocket(server.port)
  let open = 2
  for (const one of [slow, socket]) {
    onTestFinished(() => void one.destroy())
    one.on('error', () => {})
    one.on('close', () => open--)
    one.resume()
  }
  const request = Buffer.from('GET /v1/agent/connect HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nX-Slow: ')
  const hello = frameOf(helloOf())
  for (let i = 0; open > 0; i++) {
    if (!slow.destroyed) slow.write(i < request.length ? request.subarray(i, i + 1) : 'x')
    if (!socket.destroyed && i < hello.length - 1) socket.write(hello.subarray(i, i + 1))
    await wait(20)
  }
  await goesOn(server)
})

test('an upgrade without our subprotocol is refused with 400', async () => {
  const server = await withNeighbour()
  for (const protocols of [[], ['midflight.v9']]) {
    const ws = new WebSocket(server.url, protocols)
    ws.on('error', () => {})
    const [, response] = (await once(ws, 'unexpected-response')) as [unknown, { statusCode: number }]
    expect(response.statusCode).toBe(400)
    ws.terminate()
  }
  const two = new WebSocket(server.url, [subprotocol, 'bearer.c2VjcmV0'])
  await once(two, 'open')
  expect(two.protocol).toBe(subprotocol)
  two.terminate()
  await goesOn(server)
})

test('one who closes at any moment is forgotten', async () => {
  const server = await withNeighbour()
  const hello = frameOf(helloOf())
  for (let cut = 0; cut <= hello.length; cut += 7) {
    const { socket } = await rawSocket(server.port)
    socket.write(hello.subarray(0, cut))
    socket.resetAndDestroy()
  }
  await eventually(() => server.hub.nodes().connected === 1)
  await goesOn(server)
})
