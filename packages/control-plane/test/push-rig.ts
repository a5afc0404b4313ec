/** A hub behind a real HTTP server, publishes through the real path, and nodes on real sockets. */
import { once } from 'node:events'
import { createServer, type IncomingMessage } from 'node:http'
import { connect, createServer as createTcpServer, type AddressInfo, type Socket } from 'node:net'
import { randomBytes, randomUUID } from 'node:crypto'
import type { Duplex } from 'node:stream'
import { applyPatch, digest, type Json } from 'midflight'
import { decodeFromServer, encode, subprotocol } from 'midflight/protocol'
import type { AgentMessage, Hello, ReleaseInfo, ReleaseMessage, ServerMessage } from 'midflight/protocol'
import { onTestFinished } from 'vitest'
import { WebSocket } from 'ws'
import type { Principal } from '../src/access.ts'
import { createConfig } from '../src/configs.ts'
import { domainOf, type Domain } from '../src/domain.ts'
import { publish } from '../src/publish.ts'
import type { Edit } from '../src/release.ts'
import { Roster } from '../src/roster.ts'
import type { Store } from '../src/store.ts'
import { memoryStore } from '../src/stores/memory.ts'
import type { Hub, HubOptions } from '../src/push/delivery.ts'
import { createHub } from '../src/push/hub.ts'
import { defaultHubLimits } from '../src/push/limits.ts'

export const config = 'shop/gateway/prod'
export const anyAgent: Principal = { name: 'agent', role: 'agent', prefix: 'shop' }

export interface Rig {
  readonly store: Store
  readonly domain: Domain
  readonly hub: Hub
  readonly roster: Roster
  readonly port: number
  readonly url: string
  readonly problems: unknown[]
  /** Publishes and announces; resolves with the release when it was announced. */
  release(edit: Edit): Promise<ReleaseInfo>
  close(): Promise<void>
}

export interface RigOptions extends Partial<Omit<HubOptions, 'store' | 'roster'>> {
  readonly store?: Store
  readonly port?: number
}

/** Closed when the test is over. */
export async function rig({ store = memoryStore(), port = 0, ...options }: RigOptions = {}): Promise<Rig> {
  const domain = domainOf({ store })
  if ((await store.read((read) => read.config(config))) === undefined)
    await createConfig(domain, { name: config, actor: 'tests' })
  const { leaseMs } = { ...defaultHubLimits, ...options.limits }
  const roster = await Roster.open(domain, { monotonicMs: () => performance.now(), leaseMs })
  const problems: unknown[] = []
  const hub = createHub({ store, roster, onProblem: (error) => problems.push(error), ...options })
  const server = createServer({ headersTimeout: 500, connectionsCheckingInterval: 100 })
  server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) =>
    hub.attach(request, socket, head, anyAgent),
  )
  server.listen({ port, host: '127.0.0.1', backlog: 8192 })
  await once(server, 'listening')
  const bound = (server.address() as AddressInfo).port
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= (async () => {
      await hub.close(500)
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    })()
    return closing
  }
  onTestFinished(close)
  return {
    store,
    domain,
    hub,
    roster,
    port: bound,
    url: `ws://127.0.0.1:${bound}/v1/agent/connect`,
    problems,
    async release(edit) {
      const result = await publish(domain, { author: 'ada', changes: [{ config, ...edit }] })
      const { release } = result.published[0]!
      await hub.announce(config)
      return release
    },
    close,
  }
}

export function helloOf(over: Partial<Hello> = {}): Hello {
  return {
    type: 'hello',
    uid: randomUUID(),
    config,
    labels: {},
    agent: { name: 'test', version: '1' },
    runs: null,
    seen: null,
    status: 'UNSET',
    ...over,
  }
}

export interface NodeOptions {
  readonly hello?: Partial<Hello>
  /** Applies and reports what it gets, as agents do. By default it does. */
  readonly applies?: boolean
}

/** A node as the protocol wants it, but for the parts that a test leaves out. */
export class TestNode {
  readonly ws: WebSocket
  readonly hello: Hello
  readonly got: ServerMessage[] = []
  runs: { number: number; digest: string } | null
  content: Json | undefined
  /** How often it applied something. */
  applied = 0
  closed: { code: number; reason: string } | undefined
  private readonly contents = new Map<number, Json>()
  private readonly wakers = new Set<() => void>()

  constructor(url: string, { hello, applies = true }: NodeOptions = {}) {
    this.hello = helloOf(hello)
    this.runs = this.hello.runs
    this.ws = new WebSocket(url, subprotocol, { perMessageDeflate: false })
    this.ws.on('open', () => this.say(this.hello))
    this.ws.on('message', (data: Buffer) => {
      const message = decodeFromServer(data.toString())
      this.got.push(message)
      if (message.type === 'release' && applies) this.take(message)
      this.wake()
    })
    this.ws.on('error', () => this.wake())
    this.ws.on('close', (code, reason) => {
      this.closed = { code, reason: reason.toString() }
      this.wake()
    })
    onTestFinished(() => this.ws.terminate())
  }

  say(message: AgentMessage): void {
    this.ws.send(encode(message))
  }

  report(status: 'RECEIVED' | 'APPLYING' | 'APPLIED' | 'FAILED', release: { number: number; digest: string }): void {
    const { number, digest: content } = release
    const attempt = status === 'RECEIVED' ? 0 : 1
    this.say({ type: 'report', number, digest: content, status, attempt, at: new Date().toISOString() })
  }

  remember(number: number, content: Json): void {
    this.contents.set(number, content)
  }

  /** What an agent does with a release. */
  take({ release, body }: ReleaseMessage): void {
    if (release.number <= (this.runs?.number ?? 0)) return
    const base = body.kind === 'delta' ? this.contents.get(body.base) : undefined
    if (body.kind === 'delta' && base === undefined) return this.say({ type: 'whole', number: release.number })
    const content = body.kind === 'whole' ? body.content : applyPatch(base as Json, body.patch)
    if (digest(content) !== release.digest) return this.say({ type: 'whole', number: release.number })
    this.report('RECEIVED', release)
    this.report('APPLYING', release)
    this.content = content
    this.contents.set(release.number, content)
    this.runs = { number: release.number, digest: release.digest }
    this.applied++
    this.report('APPLIED', release)
  }

  releases(): ReleaseMessage[] {
    return this.got.filter((message) => message.type === 'release')
  }

  error(): string | undefined {
    return this.got.find((message) => message.type === 'error')?.code
  }

  /** When `holds` does, which is looked at whenever something comes. */
  async until(holds: () => boolean): Promise<void> {
    while (!holds()) await new Promise<void>((resolve) => this.wakers.add(resolve))
  }

  async welcomed(): Promise<this> {
    await this.until(() => this.closed !== undefined || this.got.some((message) => message.type === 'welcome'))
    return this
  }

  async on(number: number): Promise<this> {
    await this.until(() => this.runs?.number === number)
    return this
  }

  async end(): Promise<{ code: number; reason: string; error: string | undefined }> {
    await this.until(() => this.closed !== undefined)
    return { ...this.closed!, error: this.error() }
  }

  private wake(): void {
    const { wakers } = this
    const all = [...wakers]
    wakers.clear()
    for (const waker of all) waker()
  }
}

/** Until `holds`, looked at every 5 ms. For what happens on the server without a word to the client. */
export async function eventually(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 5))
}

/** A socket that has been through the upgrade and then says and reads what the test wants, byte by byte. */
export async function rawSocket(port: number): Promise<{ socket: Socket; head: string }> {
  const socket = connect({ port, host: '127.0.0.1' })
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => {})
  const key = randomBytes(16).toString('base64')
  socket.write(
    `GET /v1/agent/connect HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: ${subprotocol}\r\n\r\n`,
  )
  let head = ''
  while (!head.includes('\r\n\r\n')) {
    const chunk = socket.read() as Buffer | null
    if (chunk) head += chunk.toString('latin1')
    else await once(socket, 'readable')
  }
  return { socket, head }
}

/** A masked frame from client to server (the mask is 0). */
export function clientFrame(opcode: number, payload: Buffer, isFinal = true): Buffer {
  const length = payload.length
  const header = length < 126 ? 2 : length < 65_536 ? 4 : 10
  const frame = Buffer.alloc(header + 4 + length)
  frame[0] = (isFinal ? 0x80 : 0) | opcode
  frame[1] = 0x80 | (header === 2 ? length : header === 4 ? 126 : 127)
  if (header === 4) frame.writeUInt16BE(length, 2)
  if (header === 10) frame.writeBigUInt64BE(BigInt(length), 2)
  payload.copy(frame, header + 4)
  return frame
}

/** Code, reason and error code of what the server sends until it closes. */
export async function readClose(socket: Socket): Promise<{ code: number | undefined; error: string | undefined }> {
  const parts: Buffer[] = []
  socket.on('data', (chunk: Buffer) => parts.push(chunk))
  // Not `once`, which takes the end of a pipe that was written to for a failure.
  if (!socket.destroyed) await new Promise((resolve) => socket.once('close', resolve))
  let rest = Buffer.concat(parts)
  let code: number | undefined
  let error: string | undefined
  while (rest.length >= 2) {
    const short = rest[1]! & 127
    const header = short < 126 ? 2 : short === 126 ? 4 : 10
    const length = short < 126 ? short : short === 126 ? rest.readUInt16BE(2) : Number(rest.readBigUInt64BE(2))
    const payload = rest.subarray(header, header + length)
    if ((rest[0]! & 15) === 8) code = payload.length >= 2 ? payload.readUInt16BE(0) : 1005
    if ((rest[0]! & 15) === 1) {
      const message = decodeFromServer(payload.toString())
      if (message.type === 'error') error = message.code
    }
    rest = rest.subarray(header + length)
  }
  return { code, error }
}

/** A TCP proxy that does to the traffic what a bad network does. */
export class FaultProxy {
  readonly pairs = new Set<{ client: Socket; server: Socket }>()
  private readonly listener = createTcpServer()
  private mode: 'pass' | 'drop-both' | 'drop-to-client' | 'drop-to-server' = 'pass'
  private delayMs = 0
  private bytesPerSecond = 0
  private refuses = false
  private cutAfterBytes: number | undefined

  static async before(port: number): Promise<FaultProxy> {
    const proxy = new FaultProxy()
    proxy.listener.on('connection', (client) => proxy.join(client, port))
    proxy.listener.listen({ port: 0, host: '127.0.0.1', backlog: 8192 })
    await once(proxy.listener, 'listening')
    onTestFinished(() => proxy.close())
    return proxy
  }

  get url(): string {
    return `ws://127.0.0.1:${(this.listener.address() as AddressInfo).port}/v1/agent/connect`
  }

  private join(client: Socket, port: number): void {
    client.on('error', () => {})
    if (this.refuses) return void client.destroy()
    const server = connect({ port, host: '127.0.0.1' })
    server.on('error', () => {})
    const pair = { client, server }
    this.pairs.add(pair)
    const end = (): void => {
      this.pairs.delete(pair)
      client.destroy()
      server.destroy()
    }
    client.on('close', end)
    server.on('close', end)
    client.on('data', (chunk) => this.pass(chunk, server, 'drop-to-server'))
    server.on('data', (chunk) => {
      if (this.bytesPerSecond > 0) this.trickle(chunk, server, client)
      else this.pass(chunk, client, 'drop-to-client')
    })
  }

  private pass(chunk: Buffer, to: Socket, dropped: 'drop-to-client' | 'drop-to-server'): void {
    // Nobody is told: the bytes are gone, and both sides believe in the connection.
    if (this.mode === 'drop-both' || this.mode === dropped) return
    if (dropped === 'drop-to-client' && this.cutAfterBytes !== undefined) {
      const part = chunk.subarray(0, this.cutAfterBytes)
      this.cutAfterBytes -= part.length
      if (this.cutAfterBytes > 0) return void to.write(part)
      this.cutAfterBytes = undefined
      return void to.write(part, () => to.resetAndDestroy())
    }
    if (this.delayMs > 0) setTimeout(() => to.write(chunk), this.delayMs)
    else to.write(chunk)
  }

  private trickle(chunk: Buffer, from: Socket, to: Socket): void {
    from.pause()
    let sent = 0
    const step = (): void => {
      const size = Math.max(1, Math.floor(this.bytesPerSecond / 10))
      to.write(chunk.subarray(sent, sent + size))
      sent += size
      if (to.destroyed) return
      if (sent >= chunk.length) from.resume()
      else setTimeout(step, 100)
    }
    step()
  }

  partition(which: 'drop-both' | 'drop-to-client' | 'drop-to-server' = 'drop-both'): void {
    this.mode = which
  }

  heal(): void {
    this.mode = 'pass'
    this.refuses = false
  }

  refuse(): void {
    this.refuses = true
  }

  delay(ms: number): void {
    this.delayMs = ms
  }

  slow(bytesPerSecond: number): void {
    this.bytesPerSecond = bytesPerSecond
  }

  /** Resets the connection in the middle of what the server sends next. */
  cutAfter(bytes: number): void {
    this.cutAfterBytes = bytes
  }

  cutAll(): void {
    for (const { client, server } of [...this.pairs]) {
      client.resetAndDestroy()
      server.resetAndDestroy()
    }
  }

  async close(): Promise<void> {
    this.cutAll()
    await new Promise((resolve) => this.listener.close(resolve))
  }
}
