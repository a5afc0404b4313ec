/**
 * A control plane for tests, written from docs/protocol.md and knowing nothing of the agent: it fakes the wire. Real
 * sockets on 127.0.0.1. It publishes, remembers what agents say, and can be told to misbehave.
 */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { WebSocketServer, type WebSocket } from 'ws'
import { freePort } from '../../../test/rig/free-ports.ts'
import { digest } from '../src/digest.ts'
import type { Json } from '../src/json.ts'
import { diff } from '../src/diff.ts'
import { applyPatch, toPatch, type PatchOperation } from '../src/patch.ts'
import type { AgentMessage, Hello, ReleaseMessage, Report, Welcome } from '../src/protocol/messages.ts'
import type { ReleaseInfo } from '../src/protocol/release.ts'

export interface Published {
  readonly release: ReleaseInfo
  readonly content: Json
}

export interface Said {
  readonly via: 'websocket' | 'http'
  readonly message: AgentMessage
}

export interface FakeOptions {
  readonly config?: string
  readonly token?: string
  /** Signs each release. */
  readonly sign?: (release: ReleaseInfo) => ReleaseInfo['signature']
  readonly pacing?: Partial<Pick<Welcome, 'heartbeatMs' | 'leaseMs' | 'pollMs' | 'bus'>>
  readonly tls?: { readonly key: string; readonly cert: string; readonly ca?: string }
  readonly port?: number
  /** What it had published before it was last stopped. */
  readonly releases?: readonly Published[]
}

export class FakeControlPlane {
  readonly config: string
  readonly releases: Published[]
  readonly said: Said[] = []
  readonly sockets = new Set<WebSocket>()
  /** Frames that go to agents pass here: none drops it, two double it. */
  frames: (text: string) => readonly string[] = (text) => [text]
  /** Answers instead of the usual one, where it returns true. */
  intercept: (request: IncomingMessage, response: ServerResponse) => boolean = () => false
  /** Whether WebSockets are accepted; a number is the status that refuses them. */
  upgrades: true | number = true
  /** What each WebSocket request carried. */
  readonly upgradeHeaders: IncomingMessage['headers'][] = []
  /** What it does about a report over a WebSocket, besides remembering it. */
  onReport: (ws: WebSocket) => void = () => {}
  /** Whether deltas are sent where they could be. */
  deltas = true
  readonly #options: FakeOptions
  readonly #server: Server
  readonly #ws = new WebSocketServer({ noServer: true, handleProtocols: () => 'midflight.v1' })
  readonly #polls = new Set<() => void>()
  readonly #waiting = new Set<() => void>()
  /** What each socket's agent is known to hold. */
  readonly #holds = new WeakMap<WebSocket, number>()

  private constructor(options: FakeOptions) {
    this.#options = options
    this.config = options.config ?? 'shop/gateway/prod'
    this.releases = [...(options.releases ?? [])]
    const answer = (request: IncomingMessage, response: ServerResponse) =>
      void this.#answer(request, response).catch((error: unknown) => {
        // An agent that was killed in the middle of what it said.
        if (!request.destroyed) throw error
      })
    this.#server = options.tls
      ? createTlsServer({ ...options.tls, requestCert: options.tls.ca !== undefined, rejectUnauthorized: true }, answer)
      : createServer(answer)
    this.#server.on('upgrade', (request, socket, head) => {
      socket.on('error', () => {}) // an agent that was killed while it was answered
      this.upgradeHeaders.push(request.headers)
      const refused = this.upgrades !== true ? this.upgrades : this.#authorized(request) ? undefined : 401
      if (refused !== undefined) {
        socket.end(`HTTP/1.1 ${refused} No\r\nConnection: close\r\nContent-Length: 0\r\n\r\n`)
        return
      }
      this.#ws.handleUpgrade(request, socket, head, (ws) => this.#welcome(ws))
    })
  }

  static async listen(options: FakeOptions = {}): Promise<FakeControlPlane> {
    const fake = new FakeControlPlane(options)
    fake.#server.listen(options.port ?? (await freePort()), '127.0.0.1')
    await once(fake.#server, 'listening')
    return fake
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port
  }

  get url(): string {
    return `${this.#options.tls ? 'https' : 'http'}://127.0.0.1:${this.port}`
  }

  /** Makes the next release, and sends it to everyone. */
  publish(content: Json, changes: Partial<ReleaseInfo> = {}): Published {
    const published = this.made(content, changes)
    this.releases.push(published)
    this.pushAll()
    return published
  }

  /** A release as it would be the next. */
  made(content: Json, changes: Partial<ReleaseInfo> = {}): Published {
    const head = this.head
    const unsigned: ReleaseInfo = {
      config: this.config,
      number: (head?.release.number ?? 0) + 1,
      digest: digest(content),
      parent: head?.release.number ?? null,
      createdAt: new Date().toISOString(),
      author: 'ada',
      message: 'a change',
      kind: 'publish',
      ...changes,
    }
    const signature = changes.signature ?? this.#options.sign?.(unsigned)
    return { release: { ...unsigned, ...(signature && { signature }) }, content: structuredClone(content) }
  }

  get head(): Published | undefined {
    return this.releases.at(-1)
  }

  pushAll(): void {
    for (const ws of this.sockets) this.push(ws)
    for (const wake of this.#polls) wake()
  }

  push(ws: WebSocket): void {
    const holds = this.#holds.get(ws) ?? 0
    if (!this.head || this.head.release.number <= holds) return
    this.#holds.set(ws, this.head.release.number)
    this.send(ws, this.messageFor(holds))
  }

  /** Sends one message as it is, to one or to all. */
  send(ws: WebSocket | undefined, message: object): void {
    for (const to of ws ? [ws] : this.sockets) for (const text of this.frames(JSON.stringify(message))) to.send(text)
  }

  /** The head, for a node that holds release `base`. */
  messageFor(base: number, whole = false): ReleaseMessage {
    const { release, content } = this.head as Published
    const from = this.releases.find((one) => one.release.number === base)
    if (!from || whole || !this.deltas) return { type: 'release', release, body: { kind: 'whole', content } }
    const patch = toPatch(from.content, diff(from.content, content))
    return {
      type: 'release',
      release,
      body: { kind: 'delta', base, baseDigest: from.release.digest, patch: patch as readonly PatchOperation[] },
    }
  }

  /** Resolves with the first message, also an earlier one, that fits. */
  async heard<T extends AgentMessage['type']>(
    type: T,
    fits: (message: Extract<AgentMessage, { type: T }>, via: Said['via']) => boolean = () => true,
  ): Promise<Extract<AgentMessage, { type: T }>> {
    for (;;) {
      for (const { message, via } of this.said) {
        if (message.type !== type) continue
        const typed = message as Extract<AgentMessage, { type: T }>
        if (fits(typed, via)) return typed
      }
      await new Promise<void>((resolve) => this.#waiting.add(resolve))
    }
  }

  reports(number: number): string[] {
    return this.said.flatMap(({ message }) =>
      message.type === 'report' && message.number === number ? [message.status] : [],
    )
  }

  /** Stops as if it had been killed: every connection is cut. */
  async close(): Promise<void> {
    for (const ws of this.sockets) ws.terminate()
    for (const wake of this.#polls) wake()
    this.#server.closeAllConnections()
    this.#server.close()
    await once(this.#server, 'close')
  }

  #heard(via: Said['via'], message: AgentMessage) {
    this.said.push({ via, message })
    for (const resolve of this.#waiting) resolve()
    this.#waiting.clear()
  }

  #authorized({ headers }: IncomingMessage): boolean {
    const { token } = this.#options
    if (token === undefined || headers.authorization === `Bearer ${token}`) return true
    const protocols = (headers['sec-websocket-protocol'] ?? '').split(/\s*,\s*/)
    return protocols.includes(`bearer.${Buffer.from(token).toString('base64url')}`)
  }

  #welcomeMessage(): Welcome {
    const head = this.head?.release.number ?? null
    return { type: 'welcome', heartbeatMs: 30_000, leaseMs: 90_000, pollMs: 60_000, ...this.#options.pacing, head }
  }

  #welcome(ws: WebSocket) {
    this.sockets.add(ws)
    ws.on('close', () => this.sockets.delete(ws))
    ws.on('error', () => {}) // a test has cut it
    ws.on('message', (data: Buffer) => {
      const message = JSON.parse(data.toString()) as AgentMessage
      this.#heard('websocket', message)
      if (message.type === 'hello') {
        this.#holds.set(ws, message.runs?.number ?? 0)
        this.send(ws, this.#welcomeMessage())
        this.push(ws)
      }
      if (message.type === 'report') this.onReport(ws)
      if (message.type === 'whole') this.send(ws, this.messageFor(0, true))
    })
  }

  async #answer(request: IncomingMessage, response: ServerResponse) {
    if (this.intercept(request, response)) return
    const url = new URL(request.url ?? '/', 'http://fake')
    const [, config, what] = /^\/v1\/agent\/([^/]+)\/(poll|report|heartbeat)$/.exec(url.pathname) ?? []
    const end = (status: number, body?: object, headers: Record<string, string> = {}) => {
      response.writeHead(status, { ...(body && { 'content-type': 'application/json' }), ...headers })
      response.end(body && JSON.stringify(body))
    }
    if (!this.#authorized(request)) return end(401)
    if (config === undefined || decodeURIComponent(config) !== this.config) return end(404)
    if (what === 'poll') return this.#poll(url, request, end)
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const message = JSON.parse(Buffer.concat(chunks).toString()) as Hello | Report
    this.#heard('http', message)
    if (message.type === 'hello') return end(200, this.#welcomeMessage())
    return end(204)
  }

  async #poll(
    url: URL,
    request: IncomingMessage,
    end: (status: number, body?: object, headers?: Record<string, string>) => void,
  ) {
    const index = Number(url.searchParams.get('index'))
    const whole = url.searchParams.get('whole') === '1'
    const waitMs = 1000 * Number(/^(\d+)s$/.exec(url.searchParams.get('wait') ?? '')?.[1] ?? 0)
    const news = () => (this.head?.release.number ?? 0) > index || (whole && this.head !== undefined)
    if (!news() && waitMs > 0) {
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer)
          this.#polls.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, waitMs)
        this.#polls.add(wake)
        request.on('close', wake)
      })
    }
    const headers = { 'x-midflight-index': String(this.head?.release.number ?? 0) }
    if (!news()) return end(304, undefined, headers)
    const message = this.messageFor(index, whole)
    const [text] = this.frames(JSON.stringify(message))
    if (text === undefined) return end(304, undefined, headers)
    end(200, JSON.parse(text) as object, { ...headers, etag: `"${message.release.digest}"` })
  }
}

/** The content that a list of messages comes to, for tests that keep count themselves. */
export function patched(content: Json, message: ReleaseMessage): Json {
  return message.body.kind === 'whole' ? message.body.content : applyPatch(content, message.body.patch)
}
