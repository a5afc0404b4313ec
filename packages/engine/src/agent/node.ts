/**
 * What a node runs, what it should run, and what it does about the difference: a pure machine,
 * `next(state, event) → [state, commands]`. It does not know which transport a release came by (R7), nor what time it is.
 * Connections are `connection.ts`; who carries the commands out is `link.ts`.
 *
 * A release number never goes down (I5): what is not newer than the newest accepted one is passed over. The one exception
 * is a release that was not confirmed, or that the process died of: then the one before it is used again, and says so.
 */
import type { NodeStatus } from '../protocol/status.ts'
import type { ReleaseInfo } from '../protocol/release.ts'
import type {
  Applying,
  Back,
  Closed,
  Empty,
  Failed,
  Held,
  NodeCommand,
  NodeEvent,
  NodeState,
  NodeStep,
  Ready,
  Refused,
} from './node-state.ts'

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
    case 'tried':
      return tried(heard(state, event.held.release.number), event)
    case 'go-back':
      return goBack(state, event.target, event.refused)
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
  if (state.kind === 'back') return state.target
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
    case 'back':
      return 'ROLLED_BACK'
  }
}

/** Whether a release of this number would be taken; if not, there is no need to look into it. */
export function isNews(state: NodeState, number: number, force = false): boolean {
  const newest = newestOf(state)?.number ?? 0
  return state.kind !== 'closed' && (number > newest || (force && number === newest))
}

/** What every other must be newer than. */
function newestOf(state: NodeState): Pick<ReleaseInfo, 'number' | 'digest'> | undefined {
  return state.kind === 'back' ? state.refused : desired(state)?.release
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
  const newest = newestOf(state)
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
  if (state.kind === 'back' && state.at === 'trying') {
    const { target: trying, attempts } = state
    return [{ ...ready, kind: 'applying', trying, attempts, before: ready }, [noRetry, received, ask()]]
  }
  // Of one that the process died of, nobody has heard yet.
  const died = state.kind === 'back' && state.at === 'asked' && state.runs === null
  const told = died ? [wentBack(state.refused, 'ROLLED_BACK', state.attempts + 1)] : []
  const isTried = state.kind === 'failed' || state.kind === 'back'
  return [ready, [...(isTried ? [noRetry] : []), ...told, received, ask()]]
}

/** The operator wants the newest tried again. */
function again(state: Open): NodeStep {
  switch (state.kind) {
    case 'current':
      return [state, [{ kind: 'ask', force: true }]]
    case 'failed':
      return [readyAgain(state), [noRetry, ask()]]
    case 'back': {
      // A control plane asks so of all that failed, by itself. Who wants it all the same publishes it anew.
      const { refused, attempts } = state
      return [{ ...state, attempts: attempts + 1 }, [wentBack(refused, 'ROLLED_BACK', attempts + 1)]]
    }
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
    case 'back':
      return state.at === 'asked' ? [{ ...state, at: 'trying', attempts: state.attempts + 1 }, []] : [state, []]
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
    // Not by this release, but what it is to mean here is no longer known. Within the attempt that ended well nothing is news.
    return failed({ ...state, newest: state.runs, attempts: state.attempts + 1 }, state.runs, 'DEGRADED', event)
  }
  if (state.kind === 'back') return settledBack(state, event)
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
  if (newest === trying) return [{ kind: 'current', seen, runs: trying, attempts }, commands]
  return [{ kind: 'ready', seen, runs: trying, newest, attempts: 0 }, commands]
}

function failed(
  from: Pick<Failed, 'seen' | 'runs' | 'newest' | 'attempts'>,
  tried: Held,
  status: Failed['status'],
  { detail, mayRetry }: NodeEvent & { kind: 'settled' | 'tried' },
): NodeStep {
  const { seen, runs, newest, attempts } = from
  const state: Failed = { kind: 'failed', seen, runs, newest, status, attempts, retrying: mayRetry }
  return [state, [report(status, tried, attempts, detail), mayRetry ? retryLater(attempts) : noRetry]]
}

function tried(state: Open, event: NodeEvent & { kind: 'tried' }): NodeStep {
  const { held } = event
  const { number } = held.release
  if ((runsOf(state)?.release.number ?? 0) >= number) return [state, []]
  const isNewest = state.kind === 'back' || (desired(state)?.release.number ?? 0) <= number
  if (event.status !== 'APPLIED') {
    if (!isNewest) return [state, [report(event.status, held, 1, event.detail)]]
    const from = { seen: state.seen, runs: runsOf(state), newest: held, attempts: 1 }
    return failed(from, held, event.status, event)
  }
  const commands = [{ kind: 'save', held } as const, report('APPLIED', held, 1)]
  if (isNewest) return [{ kind: 'current', seen: state.seen, runs: held, attempts: 1 }, [noRetry, ...commands]]
  if (state.kind === 'applying') return [{ ...state, runs: held, before: { ...state.before, runs: held } }, commands]
  return state.kind === 'ready' || state.kind === 'failed' ? [{ ...state, runs: held }, commands] : [state, []]
}

function goBack(state: Open, target: Held, refused: Refused): NodeStep {
  const seen = Math.max(state.seen ?? 0, refused.number)
  const back: Back = { kind: 'back', at: 'asked', seen, runs: runsOf(state), target, refused, attempts: 0 }
  if (state.kind === 'empty') return [back, [ask()]]
  // Something newer may be on its way; then it is for that to show what is to be used.
  if (state.kind !== 'current' && state.kind !== 'failed') return [state, []]
  return state.runs?.release.number === refused.number ? [back, [noRetry, ask()]] : [state, []]
}

function settledBack(state: Back, event: NodeEvent & { kind: 'settled' }): NodeStep {
  const { at, target, refused, attempts } = state
  if (at === 'trying' && event.status === 'APPLIED') {
    const commands = [noRetry, { kind: 'save', held: target } as const, wentBack(refused, 'ROLLED_BACK', attempts)]
    return [{ ...state, at: 'there', runs: target }, commands]
  }
  if (at === 'asked' || (at === 'there' && event.status !== 'DEGRADED')) return [state, []]
  const status = event.status === 'DEGRADED' ? 'DEGRADED' : 'ROLLED_BACK'
  const tries = at === 'there' ? attempts + 1 : attempts
  const failed = `and the release before it, ${target.release.number}, could not be used: ${event.detail ?? event.status}`
  return [{ ...state, at: 'asked', attempts: tries }, [wentBack(refused, status, tries, failed), retryLater(tries)]]
}

function wentBack(refused: Refused, status: NodeStatus, attempts: number, more?: string): NodeCommand {
  const { number, digest, detail } = refused
  const all = more === undefined ? detail : `${detail}; ${more}`
  return { kind: 'report', release: { number, digest }, status, attempt: refused.attempts + attempts, detail: all }
}

function unsettled(state: Open): NodeStep {
  if (state.kind === 'back' && state.at === 'trying') return [{ ...state, at: 'asked' }, [ask()]]
  if (state.kind !== 'applying') return [state, []]
  const { before, newest, runs, seen } = state
  if (newest !== before.newest) return [{ kind: 'ready', seen, runs, newest, attempts: 0 }, [ask()]]
  return [{ ...before, seen }, before.kind === 'ready' ? [ask()] : []]
}

function retryDue(state: Open): NodeStep {
  if (state.kind === 'failed' && state.retrying) return [state, [ask()]]
  if (state.kind === 'back' && state.at === 'asked') return [state, [ask()]]
  // Being tried already. If that turns out to be a dry run, the retry is still due.
  if (state.kind === 'applying' || (state.kind === 'back' && state.at === 'trying')) {
    return [state, [retryLater(state.attempts)]]
  }
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
