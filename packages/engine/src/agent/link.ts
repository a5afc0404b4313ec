/**
 * The wire to the control plane, for as long as the process runs: carries out what `connection.ts` decides, and keeps
 * reports until they could be sent; `polling.ts` polls. Knows messages, and nothing of what they mean: that is
 * `member.ts`. `close()` leaves no socket, timer or request behind.
 */
import type { Bus } from '../buses/bus.ts'
import { errorText, pause } from '../deadline.ts'
import { decodeFromServer, encode } from '../protocol/codec.ts'
import type { AgentMessage, Confirm, Decision, ErrorMessage, Heartbeat, Report } from '../protocol/messages.ts'
import { BusLine, type BusEnd } from './bus.ts'
import {
  pollPlan,
  step,
  type Connection,
  type ConnectionCommand,
  type ConnectionEvent,
  type Drop,
  type Timer,
} from './connection.ts'
import { Contact, notTaken } from './contact.ts'
import { sayReport } from './poll.ts'
import { Polling, type PollEnd } from './polling.ts'
import type { Remote } from './remote.ts'
import { NotTakenError, RemoteError } from './request.ts'
import { readToken, socketOpener, type OpenSocket, type Socket } from './websocket.ts'

/** What the link asks of the node, and tells it. */
export interface LinkEnd extends PollEnd, BusEnd {
  heartbeat(): Heartbeat
  decide(message: Decision): void
  confirm(message: Confirm): void
}

/** `bus`: it tells when there is news, and polls stand in for the socket. */
export type Via = 'websocket' | 'bus' | 'poll' | 'nothing'

/** By which ways, besides polls. */
export interface LinkOptions {
  readonly websocket: boolean
  readonly bus: Bus | undefined
  /** Where there is no socket, reports go over the bus. */
  readonly reportsByBus: boolean
}

/** Reports that wait to be sent. Of more, the oldest is given up: only the newest release counts in the end. */
const maxWaiting = 32
/** In most fleets most releases are applied within this: then one report of three is enough, for both sides. */
const stepMs = 100
/** Sent and not yet gone: a server that does not read is as good as away. */
const maxUnsentBytes = 1024 * 1024
const lastWordsMs = 2_000

export class Link {
  readonly #remote: Remote
  readonly #end: LinkEnd
  readonly #closing = new AbortController()
  readonly #contact: Contact
  readonly #polling: Polling
  readonly #bus: BusLine | undefined
  readonly #options: LinkOptions
  readonly #timers = new Map<Timer, NodeJS.Timeout>()
  #polls: Promise<void> | undefined
  #connection: Connection = { kind: 'idle' }
  #openSocket: OpenSocket | undefined
  #socket: Socket | undefined
  /** Counts the sockets: what comes from an earlier one is passed over. */
  #sockets = 0
  #receivedBytes = 0
  #waiting: Report[] = []
  #sayingSteps: NodeJS.Timeout | undefined
  #last: Report | undefined
  #posting: Promise<void> | undefined
  #changed = false

  constructor(remote: Remote, end: LinkEnd, options: LinkOptions) {
    this.#remote = remote
    this.#options = options
    this.#end = end
    const { signal } = this.#closing
    this.#contact = new Contact((message) => {
      if (!signal.aborted) end.warn(message)
    })
    this.#polling = new Polling(
      remote,
      end,
      this.#contact,
      {
        isTold: () => this.#bus?.listening === true,
        reachable: () => this.#sendWaiting(),
        welcomed: ({ bus }) => this.#bus?.trust(bus),
        taken: () => this.#missed(),
      },
      signal,
    )
    const news = {
      // Over a socket it comes by itself.
      ask: (withinMs: number) => void (this.#connection.kind === 'online' || this.#polling.askWithin(withinMs)),
      changed: () => void (signal.aborted || this.#polling.toldOtherwise()),
    }
    this.#bus = options.bus && new BusLine(options.bus, remote.config, end, news)
  }

  /** Opens the socket, and begins to poll where there can be none. */
  async open(): Promise<void> {
    this.#openSocket = this.#options.websocket ? await socketOpener(this.#remote) : undefined
    if (this.#closing.signal.aborted) return
    this.#bus?.open()
    if (this.#openSocket) this.#on({ kind: 'open' })
    else this.#polling.follow('instead')
    this.#polls = this.#polling.onAndOn()
  }

  /** When the control plane was last heard; `undefined`: never. */
  get contactAt(): Date | undefined {
    return this.#contact.at
  }

  /** How this node hears of releases at the moment. */
  get via(): Via {
    if (this.#connection.kind === 'online') return 'websocket'
    if (!this.#polling.working) return 'nothing'
    return this.#bus?.listening ? 'bus' : 'poll'
  }

  /** What is said on the way to a result is kept back for a moment, and not said at all if the result comes meanwhile. */
  report(report: Report): void {
    this.#last = report
    this.#waiting = this.#waiting.filter((earlier) => !isStep(earlier) || earlier.number > report.number)
    this.#waiting.push(report)
    if (this.#waiting.length > maxWaiting) this.#waiting.shift()
    clearTimeout(this.#sayingSteps)
    if (isStep(report)) this.#sayingSteps = setTimeout(() => this.#sendWaiting(), stepMs).unref()
    else this.#sendWaiting()
  }

  /** Something that heartbeats say has changed. Several changes at once are said once. */
  sayChange(): void {
    if (this.#changed) return
    this.#changed = true
    queueMicrotask(() => {
      this.#changed = false
      if (this.#connection.kind === 'online') this.#say(this.#end.heartbeat())
      // After the report, which holds the reason.
      else void (this.#posting ?? Promise.resolve()).then(() => this.#polling.sayChange())
    })
  }

  askWhole(number: number): void {
    if (this.#connection.kind === 'online') this.#say({ type: 'whole', number })
    else this.#polling.askWhole()
  }

  /** One short poll by itself, before the link is open. @throws RemoteError */
  look(limitMs: number, signal: AbortSignal): Promise<void> {
    return this.#polling.look(limitMs, signal)
  }

  /** What was said last may still go out, for at most two seconds. */
  async close(): Promise<void> {
    if (this.#posting) await Promise.race([this.#posting, pause(lastWordsMs, this.#closing.signal)])
    clearTimeout(this.#sayingSteps)
    this.#closing.abort()
    this.#on({ kind: 'close' })
    await Promise.all([this.#polls, this.#posting, this.#bus?.close()])
    this.#remote.agent.destroy()
  }

  #on(event: ConnectionEvent): void {
    const [state, commands] = step(this.#connection, event)
    this.#connection = state
    for (const command of commands) this.#do(command)
    // Where there can be no socket, there are polls in place of it.
    if (this.#openSocket) this.#polling.follow(pollPlan(this.#connection))
  }

  #do(command: ConnectionCommand): void {
    switch (command.kind) {
      case 'connect':
        return this.#connect()
      case 'drop':
        this.#sockets++
        this.#socket?.drop()
        this.#socket = undefined
        return
      case 'say-hello':
        return this.#say(this.#end.hello())
      case 'say-heartbeat':
        return this.#sayHeartbeat()
      case 'catch-up':
        if (this.#last && this.#waiting.length === 0) this.#waiting.push(this.#last)
        return this.#sendWaiting()
      case 'wait':
        return this.#wait(command.timer, command.minMs, command.maxMs)
      case 'wait-heartbeat': {
        const { heartbeatMs } = this.#contact.pacing
        return this.#wait('heartbeat', heartbeatMs * 0.9, heartbeatMs * 1.1)
      }
      case 'no-wait':
        clearTimeout(this.#timers.get(command.timer))
        this.#timers.delete(command.timer)
        return
    }
  }

  #wait(timer: Timer, minMs: number, maxMs: number): void {
    clearTimeout(this.#timers.get(timer))
    const ms = minMs + Math.random() * (maxMs - minMs)
    this.#timers.set(
      timer,
      setTimeout(() => this.#on({ kind: 'due', timer }), ms),
    )
  }

  #connect(): void {
    const number = ++this.#sockets
    const current = () => number === this.#sockets
    const dropped = (reason: string, drop?: Drop) => {
      if (!current()) return
      if (!this.#polling.working) this.#contact.lost(reason)
      this.#on({ kind: 'dropped', ...drop })
    }
    readToken(this.#remote)
      .then((token) => {
        if (!current()) return
        this.#socket = this.#openSocket?.(token, {
          opened: () => current() && this.#on({ kind: 'opened' }),
          alive: () => {
            if (current()) this.#contact.heard()
          },
          message: (frame) => {
            if (current()) this.#hear(frame, dropped)
          },
          dropped,
        })
      })
      // Also for certificates that cannot be read now.
      .catch((error: unknown) => dropped(errorText(error)))
  }

  #hear(frame: string | Uint8Array | undefined, dropped: (reason: string) => void): void {
    if (frame === undefined) return dropped('the control plane sent a binary frame')
    try {
      const message = decodeFromServer(frame)
      switch (message.type) {
        case 'welcome':
          this.#contact.take(message)
          this.#bus?.trust(message.bus)
          this.#on({ kind: 'welcome' })
          this.#contact.found('websocket')
          return this.#end.head(message.head, message.auditHead)
        case 'release':
          return this.#end.hear(message)
        case 'decision':
          return this.#end.decide(message)
        case 'confirm':
          return this.#end.confirm(message)
        case 'pace':
          this.#contact.take({ ...this.#contact.pacing, pollMs: message.pollMs })
          if (message.reconnectAfterMs !== undefined) this.#on({ kind: 'sent-away', maxMs: message.reconnectAfterMs })
          return
        case 'error':
          return this.#refused(message, dropped)
      }
    } catch (error) {
      // Also if it is a mistake of ours: in a listener it would end the program.
      dropped(errorText(error))
    }
  }

  #refused({ code, message }: ErrorMessage, dropped: (reason: string) => void): void {
    if (code === 'duplicate-node') {
      this.#contact.lost(`${message}. ${uidTwice}`, notTaken)
      return this.#on({ kind: 'turned-away' })
    }
    if (code === 'unknown-config') {
      this.#contact.failed(new NotTakenError(this.#remote.config))
      return this.#on({ kind: 'dropped' })
    }
    // It may have been about a report: said again at each reconnect, it would end each connection. What matters of it
    // is in the next hello.
    this.#forgetReports()
    dropped(`the control plane says ${code}: ${message}`)
  }

  /** What a poll brings beside it shows that the socket brings nothing. */
  #missed(): void {
    if (this.#connection.kind !== 'online') return
    this.#contact.lost('a release came by poll that the WebSocket should have brought')
    this.#on({ kind: 'silent' })
  }

  #say(message: AgentMessage): void {
    this.#socket?.send(encode(message))
  }

  #sayHeartbeat(): void {
    const socket = this.#socket
    if (!socket) return
    const { leaseMs } = this.#contact.pacing
    // A large release on a narrow wire is a sign of life, too, long before it is there.
    if (socket.receivedBytes !== this.#receivedBytes) this.#contact.heard()
    this.#receivedBytes = socket.receivedBytes
    if ((socket.canPing && this.#contact.silentMs > leaseMs) || socket.waitingBytes > maxUnsentBytes) {
      this.#contact.lost(`nothing was heard for ${leaseMs} ms`)
      this.#on({ kind: 'silent' })
      return
    }
    socket.ping()
    this.#say(this.#end.heartbeat())
  }

  #sendWaiting(): void {
    if (this.#connection.kind === 'online') {
      for (const report of this.#waiting.splice(0)) this.#say(report)
    } else if (this.#polling.standsIn && this.#polling.isKnown) {
      this.#posting ??= this.#postWaiting().finally(() => (this.#posting = undefined))
    }
  }

  async #postWaiting(): Promise<void> {
    const { signal } = this.#closing
    while (this.#waiting[0] && !signal.aborted && this.#polling.standsIn) {
      const report = this.#waiting[0]
      try {
        const { uid } = this.#end.hello()
        const isSaid = this.#options.reportsByBus && (await this.#bus?.say(uid, report))
        if (!isSaid) await sayReport(this.#remote, uid, report, signal)
        if (this.#waiting[0] === report) this.#waiting.shift()
      } catch (error) {
        if (signal.aborted) return
        this.#contact.failed(error)
        // Kept, for the next poll that is answered or the next socket, unless it is the report that is at fault.
        if (error instanceof RemoteError && error.status === 400) this.#forgetReports()
        return
      }
    }
  }

  #forgetReports(): void {
    this.#waiting = []
    this.#last = undefined
  }
}

function isStep({ status }: Report): boolean {
  return status === 'RECEIVED' || status === 'APPLYING'
}

const uidTwice =
  'Two processes have the same uid: stop one, or give it a stateDir of its own without the file "uid" of the other'
