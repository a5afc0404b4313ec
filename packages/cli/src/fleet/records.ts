/** What a control plane answers, as far as the commands read it. The contract is its OpenAPI document. */
import type { Json, ShownChange } from 'midflight'
import type { NodeStatus, ReleaseInfo } from 'midflight/protocol'
import type { Forecast, PublishedRollout } from './rollout.ts'

export interface Head {
  readonly config: string
  /** 0: there is no release yet. */
  readonly number: number
  readonly digest: string | null
}

export interface ConfigView {
  readonly name: string
  readonly createdAt: string
  readonly reviewers: number
  readonly hasSchema: boolean
  /** How many. */
  readonly rules: number
  readonly head: { readonly number: number; readonly digest: string } | null
}

export interface Difference {
  readonly changes: readonly ShownChange[]
  readonly restartPaths: readonly string[]
  /** `places`: values are not shown, since it cannot be told which are secret. */
  readonly shown: 'values' | 'places'
}

export interface PublishPlan extends Difference, Forecast {
  readonly head: Head
  /** Digest of the content. */
  readonly content: string
  /** Digest of the plan, which is what approvals are for. */
  readonly digest: string
  readonly issues: readonly Json[]
  readonly same: boolean
}

export interface Published {
  readonly release: ReleaseInfo
  readonly created: boolean
  readonly replayed: boolean
  /** How it is brought to the nodes; not there: to all at once. */
  readonly rollout?: PublishedRollout
}

export interface DraftView {
  readonly id: string
  readonly config: string
  readonly base: number | null
  readonly digest: string
  readonly author: string
  readonly message: string
  readonly createdAt: string
  readonly updatedAt: string
  readonly status: 'open' | 'published' | 'withdrawn'
  readonly plan: string
  readonly approvedBy: readonly string[]
  readonly missing: number
  readonly stale: boolean
}

export interface NodeView {
  readonly uid: string
  readonly config: string
  readonly labels: Readonly<Record<string, string>>
  readonly agent: { readonly name: string; readonly version: string }
  readonly runs: { readonly number: number; readonly digest: string } | null
  readonly seen: number | null
  readonly status: NodeStatus
  readonly detail?: string
  readonly lastSeenAt: string
  /** Its lease has not ended. */
  readonly here: boolean
  /** Why it does not run what was asked about, for programs and for people. */
  readonly why?: string
  readonly reason?: string
}

/** How far the nodes are with the newest release. Those that are away are counted by what they said last. */
export interface Progress {
  readonly release: number | null
  readonly nodes: number
  readonly away: number
  readonly delivered: number
  readonly applied: number
  readonly byStatus: Readonly<Record<string, number>>
}

export interface TokenView {
  readonly id: string
  readonly name: string
  readonly role: string
  readonly prefix: string
  readonly createdAt: string
  readonly createdBy: string
  readonly expiresAt: string | null
  readonly revokedAt: string | null
}

export interface AuditEntry {
  readonly number: number
  readonly at: string
  readonly actor: string
  readonly action: string
  readonly config: string | null
  readonly detail: Json
  readonly prev: string
  readonly hash: string
}
