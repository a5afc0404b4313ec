/**
 * Tells others how reloads ended, in the background: never slows a reload down, never fails one. Each notification has
 * its own queue, so that one that hangs does not hold up the rest. How an event travels is the notification's own
 * affair (`webhook.ts`, or a function).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { errorText, isTransient } from './deadline.ts'
import type { Event } from './event.ts'
import { succeeded } from './outcome.ts'

export type ReloadEvent = Extract<Event, { kind: 'reload' }>

export interface Notification {
  readonly name: string
  /** `committed` is a success; every other outcome is a failure, but `unchanged` and `closed`, of which nobody is told. */
  readonly on: 'success' | 'failure' | 'both'
  /** Rejects if the event did not arrive; it is tried again only if the error says `transient: true`. */
  send(event: ReloadEvent, signal: AbortSignal): Promise<void>
}

/** Why an event did not arrive. */
export class NotificationError extends Error {
  override readonly name = 'NotificationError'
  /** Worth another try soon. */
  readonly transient: boolean
  /** The receiver asks for this wait, in milliseconds. */
  readonly retryAfterMs: number | undefined

  constructor(message: string, options: { transient: boolean; retryAfterMs?: number; cause?: unknown }) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.transient = options.transient
    this.retryAfterMs = options.retryAfterMs
  }
}

/** Calls `fn` after each reload that `on` names (default `both`). It has 60 seconds; after that its result is ignored. */
export function notifyWith(
  fn: (event: ReloadEvent) => void | Promise<void>,
  options: { readonly on?: Notification['on']; readonly name?: string } = {},
): Notification {
  return { name: options.name ?? (fn.name || 'function'), on: options.on ?? 'both', send: async (event) => fn(event) }
}

export interface NotifierOptions {
  /** From an event's first try, with all its retries; milliseconds, default 60 000. */
  readonly deadlineMs?: number
  /** The first wait is up to this long, each further one up to twice the one before; milliseconds, default 500. */
  readonly backOffMs?: number
  /** Longest wait between two tries that we choose ourselves; milliseconds, default 15 000. */
  readonly maxBackOffMs?: number
  /** How many events may wait for one notification; default 100. */
  readonly maxWaiting?: number
}

/** Delivers in order for each notification, at least once, or says in a warning that it could not. */
export class Notifier {
  readonly #deliveries: readonly Delivery[]

  /** @param onWarning must not throw. */
  constructor(
    notifications: readonly Notification[],
    onWarning: (message: string) => void,
    options: NotifierOptions = {},
  ) {
    this.#deliveries = notifications.map((notification) => new Delivery(notification, onWarning, options))
  }

  /** Queues the event and returns at once. */
  reload(event: ReloadEvent): void {
    const { kind } = event.outcome
    if (kind === 'unchanged' || kind === 'closed') return
    const result = succeeded(event.outcome) ? 'success' : 'failure'
    for (const delivery of this.#deliveries) {
      if (delivery.on === 'both' || delivery.on === result) delivery.add(event)
    }
  }

  /**
   * Takes no more events. Those that are queued have one more try each, without waits, and `timeoutMs` together; the
   * rest is given up, with a warning.
   */
  async close(timeoutMs: number): Promise<void> {
    await Promise.all(this.#deliveries.map((delivery) => delivery.close(timeoutMs)))
  }
}

class Delivery {
  readonly on: Notification['on']
  readonly #notification: Notification
  readonly #warn: (message: string) => void
  readonly #options: Required<NotifierOptions>
  readonly #closing = new AbortController()
  readonly #stop = new AbortController()
  #waiting: ReloadEvent[] = []
  #dropped = 0
  #running: Promise<void> | undefined

  constructor(notification: Notification, onWarning: (message: string) => void, options: NotifierOptions) {
    this.on = notification.on
    this.#notification = notification
    this.#warn = (message) => onWarning(`notification ${notification.name}: ${message}`)
    this.#options = { deadlineMs: 60_000, backOffMs: 500, maxBackOffMs: 15_000, maxWaiting: 100, ...options }
  }

  add(event: ReloadEvent): void {
    if (this.#closing.signal.aborted) return
    this.#waiting.push(event)
    if (this.#waiting.length > this.#options.maxWaiting) {
      this.#waiting.shift()
      // Said at the first, and counted when the queue moves again.
      if (this.#dropped++ === 0) this.#warn(`more than ${this.#options.maxWaiting} events wait; the oldest are dropped`)
    }
    this.#running ??= this.#run().finally(() => (this.#running = undefined))
  }

  async close(timeoutMs: number): Promise<void> {
    this.#closing.abort()
    if (this.#running === undefined) return
    const timer = setTimeout(() => this.#stop.abort(), timeoutMs)
    await this.#running
    clearTimeout(timer)
  }

  async #run(): Promise<void> {
    // Lets the reload that brought the event go on first.
    await Promise.resolve()
    for (let event = this.#waiting.shift(); event !== undefined; event = this.#waiting.shift()) {
      if (this.#stop.signal.aborted) {
        this.#warn(`closed before ${this.#waiting.length + 1} events were sent`)
        this.#waiting = []
        return
      }
      await this.#deliver(event)
      if (this.#dropped > 0) this.#warn(`${this.#dropped} events were dropped, as too many waited`)
      this.#dropped = 0
    }
  }

  async #deliver(event: ReloadEvent): Promise<void> {
    const { deadlineMs, backOffMs, maxBackOffMs } = this.#options
    const deadline = performance.now() + deadlineMs
    for (let tries = 1; ; tries++) {
      const failure = await this.#try(event, Math.max(1, deadline - performance.now()))
      if (failure === undefined) return
      const jittered = Math.random() * Math.min(maxBackOffMs, backOffMs * 2 ** (tries - 1))
      const waitMs = Math.max(jittered, failure.retryAfterMs)
      // A wait that would end after the deadline is not begun.
      if (failure.transient && !this.#closing.signal.aborted && performance.now() + waitMs < deadline) {
        // Ends early on close: the try that follows is the last.
        await sleep(waitMs, undefined, { signal: this.#closing.signal, ref: false }).catch(() => {})
        continue
      }
      const often = tries === 1 ? '' : ` after ${tries} tries`
      return this.#warn(`event ${event.id} (${event.outcome.kind}) was not delivered${often}: ${failure.message}`)
    }
  }

  /** One try, over when the time is up even if `send` is not. */
  async #try(event: ReloadEvent, leftMs: number): Promise<Failure | undefined> {
    const attempt = new AbortController()
    const over = new Promise<Failure>((resolve) => {
      attempt.signal.addEventListener('abort', () =>
        resolve({ message: String(attempt.signal.reason), transient: false, retryAfterMs: 0 }),
      )
    })
    const timer = setTimeout(() => attempt.abort('took too long'), leftMs).unref()
    const stop = (): void => attempt.abort('closed')
    this.#stop.signal.addEventListener('abort', stop)
    if (this.#stop.signal.aborted) stop()
    try {
      const sent = attempt.signal.aborted ? over : this.#send(event, attempt.signal)
      return await Promise.race([sent, over])
    } finally {
      clearTimeout(timer)
      this.#stop.signal.removeEventListener('abort', stop)
    }
  }

  async #send(event: ReloadEvent, signal: AbortSignal): Promise<Failure | undefined> {
    try {
      await this.#notification.send(event, signal)
      return undefined
    } catch (error) {
      return failureOf(error)
    }
  }
}

interface Failure {
  readonly message: string
  readonly transient: boolean
  readonly retryAfterMs: number
}

function failureOf(error: unknown): Failure {
  const retryAfterMs = error instanceof NotificationError ? (error.retryAfterMs ?? 0) : 0
  return { message: errorText(error), transient: isTransient(error), retryAfterMs }
}
