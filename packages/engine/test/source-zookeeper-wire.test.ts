/** What ZooKeeper's client makes of answers that no real server gives, or not when a test wants them. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { networkInterfaces, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createTlsServer } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { zookeeper, type ZookeeperOptions } from '../src/sources/zookeeper.ts'
import { zookeeperWriter } from '../src/writers/zookeeper.ts'
import { frame, Frames, WireError, type Field } from '../src/sources/zookeeper/wire.ts'
import { selfSigned } from './self-signed.ts'

const soon = () => AbortSignal.timeout(20_000)
const waited = { timeout: 20_000, interval: 5 }

const [exists, getData, getChildren, ping, multi, auth, addWatch, farewell] = [3, 4, 8, 11, 14, 100, 106, -11]

interface Question {
  readonly xid: number
  readonly type: number
  readonly path: string
  readonly isWatched: boolean
  /** Of all connections, from 0. */
  readonly connection: number
}

/** What is sent for it, in one piece. */
type Answering = (question: Question, socket: Socket) => readonly Buffer[]

function welcome(timeoutMs = 30_000): Buffer {
  return frame(0, timeoutMs, 7n, new Uint8Array(16), false)
}

function answer({ xid }: Pick<Question, 'xid'>, code: number, ...fields: readonly Field[]): Buffer {
  return frame(xid, 5n, code, ...fields)
}

function told(type: number, path: string): Buffer {
  return frame(-1, -1n, 0, type, 3, path)
}

/** A stat, of a znode made by change 3. */
function stat({ bytes = 0, children = 0 } = {}): readonly Field[] {
  return [3n, 4n, 0n, 0n, 0, 0, 0, 0n, bytes, children, 4n]
}

async function portOf(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket.on('error', () => {})))
  onTestFinished(() => {
    server.close()
    for (const socket of sockets) socket.destroy()
  })
  return (server.address() as AddressInfo).port
}

/** A server whose sessions begin with `first`, and whose answers are those of `answering`. */
async function peer(answering: Answering, first: Buffer = welcome()) {
  const asked: Question[] = []
  let connections = 0
  const server = createServer((socket) => {
    const connection = connections++
    let held = Buffer.alloc(0)
    let isWelcomed = false
    socket.on('data', (chunk) => {
      held = Buffer.concat([held, chunk])
      for (let end; held.length >= 4 && held.length >= (end = 4 + held.readInt32BE(0)); held = held.subarray(end)) {
        const question = isWelcomed ? questionIn(held.subarray(4, end), connection) : undefined
        isWelcomed = true
        if (question) asked.push(question)
        const bytes = Buffer.concat(question ? [...answering(question, socket)] : [first])
        if (bytes.length > 0 && !socket.destroyed) socket.write(bytes)
      }
    })
  })
  const port = await portOf(server)
  return { asked, port, source: using(port) }
}

function questionIn(bytes: Buffer, connection: number): Question {
  const [xid, type] = [bytes.readInt32BE(0), bytes.readInt32BE(4)]
  const path =
    bytes.length > 12 && type !== auth && type !== multi ? bytes.toString('utf8', 12, 12 + bytes.readInt32BE(8)) : ''
  return { xid, type, path, isWatched: bytes.at(-1) === 1, connection }
}

function using(port: number) {
  return (own: Partial<ZookeeperOptions>) => {
    const never = 3_600_000
    const made = zookeeper({
      ...{ servers: `127.0.0.1:${port}`, pollMs: never, pingMs: never, retry: { firstMs: 20, maxMs: 100 }, ...own },
    })
    onTestFinished(() => made.close())
    return made
  }
}

/** A server with one znode, `/doc`, that is `{"a":1}`. */
const oneDocument: Answering = (question) => {
  const value = Buffer.from('{"a":1}')
  if (question.type === exists) return [answer(question, 0, ...stat({ bytes: value.length }))]
  if (question.type === getData) return [answer(question, 0, value, ...stat({ bytes: value.length }))]
  return [answer(question, 0)]
}

test('what real servers answer is read, in pieces of any size', async () => {
  const { source } = await peer(oneDocument)
  expect((await source({ key: '/doc' }).load(soon())).config).toEqual({ a: 1 })
  const bytes = Buffer.concat([frame(1, 'one', 2n), frame(), frame(2, Buffer.alloc(300, 'x')), frame(3, true)])
  for (let size = 1; size <= bytes.length; size++) {
    const frames = new Frames(1_000)
    const found: number[] = []
    for (let at = 0; at < bytes.length; at += size) {
      // What is handed on next is not what was handed on before.
      frames.add(Buffer.from(bytes.subarray(at, at + size)))
      for (let body; (body = frames.next());) found.push(found.length === 1 ? 0 : body.int())
    }
    expect(found).toEqual([1, 0, 2, 3])
  }
})

test('a length that no answer can have is refused before anything of it is kept', () => {
  for (const length of [-1, -2_147_483_648, 1_001, 0x7f_ff_ff_ff]) {
    const frames = new Frames(1_000)
    const said = Buffer.alloc(4)
    said.writeInt32BE(length)
    frames.add(said)
    expect(() => frames.next()).toThrow(WireError)
  }
})

describe('answers that are none end the connection at once, are told, and nothing of them is used', () => {
  const length = (bytes: number) => {
    const said = Buffer.alloc(4)
    said.writeInt32BE(bytes)
    return said
  }
  const cases: readonly [what: string, answering: Answering, says: string][] = [
    ['a negative length', () => [length(-5)], 'is said to have -5 bytes; want 0 to 67108864'],
    ['a length beyond all', () => [length(0x7f_00_00_00)], 'is said to have 2130706432 bytes'],
    ['an answer that is too short', ({ xid }) => [frame(xid, 5n)], 'ends before the 16 that it should have'],
    ['a value beyond its answer', (q) => [answer(q, 0, 1_000)], 'ends before the'],
    ['a value of negative length', (q) => [answer(q, 0, -7)], 'a field is said to have -7 bytes'],
    ['an answer to nothing', ({ xid }) => [answer({ xid: xid + 76 }, 0)], 'there is no question'],
    ['a code that is new', (q) => [answer(q, -127)], 'refuses to read /doc (-127)'],
  ]
  test.each(cases)('%s', async (_what, answering, says) => {
    const { source, asked } = await peer((question, socket) => {
      if (question.connection > 0) return oneDocument(question, socket)
      return question.type === exists ? oneDocument(question, socket) : answering(question, socket)
    })
    const one = source({ key: '/doc', timeoutMs: 3_600_000 })
    await expect(one.load(soon())).rejects.toThrow(says)
    const again = () => one.load(soon()).then(({ config }) => config, String)
    await expect.poll(again, waited).toEqual({ a: 1 })
    expect(asked.at(-1)?.connection).toBe(1)
  })
})

test('a server that does not answer the first word, or gives no session, is told as what it is', async () => {
  const silent = createServer()
  const source = using(await portOf(silent))
  await expect(source({ key: '/doc', timeoutMs: 100 }).load(soon())).rejects.toThrow('no answer within 100 ms')
  for (const lastsMs of [0, -1]) {
    const expired = await peer(oneDocument, welcome(lastsMs))
    await expect(expired.source({ key: '/doc' }).load(soon())).rejects.toThrow('gives no session')
  }
})

test('a first word that comes byte by byte is waited for no longer than an answer', async () => {
  const dripping = createServer((socket) => {
    const bytes = welcome()
    let at = 0
    const timer = setInterval(() => socket.write(bytes.subarray(at, ++at)), 30)
    socket.on('close', () => clearInterval(timer))
  })
  const source = using(await portOf(dripping))
  await expect(source({ key: '/doc', timeoutMs: 100 }).load(soon())).rejects.toThrow('no answer within 100 ms')
})

test('a login that is refused is told as such, lasting and without the password', async () => {
  const { source } = await peer((question, socket) =>
    question.type === auth ? [answer(question, -115)] : oneDocument(question, socket),
  )
  const login = { user: 'me', password: 's3cret' }
  const error = await source({ key: '/doc', ...login })
    .load(soon())
    .catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ transient: false })
  expect(String(error)).toContain('refuses the login (-115)')
  expect(String(error)).not.toContain('s3cret')
})

test('a login is told to no server before it has opened a session: it might answer that first', async () => {
  const server = createServer((socket) => {
    let came = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      came = Buffer.concat([came, chunk])
      if (came.includes('s3cret')) return socket.destroy()
      // All that there is for as long as nothing is answered has come.
      setTimeout(() => socket.write(welcome(0)), 50)
      return undefined
    })
  })
  const source = using(await portOf(server))({ key: '/doc', user: 'me', password: 's3cret' })
  await expect(source.load(soon())).rejects.toThrow('gives no session')
})

test('a server that refuses for good is passed over where another is there', async () => {
  const good = await peer(oneDocument)
  const { source, port } = await peer((question) => [answer(question, -115)])
  const login = { key: '/doc', user: 'me', password: 's3cret' }
  for (let i = 0; i < 8; i++) {
    const one = source({ ...login, servers: `127.0.0.1:${good.port},127.0.0.1:${port}` })
    expect((await one.load(soon())).config).toEqual({ a: 1 })
  }
  const both = source({ ...login, servers: `127.0.0.1:${port},localhost:${port}` })
  await expect(both.load(soon())).rejects.toMatchObject({ transient: false })
})

test('a password that does not come is not waited for, neither by a load nor by close', async () => {
  const { source } = await peer(oneDocument)
  const never = () => new Promise<string>(() => {})
  const late = source({ key: '/doc', user: 'me', password: never, timeoutMs: 50 })
  await expect(late.load(soon())).rejects.toThrow('the password was not given: did not finish within 50 ms')
  const slow = source({ key: '/doc', user: 'me', password: never, timeoutMs: 3_600_000 })
  const loading = slow.load(soon()).catch(String)
  await slow.close()
  expect(await loading).toContain('gave nothing')
  const writer = zookeeperWriter({ servers: '127.0.0.1:1', user: 'me', password: never, timeoutMs: 3_600_000 })
  const read = writer.read('/doc', soon()).catch(String)
  await writer.close()
  expect(await read).toContain('the password was not given: stopped')
})

const hasV6 = Object.values(networkInterfaces()).some((all) => all?.some(({ address }) => address === '::1'))
const withoutV6 = hasV6 ? '' : ' (skipped: this machine has no IPv6)'

test.skipIf(!hasV6)(
  `a server of an address of IPv6 is reached, and named so that it can be read${withoutV6}`,
  async () => {
    const server = createServer((socket) => socket.on('data', () => socket.write(welcome(0))))
    server.listen(0, '::1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    onTestFinished(() => void server.close())
    const source = using(port)({ key: '/doc', servers: `[::1]:${port}` })
    await expect(source.load(soon())).rejects.toThrow(`[::1]:${port}: gives no session`)
  },
)

test('over TLS the server is told which of its names is wanted, and another one is not trusted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-zookeeper-tls-'))
  const { pem, keyPem } = selfSigned(folder)
  rmSync(folder, { recursive: true, force: true })
  const wanted: string[] = []
  const SNICallback = (name: string, done: (error: null) => void) => {
    wanted.push(name)
    done(null)
  }
  const port = await portOf(createTlsServer({ cert: pem, key: keyPem, SNICallback }))
  const load = (host: string, servername?: string) =>
    using(port)({
      ...{ key: '/doc', servers: `${host}:${port}`, timeoutMs: 300 },
      tls: { ca: pem, ...(servername !== undefined && { servername }) },
    }).load(soon())
  await expect(load('localhost')).rejects.toThrow('no answer within 300 ms')
  await expect(load('127.0.0.1', 'zk.example')).rejects.toMatchObject({ transient: false })
  await expect(load('127.0.0.1')).rejects.toThrow('no answer within 300 ms')
  expect([...new Set(wanted)]).toEqual(['localhost', 'zk.example'])
})

test('no password goes to a server that is not trusted', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-zookeeper-tls-'))
  const { pem, keyPem } = selfSigned(folder)
  rmSync(folder, { recursive: true, force: true })
  let tries = 0
  let came = 0
  const server = createTlsServer({ cert: pem, key: keyPem }, (socket) => {
    socket.on('error', () => {}).on('data', (chunk) => (came += chunk.length))
  })
  server.on('tlsClientError', () => tries++).on('secureConnection', () => tries++)
  const source = using(await portOf(server))
  const at = { key: '/doc', user: 'me', password: 's3cret' }
  for (let i = 0; i < 3; i++) {
    await expect(source({ ...at, tls: {} }).load(soon())).rejects.toThrow('self-signed certificate')
  }
  await expect.poll(() => tries, waited).toBeGreaterThanOrEqual(3)
  expect(came).toBe(0)
  // It would have come.
  await expect(source({ ...at, tls: { ca: pem }, timeoutMs: 300 }).load(soon())).rejects.toThrow('no answer')
  expect(came).toBeGreaterThan(0)
})

test('a session that nobody asks anything of is kept by pings; one that is not answered ends it', async () => {
  let isSilent = false
  const { source, asked } = await peer(
    (question, socket) => (isSilent ? [] : oneDocument(question, socket)),
    welcome(90),
  )
  const one = source({ key: '/doc', timeoutMs: 200 })
  await one.load(soon())
  const pings = () => asked.filter(({ type }) => type === ping).length
  await expect.poll(pings, waited).toBeGreaterThan(3)
  expect(one.following().state).toBe('following')
  expect(new Set(asked.map(({ connection }) => connection)).size).toBe(1)
  isSilent = true
  await expect.poll(() => one.following(), waited).toMatchObject({ state: 'lost' })
})

/** A server with `/app/a`, which is `1`. */
const oneBelow: Answering = (question) => {
  const isTop = question.path === '/app'
  if (question.type === exists) return [answer(question, 0, ...stat({ children: 1 }))]
  if (question.type === getData) return [answer(question, 0, Buffer.from('1'), ...stat({ bytes: 1 }))]
  if (question.type === getChildren) return [answer(question, 0, ...(isTop ? [1, 'a'] : [0]))]
  return [answer(question, 0)]
}

test('what tells of all that is below is set before anything is read, and nothing else is watched', async () => {
  const { source, asked } = await peer(oneBelow)
  expect((await source({ prefix: '/app/' }).load(soon())).config).toEqual({ a: 1 })
  const [first, second, ...others] = asked
  expect(first).toMatchObject({ type: addWatch, path: '/app', isWatched: true })
  expect(second).toMatchObject({ type: multi })
  expect(others.map(({ type, path, isWatched }) => [type, path, isWatched])).toEqual([
    [exists, '/app', false],
    [getChildren, '/app', false],
    [getData, '/app/a', false],
  ])
})

test('a server of before 3.6 is asked once for that watch, and is told with each read to watch', async () => {
  const { source, asked } = await peer((question, socket) => {
    if (question.type !== addWatch) return oneBelow(question, socket)
    setImmediate(() => socket.end())
    return [answer(question, -6)]
  })
  const one = source({ prefix: '/app/' })
  expect((await one.load(soon())).config).toEqual({ a: 1 })
  expect((await one.load(soon())).config).toEqual({ a: 1 })
  expect(asked.filter(({ type }) => type === addWatch)).toHaveLength(1)
  const reads = asked.filter(({ type }) => [exists, getData, getChildren].includes(type))
  expect(reads.map(({ type, path }) => `${type} ${path}`)).toContain(`${getChildren} /app/a`)
  expect(reads.filter(({ isWatched, connection }) => !isWatched || connection !== 1)).toEqual([])
})

test('what was made while a list was under way is not lost, also where both come in one piece', async () => {
  let lists = 0
  const { source } = await peer((question) => {
    const { type, path } = question
    if (type === exists) return [answer(question, 0, ...stat({ children: 1 }))]
    if (type === getData) return [answer(question, 0, Buffer.from('1'), ...stat({ bytes: 1 }))]
    if (type === getChildren && path === '/app') {
      // Of before, and then what came after.
      return lists++ === 0 ? [answer(question, 0, 0), told(1, '/app/a')] : [answer(question, 0, 1, 'a')]
    }
    return [answer(question, 0)]
  })
  expect((await source({ prefix: '/app/' }).load(soon())).config).toEqual({ a: 1 })
  expect(lists).toBe(2)
})

test('a server that opens sessions by itself while it is behind takes nothing back: it is asked to catch up first', async () => {
  let isBehind = true
  const { source } = await peer((question) => {
    if (question.type === multi) isBehind = false
    const value = Buffer.from(isBehind ? '{"a":1}' : '{"a":2}')
    if (question.type === exists) return [answer(question, 0, ...stat({ bytes: value.length }))]
    return [answer(question, 0, value, ...stat({ bytes: value.length }))]
  })
  expect((await source({ key: '/doc' }).load(soon())).config).toEqual({ a: 2 })
})

test('znodes that come and go all the time hold up no other', async () => {
  let count = 0
  let value = '1'
  const { source } = await peer((question) => {
    const { type, path } = question
    if (type === exists) return [answer(question, 0, ...stat({ children: 1 }))]
    if (type === getChildren) return [answer(question, 0, 1, 'a'), told(1, '/app/x0')]
    if (type !== getData) return [answer(question, 0)]
    if (path === '/app/a') return [answer(question, 0, Buffer.from(value), ...stat({ bytes: 1 }))]
    // With each that is read another one is there, and once the other is told to have changed.
    if (++count === 200) value = '2'
    const others = count === 200 ? [told(3, '/app/a')] : []
    return [answer(question, -101), ...others, told(2, path), told(1, `/app/x${count}`)]
  })
  const one = source({ prefix: '/app/' })
  expect((await one.load(soon())).config).toEqual({ a: 1 })
  for await (const _ of one.requests(soon())) if (count > 200) break
  expect((await one.load(soon())).config).toEqual({ a: 2 })
})

test('what is below a znode that is another than before was lost, not deleted; and so is all of a server', async () => {
  const roots = [
    ['/', '/a', [0n, 0n], [0n, 0n]],
    ['/app/', '/app/a', [3n, 1n], [3n, 2n]], // a server that began anew counts as the last one did
  ] as const
  for (const [prefix, path, before, after] of roots) {
    let first: Socket | undefined
    const { source } = await peer((question, socket) => {
      const [czxid, ctime] = question.connection === 0 ? before : after
      if (question.connection === 0) first = socket
      if (question.type === exists) return [answer(question, 0, czxid, 4n, ctime, ...stat({ children: 1 }).slice(3))]
      if (question.type === getData) return [answer(question, 0, Buffer.from('1'), ...stat({ bytes: 1 }))]
      if (question.type !== getChildren) return [answer(question, 0)]
      const names = question.connection === 0 && question.path !== path ? ['a'] : []
      return [answer(question, 0, names.length, ...names)]
    })
    const one = source({ prefix })
    expect((await one.load(soon())).config).toEqual({ a: 1 })
    first?.destroy()
    const says = () => one.load(soon()).then(({ config }) => JSON.stringify(config), String)
    await expect.poll(says, waited).toContain('what was never seen to be removed is not taken for removed')
  }
})

test('a znode that is gone with the answer that told of it is not there', async () => {
  let isGone = false
  const { source } = await peer((question, socket) => {
    if (question.type === exists) return isGone ? [answer(question, -101)] : oneDocument(question, socket)
    if (question.type !== getData) return oneDocument(question, socket)
    isGone = true
    return [...oneDocument(question, socket), told(2, '/doc')]
  })
  await expect(source({ key: '/doc' }).load(soon())).rejects.toThrow('is not there')
})

test('of what it was not asked to be told of nothing is taken', async () => {
  const { source, asked } = await peer((question) => {
    const { type } = question
    if (type === exists) return [answer(question, 0, ...stat({ children: 1 }))]
    if (type === getData) return [answer(question, 0, Buffer.from('1'), ...stat({ bytes: 1 }))]
    if (type === getChildren) return [answer(question, 0, 1, 'a'), told(1, '/apple'), told(1, '/'), told(1, '')]
    expect([addWatch, multi, farewell]).toContain(type)
    return [answer(question, 0)]
  })
  expect((await source({ prefix: '/app/' }).load(soon())).config).toEqual({ a: 1 })
  expect(new Set(asked.map(({ path }) => path))).toEqual(new Set(['', '/app', '/app/a']))
})
