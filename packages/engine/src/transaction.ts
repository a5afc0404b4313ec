/**
 * All or nothing over the touched components: prepare every one before any is changed, commit in order, and on a
 * failure give every one its old configuration back, in reverse order. Which components are touched, and when each
 * step comes, is `reload.ts`.
 *
 * A call that passes its deadline is over for the reload, but it may still be running. What it does later is undone:
 * a late `prepare` is rolled back when it arrives; after a late `commit` the component is rolled back once more, and
 * until then takes no other configuration (F51, F52).
 */
import type { Component, Deadlines, Prepared, SliceChange } from './component.ts'
import { DeadlineError, errorText, inTime, isTransient, StoppedError, within } from './deadline.ts'
import type { EventBody } from './event.ts'
import type { ComponentResult } from './outcome.ts'
import { timed, type DurationsMs } from './timing.ts'

/** What is known of a component between reloads. */
export interface ComponentState {
  runs: 'live' | 'unknown'
  /** How many commits and rollbacks have not returned since their deadline. */
  unreturned: number
  lastError: string | undefined
}

/** One touched component in one reload. */
export interface Member {
  readonly component: Component<unknown>
  readonly change: SliceChange<unknown>
  readonly state: ComponentState
  readonly durationsMs: DurationsMs
  prepared?: Prepared
  result: ComponentResult['result']
  error?: string
  /** Settles when a commit that passed its deadline has returned after all. */
  lateCommit?: { settled: boolean; readonly done: Promise<void> }
}

export interface Transaction {
  readonly deadlines: Deadlines
  readonly record: (event: EventBody) => void
  /** Takes secrets out of what a component says. */
  readonly redact: (message: string) => string
}

export interface Failure {
  readonly component: string
  readonly cause: string
  readonly transient: boolean
  /** The engine is closing. */
  readonly stopped: boolean
}

export function memberOf(component: Component<unknown>, change: SliceChange<unknown>, state: ComponentState): Member {
  return { component, change, state, durationsMs: {}, result: 'untouched' }
}

export function resultOf({ component, state, durationsMs, result, error }: Member): ComponentResult {
  const runs = state.runs === 'unknown' ? 'unknown' : result === 'committed' ? 'new' : 'old'
  return { component: component.name, result, runs, durationsMs, ...(error !== undefined && { error }) }
}

export async function prepareAll(
  tx: Transaction,
  members: readonly Member[],
  stop: AbortSignal,
): Promise<Failure | undefined> {
  for (const member of members) {
    try {
      const prepared: Prepared | undefined = await timed(member.durationsMs, 'prepare', () =>
        within(
          limitOf(tx, member, 'prepareMs'),
          stop,
          (signal) => member.component.prepare(member.change, signal),
          (late) => void undoLate(tx, member, late),
        ),
      )
      // Its commit would do nothing, and count as one.
      if (!prepared) throw new TypeError('prepare returned nothing; want commit, rollback and dispose')
      member.prepared = prepared
    } catch (error) {
      return failure(tx, member, error)
    }
  }
  return undefined
}

export async function commitAll(tx: Transaction, members: readonly Member[]): Promise<Failure | undefined> {
  for (const member of members) {
    let returned = () => {}
    const done = new Promise<void>((resolve) => (returned = resolve))
    const late = { settled: false, done }
    try {
      await timed(member.durationsMs, 'commit', () =>
        inTime(
          limitOf(tx, member, 'commitMs'),
          undefined,
          () => member.prepared?.commit(),
          () => {
            late.settled = true
            returned()
          },
        ),
      )
      member.result = 'committed'
    } catch (error) {
      if (error instanceof DeadlineError && !late.settled) member.lateCommit = late
      return failure(tx, member, error)
    }
  }
  for (const member of members) {
    member.state.runs = 'live'
    member.state.lastError = undefined
  }
  return undefined
}

/** In reverse order. Returns what could not be given back, and why; those components run nobody knows what. */
export async function rollBackAll(tx: Transaction, members: readonly Member[]): Promise<string[]> {
  const failures: string[] = []
  for (const member of [...members].reverse()) {
    if (!member.prepared) {
      if (member.result === 'untouched') member.result = 'aborted'
      continue
    }
    const error = await rollBack(tx, member)
    if (error !== undefined) {
      failures.push(`${member.component.name}: ${error}`)
      member.error = member.error === undefined ? error : `${member.error}; ${error}`
      member.state.runs = 'unknown'
      member.state.lastError = member.error
      member.result = 'failed'
    } else if (member.result !== 'failed') {
      member.result = member.result === 'committed' ? 'rolled-back' : 'aborted'
    }
  }
  return failures
}

/** Lets the old go. Everyone has committed: what fails here is a warning. */
export async function disposeAll(tx: Transaction, members: readonly Member[]): Promise<string[]> {
  const warnings: string[] = []
  for (const member of members) {
    try {
      await timed(member.durationsMs, 'dispose', () =>
        inTime(limitOf(tx, member, 'rollbackMs'), undefined, () => member.prepared?.dispose()),
      )
    } catch (error) {
      warnings.push(tx.redact(`${member.component.name} could not let go of the old: ${errorText(error)}`))
    }
  }
  return warnings
}

async function rollBack(tx: Transaction, member: Member): Promise<string | undefined> {
  const { lateCommit, state } = member
  const undo = () =>
    timed(member.durationsMs, 'rollback', () =>
      inTime(
        limitOf(tx, member, 'rollbackMs'),
        undefined,
        () => member.prepared?.rollback(),
        (late) => settledLate(tx, member, 'rollback', late),
      ),
    ).catch((error: unknown) => {
      if (error instanceof DeadlineError) state.unreturned++
      throw error
    })
  const errors: string[] = []
  const committing = () => lateCommit !== undefined && !lateCommit.settled
  const stillCommitting = committing()
  try {
    await undo()
    // It landed while it was being undone, maybe on top.
    if (stillCommitting && !committing()) await undo()
  } catch (error) {
    errors.push(tx.redact(`could not be rolled back: ${errorText(error)}`))
  }
  if (lateCommit && committing()) {
    state.unreturned++
    void lateCommit.done.then(undo).then(
      () => settledLate(tx, member, 'commit', { status: 'fulfilled', value: undefined }),
      (reason: unknown) => settledLate(tx, member, 'commit', { status: 'rejected', reason }),
    )
    errors.push('its commit has not returned; it is rolled back again when it does')
  }
  return errors.length > 0 ? errors.join('; ') : undefined
}

/** A commit or rollback has returned after its deadline; after the last, the component has its old configuration. */
function settledLate(tx: Transaction, member: Member, phase: string, late: PromiseSettledResult<unknown>) {
  const { state, component } = member
  state.unreturned--
  let result = late.status === 'fulfilled' ? 'runs the old configuration again' : `failed: ${errorText(late.reason)}`
  if (late.status === 'rejected') state.lastError = tx.redact(errorText(late.reason))
  else if (state.unreturned > 0) result = 'another call has yet to return'
  else {
    state.runs = 'live'
    state.lastError = undefined
  }
  tx.record({ kind: 'late', component: component.name, phase, result: tx.redact(result) })
}

/** A prepare has returned after its deadline: nobody waits for it, and what it made is let go. */
async function undoLate(tx: Transaction, member: Member, late: PromiseSettledResult<Prepared>) {
  let result = 'it failed, and nothing is left to undo'
  if (late.status === 'fulfilled') {
    try {
      await inTime(limitOf(tx, member, 'rollbackMs'), undefined, () => late.value.rollback())
      result = 'undone'
    } catch (error) {
      result = `could not be undone: ${errorText(error)}`
    }
  }
  tx.record({ kind: 'late', component: member.component.name, phase: 'prepare', result: tx.redact(result) })
}

function failure(tx: Transaction, member: Member, error: unknown): Failure {
  const cause = tx.redact(errorText(error))
  member.result = 'failed'
  member.error = cause
  member.state.lastError = cause
  return {
    component: member.component.name,
    cause,
    transient: isTransient(error),
    stopped: error instanceof StoppedError,
  }
}

function limitOf(tx: Transaction, { component }: Member, which: 'prepareMs' | 'commitMs' | 'rollbackMs'): number {
  return component.deadlines?.[which] ?? tx.deadlines[which]
}
