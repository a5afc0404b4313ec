/** The rollout of a config that is under way, as its coordinator has it, and what can be said of it without asking anybody. */
import type { Runs } from 'midflight/protocol'
import type { Domain } from './domain.ts'
import type { Facts } from './facts.ts'
import type { Gate, GateSpec } from './gates/gate.ts'
import type { GateWatch } from './gates/watch.ts'
import { RefusedError } from './release.ts'
import { problemOf, type Control } from './rollout.ts'
import { hasEnded, type Rollout, type RolloutEvent, type RolloutState } from './rollout-state.ts'
import type { Roster } from './roster.ts'
import type { AuditEntry, RolloutRecord, StoreRead } from './store.ts'
import type { Turns } from './turns.ts'

export interface CoordinatorOptions {
  readonly domain: Domain
  readonly roster: Pick<Roster, 'node' | 'isAway' | 'isSilent' | 'uids' | 'observe'>
  /** Milliseconds that only grow. */
  readonly monotonicMs: () => number
  readonly gateOf: (spec: GateSpec) => Gate
  /** A rollout has moved, and that is durable: nodes may have to be told. */
  readonly moved: (config: string) => Promise<void>
  /** For those who look on. Must not throw. */
  readonly onMoved?: (rollout: RolloutRecord, event: RolloutEvent) => void
  readonly onProblem: (error: unknown) => void
  /** How often time is looked at, in milliseconds. */
  readonly tickMs?: number
  readonly turns?: Turns
}

/** Who wants something of a rollout, and why. */
export interface Wanting {
  readonly by: string
  readonly reason: string
}

/** The rollout of a config that is under way. */
export interface Course {
  record: RolloutRecord
  facts: Facts
  /** A reading of the clock up to which time was counted. */
  countedMs: number
  /** Of its state as it is in the store. */
  savedMs: number
  readonly gates: GateWatch
  /** After a failure to write the way back: when to try again. */
  retryRollbackMs: number
}

/** What the nodes were to run when the rollouts before that of this release had ended. */
export function handedOver(read: Pick<StoreRead, 'rollouts'>, config: string, number: number): Runs | null {
  let left: Runs | null = null
  for (let before = number; ;) {
    const [found] = read.rollouts.list(config, before, 1)
    if (found === undefined) return left
    const { epoch, from, rollback } = found.state
    const isQueued = epoch === 0 && (from === null || rollback !== null)
    // What was given up in the queue was behind another, which has handed over what it was never given; or what took the
    // place of it is newer than what that has handed over.
    left = newer(left, isQueued ? rollback : leftBy(found))
    if (!isQueued) return left
    before = found.number
  }
}

function newer(a: Runs | null, b: Runs | null): Runs | null {
  return (a?.number ?? 0) > (b?.number ?? 0) ? a : b
}

function leftBy({ state, number, digest }: RolloutRecord): Runs | null {
  if (state.phase === 'completed') return { number, digest }
  return state.phase === 'rolled-back' ? state.rollback : state.from
}

/** What nodes are to run when a rollout that has not ended will have, as far as is known. */
export function toBeLeftBy({ state, number, digest }: RolloutRecord): Runs | null {
  return state.failure === null ? { number, digest } : (state.rollback ?? state.from)
}

/** @throws RefusedError `state` */
export function requirePossible({ config, number, state }: RolloutRecord, control: Control): void {
  const problem = problemOf(state, control)
  if (problem !== undefined) throw new RefusedError('state', `the rollout of ${config} ${number} ${problem}`)
}

/** Only the counts or the time are others: nothing follows from that, and it need not be kept. */
export function isPlain(before: RolloutState, after: RolloutState): boolean {
  for (const key in after) {
    const field = key as keyof RolloutState
    if (field !== 'counts' && field !== 'spentMs' && field !== 'mixedMs' && before[field] !== after[field]) return false
  }
  return true
}

export function asRollout({ config, number, digest, strategy }: RolloutRecord): Rollout {
  return { config, release: { number, digest }, strategy }
}

export function movedAt(at: string, before: RolloutRecord, state: RolloutState): RolloutRecord {
  const startedAt = before.startedAt ?? (state.phase === 'queued' ? null : at)
  return { ...before, state, startedAt, endedAt: hasEnded(state) ? at : null }
}

/** What goes into the audit log: what somebody wanted, and how it ended; steps on the way are among its events. */
export function auditOf(
  { number, state }: RolloutRecord,
  { kind }: RolloutEvent,
  wanting: Wanting | undefined,
): Pick<AuditEntry, 'action' | 'detail'> | undefined {
  if (wanting === undefined && !hasEnded(state) && state.phase !== 'failed') return undefined
  const found = state.failure && { found: state.failure.found }
  return {
    action: `rollout-${wanting === undefined ? state.phase : kind}`,
    detail: { number, ...(wanting && { reason: wanting.reason }), ...found },
  }
}

export function eventOf(control: Control, { by, reason }: Wanting): RolloutEvent {
  switch (control) {
    case 'pause':
      return { kind: 'paused', by, reason }
    case 'resume':
      return { kind: 'resumed', by, reason }
    case 'abort':
      return { kind: 'aborted', by, reason }
    case 'promote':
      return { kind: 'promoted', by, reason }
    case 'confirm':
      return { kind: 'confirmed', by }
  }
}
