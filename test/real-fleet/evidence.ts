/** What nodes wrote down and the API said of one run: all that the checker knows. Gathered by `api.ts` and `fleet.ts`, judged by `check.ts`. */
import type { Strategy } from '../../packages/control-plane/src/strategy.ts'

/**
 * How a content suits a node. `refused`: its check says no; `unprepared`: it cannot be made ready; `fails-late`: it fails
 * in the commit; `sick`: the probe fails while it runs; `dies`: the process dies of it.
 */
export type Mood = 'good' | 'refused' | 'unprepared' | 'fails-late' | 'sick' | 'dies'

export interface Content {
  /** Every content that is published has its own. */
  readonly id: number
  /** By the name of the node; good where it is not named. */
  readonly moods: Readonly<Record<string, Mood>>
  /** What the gate says of it. */
  readonly gate: 'good' | 'bad'
}

export interface Runs {
  readonly number: number
  readonly digest: string
}

interface At {
  readonly wallMs: number
  readonly monoMs: number
}

/** In the order in which a node wrote them. `monoMs` counts from the start of its process. */
export type LogLine = At &
  (
    | { readonly kind: 'life'; readonly pid: number }
    | { readonly kind: 'prepared' | 'commit' | 'rolled-back' | 'failed-late' | 'refused'; readonly id: number }
    | { readonly kind: 'warning'; readonly text: string }
    | {
        readonly kind: 'status'
        readonly uid: string
        readonly runs: Runs | null
        readonly status: string
        readonly seen: number | null
        readonly prepared: (Runs & { readonly epoch: number }) | null
        readonly health: { readonly ok: boolean; readonly release: number } | null
      }
  )

export interface ApiNode {
  readonly uid: string
  readonly labels: Readonly<Record<string, string>>
  readonly runs: Runs | null
  readonly seen: number | null
  readonly status: string
  readonly detail?: string
  readonly prepared?: Runs & { readonly epoch: number }
  readonly health?: { readonly ok: boolean; readonly release: number }
  readonly here: boolean
  readonly connected: boolean
  readonly reason?: string
}

export interface ApiRollout extends Runs {
  readonly kind: string
  readonly phase: string
  readonly step: number
  readonly decided: number
  readonly strategy: Strategy
  readonly startedAt: string | null
  readonly endedAt: string | null
  readonly failure: { readonly kind: string; readonly step: number; readonly found: string } | null
  readonly rollback: Runs | null
  readonly events: readonly { readonly at: string; readonly epoch: number; readonly event: { readonly kind: string } }[]
}

/** The list of nodes, asked for and answered at these times. */
export interface Sample {
  readonly askedMs: number
  readonly answeredMs: number
  readonly nodes: readonly ApiNode[]
}

export interface Evidence {
  /** What publishers had as an answer, in order. */
  readonly acknowledged: readonly (Runs & { readonly id: number })[]
  /** At the end, oldest first. */
  readonly releases: readonly (Runs & { readonly content: Content })[]
  readonly rollouts: readonly ApiRollout[]
  readonly nodes: readonly ApiNode[]
  readonly audit: string
  /** While it ran, in order. */
  readonly samples: readonly Sample[]
  /** By the name of the node. */
  readonly logs: ReadonlyMap<string, readonly LogLine[]>
  /** Answers that no publisher should ever get. */
  readonly badAnswers: readonly string[]
}
