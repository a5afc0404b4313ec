/**
 * How far the nodes are with a rollout, counted up and down with each change, so that a fleet of thousands costs what
 * changes in it. What the counts lead to is `rollout.ts`.
 */
import type { Runs } from 'midflight/protocol'
import { noCounts, type Counts, type NodeReason, type RolloutState } from './rollout-state.ts'
import type { NodeRecord, RolloutRecord } from './store.ts'
import { stepOf, type Strategy } from './strategy.ts'

export type Fact = 'waiting' | 'prepared' | 'applied' | 'failed' | 'unhealthy' | 'lost' | 'away'

/** `ignored`: on the way back nothing is waited for but that the nodes run it. */
export type Probes = Strategy['probes'] | 'ignored'

interface Found {
  readonly fact: Fact
  readonly reason?: string
}

const failures = ['FAILED', 'ROLLED_BACK', 'DEGRADED', 'RESTART_REQUIRED']

/** How far a node is with a release. No data is no good news (I12): what was well before it had the release says nothing. */
export function factOf(node: NodeRecord, isAway: boolean, target: Runs, probes: Probes): Found {
  const { runs, seen, status, detail, health } = node
  const concerns = seen === target.number
  if (concerns && failures.includes(status)) return { fact: 'failed', reason: detail ?? status }
  if (runs?.number === target.number && runs.digest === target.digest) {
    if (probes === 'ignored') return { fact: 'applied' }
    if (isAway) return { fact: 'lost', reason: `runs it, and was last heard of at ${node.lastSeenAt}` }
    if (health === undefined) {
      return probes === 'required' ? { fact: 'unhealthy', reason: 'reports no health' } : { fact: 'applied' }
    }
    if (health.release !== target.number) return { fact: 'waiting' }
    return health.ok ? { fact: 'applied' } : { fact: 'unhealthy', reason: health.detail ?? 'is unhealthy' }
  }
  if (runs !== null && runs.number > target.number) return { fact: 'failed', reason: `runs release ${runs.number}` }
  if (node.prepared?.number === target.number && node.prepared.digest === target.digest) return { fact: 'prepared' }
  if (!isAway) return { fact: 'waiting' }
  return concerns ? { fact: 'lost', reason: `had it, and was last heard of at ${node.lastSeenAt}` } : { fact: 'away' }
}

interface Entry extends Found {
  /** Which place it where it is: a node may come back with others. */
  readonly labels: NodeRecord['labels']
  readonly step: number
  readonly zone: string
}

export type Tally = Record<Fact, number>

const maxReasons = 5
const maxReasonLength = 300

export interface Fleet {
  node(uid: string): NodeRecord | undefined
  isAway(uid: string): boolean
  isSilent(uid: string): boolean
}

/** The nodes of one config, by what they have come to with one release. */
export class Facts {
  private readonly config: string
  private readonly strategy: Strategy
  private readonly cuts: RolloutState['cuts']
  private readonly probes: Probes
  readonly target: Runs
  private readonly fleet: Fleet
  private readonly entries = new Map<string, Entry>()
  private readonly tallies: Tally[]
  /** Those with a reason, in the order in which they failed. */
  private readonly bad = new Map<string, Entry>()
  /** Those without one that are waited for, or away: by step, as those of later steps may be many. */
  private readonly missing: ReadonlyArray<Set<string>>

  constructor({ config, strategy, state, number, digest }: RolloutRecord, fleet: Fleet) {
    this.config = config
    this.strategy = strategy
    this.cuts = state.cuts
    this.target = state.rollback ?? { number, digest }
    this.probes = state.rollback === null ? strategy.probes : 'ignored'
    this.fleet = fleet
    this.missing = strategy.steps.map(() => new Set())
    this.tallies = strategy.steps.map(() => ({
      waiting: 0,
      prepared: 0,
      applied: 0,
      failed: 0,
      unhealthy: 0,
      lost: 0,
      away: 0,
    }))
  }

  /** Looks at a node anew, or for the first time. @returns whether the counts are others now. */
  look(uid: string): boolean {
    const before = this.entries.get(uid)
    const node = this.fleet.node(uid)
    if (node === undefined || node.config !== this.config) {
      if (before === undefined) return false
      this.count(uid, before, -1)
      this.entries.delete(uid)
      return true
    }
    const found = this.found(node)
    const isSame = before?.fact === found.fact && before.reason === found.reason
    if (isSame && before.labels === node.labels) return false
    const { labels } = node
    const entry = { ...found, labels, step: stepOf(this.strategy.steps, this.cuts, node), zone: this.zoneOf(node) }
    if (isSame && before.step === entry.step && before.zone === entry.zone) {
      this.entries.set(uid, entry)
      return false
    }
    if (before !== undefined) this.count(uid, before, -1)
    this.count(uid, entry, 1)
    this.entries.set(uid, entry)
    return true
  }

  /** Of one that has died of the release nothing is heard any more, long before it counts as away. */
  private found(node: NodeRecord): Found {
    const found = factOf(node, this.fleet.isAway(node.uid), this.target, this.probes)
    if (found.fact !== 'applied' || this.probes === 'ignored' || !this.fleet.isSilent(node.uid)) return found
    return { fact: 'waiting', reason: `runs it, and was last heard of at ${node.lastSeenAt}` }
  }

  /** Of the steps that count in this state. */
  counts({ phase, step }: Pick<RolloutState, 'phase' | 'step'>): Counts {
    const first = phase === 'preparing' ? step : 0
    const last = phase === 'rolling-back' ? this.tallies.length - 1 : step
    const sum = { ...noCounts } as { -readonly [K in keyof Counts]: Counts[K] }
    for (const tally of this.tallies.slice(first, last + 1)) {
      for (const fact in tally) sum[fact as Fact] += tally[fact as Fact]
    }
    sum.reasons = this.reasons(first, last)
    sum.missing = this.missingNames(first, last)
    if (this.strategy.absent.kind === 'per-zone') sum.missingInZone = this.missingInZone(first, last)
    return sum
  }

  /** Of each step for itself, also of those that were not begun. */
  bySteps(): readonly Readonly<Tally>[] {
    return this.tallies
  }

  /** The nodes of the steps that were begun, for those who ask about their health elsewhere. */
  uids(step: number, limit: number): string[] {
    const uids: string[] = []
    for (const [uid, entry] of this.entries) {
      if (uids.length >= limit) break
      if (entry.step <= step) uids.push(uid)
    }
    return uids
  }

  private count(uid: string, entry: Entry, by: 1 | -1): void {
    const tally = this.tallies[entry.step] as Tally
    tally[entry.fact] += by
    if (entry.reason !== undefined) {
      if (by === 1) this.bad.set(uid, entry)
      else this.bad.delete(uid)
    } else if (entry.fact === 'waiting' || entry.fact === 'away') {
      const missing = this.missing[entry.step]
      if (by === 1) missing?.add(uid)
      else missing?.delete(uid)
    }
  }

  private reasons(first: number, last: number): NodeReason[] {
    const reasons: NodeReason[] = []
    for (const [uid, { step, reason = '' }] of this.bad) {
      if (reasons.length >= maxReasons) break
      if (step < first || step > last) continue
      reasons.push({ node: this.nameOf(uid), reason: cut(reason) })
    }
    return reasons
  }

  private missingNames(first: number, last: number): string[] {
    const names: string[] = []
    for (const missing of this.missing.slice(first, last + 1)) {
      for (const uid of missing) {
        if (names.length >= maxReasons) return names
        names.push(this.nameOf(uid))
      }
    }
    return names
  }

  private nameOf(uid: string): string {
    return this.fleet.node(uid)?.labels['name'] ?? uid
  }

  private missingInZone(first: number, last: number): Record<string, number> {
    // A zone may have any name, `__proto__` too.
    const zones: Record<string, number> = Object.create(null)
    for (const { step, fact, zone } of this.entries.values()) {
      if (step < first || step > last || (fact !== 'waiting' && fact !== 'away' && fact !== 'lost')) continue
      zones[zone] = (zones[zone] ?? 0) + 1
    }
    return zones
  }

  private zoneOf({ labels }: NodeRecord): string {
    const { absent } = this.strategy
    return absent.kind === 'per-zone' && Object.hasOwn(labels, absent.label) ? (labels[absent.label] as string) : ''
  }
}

function cut(reason: string): string {
  return reason.length <= maxReasonLength ? reason : `${reason.slice(0, maxReasonLength - 1).toWellFormed()}…`
}
