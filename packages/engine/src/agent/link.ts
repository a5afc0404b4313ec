/**
 * The wire to the control plane, for as long as the process runs: carries out what `connection.ts` decides, polls
 * while there is no socket and now and then beside it, and keeps reports until they could be sent. Knows messages,
 * and nothing of what they mean: that is `member.ts`. `close()` leaves no socket, timer or request behind.
 */
import { errorText, pause } from '../deadline.ts'
import { decodeFromServer, encode } from '../protocol/codec.ts'
import type { AgentMessage, Heartbeat, Hello, ReleaseMessage, Report } from '../protocol/messages.ts'
import {
  backoff,
  defaultPacing,
  pollPlan,
  step,
  type Connection,
  type ConnectionCommand,
  type ConnectionEvent,
  type Pacing,
  type PollPlan,
  type Timer,
} from './connection.ts'
import { poll, sayHello, sayReport } from './poll.ts'
import type { Remote } from './remote.ts'
import { RemoteError } from './request.ts'
import { readToken, socketOpener, type OpenSocket, type Socket } from './websocket.ts'

/** What the link asks of the node, and tells it. */
export interface LinkEnd {
  hello(): Hello
  heartbeat(): Heartbeat
  /** The newest release whose content is at hand; 0 for none. */
  index(): number
  hear(message: ReleaseMessage): void
  head(number: number | null, auditHead?: string): void
  warn(message: string): void
}

export type Via = 'websocket' | 'poll' | 'nothing'

/** Reports that wait to be sent. Of more, the oldest is given up: only the newest release counts in the end. */
const maxWaiting = 32
/** Sent and not yet gone: a server that does not read is as good as away. */
const maxUnsentBytes = 1024 * 1024
const longPollMs = 30_000
const lastWordsMs = 2_000
/** So many reasons of one outage are told. */
const maxReasons = 5
/** Between two polls that return at once and bring nothing. */
const shortestGapMs = 1_000

export class Link {
  readonly #remote: Remote
  readonly #end: LinkEnd
  readonly #closing = new AbortController()
  readonly #timers = new Map<Timer, NodeJS.Timeout>()
  #polls: Promise<void> | undefined
  #connection: Connection = { kind: 'idle' }
  #openSocket: OpenSocket | undefined
  #socket: Socket | undefined
  /** Counts the sockets: what comes from an earlier one is passed over. */
  #sockets = 0
  #pacing: Pacing = defaultPacing
  #aliveAt = 0
  #contactAt: Date | undefined
  #polling = false
  /** Why it cannot be reached; empty while it can. */
  readonly #lost = new Set<string>()
  #planChanged = new AbortController()
  #plan: PollPlan = 'none'
  #wantsWhole = false
  #waiting: Report[] = []
  #last: Report | undefined
  #posting: Promise<void> | undefined

  constructor(remote: Remote, end: LinkEnd) {
    this.#remote = remote
    this.#end = end
  }

  /** Opens the socket, and begins to poll where there can be none. */
  async open(): Promise<void> {
    this.#openSocket = await socketOpener(this.#remote)
    if (this.#closing.signal.aborted) return
    if (this.#openSocket) this.#on({ kind: 'open' })
    else this.#replan()
    this.#polls = this.#pollOnAndOn()
  }

  /** When the control plane was last heard; `undefined`: never. */
  get contactAt(): Date | undefined {
    return this.#contactAt
  }

  /** How this node hears of releases at the moment. */
  get via(): Via {
    if (this.#connection.kind === 'online') return 'websocket'
    return this.#polling ? 'poll' : 'nothing'
  }

  report(report: Report): void {
    this.#last = report
    this.#waiting.push(report)
    if (this.#waiting.length > maxWaiting) this.#waiting.shift()
    this.#sendWaiting()
  }

  askWhole(number: number): void {
    if (this.#connection.kind === 'online') this.#say({ type: 'whole', number })
    else {
      this.#wantsWhole = true
      this.#wakePolling()
    }
  }

  /** One short poll by itself, before the link is open. @throws RemoteError */
  async look(limitMs: number, signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.any([signal, this.#closing.signal, AbortSignal.timeout(limitMs)])
    try {
      await this.#pollOnce(0, limit)
      if (this.#wantsWhole) await this.#pollOnce(0, limit)
    } catch (error) {
      if (limit.aborted && !signal.aborted) {
        throw new RemoteError(`${this.#remote.url.origin}: no answer within ${limitMs} ms`, { cause: error })
      }
      throw error
    }
  }

  /** What was said last may still go out, for at most two seconds. */
  async close(): Promise<void> {
    if (this.#posting) await Promise.race([this.#posting, pause(lastWordsMs, this.#closing.signal)])
    this.#closing.abort()
    this.#on({ kind: 'close' })
    this.#wakePolling()
    await Promise.all([this.#polls, this.#posting])
    this.#remote.agent.destroy()
  }

  #on(event: ConnectionEvent): void {
    const [state, commands] = step(this.#connection, event)
    this.#connection = state
    for (const command of commands) this.#do(command)
    this.#replan()
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
      case 'wait-heartbeat':
        return this.#wait('heartbeat', this.#pacing.heartbeatMs * 0.9, this.#pacing.heartbeatMs * 1.1)
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
    const dropped = (reason: string, retryAfterMs?: number) => {
      if (!current()) return
      if (!this.#polling) this.#warnLost(reason)
      this.#on({ kind: 'dropped', retryAfterMs })
    }
    readToken(this.#remote).then(
      (token) => {
        if (!current()) return
        this.#socket = this.#openSocket?.(token, {
          opened: () => current() && this.#on({ kind: 'opened' }),
          alive: () => {
            if (current()) this.#heard()
          },
          message: (frame) => {
            if (current()) this.#hear(frame, dropped)
          },
          dropped,
        })
      },
      (error: unknown) => dropped(errorText(error)),
    )
  }

  #hear(frame: string | Uint8Array | undefined, dropped: (reason: string) => void): void {
    if (frame === undefined) return dropped('the control plane sent a binary frame')
    try {
      const message = decodeFromServer(frame)
      switch (message.type) {
        case 'welcome':
          this.#takePacing(message)
          this.#on({ kind: 'welcome' })
          this.#found()
          return this.#end.head(message.head, message.auditHead)
        case 'release':
          return this.#end.hear(message)
        case 'pace':
          this.#takePacing({ ...this.#pacing, pollMs: message.pollMs })
          if (message.reconnectAfterMs !== undefined) this.#on({ kind: 'sent-away', maxMs: message.reconnectAfterMs })
          return
        case 'error':
          // It may have been about a report: said again at each reconnect, it would end each connection. What matters
          // of it is in the next hello.
          this.#forgetReports()
          return dropped(`the control plane says ${message.code}: ${message.message}`)
      }
    } catch (error) {
      // Also if it is a mistake of ours: in a listener it would end the program.
      dropped(errorText(error))
    }
  }

  #say(message: AgentMessage): void {
    this.#socket?.send(encode(message))
  }

  #sayHeartbeat(): void {
    const socket = this.#socket
    if (!socket) return
    const silent = socket.canPing && performance.now() - this.#aliveAt > this.#pacing.leaseMs
    if (silent || socket.waitingBytes > maxUnsentBytes) {
      this.#warnLost(`nothing was heard for ${this.#pacing.leaseMs} ms`)
      this.#on({ kind: 'silent' })
      return
    }
    socket.ping()
    this.#say(this.#end.heartbeat())
  }

  #sendWaiting(): void {
    if (this.#connection.kind === 'online') {
      for (const report of this.#waiting.splice(0)) this.#say(report)
    } else if (this.#plan === 'instead') {
      this.#posting ??= this.#postWaiting().finally(() => (this.#posting = undefined))
    }
  }

  async #postWaiting(): Promise<void> {
    const { signal } = this.#closing
    while (this.#waiting[0] && !signal.aborted && this.#plan === 'instead') {
      const report = this.#waiting[0]
      try {
        await sayReport(this.#remote, this.#end.hello().uid, report, signal)
        if (this.#waiting[0] === report) this.#waiting.shift()
      } catch (error) {
        if (signal.aborted) return
        this.#warnLost(errorText(error))
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

  #heard(): void {
    this.#aliveAt = performance.now()
    this.#contactAt = new Date()
  }

  #takePacing({ heartbeatMs, leaseMs, pollMs }: Pacing): void {
    this.#pacing = { heartbeatMs, leaseMs, pollMs }
  }

  /** Each reason once for each time that it is lost, not for every try. */
  #warnLost(reason: string): void {
    if (this.#lost.has(reason) || this.#lost.size >= maxReasons || this.#closing.signal.aborted) return
    this.#lost.add(reason)
    const since = this.#contactAt ? `, last heard ${this.#contactAt.toISOString()}` : ''
    this.#end.warn(`the control plane cannot be reached${since}; what is live stays live: ${reason}`)
  }

  #found(): void {
    this.#heard()
    if (this.#lost.size > 0) this.#end.warn(`the control plane is reached again, by ${this.via}`)
    this.#lost.clear()
  }

  #replan(): void {
    const plan = this.#openSocket || this.#closing.signal.aborted ? pollPlan(this.#connection) : 'instead'
    if (plan === this.#plan) return
    this.#plan = plan
    if (plan !== 'instead') this.#polling = false
    this.#wakePolling()
  }

  #wakePolling(): void {
    this.#planChanged.abort()
    this.#planChanged = new AbortController()
  }

  async #pollOnAndOn(): Promise<void> {
    const closing = this.#closing.signal
    let failures = 0
    let helloAt = -Infinity
    let gapMs: readonly [number, number] = [0, 0]
    while (!closing.aborted) {
      const plan = this.#plan
      const changed = this.#planChanged.signal
      const [minMs, maxMs] =
        plan === 'now-and-then' ? ([this.#pacing.pollMs * 0.9, this.#pacing.pollMs * 1.1] as const) : gapMs
      const waitMs = plan === 'none' ? longestWaitMs : minMs + Math.random() * (maxMs - minMs)
      // A wish for the whole is not made to wait, unless the last try failed.
      const now = this.#wantsWhole && failures === 0 && plan !== 'none'
      if (!now && (await pause(waitMs, changed, closing)) === 'stopped') continue
      const began = performance.now()
      const index = this.#end.index()
      try {
        const signal = AbortSignal.any([changed, closing])
        if (plan === 'instead') {
          if (began - helloAt >= this.#pacing.heartbeatMs) {
            const welcome = await sayHello(this.#remote, this.#end.hello(), signal)
            helloAt = performance.now()
            this.#takePacing(welcome)
            this.#end.head(welcome.head, welcome.auditHead)
          }
          this.#sendWaiting()
        }
        const brought = await this.#pollOnce(plan === 'instead' ? this.#longPollMs() : 0, signal)
        const taken = this.#end.index() !== index
        // Twice in a row what cannot be used: as if there had been no answer.
        failures = brought && !taken && !this.#wantsWhole ? failures + 1 : 0
        if (taken && plan === 'now-and-then' && this.#connection.kind === 'online') {
          this.#warnLost('a release came by poll that the WebSocket should have brought')
          this.#on({ kind: 'silent' })
        }
        const quick = !taken && performance.now() - began < shortestGapMs
        gapMs = failures > 0 ? backoff(failures) : quick ? [shortestGapMs / 2, shortestGapMs * 1.5] : [0, 0]
      } catch (error) {
        // Given up because the plan changed, or the link closes.
        if (changed.aborted || closing.aborted) continue
        this.#polling = false
        gapMs = backoff(failures++, error instanceof RemoteError ? error.retryAfterMs : undefined)
        this.#warnLost(errorText(error))
      }
    }
  }

  /** @returns whether a release was in it. */
  async #pollOnce(waitMs: number, signal: AbortSignal): Promise<boolean> {
    const whole = this.#wantsWhole
    const { uid } = this.#end.hello()
    const answer = await poll(this.#remote, { uid, index: this.#end.index(), waitMs, whole }, signal)
    if (whole) this.#wantsWhole = false
    this.#polling = this.#plan === 'instead'
    this.#found()
    if (answer.pollMs !== undefined && answer.pollMs >= 100)
      this.#takePacing({ ...this.#pacing, pollMs: answer.pollMs })
    if (answer.head !== undefined) this.#end.head(answer.head === 0 ? null : answer.head)
    if (answer.message) this.#end.hear(answer.message)
    return answer.message !== undefined
  }

  /** No longer than the pause between two signs of life. */
  #longPollMs(): number {
    return Math.max(1_000, Math.min(longPollMs, this.#pacing.heartbeatMs))
  }
}

const longestWaitMs = 2 ** 31 - 1
