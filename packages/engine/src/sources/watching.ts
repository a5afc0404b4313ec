/**
 * What all sources share that follow keys and values on a server: they bring a `Feed`, which speaks the server's
 * protocol; this makes a source and trigger of it. Follows from the first load until it is closed, follows again after
 * a wait when it is cut off, compares by value, and keeps what is known while the server is away. How keys become a
 * document is `watching/joined.ts`.
 */
import { backoffMs, errorText, pause } from '../deadline.ts'
import { debounced } from '../debounce.ts'
import { issueText, type Issue, type IssueCode } from '../issue.ts'
import { inRange } from '../range.ts'
import { SourceError, type Document, type Source } from '../source.ts'
import type { ReloadRequest, Trigger } from '../trigger.ts'
import { FollowError, type Feed, type News } from './watching/feed.ts'
import { Joined, type Place, type ValueFormat } from './watching/joined.ts'

export { FollowError, type Feed, type KeyChange, type News } from './watching/feed.ts'
export type { Place, ValueFormat } from './watching/joined.ts'

/** What the options of every such source hold besides its own. */
export interface WatchingOptions {
  /** As status, errors and events show it. Default: the kind of source and the place. */
  readonly name?: string
  readonly format?: ValueFormat
  /** Of all values together, 1 to 2^31, default 16 MiB. */
  readonly maxBytes?: number
  /** Waits until nothing has changed for this long, milliseconds, at most for ten times as long. Default 0: does not. */
  readonly debounceMs?: number
  /** How long a load waits for the server before it goes on with what is known, milliseconds, default 3,000. */
  readonly answerMs?: number
  /** Waits between tries to follow: random up to `firstMs` (default 200), doubling up to `maxMs` (default 30,000). */
  readonly retry?: { readonly firstMs?: number; readonly maxMs?: number }
}

export interface WatchingSource extends Source, Trigger {
  /** Leaves no socket, timer or request behind. */
  close(): Promise<void>
  following(): Following
}

/** How a source stands to its server. */
export type Following =
  | { readonly state: 'idle' | 'closed' }
  | { readonly state: 'looking' | 'following'; readonly heardAt: Date | undefined }
  | { readonly state: 'lost'; readonly heardAt: Date | undefined; readonly since: Date; readonly error: string }

/**
 * The source and trigger `name` that reads `place` by `feed`. One engine to a call.
 *
 * A prefix is given with its separator at the end (`/app/`), or is empty. A key that is not there is refused, and what
 * is live stays live; one that was seen to be removed is a removal. While the server cannot be reached a load gives
 * what is known, and a warning; a load before anything is known fails.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function watching(name: string, place: Place, options: WatchingOptions, feed: Feed): WatchingSource {
  const settings = checked(name, place, options)
  const source = new Watching(options.name ?? name, name.split(':', 1)[0] as string, place, settings, feed)
  const trigger: Trigger = { name: source.name, requests: (signal, warn) => source.requests(signal, warn) }
  const { debounceMs } = settings
  const quiet = debounceMs ? debounced(trigger, { quietMs: debounceMs, maxMs: debounceMs * 10 }) : trigger
  return {
    name: source.name,
    attached: () => void (source.isTold = true),
    load: (signal) => source.load(signal),
    settled: (outcome) => source.settled(outcome !== undefined),
    requests: (signal, warn) => quiet.requests(signal, warn),
    close: () => source.close(),
    following: () => source.following(),
  }
}

interface Settings extends Pick<WatchingOptions, 'format'> {
  readonly maxBytes: number
  readonly debounceMs: number
  readonly answerMs: number
  readonly firstMs: number
  readonly maxMs: number
}

/** How long it must have followed for the next loss to count as a first one. */
const steadyMs = 10_000

class Watching {
  readonly name: string
  /** By an engine: `settled` follows each load. */
  isTold = false
  readonly #kind: string
  readonly #place: Place
  readonly #settings: Settings
  readonly #feed: Feed
  readonly #joined: Joined
  readonly #closing = new AbortController()
  /** Whether it is known what the server holds. */
  #isKnown = false
  /** Whether there ever was anything. */
  #hasHeld = false
  /** Why that is no configuration. */
  #refused: Issue | undefined
  /** Counts what a load could tell apart. */
  #version = 0
  #loaded = 0
  /** The newest that an engine has taken notice of, or was asked to. */
  #told = 0
  #asked = false
  #loading = false
  #wake: () => void = () => {}
  #warn: ((message: string) => void) | undefined
  #unsaid: string | undefined
  #state: Following = { state: 'idle' }
  #lost: SourceError | undefined
  #run: Promise<void> | undefined
  #closed: Promise<void> | undefined
  #look = new Look()

  constructor(name: string, kind: string, place: Place, settings: Settings, feed: Feed) {
    this.name = name
    this.#kind = kind
    this.#place = place
    this.#settings = settings
    this.#feed = feed
    this.#joined = new Joined(name, place, settings.format, settings.maxBytes)
  }

  following(): Following {
    return this.#state
  }

  async load(signal: AbortSignal): Promise<Document> {
    if (this.#closing.signal.aborted) throw new SourceError([this.#issue('is closed')])
    this.#loading = this.isTold
    const hasHeard = this.#isKnown || this.#refused !== undefined
    const justHeard = this.#asked && hasHeard
    this.#asked = false
    // Whoever else asks wants to know what is there now.
    if (this.#run === undefined) this.#run = this.#follow()
    else if (!justHeard && hasHeard) this.#lookAgain()
    if (!justHeard) await this.#answered(signal)
    this.#loaded = this.#version
    if (this.#refused) throw new SourceError([this.#refused])
    if (!this.#isKnown) throw this.#lost ?? new SourceError([this.#issue('gave nothing')], { transient: true })
    return this.#joined.document()
  }

  async #answered(signal: AbortSignal): Promise<void> {
    const limitMs = this.#isKnown || this.#refused ? this.#settings.answerMs : undefined
    const how = await this.#look.answered(signal, limitMs)
    if (how === 'late') this.#say(`did not answer within ${limitMs} ms; what it gave last stays in use`)
    if (how === 'stopped') throw new SourceError([this.#issue('was not waited for')], { transient: true })
  }

  /** @param isTaken false after a dry run: the news in it are still to be asked for. */
  settled(isTaken: boolean): void {
    this.#loading = false
    if (isTaken) this.#told = Math.max(this.#told, this.#loaded)
    this.#wake()
  }

  async *requests(signal: AbortSignal, warn?: (message: string) => void): AsyncGenerator<ReloadRequest> {
    this.#warn = warn
    if (this.#unsaid !== undefined) this.#say(this.#unsaid)
    const wake = () => this.#wake()
    signal.addEventListener('abort', wake)
    try {
      while (!signal.aborted) {
        if (this.#told < this.#version && !this.#loading) {
          this.#told = this.#version
          this.#asked = true
          yield { trigger: this.#kind }
        } else await new Promise<void>((resolve) => (this.#wake = resolve))
      }
    } finally {
      signal.removeEventListener('abort', wake)
      this.#warn = undefined
    }
  }

  close(): Promise<void> {
    return (this.#closed ??= this.#close())
  }

  async #close(): Promise<void> {
    this.#closing.abort()
    this.#look.stop()
    await this.#run
    this.#state = { state: 'closed' }
    await this.#feed.close?.()
  }

  #lookAgain(): void {
    const before = this.#look
    this.#look = new Look()
    before.stop()
  }

  async #follow(): Promise<void> {
    const closing = this.#closing.signal
    for (let failures = 0; !closing.aborted;) {
      const look = this.#look
      const error = await this.#lookAndFollow(look)
      if (closing.aborted) break
      if (look.signal.aborted) continue
      if (look.heardForMs() > steadyMs) failures = 0
      this.#fail(error)
      look.answer()
      const { firstMs, maxMs } = this.#settings
      const leastMs = error instanceof FollowError ? (error.retryAfterMs ?? 0) : 0
      await pause(Math.max(leastMs, backoffMs(failures++, firstMs, maxMs)), closing, look.signal)
      if (this.#look === look) this.#look = new Look()
    }
    this.#look.answer()
  }

  /** @returns why it ended */
  async #lookAndFollow(look: Look): Promise<unknown> {
    const { signal } = look
    const heardAt = 'heardAt' in this.#state ? this.#state.heardAt : undefined
    if (this.#lost === undefined) this.#state = { state: 'looking', heardAt }
    try {
      for await (const news of this.#feed.follow(signal, (message) => this.#say(message))) {
        if (this.#closing.signal.aborted) return undefined
        // Also where a newer look is wanted by now: what the feed has told once it may not tell again.
        this.#take(news)
        look.answer()
        if (signal.aborted) return undefined
      }
      return new FollowError('the server has ended the connection')
    } catch (error) {
      return error
    }
  }

  #take(news: News): void {
    if (this.#lost) this.#say('is followed again')
    this.#lost = undefined
    this.#state = { state: 'following', heardAt: new Date() }
    if (!this.#isOther(news)) return
    this.#version++
    this.#wake()
  }

  /** Takes the news over. @returns whether a load could tell */
  #isOther(news: News): boolean {
    switch (news.kind) {
      case 'same':
        return false
      case 'unusable':
        return this.#refuse(news.code, news.key, news.message)
      case 'changes': {
        this.#isKnown = true
        const changed = news.changes.filter(({ key, value }) => this.#joined.change(key, value)).length
        this.#hasHeld ||= this.#joined.size > 0
        if (changed === 0) return false
        this.#refused = undefined
        return true
      }
      case 'whole': {
        const isFirst = !this.#isKnown
        const wasEmptied = !isFirst && this.#joined.size === 0 && this.#refused === undefined
        const isOther = this.#joined.replace(news.entries)
        this.#hasHeld ||= this.#joined.size > 0
        this.#isKnown = true
        if (news.entries.size === 0 && !news.emptied && !wasEmptied) {
          return this.#refuse('empty', ...this.#missing())
        }
        const wasRefused = this.#refused !== undefined
        this.#refused = undefined
        return isFirst || wasRefused || isOther
      }
    }
  }

  /** @returns whether that is new */
  #refuse(code: IssueCode, key: string, message: string): boolean {
    const before = this.#refused
    this.#refused = { code, path: [], message, origin: { file: this.#joined.file(key) } }
    return before === undefined || issueText(before) !== issueText(this.#refused)
  }

  #missing(): [key: string, message: string] {
    const at = this.#feed.server === undefined ? '' : ` at ${this.#feed.server}`
    const [key, found, wanted] =
      'key' in this.#place
        ? [this.#place.key, `is not there${at}`, 'put it there, or is the key wrong?']
        : [this.#place.prefix, `has no keys below it${at}`, 'put one there, or is the prefix wrong?']
    const why = this.#hasHeld
      ? 'what was never seen to be removed is not taken for removed'
      : `${wanted} (nobody saw it removed, so nothing is taken away)`
    return [key, `${found}; ${why}`]
  }

  #fail(error: unknown): void {
    const why = errorText(error)
    const issues =
      error instanceof SourceError
        ? error.issues
        : [this.#issue(why, error instanceof FollowError ? error.code : 'unreadable')]
    const transient = error instanceof SourceError || error instanceof FollowError ? error.transient : true
    this.#lost = new SourceError(issues, { transient, cause: error })
    const before = this.#state
    const heardAt = 'heardAt' in before ? before.heardAt : undefined
    this.#state = { state: 'lost', heardAt, since: before.state === 'lost' ? before.since : new Date(), error: why }
    if (before.state === 'lost' && before.error === why) return
    const kept = this.#isKnown ? 'what it gave last stays in use, and ' : ''
    this.#say(`cannot be followed: ${why}; ${kept}it is tried again`)
  }

  #issue(message: string, code: IssueCode = 'unreadable'): Issue {
    return { code, path: [], message, origin: { file: this.name } }
  }

  #say(message: string): void {
    this.#unsaid = this.#warn === undefined ? message : undefined
    this.#warn?.(`${this.name} ${message}`)
  }
}

/** One question to the server, from the call of `follow` to its first news or its failure. */
class Look {
  readonly #stopping = new AbortController()
  #answeredAt: number | undefined
  #onAnswer: () => void = () => {}
  readonly #answer = new Promise<void>((resolve) => (this.#onAnswer = resolve))

  get signal(): AbortSignal {
    return this.#stopping.signal
  }

  answer(): void {
    this.#answeredAt ??= performance.now()
    this.#onAnswer()
  }

  stop(): void {
    this.#stopping.abort()
    this.#onAnswer()
  }

  heardForMs(): number {
    return this.#answeredAt === undefined ? 0 : performance.now() - this.#answeredAt
  }

  async answered(signal: AbortSignal, limitMs: number | undefined): Promise<'answered' | 'late' | 'stopped'> {
    const over = new AbortController()
    const waits: Promise<'answered' | 'late' | 'stopped'>[] = [
      this.#answer.then(() => 'answered' as const),
      // An hour stands for no limit: whoever waits has one, and its signal.
      pause(limitMs ?? 3_600_000, signal, over.signal).then((how) => (how === 'elapsed' ? 'late' : 'stopped')),
    ]
    try {
      return await Promise.race(waits)
    } finally {
      over.abort()
    }
  }
}

function checked(name: string, place: Place, options: WatchingOptions): Settings {
  const { maxBytes = 16 * 1024 * 1024, debounceMs = 0, answerMs = 3_000, retry = {} } = options
  const { firstMs = 200, maxMs = 30_000 } = retry
  if ('key' in place ? place.key === '' : !place.separator) {
    throw new TypeError(`${name}: want a key that is not empty, or a prefix with a separator`)
  }
  if ('prefix' in place && place.prefix !== '' && !place.prefix.endsWith(place.separator)) {
    throw new TypeError(`${name}: the prefix is ${JSON.stringify(place.prefix)}; want it to end in ${place.separator}`)
  }
  inRange(name, 'maxBytes', maxBytes, 1, 2 ** 31)
  inRange(name, 'debounceMs', debounceMs, 0, 3_600_000)
  inRange(name, 'answerMs', answerMs, 1, 3_600_000)
  inRange(name, 'retry.firstMs', firstMs, 1, 3_600_000)
  inRange(name, 'retry.maxMs', maxMs, firstMs, 86_400_000)
  return { format: options.format, maxBytes, debounceMs, answerMs, firstMs, maxMs }
}
