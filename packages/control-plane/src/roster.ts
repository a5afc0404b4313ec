/**
 * The fleet as it is now, in memory: every node's newest record, who is away, and how many are how far, kept up with
 * every change and never counted anew. What changed is to be written (`roster-writes.ts`); a heartbeat that says
 * nothing new is not, but for a sign of life now and then.
 *
 * Leases go by the monotonic clock: setting the clock on the wall makes nobody away and nobody present (F31, F32), and
 * the clocks of the nodes do not matter (F33).
 */
import type { Heartbeat, Hello, Report } from 'midflight/protocol'
import type { Wanted } from './desired.ts'
import type { Domain } from './domain.ts'
import { beat, caughtUp, follows, givenUp, joined, reported } from './fleet.ts'
import type { Heard, NodeState, Transition } from './fleet.ts'
import { configIn } from './publish.ts'
import { RefusedError } from './release.ts'
import { RosterWrites, type Part } from './roster-writes.ts'
import type { AttemptRecord, NodeRecord } from './store.ts'
import { Tally, type Progress } from './tally.ts'

export interface RosterOptions {
  /** Milliseconds that only grow, such as `performance.now`. */
  readonly monotonicMs: () => number
  /** A node that was not heard of for this long is away. */
  readonly leaseMs: number
  /** A node has come, or come back; its lease has ended, or it was forgotten or is another config's. Must not throw. */
  readonly onPresence?: (change: 'joined' | 'left', node: NodeRecord) => void
}

interface Entry {
  state: NodeState
  away: boolean
  /** Nothing was heard for half a lease, or its connection is gone. */
  silent: boolean
  heardAtMs: number
  /** When a sign of life was last marked to be written. */
  writtenAtMs: number
}

const pageSize = 1000

export class Roster {
  private readonly domain: Domain
  private readonly options: RosterOptions
  private readonly entries = new Map<string, Entry>()
  private readonly tallies = new Map<string, Tally>()
  /** The uids of a config in their order; made when somebody asks. */
  private readonly ordered = new Map<string, readonly string[]>()
  private readonly writes: RosterWrites
  private heardLast: Heard & { readonly atMs: number } = { atMs: NaN, at: '', leaseUntil: '' }

  private onChange: (node: NodeRecord) => void = () => {}

  private constructor(domain: Domain, options: RosterOptions) {
    this.domain = domain
    this.options = options
    this.writes = new RosterWrites(domain.store, (uid) => this.node(uid))
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
      const page = await this.domain.store.read((read) =>
        read.nodes(config, {}, after, pageSize).map((node) => caughtUp(node, read.attempts(node.uid, 1)[0])),
      )
      for (const state of page) this.put(undefined, state, this.options.monotonicMs()).silent = true
      after = page.at(-1)?.node.uid
      if (page.length < pageSize) return
    }
  }

  /** Calls `onChange` whenever something is heard of a node, its lease ends, or it is forgotten. One listener. Must not throw. */
  observe(onChange: (node: NodeRecord) => void): void {
    this.onChange = onChange
  }

  /** The uids of all nodes of the config. */
  uids(config: string): readonly string[] {
    return this.uidsOf(config)
  }

  /** Of all configs. */
  *all(): Generator<NodeRecord> {
    for (const { state } of this.entries.values()) yield state.node
  }

  get size(): number {
    return this.entries.size
  }

  node(uid: string): NodeRecord | undefined {
    return this.entries.get(uid)?.state.node
  }

  isAway(uid: string): boolean {
    return this.entries.get(uid)?.away ?? true
  }

  /** Sooner than that it is away: whether nothing is known of it now. */
  isSilent(uid: string): boolean {
    return this.entries.get(uid)?.silent ?? true
  }

  /** Its connection is gone. */
  fellSilent(uid: string): void {
    const entry = this.entries.get(uid)
    if (entry === undefined || entry.silent) return
    entry.silent = true
    this.onChange(entry.state.node)
  }

  /** By uid, behind `after`: at most `limit` nodes of the config of which `takes` is true. */
  nodes(config: string, takes: (node: NodeRecord) => boolean, after: string | undefined, limit: number): NodeRecord[] {
    const uids = this.uidsOf(config)
    const found: NodeRecord[] = []
    for (let i = placeBehind(uids, after); i < uids.length && found.length < limit; i++) {
      const node = this.node(uids[i] as string)
      if (node !== undefined && takes(node)) found.push(node)
    }
    return found
  }

  /** What a node tried that is not in the store yet, newest first; what it is at comes first. */
  recent(uid: string): AttemptRecord[] {
    const state = this.entries.get(uid)?.state
    return [...this.writes.of(uid), ...(state === undefined ? [] : givenUp(state))].reverse()
  }

  /** @throws RefusedError `not-found` if there is no such config. */
  async hello(hello: Hello): Promise<NodeRecord> {
    const { uid, config, runs } = hello
    const { release, isApplied } = await this.domain.store.read((read) => {
      configIn(read, config)
      return runs === null
        ? { release: undefined, isApplied: false }
        : { release: read.release(config, runs.number), isApplied: read.appliedAt(config, runs.number) !== undefined }
    })
    const before = this.entries.get(uid)
    const known = before?.state.node
    const state = joined(before?.state, hello, this.heard())
    if (before !== undefined && state.trial === undefined) this.writes.tried(uid, givenUp(before.state))
    this.take(before, state, true)
    const isTold = isApplied || this.writes.of(uid).some((one) => one.status === 'APPLIED' && sameRuns(one, runs))
    const isKnown = known?.config === config && sameRuns(known.runs, runs) && isTold
    if (release !== undefined && release.digest === runs?.digest && hello.status === 'APPLIED' && !isKnown) {
      this.runsUnreported(state.node)
    }
    return state.node
  }

  /** @returns what came of it; `undefined` for a node that has not said hello. */
  heartbeat(uid: string, heartbeat: Omit<Heartbeat, 'type'>): Transition | undefined {
    const entry = this.entries.get(uid)
    if (entry === undefined) return undefined
    const { runs } = entry.state.node
    const transition = beat(entry.state, heartbeat, this.heard())
    this.take(entry, transition.state, !transition.stale)
    const { node } = transition.state
    if (node.status === 'APPLIED' && !sameRuns(runs, node.runs)) this.runsUnreported(node)
    return transition
  }

  /** @returns what came of it; `undefined` for a node that has not said hello. */
  report(uid: string, report: Omit<Report, 'type'>): Transition | undefined {
    const entry = this.entries.get(uid)
    if (entry === undefined) return undefined
    const transition = reported(entry.state, report, this.heard())
    this.writes.tried(uid, transition.ended)
    // After a publish thousands say this, and again after the next: their records need not be written each time.
    const isLate = follows(entry.state.node, transition.ended.at(-1))
    // What is newest in the history is then about another release than what it runs.
    const isAside = transition.stale && transition.ended.length > 0
    this.take(entry, transition.state, isAside || (!transition.stale && !isLate))
    if (isLate) this.writes.follows(uid)
    return transition
  }

  /** Those whose lease has ended since the last call. To be called now and then. */
  expire(): NodeRecord[] {
    const { leaseMs, monotonicMs } = this.options
    const nowMs = monotonicMs()
    const gone: NodeRecord[] = []
    for (const entry of this.entries.values()) {
      if (entry.away || entry.heardAtMs > nowMs - leaseMs / 2) continue
      const { node } = entry.state
      this.fellSilent(node.uid)
      if (entry.heardAtMs > nowMs - leaseMs) continue
      this.count(node, false, -1)
      this.count(node, true, 1)
      entry.away = true
      gone.push(node)
      this.onChange(node)
      this.options.onPresence?.('left', node)
    }
    return gone
  }

  /** A node that will not come back. If it does, it is a new one. */
  async forget(uid: string, actor: string): Promise<void> {
    const entry = this.entries.get(uid)
    if (entry === undefined) throw new RefusedError('not-found', `there is no node ${JSON.stringify(uid)}`)
    const { config, labels } = entry.state.node
    await this.writes.forget(uid, {
      remove: (tx) => {
        tx.removeNode(uid)
        const at = this.domain.now().toISOString()
        tx.appendAudit({ at, actor, action: 'node-forgotten', config, detail: { uid, labels } })
      },
      // Whatever it said while that was written is forgotten too.
      removed: () => this.drop(uid),
    })
  }

  private drop(uid: string): void {
    const entry = this.entries.get(uid)
    if (entry === undefined) return
    const { state, away } = entry
    this.count(state.node, away, -1)
    this.entries.delete(uid)
    this.ordered.clear()
    this.onChange(state.node)
    if (!away) this.options.onPresence?.('left', state.node)
  }

  /** How far the nodes of a config are with its head, in the time of a few look-ups. */
  progress(config: string, head: Wanted | null): Progress {
    return (this.tallies.get(config) ?? new Tally()).progress(head)
  }

  /** Of all configs. */
  byStatus(): Progress['byStatus'] {
    const sums: { -readonly [S in keyof Progress['byStatus']]: number } = {}
    for (const tally of this.tallies.values()) {
      for (const [status, count] of tally.statuses()) sums[status] = (sums[status] ?? 0) + count
    }
    return sums
  }

  /**
   * Writes what is new. Resolves when it is on disk; if that fails, it is still there for the next time.
   * @param what `urgent`: not what would follow from the rest after a crash.
   * @param free resolves when nothing more urgent is going on; awaited before each part.
   */
  flush(what?: Part, free?: () => Promise<void>): Promise<void> {
    return this.writes.flush(what, free)
  }

  private uidsOf(config: string): readonly string[] {
    let uids = this.ordered.get(config)
    if (uids === undefined) {
      uids = [...this.entries].flatMap(([uid, { state }]) => (state.node.config === config ? [uid] : [])).sort()
      this.ordered.set(config, uids)
    }
    return uids
  }

  /** Thousands are heard in the same millisecond. */
  private heard(): Heard {
    const now = this.domain.now()
    const atMs = now.getTime()
    if (atMs !== this.heardLast.atMs) {
      const leaseUntil = new Date(atMs + this.options.leaseMs).toISOString()
      this.heardLast = { atMs, at: now.toISOString(), leaseUntil }
    }
    return this.heardLast
  }

  private take(before: Entry | undefined, state: NodeState, isNews: boolean): void {
    const nowMs = this.options.monotonicMs()
    const known = before?.state.node
    const last = before?.away === false ? known : undefined
    const entry = this.put(before, state, nowMs)
    // Where it is no longer waited for.
    if (known !== undefined && known.config !== state.node.config) this.onChange(known)
    this.onChange(state.node)
    if (last?.config !== state.node.config) {
      if (last !== undefined) this.options.onPresence?.('left', last)
      this.options.onPresence?.('joined', state.node)
    }
    if (!isNews && nowMs - entry.writtenAtMs < this.options.leaseMs / 2) return
    entry.writtenAtMs = nowMs
    this.writes.changed(state.node.uid)
  }

  private put(before: Entry | undefined, state: NodeState, nowMs: number): Entry {
    const { node } = state
    if (before === undefined) {
      const entry: Entry = { state, away: false, silent: false, heardAtMs: nowMs, writtenAtMs: nowMs }
      this.entries.set(node.uid, entry)
      this.ordered.delete(node.config)
      this.count(node, false, 1)
      return entry
    }
    const last = before.state.node
    if (last.config !== node.config) this.ordered.clear()
    if (before.away || last.config !== node.config || !countsAlike(last, node)) {
      this.count(last, before.away, -1)
      this.count(node, false, 1)
    }
    before.state = state
    before.away = false
    before.silent = false
    before.heardAtMs = nowMs
    return before
  }

  private count(node: NodeRecord, isAway: boolean, by: 1 | -1): void {
    let tally = this.tallies.get(node.config)
    if (tally === undefined) {
      tally = new Tally()
      this.tallies.set(node.config, tally)
    }
    tally.count(node, isAway, by)
  }

  /** It has applied what it runs, though the report of it was lost. */
  private runsUnreported({ uid, config, runs }: NodeRecord): void {
    if (runs !== null)
      this.writes.tried(uid, [{ uid, config, ...runs, status: 'APPLIED', attempt: 0, at: this.heard().at }])
  }
}

function sameRuns(a: NodeRecord['runs'], b: NodeRecord['runs']): boolean {
  return a?.number === b?.number && a?.digest === b?.digest
}

function countsAlike(a: NodeRecord, b: NodeRecord): boolean {
  return a.status === b.status && a.seen === b.seen && sameRuns(a.runs, b.runs)
}

/** Where those begin that come behind `after`. */
function placeBehind(uids: readonly string[], after: string | undefined): number {
  if (after === undefined) return 0
  let [low, high] = [0, uids.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((uids[middle] as string) > after) high = middle
    else low = middle + 1
  }
  return low
}
