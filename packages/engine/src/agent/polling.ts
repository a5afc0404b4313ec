/**
 * Polls beside the socket, or in place of it: when to ask, and when to ask again. One request is `poll.ts`; how much
 * to poll is for `connection.ts` to say.
 */
import { errorText, pause } from '../deadline.ts'
import type { Hello, ReleaseMessage } from '../protocol/messages.ts'
import { backoff, type PollPlan } from './connection.ts'
import type { Contact } from './contact.ts'
import { poll, sayHello } from './poll.ts'
import type { Remote } from './remote.ts'
import { RemoteError } from './request.ts'

/** What polls ask of the node, and tell it. */
export interface PollEnd {
  hello(): Hello
  /** The newest release whose content is at hand; 0 for none. */
  index(): number
  hear(message: ReleaseMessage): void
  head(number: number | null, auditHead?: string): void
}

export interface PollNews {
  /** Now is the time to say by HTTP what waits to be said. */
  reachable(): void
  /** A release came by a poll beside the socket. */
  taken(): void
}

type RangeMs = readonly [minMs: number, maxMs: number]

const longPollMs = 30_000
/** Between two polls that return at once and bring nothing. */
const shortGapMs: RangeMs = [500, 1_500]
/** A quick answer is one within this. */
const quickMs = 1_000
/** A socket that is back within a moment needs no polls in place of it: a fleet that lost it would ask twice. */
const standInAfterMs: RangeMs = [250, 1_000]
const longestWaitMs = 2 ** 31 - 1

export class Polling {
  readonly #remote: Remote
  readonly #end: PollEnd
  readonly #contact: Contact
  readonly #news: PollNews
  readonly #closing: AbortSignal
  #plan: PollPlan = 'none'
  #planChanged = new AbortController()
  #gapMs: RangeMs = [0, 0]
  #failures = 0
  #helloAt = -Infinity
  #working = false
  #wantsWhole = false

  constructor(remote: Remote, end: PollEnd, contact: Contact, news: PollNews, closing: AbortSignal) {
    this.#remote = remote
    this.#end = end
    this.#contact = contact
    this.#news = news
    this.#closing = closing
  }

  /** Polls stand in for a socket, and are answered. */
  get working(): boolean {
    return this.#working
  }

  get standsIn(): boolean {
    return this.#plan === 'instead'
  }

  follow(plan: PollPlan): void {
    if (plan === this.#plan) return
    if (plan !== 'instead') this.#working = false
    else if (this.#failures === 0) this.#gapMs = standInAfterMs
    this.#plan = plan
    this.wake()
  }

  /** The next poll asks for the newest release as a whole. */
  askWhole(): void {
    this.#wantsWhole = true
    this.wake()
  }

  wake(): void {
    this.#planChanged.abort()
    this.#planChanged = new AbortController()
  }

  /** A short poll by itself, before the link is open; again if the control plane says when. @throws RemoteError */
  async look(limitMs: number, signal: AbortSignal): Promise<void> {
    const limit = AbortSignal.any([signal, this.#closing, AbortSignal.timeout(limitMs)])
    for (;;) {
      try {
        await this.#once(0, limit)
        if (this.#wantsWhole) await this.#once(0, limit)
        return
      } catch (error) {
        if (limit.aborted && !signal.aborted) {
          throw new RemoteError(`${this.#remote.url.origin}: no answer within ${limitMs} ms`, { cause: error })
        }
        const againMs = error instanceof RemoteError ? error.retryAfterMs : undefined
        if (againMs === undefined) throw error
        const [minMs, maxMs] = backoff(0, againMs)
        if ((await pause(minMs + Math.random() * (maxMs - minMs), limit)) === 'stopped') throw error
      }
    }
  }

  /** Until the link closes. */
  async onAndOn(): Promise<void> {
    while (!this.#closing.aborted) {
      const changed = this.#planChanged.signal
      const [minMs, maxMs] = this.#wait()
      // A wish for the whole is not made to wait, unless the last try failed.
      const now = this.#wantsWhole && this.#failures === 0 && this.#plan !== 'none'
      if (!now && (await pause(minMs + Math.random() * (maxMs - minMs), changed, this.#closing)) === 'stopped') continue
      try {
        await this.#turn(AbortSignal.any([changed, this.#closing]))
      } catch (error) {
        // Given up because the plan changed, or the link closes.
        if (changed.aborted || this.#closing.aborted) continue
        this.#working = false
        this.#gapMs = backoff(this.#failures++, error instanceof RemoteError ? error.retryAfterMs : undefined)
        this.#contact.lost(errorText(error))
      }
    }
  }

  #wait(): RangeMs {
    switch (this.#plan) {
      case 'none':
        return [longestWaitMs, longestWaitMs]
      case 'now-and-then': {
        const { pollMs } = this.#contact.pacing
        return [pollMs * 0.9, pollMs * 1.1]
      }
      case 'instead':
        return this.#gapMs
    }
  }

  async #turn(signal: AbortSignal): Promise<void> {
    const began = performance.now()
    const index = this.#end.index()
    const standsIn = this.standsIn
    if (standsIn) {
      if (began - this.#helloAt >= this.#contact.pacing.heartbeatMs) await this.#sayHello(signal)
      this.#news.reachable()
    }
    const brought = await this.#once(standsIn ? this.#longPollMs() : 0, signal)
    const taken = this.#end.index() !== index
    // Twice in a row what cannot be used: as if there had been no answer.
    this.#failures = brought && !taken && !this.#wantsWhole ? this.#failures + 1 : 0
    if (taken && !standsIn) this.#news.taken()
    const quick = !taken && performance.now() - began < quickMs
    this.#gapMs = this.#failures > 0 ? backoff(this.#failures) : quick ? shortGapMs : [0, 0]
  }

  /** What a hello says has changed. */
  sayChange(): void {
    this.#helloAt = -Infinity
    if (!this.#working || this.#closing.aborted) return
    this.#sayHello(this.#closing).catch((error: unknown) => {
      if (this.#closing.aborted) return
      this.#helloAt = -Infinity
      this.#contact.lost(errorText(error))
    })
  }

  async #sayHello(signal: AbortSignal): Promise<void> {
    const welcome = await sayHello(this.#remote, this.#end.hello(), signal)
    this.#helloAt = performance.now()
    this.#contact.take(welcome)
    this.#end.head(welcome.head, welcome.auditHead)
  }

  /** @returns whether a release was in it. */
  async #once(waitMs: number, signal: AbortSignal): Promise<boolean> {
    const whole = this.#wantsWhole
    const { uid } = this.#end.hello()
    const answer = await poll(this.#remote, { uid, index: this.#end.index(), waitMs, whole }, signal)
    if (whole) this.#wantsWhole = false
    this.#working = this.standsIn
    this.#contact.found('poll')
    const { pollMs } = answer
    if (pollMs !== undefined && pollMs >= 100) this.#contact.take({ ...this.#contact.pacing, pollMs })
    if (answer.head !== undefined) this.#end.head(answer.head === 0 ? null : answer.head)
    if (answer.message) this.#end.hear(answer.message)
    return answer.message !== undefined
  }

  /** No longer than the pause between two signs of life. */
  #longPollMs(): number {
    return Math.max(1_000, Math.min(longPollMs, this.#contact.pacing.heartbeatMs))
  }
}
