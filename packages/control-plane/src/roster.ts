/**
 * The fleet as it is now, in memory: every node's newest record, who is away, and how many are how far, kept up with
 * every change and never counted anew. What changed is written to the store in groups; a heartbeat that says nothing
 * new is not written at all, but for a sign of life now and then.
 *
 * Leases go by the monotonic clock: setting the clock on the wall makes nobody away and nobody present (F31, F32), and
 * the clocks of the nodes do not matter (F33).
 */
import type { Heartbeat, Hello, NodeStatus, Report } from 'midflight/protocol'
import type { Wanted } from './desired.ts'
import type { Domain } from './domain.ts'
import { beat, joined, reported, whyNot, type Heard, type NodeState, type Reason, type Transition } from './fleet.ts'
import { configIn, releaseIn } from './publish.ts'
import { RefusedError } from './release.ts'
import type { AttemptRecord, NodeRecord, StoreTx } from './store.ts'
import { Tally, type Progress } from './tally.ts'

export interface RosterOptions {
  /** Milliseconds that only grow, such as `performance.now`. */
  readonly monotonicMs: () => number
  /** A node that was not heard of for this long is away. */
  readonly leaseMs: number
}

interface Entry {
  state: NodeState
  away: boolean
  heardAtMs: number
  /** When a sign of life was last marked to be written. */
  writtenAtMs: number
}

const pageSize = 1000
/** Attempts that wait to be written; beyond these the oldest go, as reports are repeated by their nodes. */
const maxWaiting = 100_000

export class Roster {
  private readonly domain: Domain
  private readonly options: RosterOptions
  /** Present nodes in the order in which their leases end: every sign of life moves a node to the end. */
  private readonly present = new Map<string, Entry>()
  private readonly absent = new Map<string, Entry>()
  private readonly tallies = new Map<string, Tally>()
  private dirty = new Set<string>()
  private attempts: AttemptRecord[] = []
  private flushing: Promise<void> | undefined

  private constructor(domain: Domain, options: RosterOptions) {
    this.domain = domain
    this.options = options
  }

  /** All nodes that the store knows, each with a new lease: they have had no chance yet to say that they live. */
  static async open(domain: Domain, options: RosterOptions): Promise<Roster> {
    const roster = new Roster(domain, options)
    let config: string | undefined
    for (;;) {
      const page = await domain.store.read((read) => read.configs('', config, pageSize))
      for (const { name } of page) await roster.load(name)
      config = page.at(-1)?.name
      if (page.length < pageSize) return roster
    }
  }

  private async load(config: string): Promise<void> {
    let after: string | undefined
    for (;;) {
      const page = await this.domain.store.read((read) => read.nodes(config, {}, after, pageSize))
      for (const node of page) this.put({ node, trial: undefined }, this.options.monotonicMs())
      after = page.at(-1)?.uid
      if (page.length < pageSize) return
    }
  }

  get size(): number {
    return this.present.size + this.absent.size
  }

  node(uid: string): NodeRecord | undefined {
    return this.entry(uid)?.state.node
  }

  isAway(uid: string): boolean {
    return !this.present.has(uid)
  }

  /** @throws RefusedError `not-found` if there is no such config. */
  async hello(hello: Hello): Promise<NodeRecord> {
    const { config, runs } = hello
    const release = await this.domain.store.read((read) => {
      configIn(read, config)
      return runs === null ? undefined : read.release(config, runs.number)
    })
    const state = joined(this.entry(hello.uid)?.state, hello, this.heard())
    this.take(state, true)
    // It has applied what it runs, though the report of it was lost.
    if (runs !== null && release?.digest === runs.digest && hello.status === 'APPLIED') {
      this.remember({ uid: hello.uid, config, ...runs, status: 'APPLIED', attempt: 0, at: this.heard().at })
    }
    return state.node
  }

  /** @returns what came of it; `undefined` for a node that has not said hello. */
  heartbeat(uid: string, heartbeat: Pick<Heartbeat, 'runs' | 'status'>): Transition | undefined {
    const entry = this.entry(uid)
    if (entry === undefined) return undefined
    const transition = beat(entry.state, heartbeat, this.heard())
    this.take(transition.state, !transition.stale)
    return transition
  }

  /** @returns what came of it; `undefined` for a node that has not said hello. */
  report(uid: string, report: Omit<Report, 'type'>): Transition | undefined {
    const entry = this.entry(uid)
    if (entry === undefined) return undefined
    const transition = reported(entry.state, report, this.heard())
    if (transition.attempt !== undefined) this.remember(transition.attempt)
    this.take(transition.state, !transition.stale)
    return transition
  }

  /** Those whose lease has ended since the last call. To be called now and then. */
  expire(): NodeRecord[] {
    const endMs = this.options.monotonicMs() - this.options.leaseMs
    const gone: NodeRecord[] = []
    for (const [uid, entry] of this.present) {
      if (entry.heardAtMs > endMs) break
      this.present.delete(uid)
      this.absent.set(uid, entry)
      this.count(entry, -1)
      entry.away = true
      this.count(entry, 1)
      gone.push(entry.state.node)
    }
    return gone
  }

  /** A node that will not come back. If it does, it is a new one. */
  async forget(uid: string, actor: string): Promise<void> {
    const entry = this.entry(uid)
    if (entry === undefined) throw new RefusedError('not-found', `there is no node ${JSON.stringify(uid)}`)
    await this.flush()
    const { config, labels } = entry.state.node
    await this.domain.store.transaction((tx) => {
      tx.removeNode(uid)
      const at = this.domain.now().toISOString()
      tx.appendAudit({ at, actor, action: 'node-forgotten', config, detail: { uid, labels } })
    })
    // Whatever it said while that was written is forgotten too.
    const now = this.entry(uid)
    if (now !== undefined) this.count(now, -1)
    this.present.delete(uid)
    this.absent.delete(uid)
    this.dirty.delete(uid)
    this.attempts = this.attempts.filter((attempt) => attempt.uid !== uid)
  }

  /** How far the nodes of a config are with its head, in the time of a few look-ups. */
  progress(config: string, head: Wanted | null): Progress {
    return (this.tallies.get(config) ?? new Tally()).progress(head)
  }

  /** Writes what is new. Resolves when it is on disk; if that fails, it is still there for the next time. */
  async flush(): Promise<void> {
    while (this.flushing !== undefined) await this.flushing
    if (this.dirty.size === 0 && this.attempts.length === 0) return
    this.flushing = this.write().finally(() => {
      this.flushing = undefined
    })
    await this.flushing
  }

  private async write(): Promise<void> {
    const { dirty, attempts } = this
    this.dirty = new Set()
    this.attempts = []
    const nodes = [...dirty].flatMap((uid) => this.entry(uid)?.state.node ?? [])
    try {
      await this.domain.store.transaction((tx) => {
        for (const node of nodes) tx.putNode(node)
        for (const attempt of attempts) addAttempt(tx, attempt)
      })
    } catch (error) {
      for (const uid of this.dirty) dirty.add(uid)
      this.dirty = dirty
      this.attempts = [...attempts, ...this.attempts].slice(-maxWaiting)
      throw error
    }
  }

  private entry(uid: string): Entry | undefined {
    return this.present.get(uid) ?? this.absent.get(uid)
  }

  private heard(): Heard {
    const now = this.domain.now()
    return { at: now.toISOString(), leaseUntil: new Date(now.getTime() + this.options.leaseMs).toISOString() }
  }

  private take(state: NodeState, isNews: boolean): void {
    const nowMs = this.options.monotonicMs()
    const entry = this.put(state, nowMs)
    if (!isNews && nowMs - entry.writtenAtMs < this.options.leaseMs / 2) return
    entry.writtenAtMs = nowMs
    this.dirty.add(state.node.uid)
  }

  private put(state: NodeState, nowMs: number): Entry {
    const { uid } = state.node
    const before = this.entry(uid)
    if (before !== undefined) this.count(before, -1)
    this.absent.delete(uid)
    this.present.delete(uid)
    const entry: Entry = { state, away: false, heardAtMs: nowMs, writtenAtMs: before?.writtenAtMs ?? nowMs }
    this.present.set(uid, entry)
    this.count(entry, 1)
    return entry
  }

  private count({ state: { node }, away }: Entry, by: 1 | -1): void {
    let tally = this.tallies.get(node.config)
    if (tally === undefined) {
      tally = new Tally()
      this.tallies.set(node.config, tally)
    }
    tally.count(node, away, by)
  }

  private remember(attempt: AttemptRecord): void {
    this.attempts.push(attempt)
    if (this.attempts.length > maxWaiting) this.attempts.shift()
  }
}

/** What names no release of ours is left out: nobody has applied a release whose content they did not have. */
function addAttempt(tx: StoreTx, attempt: AttemptRecord): void {
  if (tx.release(attempt.config, attempt.number)?.digest === attempt.digest) tx.addAttempt(attempt)
}

/** A node that does not run a release, and why. */
export interface Laggard {
  readonly node: NodeRecord
  readonly reason: Reason
}

export interface LaggardQuery {
  readonly config: string
  readonly number: number
  readonly status?: NodeStatus
  readonly after?: string | undefined
  readonly limit: number
}

/** "Nodes not on release N, and why", by uid. Fewer than `limit` may come though there are more: go on after `next`. */
export async function laggards(
  domain: Domain,
  roster: Roster,
  { config, number, status, after, limit }: LaggardQuery,
): Promise<{ readonly laggards: readonly Laggard[]; readonly next: string | undefined }> {
  await roster.flush()
  const { wanted, page } = await domain.store.read((read) => ({
    wanted: releaseIn(read, config, number),
    // Not by `notOn`: one that runs the number with another content is one of them.
    page: read.nodes(config, status === undefined ? {} : { status }, after, limit),
  }))
  const found = page.flatMap((node): Laggard[] => {
    const reason = whyNot(wanted, roster.node(node.uid) ?? node, roster.isAway(node.uid))
    return reason === undefined ? [] : [{ node, reason }]
  })
  return { laggards: found, next: page.length < limit ? undefined : page.at(-1)?.uid }
}
