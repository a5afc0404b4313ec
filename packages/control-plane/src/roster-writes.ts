/**
 * What the roster has heard and the store does not have yet: nodes whose record is new, and what they tried. It is
 * written in groups, and kept until that is on disk. What is worth writing is decided by the roster.
 */
import type { Wanted } from './desired.ts'
import type { AttemptRecord, NodeRecord, Store, StoreTx } from './store.ts'

/** Nodes whose records are written in one go: some milliseconds, after which everyone else has a turn. */
const nodesPerWrite = 512
/** Attempts of a node that wait to be written; beyond these the oldest go: no more are kept in the store. */
const maxWaiting = 100

export class RosterWrites {
  private readonly store: Store
  private readonly node: (uid: string) => NodeRecord | undefined
  private readonly dirty = new Set<string>()
  /** Records that can wait, as what is new in them follows from what the node tried. */
  private readonly late = new Set<string>()
  /** What a node tried, oldest first. */
  private readonly waiting = new Map<string, readonly AttemptRecord[]>()
  private flushing: Promise<void> | undefined

  /** @param node gives the newest record of a node. */
  constructor(store: Store, node: (uid: string) => NodeRecord | undefined) {
    this.store = store
    this.node = node
  }

  /** Its record is to be written, as it will be by then. */
  changed(uid: string): void {
    this.dirty.add(uid)
  }

  /** Its record is to be written some day: `caughtUp` makes it of an older one and of what the node tried. */
  follows(uid: string): void {
    this.late.add(uid)
  }

  /** @param attempts of that node, oldest first. */
  tried(uid: string, attempts: readonly AttemptRecord[]): void {
    if (attempts.length === 0) return
    const waiting = this.of(uid)
    this.waiting.set(uid, waiting.length === 0 ? attempts : [...waiting, ...attempts].slice(-maxWaiting))
  }

  /** What the node tried that is not in the store yet, oldest first. */
  of(uid: string): readonly AttemptRecord[] {
    return this.waiting.get(uid) ?? none
  }

  /**
   * Nothing is written meanwhile, and nothing of the node after it.
   * @param removed called when it is on disk, and the node is not there any more.
   */
  async forget(uid: string, { remove, removed }: Removal): Promise<void> {
    await this.flush()
    await this.inTurn(async () => {
      await this.store.transaction(remove)
      removed()
      this.dirty.delete(uid)
      this.late.delete(uid)
      this.waiting.delete(uid)
    })
  }

  /**
   * Resolves when it is on disk; if that fails, it is still there for the next time.
   * @param what `urgent`: without the records that follow from what is written.
   * @param free resolves when nothing more urgent is going on; awaited before each part.
   */
  async flush(what: Part = 'all', free: () => Promise<void> = async () => {}): Promise<void> {
    await this.inTurn(() => this.write(what, free))
  }

  private async inTurn(work: () => Promise<void>): Promise<void> {
    while (this.flushing !== undefined) await this.flushing
    this.flushing = work().finally(() => {
      this.flushing = undefined
    })
    await this.flushing
  }

  private async write(what: Part, free: () => Promise<void>): Promise<void> {
    const rows = what === 'all' ? new Set([...this.dirty, ...this.late]) : new Set(this.dirty)
    // In the order of the table: neighbours share a page, which then is written once.
    const uids = [...new Set([...rows, ...this.waiting.keys()])].sort()
    for (let i = 0; i < uids.length; i += nodesPerWrite) {
      await free()
      await this.writeSome(uids.slice(i, i + nodesPerWrite), rows)
    }
  }

  private async writeSome(uids: readonly string[], rows: ReadonlySet<string>): Promise<void> {
    const parts = uids.map((uid) => ({
      uid,
      node: rows.has(uid) ? this.node(uid) : undefined,
      attempts: this.of(uid),
    }))
    const attempts = parts.flatMap((part) => part.attempts)
    await this.store.transaction((tx) => {
      for (const { node } of parts) if (node !== undefined) tx.putNode(node)
      tx.addAttempts(known(tx, attempts))
    })
    for (const part of parts) this.written(part)
  }

  /** What was said meanwhile stays for the next time. */
  private written({ uid, node, attempts }: Written): void {
    if (node !== undefined && this.node(uid) === node) {
      this.dirty.delete(uid)
      this.late.delete(uid)
    }
    const waiting = this.of(uid)
    if (waiting === attempts) this.waiting.delete(uid)
    else
      this.waiting.set(
        uid,
        waiting.filter((attempt) => !attempts.includes(attempt)),
      )
  }
}

/** What of it is to be written. */
export type Part = 'all' | 'urgent'

interface Removal {
  remove(tx: StoreTx): void
  removed(): void
}

interface Written {
  readonly uid: string
  readonly node: NodeRecord | undefined
  readonly attempts: readonly AttemptRecord[]
}

const none: readonly AttemptRecord[] = []

/** What names no release of ours is left out: nobody has applied a release whose content they did not have. */
function known(tx: StoreTx, attempts: readonly AttemptRecord[]): AttemptRecord[] {
  let config: string | undefined
  let release: Wanted | undefined
  return attempts.filter((attempt) => {
    // Most are about the release that the one before is about.
    if (attempt.config !== config || attempt.number !== release?.number) {
      config = attempt.config
      release = tx.release(config, attempt.number)
    }
    return release?.digest === attempt.digest
  })
}
