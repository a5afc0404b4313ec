/**
 * What a node runs, what it should run, and what it does about the difference: a pure machine,
 * `next(state, event) → [state, commands]`. It does not know which transport a release came by (R7), nor what time it is.
 * Connections are `connection.ts`; who carries the commands out is `link.ts`.
 *
 * A release number never goes down (I5): what is not newer than the newest accepted one is passed over.
 */
import type { Json } from '../json.ts'
import type { ReleaseInfo } from '../protocol/release.ts'
import type { FinalStatus, NodeStatus } from '../protocol/status.ts'

/** A release that was verified, with its content. */
export interface Held {
  readonly release: ReleaseInfo
  readonly content: Json
}

interface Known {
  /** The newest number heard of, verified or not. */
  readonly seen: number | null
}

/** Nothing was ever verified. */
interface Empty extends Known {
  readonly kind: 'empty'
}

/** The engine was asked to take `newest`, and has not begun. */
interface Ready extends Known {
  readonly kind: 'ready'
  readonly runs: Held | null
  readonly newest: Held
  /** How often `newest` was tried before. */
  readonly attempts: number
}

/** The engine has taken `trying`. `newest` may have come since; the engine was asked to take that next. */
interface Applying extends Known {
  readonly kind: 'applying'
  readonly runs: Held | null
  readonly newest: Held
  readonly trying: Held
  readonly attempts: number
  /** Where to go back to, if it was only looked at. */
  readonly before: Ready | Failed
}

/** The newest is in use. */
interface Current extends Known {
  readonly kind: 'current'
  readonly runs: Held
}

/** `newest` could not be applied. */
interface Failed extends Known {
  readonly kind: 'failed'
  readonly runs: Held | null
  readonly newest: Held
  readonly status: Exclude<FinalStatus, 'APPLIED'>
  readonly attempts: number
  /** Whether another try may help. */
  readonly retrying: boolean
}

interface Closed extends Known {
  readonly kind: 'closed'
  readonly runs: Held | null
}

export type NodeState = Empty | Ready | Applying | Current | Failed | Closed

export type NodeEvent =
  /** Found on disk at the start. */
  | { readonly kind: 'restored'; readonly held: Held }
  /** The control plane said which release is the head. */
  | { readonly kind: 'head'; readonly number: number | null }
  | { readonly kind: 'release'; readonly held: Held; readonly force: boolean }
  /** A delta whose base is not at hand, or which did not come to the digest that it should. */
  | { readonly kind: 'unfit'; readonly number: number }
  /** One that must not be used: its signature, its config, its digest. */
  | { readonly kind: 'refused'; readonly number: number; readonly digest: string; readonly detail: string }
  /** The engine takes the newest. */
  | { readonly kind: 'loading' }
  /** What became of what the engine took. */
  | {
      readonly kind: 'settled'
      readonly status: FinalStatus
      readonly detail?: string | undefined
      readonly mayRetry: boolean
    }
  /** The engine only looked: a dry run, or it was closed. */
  | { readonly kind: 'unsettled' }
  | { readonly kind: 'retry-due' }
  | { readonly kind: 'close' }

export type NodeCommand =
  /** Ask the engine to look again. */
  | { readonly kind: 'ask'; readonly force: boolean }
  | {
      readonly kind: 'report'
      readonly release: Pick<ReleaseInfo, 'number' | 'digest'>
      readonly status: NodeStatus
      readonly attempt: number
      readonly detail?: string | undefined
    }
  /** Ask the control plane for a release as a whole. */
  | { readonly kind: 'ask-whole'; readonly number: number }
  /** Keep on disk: it is in use. */
  | { readonly kind: 'save'; readonly held: Held }
  /** Send `retry-due` after a random time between these. Replaces an earlier one. */
  | { readonly kind: 'retry-later'; readonly minMs: number; readonly maxMs: number }
  | { readonly kind: 'no-retry' }
  | { readonly kind: 'warn'; readonly message: string }

export type NodeStep = readonly [NodeState, readonly NodeCommand[]]

export const newNode: NodeState = { kind: 'empty', seen: null }

const firstRetryMs = 1_000
const maxRetryMs = 300_000

export function next(state: NodeState, event: NodeEvent): NodeStep {
  if (state.kind === 'closed') return [state, []]
  switch (event.kind) {
    case 'restored':
      return state.kind === 'empty' ? restored(state, event.held) : [state, []]
    case 'head':
      return [heard(state, event.number), behind(state, event.number)]
    case 'release':
      return release(heard(state, event.held.release.number), event.held, event.force)
    case 'unfit':
      return [heard(state, event.number), isNews(state, event.number) ? [askWhole(event.number)] : []]
    case 'refused':
      return [heard(state, event.number), isNews(state, event.number) ? [refusal(event)] : []]
    case 'loading':
      return loading(state)
    case 'settled':
      return settled(state, event)
    case 'unsettled':
      return unsettled(state)
    case 'retry-due':
      return retryDue(state)
    case 'close':
      return [{ kind: 'closed', seen: state.seen, runs: runsOf(state) }, [{ kind: 'no-retry' }]]
  }
}

/** What the engine is given when it asks. */
export function desired(state: NodeState): Held | null {
  if (state.kind === 'empty' || state.kind === 'closed') return null
  return state.kind === 'current' ? state.runs : state.newest
}

/** The release in use, as far as this process knows. */
export function runsOf(state: NodeState): Held | null {
  return state.kind === 'empty' ? null : state.runs
}

export function nodeStatusOf(state: NodeState): NodeStatus {
  switch (state.kind) {
    case 'empty':
    case 'closed':
      return 'UNSET'
    case 'ready':
      return 'RECEIVED'
    case 'applying':
      return 'APPLYING'
    case 'current':
      return 'APPLIED'
    case 'failed':
      return state.status
  }
}

/** Whether a release of this number would be taken; if not, there is no need to look into it. */
export function isNews(state: NodeState, number: number, force = false): boolean {
  const newest = desired(state)?.release.number ?? 0
  return state.kind !== 'closed' && (number > newest || (force && number === newest))
}

type Open = Exclude<NodeState, Closed>

function heard<S extends Open>(state: S, number: number | null): S {
  return number === null || number <= (state.seen ?? 0) ? state : { ...state, seen: number }
}

function restored(state: Empty, held: Held): NodeStep {
  const seen = Math.max(state.seen ?? 0, held.release.number)
  return [{ kind: 'ready', seen, runs: null, newest: held, attempts: 0 }, [ask()]]
}

function behind(state: Open, head: number | null): NodeCommand[] {
  const newest = desired(state)?.release.number ?? 0
  if ((head ?? 0) >= newest) return []
  const message = `the control plane's newest release is ${head ?? 'none'}, and ${newest} is known here: it has lost some; this node does not go back`
  return [{ kind: 'warn', message }]
}

function release(state: Open, held: Held, force: boolean): NodeStep {
  const { number, digest } = held.release
  const newest = desired(state)?.release
  if (newest && number < newest.number) return [state, []]
  if (newest && number === newest.number) {
    if (digest !== newest.digest) {
      const detail = `release ${number} is known here with the digest ${newest.digest}: a number must not be used twice`
      return [state, [refusal({ number, digest, detail }), { kind: 'warn', message: detail }]]
    }
    return force ? again(state) : [state, []]
  }
  const received = report('RECEIVED', held, 0)
  if (state.kind === 'applying') return [{ ...state, newest: held }, [received, ask()]]
  const ready: Ready = { kind: 'ready', seen: state.seen, runs: runsOf(state), newest: held, attempts: 0 }
  return [ready, [...(state.kind === 'failed' ? [noRetry] : []), received, ask()]]
}

/** The operator wants the newest tried again. */
function again(state: Open): NodeStep {
  switch (state.kind) {
    case 'current':
      return [state, [{ kind: 'ask', force: true }]]
    case 'failed':
      return [readyAgain(state), [noRetry, ask()]]
    default:
      return [state, []]
  }
}

function readyAgain({ seen, runs, newest, attempts }: Failed): Ready {
  return { kind: 'ready', seen, runs, newest, attempts }
}

function loading(state: Open): NodeStep {
  switch (state.kind) {
    case 'empty':
    case 'current':
      return [state, []]
    case 'ready':
    case 'failed': {
      const { seen, runs, newest } = state
      const attempts = state.attempts + 1
      const applying: Applying = { kind: 'applying', seen, runs, newest, trying: newest, attempts, before: state }
      return [applying, [report('APPLYING', newest, attempts)]]
    }
    case 'applying': {
      // The engine tries again by itself, and takes what has come since.
      if (state.newest === state.trying) return [state, []]
      const { seen, runs, newest } = state
      const before: Ready = { kind: 'ready', seen, runs, newest, attempts: 0 }
      return [{ ...state, trying: newest, attempts: 1, before }, [report('APPLYING', newest, 1)]]
    }
  }
}

function settled(state: Open, event: NodeEvent & { kind: 'settled' }): NodeStep {
  if (state.kind === 'current' && event.status === 'DEGRADED') {
    // Not by this release, but what it is to mean here is no longer known.
    return failed({ ...state, newest: state.runs, attempts: 1 }, state.runs, 'DEGRADED', event)
  }
  // Of a run that had taken something else before this came.
  if (state.kind !== 'applying') return [state, []]
  const { seen, newest, trying, attempts } = state
  if (event.status !== 'APPLIED') {
    if (newest === trying) return failed(state, trying, event.status, event)
    const ready: Ready = { kind: 'ready', seen, runs: state.runs, newest, attempts: 0 }
    return [ready, [noRetry, report(event.status, trying, attempts, event.detail)]]
  }
  // Kept before it is said: what was said to be in use must be in use after a restart.
  const commands = [noRetry, { kind: 'save', held: trying } as const, report('APPLIED', trying, attempts)]
  if (newest === trying) return [{ kind: 'current', seen, runs: trying }, commands]
  return [{ kind: 'ready', seen, runs: trying, newest, attempts: 0 }, commands]
}

function failed(
  from: Pick<Failed, 'seen' | 'runs' | 'newest' | 'attempts'>,
  tried: Held,
  status: Failed['status'],
  { detail, mayRetry }: NodeEvent & { kind: 'settled' },
): NodeStep {
  const { seen, runs, newest, attempts } = from
  const state: Failed = { kind: 'failed', seen, runs, newest, status, attempts, retrying: mayRetry }
  return [state, [report(status, tried, attempts, detail), mayRetry ? retryLater(attempts) : noRetry]]
}

function unsettled(state: Open): NodeStep {
  if (state.kind !== 'applying') return [state, []]
  const { before, newest, runs, seen } = state
  if (newest !== before.newest) return [{ kind: 'ready', seen, runs, newest, attempts: 0 }, [ask()]]
  return [{ ...before, seen }, before.kind === 'ready' ? [ask()] : []]
}

function retryDue(state: Open): NodeStep {
  if (state.kind === 'failed' && state.retrying) return [state, [ask()]]
  // Being tried already. If that turns out to be a dry run, the retry is still due.
  if (state.kind === 'applying') return [state, [retryLater(state.attempts)]]
  return [state, []]
}

const noRetry: NodeCommand = { kind: 'no-retry' }

function ask(): NodeCommand {
  return { kind: 'ask', force: false }
}

function askWhole(number: number): NodeCommand {
  return { kind: 'ask-whole', number }
}

function report(status: NodeStatus, { release }: Held, attempt: number, detail?: string): NodeCommand {
  const { number, digest } = release
  return { kind: 'report', release: { number, digest }, status, attempt, ...(detail !== undefined && { detail }) }
}

function refusal({ number, digest, detail }: { number: number; digest: string; detail: string }): NodeCommand {
  return { kind: 'report', release: { number, digest }, status: 'FAILED', attempt: 0, detail }
}

/** Between half and all of a bound that doubles with each attempt. */
function retryLater(attempts: number): NodeCommand {
  const maxMs = Math.min(maxRetryMs, firstRetryMs * 2 ** Math.max(0, attempts - 1))
  return { kind: 'retry-later', minMs: maxMs / 2, maxMs }
}
