/**
 * Two-phase commit, as a node sees it: a pure machine, `next(state, event) → [state, commands]`, beside `node.ts`, which
 * knows what is in use. A release is made ready, kept on disk, voted for, and then waits for the decision; whoever asks
 * must have the highest epoch that was heard of (I10). A node in doubt serves the old, and asks: each of its heartbeats
 * says what it holds ready (I9). It never decides by itself, neither after a time nor after a restart.
 */
import type { FinalStatus } from '../protocol/status.ts'
import type { Held } from './node-state.ts'

/** What was asked to be made ready, and under which epoch. */
export interface Ballot {
  readonly held: Held
  readonly epoch: number
}

/** Why nobody waits for the vote any more: it was decided against, or what all are to run has come another way. */
type Unwanted = 'aborted' | 'overtaken' | undefined

export type VoteState =
  | { readonly kind: 'idle'; readonly epoch: number }
  /** The engine is at it. */
  | { readonly kind: 'preparing'; readonly epoch: number; readonly ballot: Ballot; readonly unwanted: Unwanted }
  /** Ready in the engine, and being written to disk. */
  | { readonly kind: 'keeping'; readonly epoch: number; readonly ballot: Ballot; readonly unwanted: Unwanted }
  /** `ready`: the engine holds it ready; not so after a restart. */
  | { readonly kind: 'prepared'; readonly epoch: number; readonly ballot: Ballot; readonly ready: boolean }
  | { readonly kind: 'committing'; readonly epoch: number; readonly ballot: Ballot }

export type VoteEvent =
  | { readonly kind: 'prepare'; readonly held: Held; readonly epoch: number }
  | {
      readonly kind: 'decision'
      readonly number: number
      readonly digest: string
      readonly epoch: number
      readonly commit: boolean
    }
  /** A release that all are to run came by any way: what is prepared and older was not meant to be. */
  | { readonly kind: 'release'; readonly number: number; readonly digest: string }
  /** The engine holds it ready. */
  | { readonly kind: 'staged' }
  /** The engine would not have it. */
  | { readonly kind: 'unstaged'; readonly status: FinalStatus; readonly detail: string | undefined }
  /** It is on disk, or `problem`. */
  | { readonly kind: 'kept'; readonly problem: string | undefined }
  /** The engine holds it ready no more: it closes, or is needed for other reloads. */
  | { readonly kind: 'let-go' }
  | { readonly kind: 'committed' }
  /** Found on disk at the start. */
  | { readonly kind: 'restored'; readonly epoch: number; readonly ballot: Ballot | undefined }

export type VoteCommand =
  /** Have the engine make it ready: `staged` or `unstaged` follows. */
  | { readonly kind: 'stage'; readonly held: Held }
  /** Write it to disk: `kept` follows. */
  | { readonly kind: 'keep'; readonly ballot: Ballot }
  | { readonly kind: 'vote-yes'; readonly ballot: Ballot }
  | { readonly kind: 'vote-no'; readonly held: Held; readonly status: FinalStatus; readonly detail: string | undefined }
  /** Have the engine commit what it holds ready: `committed` follows. */
  | { readonly kind: 'commit'; readonly held: Held }
  /** Have the engine give up what it holds ready. */
  | { readonly kind: 'give-up' }
  /** Take it as any release that is to be run: it is prepared no more than others are. */
  | { readonly kind: 'take'; readonly held: Held }
  /** Say that it was given up. */
  | { readonly kind: 'report-aborted'; readonly held: Held }
  /** Nothing is prepared any more: remove it from the disk. */
  | { readonly kind: 'forget' }
  | { readonly kind: 'warn'; readonly message: string }

export type VoteStep = readonly [VoteState, readonly VoteCommand[]]

export const noVote: VoteState = { kind: 'idle', epoch: 0 }

/** What waits for a decision, as it is said in each heartbeat. */
export function preparedIn(state: VoteState): Ballot | undefined {
  return state.kind === 'prepared' || state.kind === 'committing' ? state.ballot : undefined
}

export function next(state: VoteState, event: VoteEvent): VoteStep {
  switch (event.kind) {
    case 'restored': {
      if (state.kind !== 'idle' || state.epoch > 0) return [state, []]
      const { epoch, ballot } = event
      return [ballot ? { kind: 'prepared', epoch, ballot, ready: false } : { kind: 'idle', epoch }, []]
    }
    case 'prepare':
      return prepare(state, event)
    case 'decision':
      return decision(state, event)
    case 'release':
      return release(state, event)
    case 'staged':
      if (state.kind !== 'preparing') return [state, [{ kind: 'give-up' }]]
      if (state.unwanted) {
        return [idle(state), [{ kind: 'give-up' }, { kind: 'forget' }, ...told(state.unwanted, state.ballot)]]
      }
      return [{ ...state, kind: 'keeping' }, [{ kind: 'keep', ballot: state.ballot }]]
    case 'unstaged': {
      if (state.kind !== 'preparing') return [state, []]
      const { held } = state.ballot
      // It may be on disk from an earlier vote.
      const no: VoteCommand = { kind: 'vote-no', held, status: event.status, detail: event.detail }
      return [idle(state), [{ kind: 'forget' }, no]]
    }
    case 'kept':
      return kept(state, event.problem)
    case 'let-go':
      if (state.kind === 'keeping') return [idle(state), [{ kind: 'forget' }]]
      return state.kind === 'prepared' ? [{ ...state, ready: false }, []] : [state, []]
    case 'committed':
      return state.kind === 'committing' ? [idle(state), [{ kind: 'forget' }]] : [state, []]
  }
}

type Prepare = VoteEvent & { kind: 'prepare' }

function prepare(state: VoteState, { held, epoch }: Prepare): VoteStep {
  if (epoch < state.epoch) return [state, [stale('asks to prepare', held.release.number, epoch, state.epoch)]]
  // Overtaken on its way by a newer one, which is not given up for it.
  if (state.kind !== 'idle' && held.release.number < state.ballot.held.release.number) return [{ ...state, epoch }, []]
  const ballot: Ballot = { held, epoch }
  const begun: VoteStep = [{ kind: 'preparing', epoch, ballot, unwanted: undefined }, [{ kind: 'stage', held }]]
  switch (state.kind) {
    case 'idle':
      return begun
    case 'preparing':
    case 'keeping':
      // The answer is on its way, or what it was about is wanted no more; then it is asked for again.
      return isSame(state.ballot, held)
        ? [{ ...state, epoch, ballot }, []]
        : [{ ...state, epoch, unwanted: 'aborted' }, []]
    case 'prepared': {
      if (isSame(state.ballot, held)) {
        return state.ready
          ? [
              { ...state, epoch, ballot },
              [
                { kind: 'keep', ballot },
                { kind: 'vote-yes', ballot },
              ],
            ]
          : begun
      }
      return [begun[0], [...(state.ready ? [{ kind: 'give-up' } as const] : []), aborted(state.ballot), ...begun[1]]]
    }
    case 'committing':
      return [{ ...state, epoch }, []]
  }
}

type Decision = VoteEvent & { kind: 'decision' }

function decision(state: VoteState, event: Decision): VoteStep {
  const { number, commit, epoch } = event
  if (epoch < state.epoch) return [state, [stale('decides on', number, epoch, state.epoch)]]
  const now = { ...state, epoch }
  // Of something else, or once more.
  if (now.kind === 'idle' || now.kind === 'committing' || !isSame(now.ballot, { release: event })) return [now, []]
  if (now.kind === 'prepared') {
    if (!commit)
      return [
        idle(now),
        [...(now.ready ? [{ kind: 'give-up' } as const] : []), { kind: 'forget' }, aborted(now.ballot)],
      ]
    const { held } = now.ballot
    // It stays on disk until it is in use: whoever is killed now asks again.
    if (now.ready) return [{ kind: 'committing', epoch, ballot: now.ballot }, [{ kind: 'commit', held }]]
    return [idle(now), [{ kind: 'take', held }, { kind: 'forget' }]]
  }
  // Decided before it had voted: then it was not waited for, and is to run it like those who were away.
  return commit ? [now, []] : [{ ...now, unwanted: 'aborted' }, []]
}

type Release = VoteEvent & { kind: 'release' }

function release(state: VoteState, { number, digest }: Release): VoteStep {
  if (state.kind === 'idle' || state.kind === 'committing') return [state, []]
  const { held } = state.ballot
  if (number < held.release.number) return [state, []]
  if (state.kind !== 'prepared') return [{ ...state, unwanted: 'overtaken' }, []]
  if (number === held.release.number && digest === held.release.digest && state.ready) {
    return [{ kind: 'committing', epoch: state.epoch, ballot: state.ballot }, [{ kind: 'commit', held }]]
  }
  return [idle(state), [...(state.ready ? [{ kind: 'give-up' } as const] : []), { kind: 'forget' }]]
}

function kept(state: VoteState, problem: string | undefined): VoteStep {
  if (state.kind !== 'keeping') return [state, []]
  const { ballot, epoch } = state
  if (state.unwanted) return [idle(state), [{ kind: 'give-up' }, { kind: 'forget' }, ...told(state.unwanted, ballot)]]
  if (problem === undefined) return [{ kind: 'prepared', epoch, ballot, ready: true }, [{ kind: 'vote-yes', ballot }]]
  // A yes that a restart forgets is none (I8).
  const no: VoteCommand = { kind: 'vote-no', held: ballot.held, status: 'FAILED', detail: problem }
  return [idle(state), [{ kind: 'give-up' }, { kind: 'forget' }, no]]
}

function idle({ epoch }: VoteState): VoteState {
  return { kind: 'idle', epoch }
}

function isSame(
  { held }: Ballot,
  { release: { number, digest } }: { release: { number: number; digest: string } },
): boolean {
  return held.release.number === number && held.release.digest === digest
}

/** Of one that was overtaken nothing is said: it may be in use already. */
function told(unwanted: Unwanted, ballot: Ballot): VoteCommand[] {
  return unwanted === 'aborted' ? [aborted(ballot)] : []
}

function aborted({ held }: Ballot): VoteCommand {
  return { kind: 'report-aborted', held }
}

function stale(what: string, number: number, epoch: number, highest: number): VoteCommand {
  const message = `a control plane of epoch ${epoch} ${what} release ${number}; one of epoch ${highest} has taken over, and it is not listened to`
  return { kind: 'warn', message }
}
