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

export interface Due {
  readonly keys: readonly string[]
  readonly touched: readonly string[]
}

export class Seen {
  /** Keys that were there when they were last told. */
  #known: ReadonlySet<string> = new Set()
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

  /** The keys to read, and those of them that were touched; undefined: whichever there are. */
  take(): Due | undefined {
    const touched = [...this.#touched]
    const due = this.#isAllDue ? undefined : { keys: [...new Set([...this.#known, ...touched])], touched }
    this.#touched.clear()
    this.#isAllDue = false
    return due
  }

  /** Whether keys are gone of which nothing was said. */
  isUnexplained(present: ReadonlySet<string>): boolean {
    return this.#gone(present).some((key) => !this.#fates.has(key))
  }

  /**
   * Takes `present` over for the keys that are there, unless one went that nobody removed: it is returned.
   * @param evictions now; without them, what went unseen counts as removed.
   */
  evicted(present: ReadonlySet<string>, evictions: Evictions | undefined): string | undefined {
    const before = this.#evictions
    const since = evictions && evictions.count - (before?.runId === evictions.runId ? before.count : 0)
    const gone = this.#gone(present)
    const lost = gone.find((key) => (this.#fates.get(key) ?? (since ? 'evicted' : 'removed')) === 'evicted')
    // Kept while something is refused, so that it is refused at the next look too.
    if (lost === undefined && evictions) this.#evictions = evictions
    return lost
  }

  /** @returns whether nothing is left, and each key that is gone was seen to be removed. */
  told(present: ReadonlySet<string>): boolean {
    const gone = this.#gone(present)
    const isEmptied = present.size === 0 && gone.length > 0 && gone.every((key) => this.#fates.get(key) === 'removed')
    // Where all is gone unseen, what was there stays in use: it is still known.
    if (present.size > 0 || isEmptied) this.#known = present
    for (const key of this.#fates.keys()) if (!this.#known.has(key)) this.#fates.delete(key)
    return isEmptied
  }

  #gone(present: ReadonlySet<string>): string[] {
    return [...this.#known].filter((key) => !present.has(key))
  }
}
