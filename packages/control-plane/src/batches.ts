/** The batches of all configs, each made when its first update comes, and what they may hold together. */
import { Batch, realClock, type Batched, type BatchClock, type BatchOptions, type Update } from './batch.ts'
import type { Domain } from './domain.ts'
import { editValue } from './edit.ts'
import { jsonBytes } from './json-size.ts'
import { configIn } from './publish.ts'
import { RefusedError, type PublishResult } from './release.ts'

export interface BatchLimits {
  /** A batch is written when its first update is this old, … */
  readonly windowMs: number
  /** … or when it has this many updates. */
  readonly maxUpdates: number
  /** Of one config. More than this are refused with `busy`. */
  readonly maxQueued: number
  /** Of all configs together, as JSON text. */
  readonly maxQueuedBytes: number
}

export const defaultBatchLimits: BatchLimits = {
  windowMs: 100,
  maxUpdates: 1_000,
  maxQueued: 10_000,
  maxQueuedBytes: 64 * 1024 * 1024,
}

export interface BatchesOptions {
  readonly limits: BatchLimits
  readonly onPublished: (result: PublishResult, seconds: number) => void
  readonly onTrouble: (error: unknown) => void
  readonly clock?: BatchClock
  /** How a batch of a config, with what it comes to, is brought to the nodes. Without it: to all at once. */
  readonly orderOf?: BatchOptions['orderOf']
}

/** In the audit log, where it says whose updates they were. */
const author = 'batch'

export class Batches {
  private readonly domain: Domain
  private readonly options: BatchesOptions
  private readonly batches = new Map<string, Batch>()
  private bytes = 0
  private updates = 0
  private closed = false

  constructor(domain: Domain, options: BatchesOptions) {
    this.domain = domain
    this.options = options
  }

  /** How many updates wait. */
  get waiting(): number {
    return this.updates
  }

  /** @throws as `Batch.add` does; RefusedError `not-found` if there is no such config. */
  async add(config: string, update: Update): Promise<Batched> {
    const { maxQueuedBytes } = this.options.limits
    const bytes = jsonBytes(editValue(update), maxQueuedBytes)
    if (this.bytes + bytes > maxQueuedBytes) throw new RefusedError('busy', 'updates of too many bytes wait already')
    this.bytes += bytes
    this.updates++
    try {
      const batch = this.batches.get(config) ?? (await this.made(config))
      return await batch.add(update)
    } finally {
      this.bytes -= bytes
      this.updates--
    }
  }

  /** Writes what waits; what cannot be written is refused. */
  async close(): Promise<void> {
    this.closed = true
    await Promise.all([...this.batches.values()].map((batch) => batch.close()))
  }

  private async made(config: string): Promise<Batch> {
    await this.domain.store.read((read) => configIn(read, config))
    const known = this.batches.get(config)
    if (known !== undefined) return known
    if (this.closed) throw new RefusedError('busy', 'it is closing; this update was not published')
    const { limits, onPublished, onTrouble, clock = realClock, orderOf } = this.options
    const batch = new Batch(this.domain, { config, author, ...limits, clock, onPublished, onTrouble, orderOf })
    this.batches.set(config, batch)
    return batch
  }
}
