/**
 * Polls beside the socket, or in place of it: when to ask, and when to ask again. One request is `poll.ts`; how much
 * to poll is for `connection.ts` to say.
 */
import { pause } from '../deadline.ts'
import type { Hello, ReleaseMessage, Welcome } from '../protocol/messages.ts'
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
  /** Something else tells when there is news, so no request has to wait for it. */
  isTold(): boolean
  /** Now is the time to say by HTTP what waits to be said. */
  reachable(): void
  welcomed(welcome: Welcome): void
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
/** Whatever was said on the bus while it was not heard is asked for within this. */
const listensAgainMs: RangeMs = [0, 10_000]
/** Between what was asked last and what is asked because there may be news, at least: whoever can say so may say so always. */
const leastGapMs = 1_000
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
  #hello: Promise<void> = Promise.resolve()
  #nextHello: Promise<void> | undefined
  #working = false
  #isKnown = false
  #wantsWhole = false
  /** What it was last asked to vote on. */
  #ballot: string | undefined
  /** There may be news: ask then, whatever the plan would wait for. */
  #askAt = Infinity
  /** The end of the span that this is in. */
  #askBy = Infinity
  #turnAt = -Infinity
  #askChanged = new AbortController()

  constructor(remote: Remote, end: PollEnd, contact: Contact, news: PollNews, closing: AbortSignal) {
    this.#remote = remote
    this.#end = end
    this.#contact = contact
    this.#news = news
    this.#closing = closing
  }

  /** Polls stand in for a socket, and whoever is polled answers. */
  get working(): boolean {
    return this.#working
  }

  get standsIn(): boolean {
    return this.#plan === 'instead'
  }

  /** The control plane knows this node, and can be told how it goes by HTTP. */
  get isKnown(): boolean {
    return this.#isKnown
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

  /**
   * At a random time within this, or sooner if that was said before; after it has asked, no sooner than in as long. So a
   * fleet that is told without end asks no more than the span allows for.
   */
  askWithin(ms: number): void {
    const now = performance.now()
    // Whoever is told twice has one time, and not the sooner of two: else the span would shrink with each.
    if (now + ms >= this.#askBy) return
    this.#askBy = now + ms
    const at = Math.max(now + Math.random() * ms, this.#turnAt + Math.max(ms, leastGapMs))
    if (at >= this.#askAt) return
    this.#askAt = at
    this.#askChanged.abort()
    this.#askChanged = new AbortController()
  }

  /** Polls wait at the control plane, or no longer have to. */
  toldOtherwise(): void {
    // Who has said nothing yet joins the fleet soon.
    const isBack = this.#news.isTold() && this.#helloAt !== -Infinity
    if (this.#failures === 0) this.#gapMs = isBack ? listensAgainMs : standInAfterMs
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
      const asked = this.#askChanged.signal
      const ms = this.#waitMs()
      // A wish for the whole is not made to wait, unless the last try failed.
      const now = this.#wantsWhole && this.#failures === 0 && this.#plan !== 'none'
      if (!now && (await pause(ms, changed, asked, this.#closing)) === 'stopped') continue
      this.#askAt = Infinity
      this.#askBy = Infinity
      this.#turnAt = performance.now()
      try {
        await this.#turn(AbortSignal.any([changed, this.#closing]))
      } catch (error) {
        // Given up because the plan changed, or the link closes.
        if (changed.aborted || this.#closing.aborted) continue
        this.#working = false
        this.#gapMs = backoff(this.#failures++, error instanceof RemoteError ? error.retryAfterMs : undefined)
        this.#contact.failed(error)
      }
    }
  }

  #waitMs(): number {
    const [minMs, maxMs] = this.#wait()
    const ms = minMs + Math.random() * (maxMs - minMs)
    // Of one that is away, or does not want to be asked, no news is to be had.
    if (this.#plan === 'none' || this.#failures > 0) return ms
    return Math.max(0, Math.min(ms, this.#askAt - performance.now()))
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
    const standsIn = this.standsIn
    if (standsIn) {
      if (began - this.#helloAt >= this.#contact.pacing.heartbeatMs * 0.8) await this.#sayHello(signal)
      this.#news.reachable()
    }
    const isTold = this.#news.isTold()
    const { taken, unusable } = await this.#once(standsIn && !isTold ? this.#longPollMs() : 0, signal)
    // Twice in a row what cannot be used: as if there had been no answer.
    this.#failures = unusable && !this.#wantsWhole ? this.#failures + 1 : 0
    if (taken && !standsIn) this.#news.taken()
    const quick = !taken && performance.now() - began < quickMs
    if (this.#failures > 0) this.#gapMs = backoff(this.#failures)
    else if (isTold && !this.#wantsWhole) this.#gapMs = this.#beatMs()
    else this.#gapMs = quick ? shortGapMs : [0, 0]
  }

  /** Between two signs of life of a node without a connection that would show that it lives. */
  #beatMs(): RangeMs {
    const ms = Math.min(this.#contact.pacing.heartbeatMs, this.#contact.pacing.pollMs)
    return [ms * 0.9, ms]
  }

  /** What a hello says has changed. */
  sayChange(): void {
    this.#helloAt = -Infinity
    if (!this.#working || this.#closing.aborted) return
    this.#sayHello(this.#closing).catch((error: unknown) => {
      if (this.#closing.aborted) return
      this.#helloAt = -Infinity
      this.#contact.failed(error)
    })
  }

  /**
   * One at a time, and what changes meanwhile is said by the one after it: each welcome brings a key for reports, of which
   * the control plane knows two.
   */
  #sayHello(signal: AbortSignal): Promise<void> {
    this.#nextHello ??= this.#hello
      .catch(() => {}) // told to whoever said that one
      .then(() => {
        this.#nextHello = undefined
        return (this.#hello = this.#oneHello(signal))
      })
    return this.#nextHello
  }

  async #oneHello(signal: AbortSignal): Promise<void> {
    const welcome = await sayHello(this.#remote, this.#end.hello(), signal)
    this.#helloAt = performance.now()
    this.#isKnown = true
    // The long poll after it may wait for half a minute.
    this.#working ||= this.standsIn
    this.#contact.take(welcome)
    this.#news.welcomed(welcome)
    this.#end.head(welcome.head, welcome.auditHead)
  }

  /** @returns of a release in the answer: whether it was news, and whether it is no use; another way may have brought it. */
  async #once(waitMs: number, signal: AbortSignal): Promise<{ readonly taken: boolean; readonly unusable: boolean }> {
    const whole = this.#wantsWhole
    const { uid } = this.#end.hello()
    // Beside a socket the question comes by the socket; before it has said hello nobody can ask.
    const votes = this.standsIn && this.#isKnown
    const answer = await poll(this.#remote, { uid, index: this.#end.index(), waitMs, whole, votes }, signal)
    if (whole) this.#wantsWhole = false
    this.#working = this.standsIn
    this.#contact.found('poll')
    const { pollMs } = answer
    if (pollMs !== undefined && pollMs >= 100) this.#contact.take({ ...this.#contact.pacing, pollMs })
    if (answer.head !== undefined) this.#end.head(answer.head === 0 ? null : answer.head)
    const before = this.#end.index()
    if (!answer.message) return { taken: false, unusable: false }
    this.#end.hear(answer.message)
    if (answer.message.prepare) return await this.#asked(answer.message, signal)
    const index = this.#end.index()
    return { taken: index !== before, unusable: index < answer.message.release.number }
  }

  /** The vote follows as a report; until a hello says that the question is here, each poll brings it again. */
  async #asked({ release, prepare }: ReleaseMessage, signal: AbortSignal) {
    const ballot = `${release.number} ${prepare?.epoch}`
    const isNew = ballot !== this.#ballot
    this.#ballot = ballot
    await this.#sayHello(signal)
    return { taken: isNew, unusable: false }
  }

  /** No longer than the pause between two signs of life. */
  #longPollMs(): number {
    return Math.max(1_000, Math.min(longPollMs, this.#contact.pacing.heartbeatMs))
  }
}
