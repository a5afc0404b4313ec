/**
 * Batches: small updates that come close together are made one release. Each is an edit that says itself whether it is
 * the whole or a patch, so a part is never taken for the whole. They are applied in the order in which they came, on
 * the head as it is then: the last write to a path wins, and what is deleted stays deleted. One that does not fit is
 * refused by itself and the others go on. If the store fails, all stay in the queue and are tried again.
 */
import type { Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import { fullJitterMs } from './desired.ts'
import type { Domain } from './domain.ts'
import { edited, editValue } from './edit.ts'
import { answerTo } from './idempotency.ts'
import { configIn, publish } from './publish.ts'
import { ConflictError, RefusedError, type Edit, type PublishResult } from './release.ts'
import type { ConfigRecord } from './store.ts'
import { invalid, issuesIn } from './validation.ts'

export interface BatchOptions {
  readonly config: string
  /** Of the release; the authors of the updates stand in its message. */
  readonly author: string
  /** A batch is written when its first update is this old, … */
  readonly windowMs: number
  /** … or when it has this many updates. */
  readonly maxUpdates: number
  /** More than this are refused with `busy`: nothing grows without bound while the store is down. */
  readonly maxQueued: number
  readonly clock: BatchClock
}

/** A clock that can wake somebody; in tests one that is moved by hand. */
export interface BatchClock {
  /** Calls `wake` once after `ms`. Returns what calls that off. */
  after(ms: number, wake: () => void): () => void
  /** 0 to 1. */
  random(): number
}

export const realClock: BatchClock = {
  after(ms, wake) {
    const timer = setTimeout(wake, ms)
    return () => clearTimeout(timer)
  },
  random: Math.random,
}

export type Update = Edit & {
  readonly author: string
}

/** Where an update ended up. */
export interface Batched {
  /** The release that holds it; the head, if all updates together changed nothing. */
  readonly release: ReleaseInfo
  /** How many updates are in it. */
  readonly updates: number
}

type Refusals = ReadonlyMap<Waiting, RefusedError>

interface Waiting {
  readonly update: Update
  readonly resolve: (batched: Batched) => void
  readonly reject: (error: unknown) => void
}

const backOff = { firstMs: 500, maxMs: 60_000 }

/** The updates of one config. */
export class Batch {
  private readonly domain: Domain
  private readonly options: BatchOptions
  private queue: Waiting[] = []
  private cancel: (() => void) | undefined
  private running: Promise<void> | undefined
  private failures = 0
  private tries = 0
  /** The try whose end is unknown: by its key it is found out, so that it is not done twice. */
  private unknown: { readonly key: string; readonly taken: readonly Waiting[]; readonly refused: Refusals } | undefined
  private closed = false
  /** Makes keys of this batch unlike those of any other. */
  private readonly id = crypto.randomUUID()

  constructor(domain: Domain, options: BatchOptions) {
    this.domain = domain
    this.options = options
  }

  /** How many updates wait. */
  get queued(): number {
    return this.queue.length
  }

  /**
   * Resolves when the release that holds the update is durable.
   * @throws RefusedError if it does not fit, or `busy` if too many wait already.
   */
  async add(update: Update): Promise<Batched> {
    editValue(update)
    if (this.closed) throw new RefusedError('busy', `the batch of ${this.options.config} is closed`)
    if (this.queue.length >= this.options.maxQueued) {
      throw new RefusedError('busy', `${this.queue.length} updates of ${this.options.config} wait already`)
    }
    return await new Promise((resolve, reject) => {
      this.queue.push({ update, resolve, reject })
      if (this.queue.length >= this.options.maxUpdates && this.failures === 0) void this.flush()
      else this.wakeAfter(this.options.windowMs)
    })
  }

  /** Writes now what waits. Never rejects: those who wait for an update hear of it. */
  async flush(): Promise<void> {
    while (this.running !== undefined) await this.running
    if (this.queue.length === 0) return
    this.cancel?.()
    this.cancel = undefined
    this.running = this.write().finally(() => {
      this.running = undefined
    })
    await this.running
    if (this.queue.length === 0 || this.closed) return
    if (this.failures > 0) this.wakeAfter(fullJitterMs(this.failures - 1, this.options.clock.random(), backOff))
    else this.wakeAfter(this.queue.length >= this.options.maxUpdates ? 0 : this.options.windowMs)
  }

  /** Tries once more to write what waits. What could not be written is refused: it is in no release, or it is unknown. */
  async close(): Promise<void> {
    this.closed = true
    await this.flush()
    this.cancel?.()
    const left = this.queue
    this.queue = []
    const why = this.unknown === undefined ? 'was not published' : 'may have been published or not'
    for (const { reject } of left) reject(new RefusedError('busy', `the batch was closed; this update ${why}`))
  }

  private wakeAfter(ms: number): void {
    if (this.closed || this.cancel !== undefined || this.running !== undefined) return
    this.cancel = this.options.clock.after(ms, () => {
      this.cancel = undefined
      void this.flush()
    })
  }

  private async write(): Promise<void> {
    try {
      if (!(await this.findOut())) {
        const taken = this.queue.slice(0, this.options.maxUpdates)
        this.settle(taken, await this.publish(taken))
      }
      this.failures = 0
    } catch {
      // The store's trouble, not theirs: they stay, in order, and hear of it when they are in a release.
      this.failures++
    }
  }

  /** Whether the last try, whose end was unknown, is a release after all. */
  private async findOut(): Promise<boolean> {
    if (this.unknown === undefined) return false
    const { key, taken, refused } = this.unknown
    const earlier = await answerTo(this.domain, this.options.author, key)
    this.unknown = undefined
    if (earlier !== undefined) this.settle(taken, { done: releaseOf(earlier), refused })
    return earlier !== undefined
  }

  /** @param taken the first in the queue. */
  private settle(taken: readonly Waiting[], { done, refused }: Ended): void {
    this.queue = this.queue.slice(taken.length)
    this.unknown = undefined
    const updates = taken.length - refused.size
    for (const waiting of taken) {
      const error = refused.get(waiting)
      if (error !== undefined) waiting.reject(error)
      else if (done !== undefined) waiting.resolve({ release: done, updates })
    }
  }

  private async publish(taken: readonly Waiting[]): Promise<Ended> {
    for (;;) {
      const { head, content, refused } = await this.merge(taken)
      if (content === undefined) return { done: undefined, refused }
      const key = `${this.id}-${this.tries++}`
      this.unknown = { key, taken, refused }
      try {
        const message = messageOf(taken.filter((waiting) => !refused.has(waiting)))
        const change = { config: this.options.config, content, ifMatch: head === 0 ? ('none' as const) : head, message }
        const request = { author: this.options.author, idempotencyKey: key, changes: [change] }
        return { done: releaseOf(await publish(this.domain, request)), refused }
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error
        this.unknown = undefined // nothing of it is there
        // The head has moved, or the demands have: once more, on what is there now.
        if (error instanceof ConflictError || error.code === 'invalid') continue
        return { done: undefined, refused: new Map(taken.map((waiting) => [waiting, error])) }
      }
    }
  }

  private async merge(taken: readonly Waiting[]): Promise<Merged> {
    const { config, content: head } = await this.domain.store.read((read) => {
      const found = configIn(read, this.options.config)
      return { config: found, content: found.head === null ? undefined : read.content(found.name, found.head.number) }
    })
    const number = config.head?.number ?? 0
    const all = this.apply(taken, head)
    if (all.content === undefined || (await issuesIn(config, all.content)).length === 0) return { head: number, ...all }
    // Together they are not valid: one after the other, and each that makes it so is left out.
    const refused = new Map<Waiting, RefusedError>()
    let content = head
    let accepted: Json | undefined
    for (const waiting of taken) {
      const next = this.apply([waiting], content)
      const error = next.refused.get(waiting) ?? (await refusalOf(config, next.content as Json))
      if (error !== undefined) refused.set(waiting, error)
      else accepted = content = next.content
    }
    return { head: number, content: accepted, refused }
  }

  private apply(taken: readonly Waiting[], head: Json | undefined): Pick<Merged, 'content' | 'refused'> {
    const refused = new Map<Waiting, RefusedError>()
    let content = head
    for (const waiting of taken) {
      try {
        content = edited(content, waiting.update, this.domain.limits)
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error
        refused.set(waiting, error)
      }
    }
    return { content: refused.size === taken.length ? undefined : content, refused }
  }
}

interface Ended {
  /** `undefined`: all were refused. */
  readonly done: ReleaseInfo | undefined
  readonly refused: Refusals
}

interface Merged {
  /** The number of the head it is made on; 0 before the first. */
  readonly head: number
  /** `undefined`: all were refused. */
  readonly content: Json | undefined
  readonly refused: Refusals
}

async function refusalOf(config: ConfigRecord, content: Json): Promise<RefusedError | undefined> {
  const issues = await issuesIn(config, content)
  return issues.length === 0 ? undefined : invalid(issues)
}

function releaseOf({ published }: PublishResult): ReleaseInfo {
  const [one] = published
  if (one === undefined) throw new Error('a publish of one change was answered with none')
  return one.release
}

/** Who is in it: `3 updates by ada, bob`. */
function messageOf(accepted: readonly Waiting[]): string {
  const authors = [...new Set(accepted.map(({ update }) => update.author))]
  const more = authors.length > 10 ? ` and ${authors.length - 10} others` : ''
  return `${accepted.length} updates by ${authors.slice(0, 10).join(', ')}${more}`
}
