/**
 * What this node hears on a bus, and says there. Whoever may write to the bus could have said it: it is believed only
 * where it is signed with the key that the control plane has told this node by HTTP or WebSocket. All else is at most a
 * reason to ask the control plane, and not often. What is believed is then looked into as what comes any other way.
 */
import { createHmac, createPublicKey, verify, type KeyObject } from 'node:crypto'
import type { Bus } from '../buses/bus.ts'
import { errorText } from '../deadline.ts'
import { busFormat, releaseTopic, reportFormat, reportTopic, seal, toProve, unseal } from '../protocol/bus.ts'
import { decodeFromBus, encode } from '../protocol/codec.ts'
import type { ReleaseMessage, Report, Welcome } from '../protocol/messages.ts'

export interface BusEnd {
  /** The newest release whose content is at hand; 0 for none. */
  index(): number
  /** The newest release that was heard of; 0 for none. */
  heardOf(): number
  hear(message: ReleaseMessage): void
  warn(message: string): void
}

export interface BusNews {
  /** There may be something: ask the control plane at a random time within this. */
  ask(withinMs: number): void
  /** It listens now, or does so no more. */
  changed(): void
}

/** After what cannot be believed the control plane is asked, but no more often than this. */
const doubtEveryMs = 30_000
const doubtSpreadMs = 5_000

export class BusLine {
  readonly #bus: Bus
  readonly #config: string
  readonly #end: BusEnd
  readonly #news: BusNews
  #leave: (() => void) | undefined
  #listening = false
  #key: KeyObject | undefined
  #keyText: string | undefined
  #reportKey: string | undefined
  #said = 0
  #doubtedAt = -Infinity
  #warned = new Set<string>()

  constructor(bus: Bus, config: string, end: BusEnd, news: BusNews) {
    this.#bus = bus
    this.#config = config
    this.#end = end
    this.#news = news
  }

  /** What the control plane says there is heard. Where it says nothing, or cannot be believed, nothing is. */
  get listening(): boolean {
    return this.#listening && this.#key !== undefined
  }

  open(): void {
    this.#leave = this.#bus.subscribe(releaseTopic(this.#config), {
      message: (bytes) => this.#hear(bytes),
      listening: () => {
        this.#listening = true
        if (this.#warned.delete('lost')) this.#end.warn('the bus is heard again')
        this.#news.changed()
      },
      lost: ({ message }) => {
        this.#listening = false
        this.#warnOnce('lost', `the bus is not heard; releases come by the other ways: ${message}`)
        this.#news.changed()
      },
    })
  }

  /** What the control plane has told of itself, over a way on which it is known to be itself. */
  trust(told: Welcome['bus']): void {
    if (told?.key !== this.#keyText) {
      this.#keyText = told?.key
      this.#key = told && keyIn(told.key)
      this.#doubtedAt = -Infinity
    }
    if (told?.reportKey === this.#reportKey) return
    this.#reportKey = told?.reportKey
    this.#said = 0
  }

  /** @returns whether it was said. A bus forgets: what of it matters is said in the next hello too. */
  async say(uid: string, report: Report): Promise<boolean> {
    const key = this.#reportKey
    if (key === undefined || !this.#listening) return false
    const body = Buffer.from(encode(report))
    const fields = [uid, String(++this.#said)]
    const proof = createHmac('sha256', Buffer.from(key, 'base64url'))
      .update(toProve(reportFormat, fields, body))
      .digest('base64url')
    try {
      await this.#bus.publish(reportTopic, seal(reportFormat, fields, proof, body))
      return true
    } catch (error) {
      this.#warnOnce('say', `what is reported goes to the control plane itself: ${errorText(error)}`)
      return false
    }
  }

  async close(): Promise<void> {
    this.#leave?.()
    this.#listening = false
    await this.#bus.close()
  }

  #hear(bytes: Uint8Array): void {
    try {
      const { proof, proven, body } = unseal(bytes, busFormat)
      if (!this.#key || !verify(null, proven, this.#key, Buffer.from(proof, 'base64url'))) return this.#doubt()
      const message = decodeFromBus(body)
      if (message.type === 'moved') {
        if (message.config === this.#config && message.number > this.#end.index()) this.#news.ask(message.spreadMs)
        return
      }
      // What is older than what this node was told of is a message that is late, or that somebody said again.
      if (message.release.number < this.#end.heardOf()) return
      // On a bus there is only what all nodes are to run, now and for good.
      if (message.release.config !== this.#config || message.body.kind !== 'whole') return
      if (message.prepare || message.revertMs !== undefined || message.force) return
      this.#end.hear(message)
    } catch (error) {
      this.#warnOnce('unread', `a message on the bus is passed over: ${errorText(error)}`)
    }
  }

  /** The key may be another by now, or somebody makes things up. */
  #doubt(): void {
    if (this.#key) this.#warnOnce('doubt', 'a message on the bus is not signed by the control plane: it is passed over')
    const now = performance.now()
    if (now - this.#doubtedAt < doubtEveryMs) return
    this.#doubtedAt = now
    this.#news.ask(doubtSpreadMs)
  }

  /** Until it was well again in between. */
  #warnOnce(what: string, message: string): void {
    if (this.#warned.has(what)) return
    this.#warned.add(what)
    this.#end.warn(message)
  }
}

/** @returns `undefined` for one that is none: then nothing on the bus is believed. */
function keyIn(text: string): KeyObject | undefined {
  try {
    const key = createPublicKey({ key: Buffer.from(text, 'base64url'), format: 'der', type: 'spki' })
    return key.asymmetricKeyType === 'ed25519' ? key : undefined
  } catch {
    return undefined
  }
}
