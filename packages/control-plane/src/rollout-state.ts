/** What a rollout is in the middle of, and what can move it: shapes only. What leads to what is `rollout.ts`. */
import type { Runs } from 'midflight/protocol'
import type { Cuts, Strategy } from './strategy.ts'

/** What does not change while it runs. */
export interface Rollout {
  readonly config: string
  readonly release: Runs
  readonly strategy: Strategy
}

export type Phase =
  | 'queued' // another rollout of the config is before it
  | 'preparing' // two-phase: the step's nodes vote
  | 'applying' // the step's nodes take it
  | 'baking' // they run it, and are watched
  | 'confirming' // all run it; somebody has to say that it stays
  | 'rolling-back'
  | 'failed' // and there is nothing to go back to: it goes no further, until another release is published
  | 'completed'
  | 'rolled-back'
  | 'superseded'

const ends: readonly Phase[] = ['completed', 'rolled-back', 'superseded']

/** Nodes of the steps that were begun, by how far they are with the release. A node is in one of the first seven. */
export interface Counts {
  /** Nothing was heard of it in this matter. */
  readonly waiting: number
  readonly prepared: number
  readonly applied: number
  /** Refused, rolled back by itself, degraded, or needs a restart. */
  readonly failed: number
  /** Runs it and says of itself that it is not well. */
  readonly unhealthy: number
  /** Had it, and has not been heard of since. */
  readonly lost: number
  /** Was not heard of, and did not have it. */
  readonly away: number
  /** Away, waiting or lost, by zone: only where the strategy counts by zone. */
  readonly missingInZone: Readonly<Record<string, number>>
  /** What some of the nodes that failed said. */
  readonly reasons: readonly NodeReason[]
  /** Some of those that are waited for, or away. */
  readonly missing: readonly string[]
}

export interface NodeReason {
  readonly node: string
  readonly reason: string
}

export const noCounts: Counts = {
  waiting: 0,
  prepared: 0,
  applied: 0,
  failed: 0,
  unhealthy: 0,
  lost: 0,
  away: 0,
  missingInZone: {},
  reasons: [],
  missing: [],
}

export type FailureKind =
  | 'refused' // a node would not prepare it
  | 'nodes' // more nodes failed than may
  | 'absent' // too many nodes did not vote in time
  | 'timeout' // nodes did not say in time that they run it
  | 'gate'
  | 'interrupted' // the coordinator was lost before a decision
  | 'aborted' // somebody wanted it
  | 'superseded' // another release took its place
  | 'unconfirmed'

/** Why it went no further. */
export interface Failure {
  readonly kind: FailureKind
  /** Counting from 0. */
  readonly step: number
  /** For people: what was found. */
  readonly found: string
  /** Which gate, of several. */
  readonly gate?: string
  readonly nodes: readonly NodeReason[]
}

export interface Pause {
  readonly reason: string
  readonly by: string
}

export interface RolloutState {
  readonly phase: Phase
  /** Of the coordinator that moved it last. */
  readonly epoch: number
  /** What the nodes run whose turn has not come, and what a failure goes back to; `null`: nothing. */
  readonly from: Runs | null
  readonly step: number
  /** The nodes of so many steps are to run the release: what they were sent cannot be taken back but by a rollback. */
  readonly decided: number
  /** So many steps are through: their nodes keep the release. */
  readonly confirmed: number
  readonly cuts: Cuts
  /** How long the phase has lasted, pauses left out, in milliseconds. */
  readonly spentMs: number
  readonly pauses: readonly Pause[]
  /** Gates that have passed at the end of this bake. */
  readonly passed: readonly string[]
  readonly counts: Counts
  readonly failure: Failure | null
  /** The release that brings the old content back. */
  readonly rollback: Runs | null
  /** Of two-phase steps: from the first commit that was sent to the last that was confirmed, at most, in milliseconds. */
  readonly mixedMs: number
}

export type RolloutEvent =
  | {
      readonly kind: 'began'
      readonly epoch: number
      readonly from: Runs | null
      readonly cuts: Cuts
      readonly counts: Counts
    }
  /** Another coordinator goes on with it. */
  | { readonly kind: 'recovered'; readonly epoch: number }
  /** Of the steps that were begun. */
  | { readonly kind: 'counted'; readonly counts: Counts }
  | { readonly kind: 'elapsed'; readonly ms: number }
  /** `noData`: nothing could be found out, which is no pass, and a failure once the bake time is over. */
  | {
      readonly kind: 'gate'
      readonly gate: string
      readonly ok: boolean
      readonly noData?: boolean
      readonly found: string
    }
  | { readonly kind: 'paused'; readonly reason: string; readonly by: string }
  | { readonly kind: 'resumed'; readonly reason: string; readonly by: string }
  | { readonly kind: 'aborted'; readonly by: string; readonly reason: string; readonly back?: Back | null }
  /** The rest of the bake time, and the gates that have not answered, are passed over. */
  | { readonly kind: 'promoted'; readonly by: string; readonly reason: string }
  | { readonly kind: 'confirmed'; readonly by: string }
  | { readonly kind: 'rollback-made'; readonly release: Runs }
  | { readonly kind: 'rollback-impossible'; readonly reason: string }
  | { readonly kind: 'superseded'; readonly by: number; readonly reason: string }

/**
 * Of the newest release, which was given up in the queue: what was to be run before it, and the release that brings that
 * back. `null`: there is nothing to go back to. Of all others a newer one takes the place.
 */
export interface Back {
  readonly from: Runs
  readonly release: Runs
}

export const queued = (from: Runs | null): RolloutState => ({
  phase: 'queued',
  epoch: 0,
  from,
  step: 0,
  decided: 0,
  confirmed: 0,
  cuts: [],
  spentMs: 0,
  pauses: [],
  passed: [],
  counts: noCounts,
  failure: null,
  rollback: null,
  mixedMs: 0,
})

export function hasEnded({ phase }: Pick<RolloutState, 'phase'>): boolean {
  return ends.includes(phase)
}
