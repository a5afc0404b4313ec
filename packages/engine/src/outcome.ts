/**
 * What a reload came to. Returned, never thrown: exceptions are for bugs. Redacted when it is made, so that it can
 * be printed, sent and stored as it is.
 */
import type { Issue } from './issue.ts'
import type { Json } from './json.ts'

/** `validate` is the schema; `check` is the components' own `validate`; `save` writes the last good to disk. */
export type Phase = 'load' | 'validate' | 'check' | 'prepare' | 'commit' | 'rollback' | 'save' | 'dispose'

/** One difference as people read it. In keyed collections the path holds the entry's key. */
export interface ShownChange {
  readonly kind: 'added' | 'removed' | 'changed' | 'moved'
  readonly path: string
  readonly before?: Json
  readonly after?: Json
  /** Index before and after, of a moved entry. */
  readonly from?: number | undefined
  readonly to?: number | undefined
  /** What the values do not show: the file that one names has new content. */
  readonly note?: string
}

/** What a reload does to one component. */
export interface PlannedComponent {
  readonly component: string
  readonly action: 'hot' | 'restart' | 'held'
  readonly changes: readonly ShownChange[]
  /** Changes beyond those listed (the list is cut at 100). */
  readonly moreChanges: number
  /** The paths that need a restart: empty where the action is `hot`. */
  readonly restartPaths: readonly string[]
}

export interface Plan {
  /** Touched components in the order in which they are prepared and committed. */
  readonly components: readonly PlannedComponent[]
  /** Changes that no component reads: `live` shows them, nothing else happens. */
  readonly unread: readonly ShownChange[]
  readonly changeCount: number
}

/** What became of one component. */
export interface ComponentResult {
  readonly component: string
  readonly result: 'committed' | 'rolled-back' | 'aborted' | 'untouched' | 'failed'
  /** Which configuration it runs now: the new, the old, or nobody can tell. */
  readonly runs: 'new' | 'old' | 'unknown'
  readonly error?: string
  /** Milliseconds by phase. */
  readonly durationsMs: Readonly<Partial<Record<Phase, number>>>
}

interface Base {
  /** Number of the run, counting from 1 in this process. */
  readonly run: number
  /** Everyone whose request it covered: `['signal', 'http']`. */
  readonly triggers: readonly string[]
  readonly startedAt: string
  readonly durationMs: number
  readonly durationsMs: Readonly<Partial<Record<Phase, number>>>
  /** How often it was tried again after a transient failure. */
  readonly retries: number
  /** Restart-only changes that wait for the next start (policy `hold`): paths. */
  readonly pendingRestart: readonly string[]
}

export type Outcome = Base &
  (
    | {
        readonly kind: 'committed'
        readonly plan: Plan
        readonly components: readonly ComponentResult[]
        readonly warnings: readonly string[]
      }
    | { readonly kind: 'unchanged' }
    /** Nothing was touched. */
    | { readonly kind: 'rejected'; readonly phase: 'load' | 'validate' | 'check'; readonly issues: readonly Issue[] }
    /** Nothing was touched: these paths cannot change while the process runs. */
    | { readonly kind: 'restart-required'; readonly paths: readonly string[]; readonly plan: Plan }
    /** A component failed; every component runs the old configuration again. */
    | {
        readonly kind: 'rolled-back'
        readonly failed: string
        readonly phase: 'prepare' | 'commit'
        readonly cause: string
        readonly plan: Plan
        readonly components: readonly ComponentResult[]
      }
    /** A rollback failed too: `components` says who runs what. */
    | {
        readonly kind: 'degraded'
        readonly failed: string
        readonly cause: string
        readonly plan: Plan
        readonly components: readonly ComponentResult[]
      }
    /** `close()` came first. Nothing was touched. */
    | { readonly kind: 'closed' }
  )

export type OutcomeKind = Outcome['kind']

/** What a reload would come to. `ready`: every component could be prepared, and was given up again. */
export type PlanOutcome =
  | Exclude<Outcome, { kind: 'committed' }>
  | (Base & { readonly kind: 'ready'; readonly plan: Plan; readonly components: readonly ComponentResult[] })

/** A configuration that every component has prepared; nothing is visible yet. No reload runs until it is settled. */
export interface PreparedReload {
  readonly kind: 'prepared'
  readonly plan: Plan
  readonly digest: string
  commit(): Promise<Outcome>
  rollback(): Promise<Outcome>
}

/** Whether the configuration that was asked for is now live. */
export function succeeded(outcome: { readonly kind: string }): boolean {
  return outcome.kind === 'committed' || outcome.kind === 'unchanged' || outcome.kind === 'ready'
}

/** One line for people: what happened, and what holds now. */
export function outcomeText(outcome: Outcome | PlanOutcome): string {
  switch (outcome.kind) {
    case 'committed':
      return `committed: ${extent(outcome.plan.changeCount, outcome.components.length)}`
    case 'ready':
      return `ready: ${count(outcome.plan.changeCount, 'change')}, every component could be prepared; nothing was applied`
    case 'unchanged':
      return 'unchanged: the configuration is the one that is live'
    case 'rejected':
      return `rejected in ${outcome.phase}, the live configuration stays: ${count(outcome.issues.length, 'issue')}`
    case 'restart-required':
      return `restart required, nothing was applied: ${outcome.paths.join(', ')} cannot change while the process runs`
    case 'rolled-back':
      return `rolled back, the old configuration is live everywhere: ${outcome.failed} failed in ${outcome.phase}: ${outcome.cause}`
    case 'degraded': {
      const runs = outcome.components.filter((c) => c.runs !== 'old').map((c) => `${c.component} runs ${c.runs}`)
      return `DEGRADED: ${outcome.failed} failed: ${outcome.cause} (${runs.join(', ')})`
    }
    case 'closed':
      return 'closed: the engine was closed before the reload could run'
  }
}

function extent(changes: number, components: number): string {
  if (changes === 0) return count(components, 'component')
  return components === 0
    ? count(changes, 'change')
    : `${count(changes, 'change')} in ${count(components, 'component')}`
}

function count(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
