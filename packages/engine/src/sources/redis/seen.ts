/**
 * What a server of Redis said of keys while it was listened to: which were touched, and of those that are gone, how they
 * went. Reading them is left to `../redis.ts`.
 */

/** Keyspace events after which a key is not there, because someone or its own time wanted it so. */
const removing = new Set(['del', 'expired', 'rename_from', 'move_from'])

/** Of a server, to tell whether it threw keys away meanwhile. */
export interface Evictions {
  readonly runId: string
  readonly count: number
}

export class Seen {
  /** Keys that were there when they were last told. */
  #known = new Set<string>()
  #fates = new Map<string, 'removed' | 'evicted'>()
  #touched = new Set<string>()
  #isAllDue = true
  #evictions: Evictions | undefined
  #onHint: () => void = () => {}

  /** The next hint after this call. */
  next(): Promise<void> {
    return new Promise((resolve) => (this.#onHint = resolve))
  }

  /** The next look is one at all. */
  lookAtAll(): void {
    this.#isAllDue = true
  }

  /** Something changed, who knows what. */
  hint(): void {
    this.lookAtAll()
    this.#onHint()
  }

  event(key: string, event: string): void {
    this.#touched.add(key)
    if (event === 'evicted') this.#fates.set(key, 'evicted')
    else if (removing.has(event)) this.#fates.set(key, 'removed')
    else this.#fates.delete(key)
    this.#onHint()
  }

  get known(): ReadonlySet<string> {
    return this.#known
  }

  /** Whether anything was said that no look has taken yet. */
  get isDue(): boolean {
    return this.#isAllDue || this.#touched.size > 0
  }

  /** The keys that were touched; undefined: it may be any. */
  take(): readonly string[] | undefined {
    const touched = this.#isAllDue ? undefined : [...this.#touched]
    this.#touched.clear()
    this.#isAllDue = false
    return touched
  }

  /** The known keys that are not `present`, of those that were looked at. */
  gone(present: { has(key: string): boolean }, looked: Iterable<string> = this.#known): readonly string[] {
    return [...looked].filter((key) => this.#known.has(key) && !present.has(key))
  }

  /** Whether nothing was said of one of them. */
  isUnexplained(gone: readonly string[]): boolean {
    return gone.some((key) => !this.#fates.has(key))
  }

  /**
   * The first of those that are gone which nobody removed.
   * @param evictions now; without them, what went unseen counts as removed.
   */
  evicted(gone: readonly string[], evictions: Evictions | undefined): string | undefined {
    const before = this.#evictions
    const since = evictions && evictions.count - (before?.runId === evictions.runId ? before.count : 0)
    const lost = gone.find((key) => (this.#fates.get(key) ?? (since ? 'evicted' : 'removed')) === 'evicted')
    // Kept while something is refused, so that it is refused at the next look too.
    if (lost === undefined && evictions) this.#evictions = evictions
    return lost
  }

  /**
   * Takes over which keys are there.
   * @returns whether nothing is left, and each key that is gone was seen to be removed.
   */
  told(present: Iterable<string>, gone: readonly string[]): boolean {
    const here = new Set(present)
    const isEmptied = gone.length === this.#known.size && here.size === 0 && this.#areRemoved(gone)
    // Where all is gone unseen, what was there stays in use: it is still known.
    const isLost = gone.length === this.#known.size && here.size === 0 && !isEmptied
    if (isLost) this.lookAtAll()
    else {
      for (const key of gone) this.#known.delete(key)
      for (const key of here) this.#known.add(key)
    }
    for (const key of this.#fates.keys()) if (!this.#known.has(key)) this.#fates.delete(key)
    return isEmptied
  }

  #areRemoved(gone: readonly string[]): boolean {
    return gone.length > 0 && gone.every((key) => this.#fates.get(key) === 'removed')
  }
}
