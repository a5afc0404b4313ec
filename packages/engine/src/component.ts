/**
 * A part of a program that runs on a slice of the configuration, and how it takes a new one. The two ready-made
 * kinds are `value.ts` and `keyed.ts`; who calls these, and in which order, is `reload.ts`.
 */
import type { Change } from './diff.ts'
import type { Issue } from './issue.ts'
import type { Json } from './json.ts'

/** Units and defaults: milliseconds; see `defaultDeadlines` in `deadline.ts`. */
export interface Deadlines {
  readonly loadMs: number
  readonly validateMs: number
  readonly prepareMs: number
  readonly commitMs: number
  readonly rollbackMs: number
}

/** The old and the new slice of one component, and what differs between them. */
export interface SliceChange<S> {
  /** `undefined` at the first start. */
  readonly before: S | undefined
  readonly after: S
  /** Paths count from the root of the configuration. Empty at the first start. */
  readonly changes: readonly Change[]
  /** The reload was forced, or the component may not run what it should: take `after` anew even where it is equal. */
  readonly forced: boolean
}

export interface Component<S = unknown> {
  readonly name: string
  /** Prepared and committed after these. */
  readonly after: readonly string[]
  /** All that it may read: dotted paths from the root; the empty string is the whole. */
  readonly paths: readonly string[]
  /** Its slice, made from the values at `paths` in order. `undefined` where the configuration has no such value. */
  slice(values: readonly (Json | undefined)[]): S
  /** What it can take while it runs: everything, nothing, or all but these paths (from the root, `*` for one step). */
  readonly hot: 'full' | 'none' | { readonly restartFor: readonly string[] }
  /** Arrays whose entries are known by a field: dotted path to field name. `{ rules: 'id' }` */
  readonly keys?: Readonly<Record<string, string>>
  readonly deadlines?: Partial<Pick<Deadlines, 'prepareMs' | 'commitMs' | 'rollbackMs'>>
  /** Pure. Paths of the issues count from the root. */
  validate?(change: SliceChange<S>): readonly Issue[]
  /** All that can fail, invisible from outside. If it throws, it has cleaned up. */
  prepare(change: SliceChange<S>, signal: AbortSignal): Promise<Prepared>
  /** The process ends: let everything go. */
  close?(): Promise<void>
}

export interface Prepared {
  /** Make the new live; should be a swap. */
  commit(): Promise<void> | void
  /**
   * What this change made live is live no longer: the old is again, whether or not the commit had come to its end.
   * May be called twice, if a commit passed its deadline and came back; and after newer commits, if `prepare` came back
   * late: so it undoes its own change only.
   */
  rollback(): Promise<void> | void
  /** Let the old go, once all have committed. */
  dispose(): Promise<void> | void
}

/** Thrown by a component (or by what it calls): trying again soon may help. Anything with `transient: true` counts. */
export class TransientError extends Error {
  override readonly name = 'TransientError'
  readonly transient = true
}
