/**
 * What the roster has heard and the store does not have yet: nodes whose record is new, and what they tried. It is
 * written in groups, and kept until that is on disk. What is worth writing is decided by the roster.
 */
import type { Wanted } from './desired.ts'
import type { AttemptRecord, NodeRecord, Store, StoreTx } from './store.ts'

/** Nodes whose records are written in one go: some milliseconds, after which everyone else has a turn. */
const nodesPerWrite = 512
/** Attempts that wait to be written; beyond these the oldest go, as reports are repeated by their nodes. */
const maxWaiting = 100_000

export class RosterWrites {
  private readonly store: Store
  private readonly node: (uid: string) => NodeRecord | undefined
  private readonly dirty = new Set<string>()
  /** By node, oldest first. */
  private readonly waiting = new Map<string, AttemptRecord[]>()
  private waitingCount = 0
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

  tried(attempts: readonly AttemptRecord[]): void {
    for (const attempt of attempts) {
      const waiting = this.waiting.get(attempt.uid)
      if (waiting === undefined) this.waiting.set(attempt.uid, [attempt])
      else waiting.push(attempt)
      this.waitingCount++
    }
    while (this.waitingCount > maxWaiting) this.written(this.waiting.keys().next().value as string, 1)
  }

  /** What the node tried that is not in the store yet, oldest first. */
  of(uid: string): readonly AttemptRecord[] {
    return this.waiting.get(uid) ?? []
  }

  forget(uid: string): void {
    this.dirty.delete(uid)
    this.waitingCount -= this.of(uid).length
    this.waiting.delete(uid)
  }

  /**
   * Resolves when it is on disk; if that fails, it is still there for the next time.
   * @param free resolves when nothing more urgent is going on; awaited before each part.
   */
  async flush(free: () => Promise<void> = async () => {}): Promise<void> {
    while (this.flushing !== undefined) await this.flushing
    if (this.dirty.size === 0 && this.waiting.size === 0) return
    this.flushing = this.write(free).finally(() => {
      this.flushing = undefined
    })
    await this.flushing
  }

  private async write(free: () => Promise<void>): Promise<void> {
    // In the order of the table: neighbours share a page, which then is written once.
    const uids = [...new Set([...this.dirty, ...this.waiting.keys()])].sort()
    for (let i = 0; i < uids.length; i += nodesPerWrite) {
      await free()
      await this.writeSome(uids.slice(i, i + nodesPerWrite))
    }
  }

  private async writeSome(uids: readonly string[]): Promise<void> {
    const nodes: NodeRecord[] = []
    const attempts: AttemptRecord[] = []
    const counts = uids.map((uid) => this.of(uid).length)
    for (const uid of uids) {
      const node = this.dirty.has(uid) && this.node(uid)
      if (node) nodes.push(node)
      attempts.push(...this.of(uid))
    }
    await this.store.transaction((tx) => {
      for (const node of nodes) tx.putNode(node)
      tx.addAttempts(known(tx, attempts))
    })
    // What was said meanwhile stays for the next time.
    for (const node of nodes) if (this.node(node.uid) === node) this.dirty.delete(node.uid)
    uids.forEach((uid, i) => this.written(uid, counts[i] as number))
  }

  private written(uid: string, count: number): void {
    const attempts = this.waiting.get(uid)
    if (attempts === undefined) return
    this.waitingCount -= attempts.splice(0, count).length
    if (attempts.length === 0) this.waiting.delete(uid)
  }
}

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
