/**
 * A message bus as the fleet needs it: bytes to a topic, bytes from a topic, and to be there again by itself after it was
 * away. It carries; what is said, who may say it and what is believed are the affair of both ends. One file for each
 * kind of server says how to connect; this one keeps the connection.
 */
import { backoffMs, errorText, pause, within } from '../deadline.ts'
import { optional } from '../optional.ts'
import { inRange } from '../range.ts'

export interface Bus {
  /** Of the server, for people, without credentials: `nats://10.0.0.7:4222`. */
  readonly name: string
  /** The largest message that it takes, in bytes; `undefined` until it was reached for the first time. */
  readonly maxBytes: number | undefined
  /**
   * Connects, if it is not connected: whether it can be, before there is anything to say.
   * @throws BusError within the time limit of the bus
   */
  reach(): Promise<void>
  /**
   * Resolves when the server has taken it; who listens has it or not. Connects first if it must.
   * @throws BusError within the time limit of the bus
   */
  publish(topic: string, bytes: Uint8Array): Promise<void>
  /** From now on, until what is returned is called, or the bus is closed. What came before is not told. */
  subscribe(topic: string, listener: BusListener): () => void
  /** Leaves no socket and no timer behind. */
  close(): Promise<void>
}

/** What it does must not throw. */
export interface BusListener {
  message(bytes: Uint8Array): void
  /** What is said from now on is heard. What was said while it did not listen is lost. */
  listening(): void
  /** Not any more, or not yet; it goes on trying. Each reason once, until it listens again. */
  lost(error: BusError): void
}

/** The bus could not do it. Holds no credentials and nothing of what was sent. */
export class BusError extends Error {
  override readonly name = 'BusError'
}

/** What a file for a kind of server gives. */
export interface BusConnection {
  readonly maxBytes: number
  publish(topic: string, bytes: Uint8Array): Promise<unknown>
  /** Resolves when what comes from now on is heard. */
  subscribe(topic: string, message: (bytes: Uint8Array) => void): Promise<void>
  unsubscribe(topic: string): Promise<void>
  /** Settles when it is over, with why if that is known. Never rejects. */
  readonly ended: Promise<unknown>
  /** Gives up what is under way. Never rejects. */
  end(): Promise<void>
}

export interface BusKind {
  readonly name: string
  /** For a connection, and for each message. */
  readonly timeoutMs: number
  /** Heeds the signal. What it throws must hold no credentials. */
  connect(signal: AbortSignal): Promise<BusConnection>
}

const firstRetryMs = 200
const maxRetryMs = 10_000

export function busOver(kind: BusKind): Bus {
  return new KeptBus(kind)
}

class KeptBus implements Bus {
  readonly name: string
  readonly #kind: BusKind
  readonly #closing = new AbortController()
  readonly #listeners = new Map<string, Set<BusListener>>()
  readonly #told = new Set<string>()
  #connection: BusConnection | undefined
  #maxBytes: number | undefined
  #running: Promise<void> | undefined
  /** Those who wait for a connection, or for why there is none. */
  #waiting = new Set<(found: BusConnection | BusError) => void>()
  #hurry = new AbortController()

  constructor(kind: BusKind) {
    this.#kind = kind
    this.name = kind.name
  }

  get maxBytes(): number | undefined {
    return this.#maxBytes
  }

  async reach(): Promise<void> {
    await this.#connected()
  }

  async publish(topic: string, bytes: Uint8Array): Promise<void> {
    try {
      const connection = await this.#connected()
      if (bytes.length > connection.maxBytes) {
        throw new BusError(`${bytes.length} bytes are more than the ${connection.maxBytes} that it takes`)
      }
      await within(this.#kind.timeoutMs, this.#closing.signal, () => connection.publish(topic, bytes))
    } catch (error) {
      throw this.#explained(error)
    }
  }

  subscribe(topic: string, listener: BusListener): () => void {
    if (this.#closing.signal.aborted) throw this.#explained('it is closed')
    const all = this.#listeners.get(topic) ?? new Set()
    this.#listeners.set(topic, all)
    all.add(listener)
    const connection = this.#connection
    if (connection) void this.#subscribeOn(connection, topic, [listener])
    else this.#run()
    return () => {
      if (!all.delete(listener) || all.size > 0) return
      this.#listeners.delete(topic)
      this.#connection?.unsubscribe(topic).catch(() => {}) // it is over, and with it the subscription
    }
  }

  async close(): Promise<void> {
    this.#closing.abort()
    this.#listeners.clear()
    await this.#running
  }

  async #connected(): Promise<BusConnection> {
    if (this.#closing.signal.aborted) throw new BusError('it is closed')
    if (this.#connection) return this.#connection
    this.#run()
    // Whoever has something to say does not wait for the end of a long pause between two tries.
    this.#hurry.abort()
    const found = await new Promise<BusConnection | BusError>((resolve) => this.#waiting.add(resolve))
    if (found instanceof BusError) throw found
    return found
  }

  #run(): void {
    this.#running ??= this.#keep().finally(() => (this.#running = undefined))
  }

  async #keep(): Promise<void> {
    const { signal } = this.#closing
    let failures = 0
    while (!signal.aborted) {
      const began = performance.now()
      await this.#once(signal).catch((error: unknown) => this.#lost(this.#explained(error)))
      if (signal.aborted) break
      // One that lasted starts over with short waits; a server that cuts each connection off does not.
      failures = performance.now() - began > maxRetryMs ? 0 : failures + 1
      this.#hurry = new AbortController()
      const ms = firstRetryMs / 2 + backoffMs(failures, firstRetryMs, maxRetryMs)
      if ((await pause(ms, signal, this.#hurry.signal)) === 'stopped') await pause(firstRetryMs, signal)
    }
    this.#found(this.#explained('it is closed'))
  }

  /** One connection, from its beginning to its end. */
  async #once(signal: AbortSignal): Promise<void> {
    const { timeoutMs } = this.#kind
    const late = (result: PromiseSettledResult<BusConnection>) => {
      if (result.status === 'fulfilled') void result.value.end()
    }
    const connection = await within(timeoutMs, signal, (limit) => this.#kind.connect(limit), late)
    const stop = () => void connection.end()
    signal.addEventListener('abort', stop, { once: true })
    try {
      this.#connection = connection
      this.#maxBytes = connection.maxBytes
      this.#found(connection)
      for (const [topic, all] of this.#listeners) void this.#subscribeOn(connection, topic, all)
      const why = await connection.ended
      if (!signal.aborted) throw why ?? new BusError('the server has ended the connection')
    } finally {
      this.#connection = undefined
      signal.removeEventListener('abort', stop)
      await connection.end()
    }
  }

  async #subscribeOn(connection: BusConnection, topic: string, listeners: Iterable<BusListener>): Promise<void> {
    try {
      const heard = (bytes: Uint8Array) => this.#listeners.get(topic)?.forEach((one) => one.message(bytes))
      await within(this.#kind.timeoutMs, this.#closing.signal, () => connection.subscribe(topic, heard))
      if (this.#connection !== connection) return
      this.#told.clear()
      for (const one of listeners) if (this.#listeners.get(topic)?.has(one)) one.listening()
    } catch (error) {
      if (this.#connection !== connection) return
      this.#lost(this.#explained(error))
      // Anew, with the pauses of a connection that fails.
      await connection.end()
    }
  }

  #lost(error: BusError): void {
    this.#found(error)
    if (this.#closing.signal.aborted || this.#told.has(error.message)) return
    this.#told.add(error.message)
    for (const all of this.#listeners.values()) for (const one of all) one.lost(error)
  }

  #found(what: BusConnection | BusError): void {
    const waiting = this.#waiting
    this.#waiting = new Set()
    for (const one of waiting) one(what)
  }

  #explained(error: unknown): BusError {
    const text = errorText(error)
    // Not as the cause: the errors of libraries hold the command, and that may hold a password.
    return new BusError(text.startsWith(this.name) ? text : `${this.name}: ${text}`)
  }
}

/**
 * The address of a bus, without credentials in it.
 * @throws TypeError for one that cannot be meant. Without the text itself: it may hold a password.
 */
export function busUrl(maker: string, text: string, schemes: readonly string[]): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const want = schemes.map((scheme) => `${scheme}://host:port`).join(' or ')
  if (!url || !schemes.includes(url.protocol.slice(0, -1)) || url.hostname === '') {
    throw new TypeError(`${maker}: that is no address of this bus; want ${want}`)
  }
  if (url.username !== '' || url.password !== '') {
    throw new TypeError(`${maker}: the address holds a user name or password; want them in options of their own`)
  }
  return url
}

/** Before each topic, so that several fleets may share one server. */
export const defaultPrefix = 'midflight'

/** @throws TypeError */
export function checkedPrefix(maker: string, prefix: string): string {
  if (/^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/.test(prefix) && prefix.length <= 100) return prefix
  throw new TypeError(`${maker}: prefix is ${JSON.stringify(prefix)}; want letters, digits, - and _, parted by dots`)
}

/** @throws RangeError */
export function checkedTimeoutMs(maker: string, timeoutMs: number): number {
  return inRange(maker, 'timeoutMs', timeoutMs, 10, 3_600_000)
}

/** @throws BusError that names the `npm install`. */
export function imported<T>(packageName: string, load: () => Promise<T>): Promise<T> {
  return optional(load, () => new BusError(`this bus needs the package ${packageName}: npm install ${packageName}`))
}
