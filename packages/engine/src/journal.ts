/**
 * Keeps the record of events: the newest in memory, and all of them as JSON lines in a file, if there is one. It only
 * reports: nothing waits for the file, and neither a full disk nor a failing listener reaches a reload. The file
 * itself is `journal-file.ts`. Events are redacted before they come here.
 */
import { errorText, isPromise } from './deadline.ts'
import type { Event, EventBody, Journal } from './event.ts'
import { openJournalFile, type JournalFile } from './journal-file.ts'

export interface OpenJournal extends Journal {
  /** Records an event. Never throws and never waits; listeners have been called when it returns. */
  append(body: EventBody): Event
  /** Writes what is still queued, for at most 2 seconds. What is appended later is kept in memory only. */
  close(): Promise<void>
}

export interface JournalOptions {
  /** How many events are kept in memory, the newest; default 1000. */
  readonly limit?: number
  /** JSON lines, created with mode 0600. Its newest events are in the record after a restart, and ids go on from them. */
  readonly file?: string
  /** When the file has this size it becomes `<file>.1`, in place of the one before; bytes, default 16 MiB. */
  readonly maxFileBytes?: number
  /** For a log. The same message is already in the record as a `warning` event. Must not throw. */
  readonly onWarning: (message: string) => void
}

/** Never rejects because of the file: if it cannot be used, a warning says so and the record in memory goes on. */
export async function openJournal(options: JournalOptions): Promise<OpenJournal> {
  const { limit = 1000, file, maxFileBytes = 16 * 2 ** 20, onWarning } = options
  if (!(limit >= 1)) throw new RangeError(`journal limit is ${limit}; want 1 or more`)
  if (!(maxFileBytes >= 1)) throw new RangeError(`journal maxFileBytes is ${maxFileBytes}; want 1 or more`)
  // Warnings made while the file opens wait for the record that will hold them.
  const early: string[] = []
  let warn = (message: string): void => void early.push(message)
  const opened =
    file === undefined ? undefined : await openJournalFile(file, { maxFileBytes, limit, onWarning: (m) => warn(m) })
  const record = new EventRecord(limit, opened?.file, opened?.events ?? [], opened?.lastId ?? 0, onWarning)
  warn = (message) => record.warn('journal', message)
  early.forEach(warn)
  return record
}

/** So many events are delivered in one go; the rest waits for the next turn of the event loop. */
const deliveriesPerTurn = 1000

interface Listener {
  readonly call: (event: Event) => void
  /** Listeners hear what is appended after they came. */
  readonly afterId: number
  /** It threw, which has been said; it is said again only after it has worked in between. */
  failing: boolean
}

class EventRecord implements OpenJournal {
  readonly #limit: number
  readonly #file: JournalFile | undefined
  readonly #onWarning: (message: string) => void
  readonly #listeners = new Set<Listener>()
  #events: Event[]
  #lastId: number
  #undelivered: Event[] = []
  #delivering = false

  constructor(
    limit: number,
    file: JournalFile | undefined,
    events: readonly Event[],
    lastId: number,
    onWarning: (message: string) => void,
  ) {
    this.#limit = limit
    this.#file = file
    this.#events = events.slice(-limit)
    this.#lastId = lastId
    this.#onWarning = onWarning
  }

  append(body: EventBody): Event {
    const now = Date.now()
    const id = ++this.#lastId
    // The text is made when it is read: a reload begins with an event, and nobody may ever look at it.
    const event = Object.freeze({
      id,
      get at() {
        return new Date(now).toISOString()
      },
      ...body,
    }) as Event
    this.#events.push(event)
    // Cut now and then, not at each event, as cutting copies.
    if (this.#events.length >= 2 * this.#limit) this.#events = this.#events.slice(-this.#limit)
    this.#file?.write(event)
    if (this.#listeners.size > 0) this.#undelivered.push(event)
    this.#deliver()
    return event
  }

  warn(about: string, message: string): void {
    this.append({ kind: 'warning', about, message })
    this.#onWarning(message)
  }

  recent({
    limit = this.#limit,
    after = 0,
  }: { readonly limit?: number; readonly after?: number } = {}): readonly Event[] {
    const kept = this.#events.slice(-this.#limit)
    const newer = after > 0 ? kept.filter((event) => event.id > after) : kept
    return limit <= 0 ? [] : newer.slice(-limit)
  }

  subscribe(call: (event: Event) => void): () => void {
    const listener: Listener = { call, afterId: this.#lastId, failing: false }
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }

  async close(): Promise<void> {
    await this.#file?.close(2000)
  }

  /** A listener that appends finds a delivery under way: its event takes its turn, and calls are never nested. */
  #deliver(): void {
    if (this.#delivering) return
    this.#delivering = true
    const batch = deliveriesPerTurn
    for (let i = 0; i < batch && this.#undelivered.length > 0; i++) {
      const event = this.#undelivered.shift()!
      for (const listener of [...this.#listeners]) this.#call(listener, event)
    }
    this.#delivering = false
    // Listeners that answer every event with another one must not keep the process from its work.
    if (this.#undelivered.length > 0) setImmediate(() => this.#deliver())
  }

  #call(listener: Listener, event: Event): void {
    if (event.id <= listener.afterId || !this.#listeners.has(listener)) return
    const failed = (error: unknown): void => {
      if (listener.failing) return
      listener.failing = true
      // What goes wrong with a warning about listeners is not recorded: two of them could go on for ever.
      if (event.kind === 'warning' && event.about === 'listener') return
      this.warn('listener', `a listener to events threw on a "${event.kind}" event: ${errorText(error)}`)
    }
    try {
      const result: unknown = listener.call(event)
      if (isPromise(result)) result.then(undefined, failed)
      listener.failing = false
    } catch (error) {
      failed(error)
    }
  }
}
