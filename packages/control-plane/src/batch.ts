/**
 * Batches: small updates that come close together are made one release. Each is an edit that says itself whether it is
 * the whole or a patch, so a part is never taken for the whole. They are applied in the order in which they came, on
 * the head as it is then: the last write to a path wins, and what is deleted stays deleted. One that does not fit is
 * refused by itself and the others go on. If the store fails, all stay in the queue and are tried again.
 *
 * An update is acknowledged when the release that holds it is durable. What its idempotency key stands for is written in
 * that same transaction, so that after a crash the key tells whether it is in.
 */
import type { Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import { fullJitterMs } from './desired.ts'
import type { Domain } from './domain.ts'
import { edited, editValue } from './edit.ts'
import { answerOf, answerTo, keyOf, remember, type Key } from './idempotency.ts'
import { configIn, release, type RolloutOrder } from './publish.ts'
import { IdempotencyError, RefusedError, type Edit, type Published, type PublishResult } from './release.ts'
import { StoreError, type ConfigRecord, type StoreRead, type StoreTx } from './store.ts'
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
  /** A release was made of updates, or found to be what they come to. */
  readonly onPublished?: (result: PublishResult, seconds: number) => void
  /** They could not be written, and are tried again. */
  readonly onTrouble?: (error: unknown) => void
  /** How a release with this content is brought to the nodes. Without it: to all at once. */
  readonly orderOf?: ((config: string, content: Json) => Promise<RolloutOrder | undefined>) | undefined
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
  /** Whose idempotency key it is; by default the author's. */
  readonly caller?: string
  /** The same update again under its key gets the one answer, whether it still waits or is in a release. */
  readonly idempotencyKey?: string
}

/** Where an update ended up. */
export interface Batched {
  /** The release that holds it; the head, if all updates together changed nothing. */
  readonly release: ReleaseInfo
  /** How many updates went with it, this one counted. */
  readonly updates: number
  readonly created: boolean
  /** It was in a release already, by its key. */
  readonly replayed: boolean
}

interface Waiting {
  readonly update: Update
  readonly key: Key | undefined
  readonly done: Promise<Batched>
  readonly resolve: (batched: Batched) => void
  readonly reject: (error: unknown) => void
}

/** What is known of each without writing anything: it was refused, or it is in a release already. */
type Settled = Map<Waiting, RefusedError | Batched>

const backOff = { firstMs: 500, maxMs: 60_000 }
/** Of a batch whose head moves under it, before the next pause. */
const maxTries = 100

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
  private unknown: { readonly key: string; readonly taken: readonly Waiting[]; readonly settled: Settled } | undefined
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
   * @throws RefusedError if it does not fit, or `busy` if too many wait already; StoreError `io` if it is not known
   *   whether it is in a release.
   */
  async add(update: Update): Promise<Batched> {
    const { author, caller = author, idempotencyKey } = update
    const request = [this.options.config, editValue(update)]
    const key = idempotencyKey === undefined ? undefined : keyOf(caller, idempotencyKey, request)
    const twin = key && this.queue.find((waiting) => waiting.key?.key === key.key)
    if (twin !== undefined) {
      if (twin.key?.request !== key?.request) throw new IdempotencyError(idempotencyKey ?? '')
      return await twin.done
    }
    if (this.closed) throw new RefusedError('busy', `the batch of ${this.options.config} is closed`)
    if (this.queue.length >= this.options.maxQueued) {
      throw new RefusedError('busy', `${this.queue.length} updates of ${this.options.config} wait already`)
    }
    const { promise: done, resolve, reject } = Promise.withResolvers<Batched>()
    this.queue.push({ update, key, done, resolve, reject })
    if (this.queue.length >= this.options.maxUpdates && this.failures === 0) void this.flush()
    else this.wakeAfter(this.options.windowMs)
    return await done
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

  /** Writes what waits, or tries to once more. What could not be written is refused: it is in no release, or it is unknown. */
  async close(): Promise<void> {
    this.closed = true
    do await this.flush()
    while (this.queue.length > 0 && this.failures === 0)
    this.cancel?.()
    const left = this.queue
    this.queue = []
    const { config } = this.options
    for (const waiting of left) {
      const mayBeIn = this.unknown?.taken.includes(waiting) && !this.unknown.settled.has(waiting)
      waiting.reject(
        mayBeIn
          ? new StoreError('io', `the batch of ${config}`, 'was closed, and may be published or not', 'ask by its key')
          : new RefusedError('busy', `the batch of ${config} was closed; this update was not published`),
      )
    }
  }

  private wakeAfter(ms: number): void {
    if (this.closed || this.cancel !== undefined || this.running !== undefined) return
    this.cancel = this.options.clock.after(ms, () => {
      this.cancel = undefined
      void this.flush()
    })
  }

  private async write(): Promise<void> {
    const began = performance.now()
    try {
      const ended = (await this.findOut()) ?? (await this.publish(this.queue.slice(0, this.options.maxUpdates)))
      this.failures = 0
      this.settle(ended)
      if (ended.result !== undefined) this.options.onPublished?.(ended.result, (performance.now() - began) / 1000)
    } catch (error) {
      // The store's trouble, not theirs: they stay, in order, and hear of it when they are in a release.
      this.failures++
      this.options.onTrouble?.(error)
    }
  }

  /** What came of the last try, whose end was unknown; `undefined`: nothing. */
  private async findOut(): Promise<Ended | undefined> {
    if (this.unknown === undefined) return undefined
    const { key, taken, settled } = this.unknown
    const result = await answerTo(this.domain, this.options.author, key)
    this.unknown = undefined
    // Those who look on have not been told of it yet.
    return result && { taken, settled, result: { ...result, replayed: false } }
  }

  private settle({ taken, settled, result }: Ended): void {
    // They are the first in the queue.
    this.queue = this.queue.slice(taken.length)
    const updates = taken.length - settled.size
    const one = result && publishedOf(result)
    for (const waiting of taken) {
      const known = settled.get(waiting)
      if (known instanceof RefusedError) waiting.reject(known)
      else if (known !== undefined) waiting.resolve(known)
      else if (one !== undefined) {
        waiting.resolve({ release: one.release, updates, created: one.created, replayed: false })
      }
    }
  }

  private async publish(taken: readonly Waiting[]): Promise<Ended> {
    for (let tries = 0; tries < maxTries; tries++) {
      const { head, content, settled } = await this.merge(taken)
      const accepted = taken.filter((waiting) => !settled.has(waiting))
      if (accepted.length === 0) return { taken, settled, result: undefined }
      const { author, config } = this.options
      const key = `${this.id}-${this.tries++}`
      this.unknown = { key, taken, settled }
      try {
        const result = await release(this.domain, {
          author,
          actor: author,
          reviewed: false,
          idempotencyKey: key,
          parts: [
            {
              config,
              kind: 'publish',
              ifMatch: head === 0 ? 'none' : head,
              message: messageOf(accepted),
              edit: { content },
              rollout: await this.options.orderOf?.(config, content),
            },
          ],
          require: (read) => requireUnanswered(read, accepted),
          also: (tx, published) => this.record(tx, published, accepted),
        })
        this.unknown = undefined
        return { taken, settled, result }
      } catch (error) {
        // Of everything else nothing is there.
        if (!(error instanceof StoreError && error.code === 'io')) this.unknown = undefined
        if (!(error instanceof RefusedError)) throw error
        // The head has moved, or the demands have: once more, on what is there now.
        if (error.code === 'conflict' || error.code === 'invalid') continue
        for (const waiting of accepted) settled.set(waiting, error)
        return { taken, settled, result: undefined }
      }
    }
    throw new RefusedError('busy', `others publish ${this.options.config} faster than this could be tried`)
  }

  private async merge(taken: readonly Waiting[]): Promise<Merged> {
    const { store } = this.domain
    const settled: Settled = new Map()
    const { config, content: head } = await store.read((read) => {
      for (const waiting of taken) {
        const known = answered(read, waiting.key)
        if (known !== undefined) settled.set(waiting, known)
      }
      const found = configIn(read, this.options.config)
      return { config: found, content: found.head === null ? undefined : read.content(found.name, found.head.number) }
    })
    const asked = taken.filter((waiting) => !settled.has(waiting))
    const content = await this.fitting(config, head, asked, settled)
    return { head: config.head?.number ?? 0, content: content as Json, settled }
  }

  /** Applies those that fit, in order, and notes of each other why not. If together they are not valid, by halves. */
  private async fitting(
    config: ConfigRecord,
    before: Json | undefined,
    group: readonly Waiting[],
    settled: Settled,
  ): Promise<Json | undefined> {
    const refused: Settled = new Map()
    let content = before
    for (const waiting of group) {
      try {
        content = await edited(config.schema, content, waiting.update, this.domain.limits)
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error
        refused.set(waiting, error)
      }
    }
    const issues = refused.size === group.length ? [] : await issuesIn(config, content as Json)
    if (issues.length === 0) {
      for (const [waiting, error] of refused) settled.set(waiting, error)
      return content
    }
    const [first] = group
    if (group.length === 1 && first !== undefined) {
      settled.set(first, invalid(issues))
      return before
    }
    const half = group.length >> 1
    const middle = await this.fitting(config, before, group.slice(0, half), settled)
    return await this.fitting(config, middle, group.slice(half), settled)
  }

  /** In the transaction of the release: whose updates it holds, and what their keys stand for from now on. */
  private record(tx: StoreTx, published: readonly Published[], accepted: readonly Waiting[]): void {
    const now = this.domain.now()
    for (const { key } of accepted) if (key !== undefined) remember(tx, key, published, now)
    const [one] = published
    if (one?.created !== true) return
    const by: Record<string, number> = {}
    for (const { update } of accepted) by[update.author] = (by[update.author] ?? 0) + 1
    const detail = { number: one.release.number, updates: accepted.length, by: Object.entries(by) }
    tx.appendAudit({
      at: now.toISOString(),
      actor: this.options.author,
      action: 'batch',
      config: this.options.config,
      detail,
    })
  }
}

interface Ended {
  readonly taken: readonly Waiting[]
  readonly settled: Settled
  /** `undefined`: none of them was left to write. */
  readonly result: PublishResult | undefined
}

interface Merged {
  /** The number of the head it is made on; 0 before the first. */
  readonly head: number
  /** Of no meaning if all are settled. */
  readonly content: Json
  readonly settled: Settled
}

function answered(read: StoreRead, key: Key | undefined): RefusedError | Batched | undefined {
  try {
    const result = answerOf(read, key)
    if (result === undefined) return undefined
    const { release: info, created } = publishedOf(result)
    return { release: info, updates: 1, created, replayed: true }
  } catch (error) {
    if (error instanceof IdempotencyError) return error
    throw error
  }
}

/** @throws RefusedError `conflict` if the same was asked for through another door meanwhile. */
function requireUnanswered(read: StoreRead, accepted: readonly Waiting[]): void {
  for (const { key } of accepted) {
    if (key !== undefined && read.idempotency(key.key) !== undefined) {
      throw new RefusedError('conflict', `the key ${JSON.stringify(key.given)} was answered meanwhile`)
    }
  }
}

function publishedOf({ published }: PublishResult): Published {
  const [one] = published
  if (one === undefined) throw new Error('a publish of one change was answered with none')
  return one
}

/** Who is in it: `3 updates by ada, bob`. */
function messageOf(accepted: readonly Waiting[]): string {
  const authors = [...new Set(accepted.map(({ update }) => update.author))]
  const more = authors.length > 10 ? ` and ${authors.length - 10} others` : ''
  return `${accepted.length} updates by ${authors.slice(0, 10).join(', ')}${more}`
}
