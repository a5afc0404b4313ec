/**
 * What happened lately, for whoever looks on: the newest events, numbered, in bounded memory. Nothing is lost with them
 * but the view: what is true stands in the store. How they travel is `routes/events.ts`.
 */
import { randomBytes } from 'node:crypto'
import type { Json } from 'midflight'

export interface LiveEvent {
  /** Of this process: a number that grows, after a text that another start has differently. */
  readonly id: string
  readonly type: LiveType
  readonly config: string
  readonly data: Json
}

export type LiveType = 'config' | 'release' | 'draft' | 'node' | 'node-joined' | 'node-left' | 'rollout' | 'deployment'

/** `gap`: what came after the event that was asked for is not all kept. */
export interface Since {
  readonly gap: boolean
  readonly events: readonly LiveEvent[]
}

export interface EventLimits {
  readonly maxReaders: number
  /** Bytes that wait for a reader. */
  readonly maxWaitingBytes: number
  /** Between signs of life; each time it is looked whether the reader's token is still good. */
  readonly beatMs: number
}

export const defaultEventLimits: EventLimits = { maxReaders: 256, maxWaitingBytes: 1024 * 1024, beatMs: 15_000 }

export class Live {
  private readonly start = randomBytes(6).toString('hex')
  private readonly keep: number
  private readonly events: LiveEvent[] = []
  private readonly listeners = new Set<(event: LiveEvent) => void>()
  private count = 0

  /** @param keep how many events, 1 or more. */
  constructor(keep = 2048) {
    this.keep = keep
  }

  add(type: LiveType, config: string, data: Json): void {
    this.count++
    const event: LiveEvent = { id: `${this.start}-${this.count}`, type, config, data }
    this.events.push(event)
    if (this.events.length > this.keep) this.events.shift()
    for (const listener of this.listeners) listener(event)
  }

  /** The id that an event added now would come after. */
  get last(): string {
    return `${this.start}-${this.count}`
  }

  since(id: string): Since {
    const [, start, digits] = /^([0-9a-f]+)-(\d{1,15})$/.exec(id) ?? []
    const seen = Number(digits)
    const missed = this.count - seen
    if (start !== this.start || missed < 0 || missed > this.events.length) return { gap: true, events: [] }
    return { gap: false, events: missed === 0 ? [] : this.events.slice(-missed) }
  }

  /** @returns a function that ends it. */
  listen(listener: (event: LiveEvent) => void): () => void {
    this.listeners.add(listener)
    return () => void this.listeners.delete(listener)
  }
}
