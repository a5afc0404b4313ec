/** How a running engine describes itself. Only shapes: `engine.ts` fills them in. */
import type { Outcome } from './outcome.ts'

export type Hot = 'full' | 'none' | 'partial'

export interface ComponentSupport {
  readonly component: string
  readonly paths: readonly string[]
  readonly after: readonly string[]
  readonly hot: Hot
  /** Paths that need a restart; empty where `hot` is `full`. */
  readonly restartFor: readonly string[]
}

export interface ComponentStatus extends ComponentSupport {
  /** `unknown` after a rollback failed or while a late call has not returned. */
  readonly runs: 'live' | 'unknown'
  readonly lastError?: string
}

export interface Status {
  readonly state: 'running' | 'reloading' | 'closed'
  /** `false` after `degraded`, until a reload commits or finds everything as it should be. */
  readonly healthy: boolean
  readonly startedAt: string
  /** Where the first configuration came from; `last-good` and `bundled` mean that the sources had none. */
  readonly startedFrom: 'sources' | 'last-good' | 'bundled'
  /** Digests of the configuration that is live, and of the last one tried. They differ after a refusal. */
  readonly live: { readonly digest: string; readonly committedAt: string; readonly ageMs: number }
  readonly attempted?: { readonly digest: string; readonly at: string }
  readonly lastOutcome?: Outcome
  readonly pendingRestart: readonly string[]
  readonly pendingRequests: number
  readonly components: readonly ComponentStatus[]
  readonly sources: readonly string[]
  readonly triggers: readonly string[]
  readonly warnings: readonly string[]
  readonly stats: Stats
}

export interface Quantiles {
  readonly count: number
  readonly p50Ms: number
  readonly p95Ms: number
  readonly p99Ms: number
}

export interface Stats {
  readonly runs: number
  readonly byOutcome: Readonly<Record<string, number>>
  /** 0 to 1; 1 where nothing has run. */
  readonly successRate: number
  readonly retries: number
  readonly byPhase: Readonly<Record<string, Quantiles>>
  readonly byComponent: Readonly<
    Record<
      string,
      { readonly committed: number; readonly failed: number; readonly phases: Readonly<Record<string, Quantiles>> }
    >
  >
}
