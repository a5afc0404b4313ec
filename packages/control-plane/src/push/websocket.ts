/**
 * One node's WebSocket: what comes over it is checked here, whatever it is, and ends in a message or in a named error
 * and a close. What a message leads to is `hub.ts`.
 */
import type { Duplex } from 'node:stream'
import type { IncomingMessage } from 'node:http'
import { BadMessageError, closeCodes, decodeFromAgent, encode, maxMessageBytes, subprotocol } from 'midflight/protocol'
import type { AgentMessage, BadMessageCode, ReleaseInfo, Runs, ServerMessage } from 'midflight/protocol'
import { WebSocket, WebSocketServer } from 'ws'
import type { Principal } from '../access.ts'
import type { Delivery } from '../desired.ts'
import type { Channel } from './channels.ts'
import { textFrame, type Package } from './frames.ts'
import type { HubLimits } from './limits.ts'

/** Why a connection was closed by the server. */
export type CloseReason =
  | 'bad-message' // not JSON, unknown type, a field that does not fit, binary, not UTF-8, not a WebSocket frame
  | 'too-large'
  | 'expected-hello'
  | 'unknown-config'
  | 'duplicate-node' // the uid is connected already, and alive
  | 'not-sent' // a report on a release that there never was
  | 'went-back' // it runs an older release than it did before (I5)
  | 'flood'
  | 'slow' // does not take what is sent to it
  | 'silent' // not heard of for longer than its lease
  | 'replaced' // a new connection of the same node; this one was dead
  | 'internal'
  | 'closing' // the server goes away

/** What a link tells its hub. */
export interface LinkEvents {
  nowMs(): number
  message(link: Link, message: AgentMessage): void
  /** It was heard of after `probe`. */
  alive(link: Link): void
  /** Nothing more will come or go. */
  gone(link: Link): void
  closing(link: Link, reason: CloseReason): void
  readonly limits: HubLimits
}

export type LinkState = 'new' | 'greeting' | 'open' | 'closed'

export class Link {
  state: LinkState = 'new'
  readonly identity: Principal
  readonly openedAtMs: number
  heardAtMs: number
  uid = ''
  /** What it follows, once it was greeted. */
  channel: Channel<Link> | undefined
  /** What it has said to hold, applied or not: a delta may be made onto it. */
  holds: Runs | null = null
  /** The newest that it has said to run, on this connection. */
  ran = 0
  /** Sent, and not yet confirmed. At most one at a time: what comes meanwhile is superseded by what comes last. */
  inFlight: ReleaseInfo | null = null
  sentAtMs = 0
  /** How its way to the newest release goes. */
  delivery: Delivery | undefined
  /** When to look whether something is to be sent; 0: not before something happens. */
  dueAtMs = 0
  /** By when it must have taken what was sent; 0: it has. */
  drainByMs = 0
  /** It could not use the delta. */
  wantsWhole = false
  /** Two-phase: what it was told of a decision. */
  decided: { readonly message: string; readonly atMs: number } | undefined
  /** The release that it was told stays. */
  confirmed = 0
  probing = false
  /** While it is being greeted, what it says waits here. */
  early: AgentMessage[] | null = null
  reason: CloseReason | undefined
  private readonly events: LinkEvents
  private readonly socket: Duplex
  private readonly ws: AgentSocket
  private credit: number
  private creditAtMs: number

  constructor(ws: AgentSocket, socket: Duplex, identity: Principal, events: LinkEvents) {
    this.ws = ws
    this.socket = socket
    this.identity = identity
    this.events = events
    this.openedAtMs = this.heardAtMs = this.creditAtMs = events.nowMs()
    this.credit = events.limits.messageBurst
  }

  /** Resolves when its socket is closed. */
  ended(): Promise<void> {
    if (this.socket.destroyed) return Promise.resolve()
    return new Promise((resolve) => this.socket.once('close', () => resolve()))
  }

  /** Bytes that the node has not taken. */
  get buffered(): number {
    return this.socket.writableLength
  }

  /** Whether all of it went out at once. */
  sendRelease({ release, frame }: Package): boolean {
    this.inFlight = release
    this.sentAtMs = this.events.nowMs()
    this.wantsWhole = false
    if (this.state === 'closed') return true
    this.socket.write(frame)
    return this.socket.writableLength === 0
  }

  send(message: ServerMessage): void {
    this.sendFrame(textFrame(encode(message)))
  }

  sendFrame(frame: Buffer): void {
    if (this.state !== 'closed') this.socket.write(frame)
  }

  /** Says why, and closes with 1008 or what else RFC 6455 has for it. */
  refuse(reason: CloseReason, message: string, code = 1008): void {
    if (this.state === 'closed') return
    this.reason = reason
    this.events.closing(this, reason)
    this.sayError(reason, message)
    this.ws.close(code, reason)
    this.end()
  }

  /** Sends it away for a while. */
  sendAway(pollMs: number, reconnectAfterMs: number): void {
    if (this.state === 'closed') return
    this.reason = 'closing'
    this.send({ type: 'pace', pollMs, reconnectAfterMs })
    this.ws.close(1001, 'closing')
    this.end()
  }

  /** Without a word: it would not hear it. */
  drop(reason: CloseReason): void {
    if (this.state !== 'closed') {
      this.reason = reason
      this.events.closing(this, reason)
    }
    this.ws.terminate()
    this.end()
  }

  /** Asks for a sign of life. */
  probe(): void {
    this.probing = true
    this.ws.ping()
  }

  /** From the receiver of `ws`, which closes by itself. */
  broken(code: number): void {
    if (this.state === 'closed') return
    const reason: CloseReason = code === 1009 ? 'too-large' : code === 1008 ? 'flood' : 'bad-message'
    this.reason = reason
    this.events.closing(this, reason)
    this.sayError(reason, brokenText(code))
  }

  end(): void {
    if (this.state === 'closed') return
    this.state = 'closed'
    this.early = null
    this.events.gone(this)
  }

  heard(bytes: number): boolean {
    const now = this.events.nowMs()
    this.heardAtMs = now
    const { messageBurst, messagesPerSecond } = this.events.limits
    this.credit = Math.min(messageBurst, this.credit + ((now - this.creditAtMs) * messagesPerSecond) / 1000)
    this.creditAtMs = now
    this.credit -= 1 + (bytes >> 10)
    if (this.credit < 0) {
      this.refuse('flood', `sends more than ${messagesPerSecond} messages per second; want fewer`)
      return false
    }
    if (this.probing) {
      this.probing = false
      this.events.alive(this)
    }
    return true
  }

  receive(data: Buffer, isBinary: boolean): void {
    if (this.state === 'closed' || !this.heard(data.length)) return
    if (isBinary) return this.refuse('bad-message', 'the frame is binary; want JSON text', closeCodes.binary)
    let message: AgentMessage
    try {
      message = decodeFromAgent(data.toString())
    } catch (error) {
      if (!(error instanceof BadMessageError)) throw error
      return this.refuse(reasonOf(error.code), error.message, closeCodes[error.code])
    }
    if (this.early !== null) {
      if (this.early.length < maxEarly) this.early.push(message)
      else this.refuse('flood', `says more than ${maxEarly} things before it was welcomed; want a pause`)
      return
    }
    this.events.message(this, message)
  }

  ponged(): void {
    if (this.state !== 'closed') this.heard(0)
  }

  pinged(data: Buffer): void {
    if (this.state === 'closed' || !this.heard(data.length)) return
    // Only the newest ping must be answered (RFC 6455, 5.5.3); pongs are not to pile up before one who does not read.
    if (this.socket.writableLength === 0) this.ws.pong(data)
  }

  private sayError(code: CloseReason, message: string): void {
    // Before one who does not read there is no room for last words.
    if (this.socket.writableLength < maxMessageBytes)
      this.send({ type: 'error', code, message: message.slice(0, 1024) })
  }
}

const maxEarly = 32

function reasonOf(code: BadMessageCode): CloseReason {
  return code === 'too-large' ? 'too-large' : 'bad-message'
}

function brokenText(code: number): string {
  if (code === 1009) return `the message is too large; want at most ${maxMessageBytes} bytes`
  if (code === 1007) return 'the message is not UTF-8'
  if (code === 1008) return 'the message comes in too many fragments'
  return 'that is not a WebSocket frame as RFC 6455 has it'
}

/** The listeners are shared by all sockets: 10,000 nodes are not to cost 50,000 closures. */
class AgentSocket extends WebSocket {
  link: Link | undefined

  /** `ws` calls this without a reason when what came is against RFC 6455; the error goes out before the close. */
  override close(code?: number, data?: string | Buffer): void {
    if (code !== undefined && data === undefined) this.link?.broken(code)
    super.close(code, data)
  }
}

function onMessage(this: WebSocket, data: unknown, isBinary: boolean): void {
  ;(this as AgentSocket).link?.receive(data as Buffer, isBinary)
}

function onPing(this: WebSocket, data: Buffer): void {
  ;(this as AgentSocket).link?.pinged(data)
}

function onPong(this: WebSocket): void {
  ;(this as AgentSocket).link?.ponged()
}

/** `close` follows, and what was wrong has been said there. A socket that breaks is nobody's mistake. */
function onError(): void {}

function onClose(this: WebSocket): void {
  const socket = this as AgentSocket
  socket.link?.end()
  socket.link = undefined
}

export interface Upgrades {
  /** `false`: it was no good upgrade request, and has been answered. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, identity: Principal): Link | undefined
}

export function createUpgrades(events: LinkEvents): Upgrades {
  const server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    // Measured (zlib, level 1): deflate of 256 B, 1 KiB, 64 KiB takes 27, 30, 117 µs, where to write them takes 10 to 22,
    // and a kept deflater has 212 KiB: 1 GiB for 5,000 nodes. What a small change sends is a few hundred bytes anyway.
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    maxFragments: events.limits.maxFragments,
    closeTimeout: events.limits.closeMs,
    autoPong: false,
    handleProtocols: (offered: Set<string>) => (offered.has(subprotocol) ? subprotocol : false),
    WebSocket: AgentSocket,
  } as ConstructorParameters<typeof WebSocketServer>[0])
  return {
    upgrade(request, socket, head, identity) {
      if (!offers(request)) {
        refuseUpgrade(socket, 400, `want the WebSocket subprotocol ${subprotocol}`)
        return undefined
      }
      let link: Link | undefined
      server.handleUpgrade(request, socket, head, (ws) => {
        const one = ws as AgentSocket
        link = new Link(one, socket, identity, events)
        one.link = link
        one.on('message', onMessage)
        one.on('ping', onPing)
        one.on('pong', onPong)
        one.on('error', onError)
        one.on('close', onClose)
      })
      return link
    },
  }
}

function offers(request: IncomingMessage): boolean {
  const offered = request.headers['sec-websocket-protocol'] ?? ''
  return offered.split(',').some((one) => one.trim() === subprotocol)
}

/** Answers an upgrade request that is not taken, and ends its socket. */
export function refuseUpgrade(socket: Duplex, status: 400 | 503, detail: string, retryAfterMs?: number): void {
  const title = status === 400 ? 'Bad Request' : 'Service Unavailable'
  const body = JSON.stringify({ type: 'about:blank', title, status, detail })
  const headers = [
    `HTTP/1.1 ${status} ${title}`,
    'Connection: close',
    'Content-Type: application/problem+json',
    `Content-Length: ${Buffer.byteLength(body)}`,
    ...(retryAfterMs === undefined ? [] : [`Retry-After: ${Math.ceil(retryAfterMs / 1000)}`]),
  ]
  socket.on('error', () => socket.destroy())
  socket.end(`${headers.join('\r\n')}\r\n\r\n${body}`, () => socket.destroy())
}
