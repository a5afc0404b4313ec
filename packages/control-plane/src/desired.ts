/**
 * Which release a node should run, and what to do about it now. Pure: who was told what is not remembered here, so push,
 * poll and reconnect are ways to learn the same, and each may lose messages.
 */
import type { NodeStatus, ReleaseInfo } from 'midflight/protocol'
import { hasEnded, type RolloutState } from './rollout-state.ts'
import type { NodeRecord, RolloutRecord } from './store.ts'
import { stepOf, type Placed } from './strategy.ts'

/** A release by what names it. */
export type Wanted = Pick<ReleaseInfo, 'number' | 'digest'>

/** What a config wants of its nodes, as it is on record: what is not durable is wanted of nobody. */
export interface Releases {
  /** The newest release; `null` before the first. */
  readonly head: Wanted | null
  /** The rollout under way: the oldest that has not ended. Without one, the head is for all. */
  readonly rollout: RolloutRecord | null
}

/** What a node should do. */
export interface Wish extends Wanted {
  /** Two-phase: only to be made ready. Asked for, and decided on, under this epoch. */
  readonly prepare: boolean
  /** Of the coordinator; 0 where there is none. */
  readonly epoch: number
  /** To go back by itself after this, unless its step is through. */
  readonly revertMs: number | null
}

/** What the node should run; `null`: nothing yet, or nothing that is known to be good. */
export function desired({ head, rollout }: Releases, node: Placed): Wish | null {
  if (rollout === null) return wish(head, 0)
  const { state, strategy } = rollout
  const target: Wanted = { number: rollout.number, digest: rollout.digest }
  if (hasEnded(state)) return wish(head, state.epoch)
  if (state.rollback !== null) return wish(state.rollback, state.epoch)
  if (state.phase === 'queued') return wish(state.from, state.epoch)
  const step = stepOf(strategy.steps, state.cuts, node)
  if (step < state.decided) {
    const revertMs = step < state.confirmed ? null : strategy.revertMs
    return { ...target, prepare: false, epoch: state.epoch, revertMs }
  }
  if (state.phase === 'preparing' && step === state.step) {
    return { ...target, prepare: true, epoch: state.epoch, revertMs: strategy.revertMs }
  }
  return wish(state.from, state.epoch)
}

/** What every node is to run now, wherever it stands and whichever comes yet; `null`: not all the same, or nothing. */
export function desiredOfAll(releases: Releases): Wish | null {
  const { rollout } = releases
  const anyNode: Placed = { uid: '', labels: {} }
  if (rollout === null) return desired(releases, anyNode)
  const { state, strategy, number, digest } = rollout
  // None of these asks where a node stands.
  if (hasEnded(state) || state.rollback !== null || state.phase === 'queued') return desired(releases, anyNode)
  const { length } = strategy.steps
  if (state.decided < length) return null
  const revertMs = state.confirmed < length ? strategy.revertMs : null
  return { number, digest, prepare: false, epoch: state.epoch, revertMs }
}

/** Whether a node that may go back by itself may stop to think of it. */
export function isConfirmed({ strategy, state }: RolloutRecord, node: Placed): boolean {
  return stepOf(strategy.steps, state.cuts, node) < state.confirmed
}

function wish(wanted: Wanted | null, epoch: RolloutState['epoch']): Wish | null {
  return wanted && { number: wanted.number, digest: wanted.digest, prepare: false, epoch, revertMs: null }
}

/** What is known of a node's way to a release. Times by the monotonic clock, in milliseconds. */
export interface Delivery {
  readonly number: number
  readonly sentAtMs: number
  /** How often it failed on the node, as far as was reported. */
  readonly failures: number
  /** When it is to be tried again; set when a failure is reported. */
  readonly retryAtMs: number | undefined
}

export type Step =
  /** It runs what it should, or there is nothing to run. */
  | { readonly kind: 'settled' }
  /** `force`: it has this release already, and must try it again all the same. */
  | { readonly kind: 'send'; readonly why: 'behind' | 'lost' | 'drift' | 'retry'; readonly force: boolean }
  /** Two-phase: it has this ready, or something that nobody wants any more, and is to be told what was decided. */
  | { readonly kind: 'decide'; readonly decision: 'commit' | 'abort' }
  /** It is on its way; look again at this time. */
  | { readonly kind: 'wait'; readonly why: 'delivery' | 'applying' | 'back-off'; readonly untilMs: number }
  /** Nothing that is sent would help: a person must look, or a newer release come. */
  | { readonly kind: 'stuck'; readonly why: 'restart-required' | 'given-up' | 'ahead' | 'refused' }

export interface Patience {
  /** A release that was sent and not heard of is sent again after this. */
  readonly resendMs: number
  /** An attempt that was begun and not heard of counts as lost after this. */
  readonly applyMs: number
  readonly retry: BackOff
}

export interface BackOff {
  readonly firstMs: number
  readonly maxMs: number
  /** So many failures of one release, and it is not tried again. */
  readonly maxFailures: number
}

export const defaultPatience: Patience = {
  resendMs: 10_000,
  applyMs: 120_000,
  retry: { firstMs: 1_000, maxMs: 300_000, maxFailures: 10 },
}

const trying: readonly NodeStatus[] = ['RECEIVED', 'PREPARED', 'APPLYING']
const failed: readonly NodeStatus[] = ['FAILED', 'ROLLED_BACK', 'DEGRADED']

/**
 * What to do about a node now.
 * @param delivery of the newest release that was sent to it in this connection; what is of an older one does not count:
 *   a newer release cancels every retry.
 */
export function nextStep(
  wanted: Wish | null,
  node: Pick<NodeRecord, 'runs' | 'seen' | 'status' | 'prepared'>,
  delivery: Delivery | undefined,
  nowMs: number,
  patience: Patience = defaultPatience,
): Step {
  const { runs, seen, status, prepared } = node
  if (prepared !== undefined) {
    // Given up once more is wanted of the node than this; a newer release that it is sent takes its place.
    if (wanted === null || wanted.number < prepared.number) return { kind: 'decide', decision: 'abort' }
    if (wanted.number === prepared.number && wanted.digest === prepared.digest) {
      return wanted.prepare ? { kind: 'settled' } : { kind: 'decide', decision: 'commit' }
    }
  }
  if (wanted === null) return { kind: 'settled' }
  const sent = delivery?.number === wanted.number ? delivery : undefined
  const concerns = seen === wanted.number
  if (runs !== null && runs.number > wanted.number) return { kind: 'stuck', why: 'ahead' }
  // A check that said no says no again (K4). What was away for the node, it waits for itself.
  if (concerns && status === 'FAILED') return { kind: 'stuck', why: 'refused' }
  // A vote is a vote.
  if (wanted.prepare && concerns && failed.includes(status)) return { kind: 'stuck', why: 'refused' }
  if (concerns && failed.includes(status)) return retried(sent, nowMs, patience)
  if (concerns && status === 'RESTART_REQUIRED') return { kind: 'stuck', why: 'restart-required' }
  const runsIt = runs?.number === wanted.number
  if (runsIt && runs.digest === wanted.digest) return { kind: 'settled' }
  const lost = sent !== undefined
  if (sent !== undefined) {
    const isTrying = concerns && trying.includes(status)
    const untilMs = sent.sentAtMs + (isTrying ? patience.applyMs : patience.resendMs)
    if (nowMs < untilMs) return { kind: 'wait', why: isTrying ? 'applying' : 'delivery', untilMs }
  }
  if (runsIt) return { kind: 'send', why: 'drift', force: true }
  // One that was at it before this connection is at it still: it is not to try twice.
  const force = concerns && (lost || !trying.includes(status))
  return { kind: 'send', why: lost ? 'lost' : 'behind', force }
}

function retried(sent: Delivery | undefined, nowMs: number, { retry }: Patience): Step {
  // It failed in an earlier connection, or before this process began: worth one more try.
  if (sent === undefined) return { kind: 'send', why: 'retry', force: true }
  if (sent.failures >= retry.maxFailures) return { kind: 'stuck', why: 'given-up' }
  const untilMs = sent.retryAtMs ?? sent.sentAtMs + retry.maxMs
  return nowMs < untilMs ? { kind: 'wait', why: 'back-off', untilMs } : { kind: 'send', why: 'retry', force: true }
}

/** That it was sent now. */
export function deliveredAt(wanted: Wanted, before: Delivery | undefined, nowMs: number): Delivery {
  const failures = before?.number === wanted.number ? before.failures : 0
  return { number: wanted.number, sentAtMs: nowMs, failures, retryAtMs: undefined }
}

/** That the node reported a failure of this release. Of an older release it is no matter any more. */
export function failedAt(
  before: Delivery | undefined,
  number: number,
  nowMs: number,
  random: number,
  retry: BackOff = defaultPatience.retry,
): Delivery | undefined {
  if (before?.number !== number || before.retryAtMs !== undefined) return before
  const retryAtMs = nowMs + fullJitterMs(before.failures, random, retry)
  return { ...before, failures: before.failures + 1, retryAtMs }
}

/** @param failures so far, 0 or more. @param random 0 to 1. Anything from 0 to the cap, which doubles up to `maxMs`. */
export function fullJitterMs(
  failures: number,
  random: number,
  { firstMs, maxMs }: Omit<BackOff, 'maxFailures'>,
): number {
  return Math.floor(random * Math.min(maxMs, firstMs * 2 ** Math.min(failures, 30)))
}
