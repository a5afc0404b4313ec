/**
 * What the control plane remembers: the interface that every store implements, and the records in it. A store is one
 * file in `stores/` and one call of its suite, `stores/conformance.ts`.
 *
 * A store keeps records whole and knows no policy: who may do what, what a good release is, and when something is told
 * to whom is decided by others. It does hold the rules that must never be broken: releases are immutable and numbered
 * without gaps, a content is what its digest says, and the audit log is a chain.
 */
import type { Json } from 'midflight'
import type { NodeStatus, ReleaseInfo } from 'midflight/protocol'
import type { Role } from './access.ts'
import type { Freeze } from './freeze.ts'
import type { RolloutEvent, RolloutState } from './rollout-state.ts'
import type { Strategy } from './strategy.ts'
import type { DeploymentsRead, DeploymentsTx } from './targets/deployments.ts'
import type { Rule } from './rules.ts'
import type { StrategySpec } from './strategies/spec.ts'

export interface Store {
  /**
   * Runs `work` alone, all of it or nothing. Resolves with what it returned once that survives a power cut (I3).
   * Transactions that are asked for while another is being written share its one flush to disk; each still fails for
   * itself. `work` must not return a promise, and must not write anywhere but in `tx`.
   * @throws what `work` threw; nothing of it is kept then. StoreError if it could not be written: with the code `full`
   * nothing of it is there and the store goes on; with `io` whether it is there is known after the next start only
   * (I4), and the store acknowledges nothing more until then.
   */
  transaction<T>(work: (tx: StoreTx) => T): Promise<T>
  /** Runs `work` on what is committed, all of it at one moment. */
  read<T>(work: (tx: StoreRead) => T): Promise<T>
  /**
   * Reads everything and checks it against its digests, sums and links; all else waits meanwhile (a copy can be checked
   * elsewhere). Never throws for what it finds.
   */
  verify(): Promise<StoreReport>
  /**
   * Writes a copy, whole and of one moment. Reads go on meanwhile, transactions wait for it. The file is there only when
   * all of it is on disk.
   * @throws StoreError if `path` exists, or cannot be written.
   */
  backup(path: string): Promise<void>
  /** Waits for what is under way. Afterwards everything is refused with the code `closed`. */
  close(): Promise<void>
}

/**
 * Lists are pages: at most `limit` entries that come behind `after` in the order of the list. What is returned is
 * frozen or a copy.
 */
export interface StoreRead {
  config(name: string): ConfigRecord | undefined
  /** By name. `prefix` is whole segments: `shop` finds `shop` and `shop/gateway`, the empty one everything. */
  configs(prefix: string, after: string | undefined, limit: number): ConfigRecord[]

  release(config: string, number: number): ReleaseInfo | undefined
  /** Newest first, below the number `before`. */
  releases(config: string, before: number | undefined, limit: number): ReleaseInfo[]
  /**
   * What a release holds: frozen, sharing structure with the releases beside it. `undefined` if there is no such release
   * or its content was pruned.
   * @throws StoreError `damaged` if what is stored does not have the digest of the release.
   */
  content(config: string, number: number): Json | undefined
  /** When a node first reported this release as applied. */
  appliedAt(config: string, number: number): string | undefined

  idempotency(key: string): IdempotencyRecord | undefined

  node(uid: string): NodeRecord | undefined
  /** By uid. */
  nodes(config: string, filter: NodeFilter, after: string | undefined, limit: number): NodeRecord[]
  /** Newest first. */
  attempts(uid: string, limit: number): AttemptRecord[]

  /** How releases are brought to the nodes. */
  readonly rollouts: RolloutsRead
  /** What is brought to the targets of configs, and how. */
  readonly deployments: DeploymentsRead
  /** Of the coordinator that took over last; 0: there was none. */
  epoch(): number

  draft(id: string): DraftRecord | undefined
  draftContent(id: string): Json | undefined
  /** By id; of all configs if `config` is undefined. */
  drafts(config: string | undefined, after: string | undefined, limit: number): DraftRecord[]

  token(hash: string): TokenRecord | undefined
  tokenById(id: string): TokenRecord | undefined
  /** By id. */
  tokens(after: string | undefined, limit: number): TokenRecord[]

  /** Oldest first, above the number `after`. */
  audit(after: number | undefined, limit: number): AuditRecord[]
  auditHead(): { readonly number: number; readonly hash: string }
}

export interface StoreTx extends StoreRead {
  /** Adds or replaces; the head is not touched. */
  putConfig(config: Omit<ConfigRecord, 'head'>): void
  /**
   * Adds the next release of its config and moves the head to it. `content` has passed `check`. One that is frozen is
   * taken as a snapshot, made with `share` or `applyPatch` beside the content of the head, and then costs what differs;
   * any other is made one here.
   * @returns the content as it is kept.
   * @throws RangeError for what would be a mistake of the caller: no such config, a number that is not the next, a
   * parent that is not the head, a digest that is not the content's.
   */
  addRelease(release: ReleaseInfo, content: Json): Json
  putIdempotency(record: IdempotencyRecord): void
  putNode(node: NodeRecord): void
  removeNode(uid: string): void
  /** In this order. Also marks the releases as applied that an attempt says so of. */
  addAttempts(attempts: readonly AttemptRecord[]): void
  readonly rollouts: RolloutsTx
  readonly deployments: DeploymentsTx
  /** Makes the caller the coordinator. @returns its epoch, higher than all before. */
  takeOver(): number
  /** Adds or replaces. Without `content` the one that is there stays. */
  putDraft(draft: DraftRecord, content?: Json): void
  /** Adds or replaces, by its id. */
  putToken(token: TokenRecord): void
  /** @returns the record as the log holds it: numbered, and linked to the one before. */
  appendAudit(entry: AuditEntry): AuditRecord
  /**
   * Removes what the policy allows to remove, and never the content of a head, of a release that a node runs, that an
   * open draft is made against or that an open rollout needs, nor one that is needed to read another that stays. That a release was
   * made, by whom, and its digest stays for ever; so does what its rollout came to, of which the events go.
   */
  prune(policy: PrunePolicy): Pruned
}

export interface ConfigRecord {
  /** `shop/gateway/prod` */
  readonly name: string
  readonly createdAt: string
  /** JSON Schema; `null`: everything is taken. */
  readonly schema: Json | null
  readonly rules: readonly Rule[]
  /** How many others must approve a publish; 0 to 16. */
  readonly reviewers: number
  /** How its releases are brought to the nodes where nobody says otherwise. */
  readonly rollout?: RolloutPolicy
  /** The newest release. */
  readonly head: { readonly number: number; readonly digest: string } | null
}

export interface RolloutPolicy {
  /** `null`: to all at once, as without a rollout. */
  readonly strategy: StrategySpec | null
  readonly freezes: readonly Freeze[]
}

export interface NodeRecord {
  readonly uid: string
  readonly config: string
  readonly labels: Readonly<Record<string, string>>
  readonly agent: { readonly name: string; readonly version: string }
  /** In use. */
  readonly runs: { readonly number: number; readonly digest: string } | null
  /** The newest release that the node has seen, applied or not. */
  readonly seen: number | null
  readonly status: NodeStatus
  /** Why the status is what it is, in the words of the node; redacted there. */
  readonly detail?: string
  readonly components?: readonly { readonly name: string; readonly hot: Json; readonly restartFor: readonly string[] }[]
  readonly firstSeenAt: string
  readonly lastSeenAt: string
  /** After this the node counts as gone. */
  readonly leaseUntil: string
  /** The head of the audit log that the node has been shown last. */
  readonly auditHead?: string
  /** Two-phase: what it has prepared and waits for the decision on. */
  readonly prepared?: { readonly number: number; readonly digest: string; readonly epoch: number }
  /** What it says of its own health, and which release it ran then. */
  readonly health?: { readonly ok: boolean; readonly release: number; readonly detail?: string }
}

/** How one release is brought to the nodes. */
export interface RolloutRecord {
  readonly config: string
  /** Of the release; a release has one rollout at most. */
  readonly number: number
  readonly digest: string
  readonly strategy: Strategy
  readonly by: string
  readonly createdAt: string
  readonly startedAt: string | null
  readonly endedAt: string | null
  readonly state: RolloutState
  /** What was said of the risk before, so that it can be judged by what came of it. */
  readonly advice?: RolloutAdvice
  /** No freeze holds it: the glass was broken for it, or it is a way back. */
  readonly urgent?: true
}

export interface RolloutAdvice {
  readonly score: number
  readonly level: 'low' | 'medium' | 'high'
  readonly recommended: string
  /** Points by factor. */
  readonly factors: Readonly<Record<string, number>>
}

export interface RolloutEventRecord {
  /** 1, 2, 3 … within a rollout. */
  readonly seq: number
  readonly at: string
  readonly epoch: number
  readonly event: RolloutEvent
}

export interface RolloutsRead {
  get(config: string, number: number): RolloutRecord | undefined
  /** Newest first, of releases below the number `before`. */
  list(config: string, before: number | undefined, limit: number): RolloutRecord[]
  /** Those that have not ended, oldest first; of all configs if `config` is undefined. */
  open(config?: string): RolloutRecord[]
  /** What moved a rollout, oldest first, above the number `after`. */
  events(config: string, number: number, after: number | undefined, limit: number): RolloutEventRecord[]
}

export interface RolloutsTx extends RolloutsRead {
  /**
   * Adds the rollout of a release. What it may have to go back to is not pruned for as long as it is open.
   * @throws RangeError if that release has one, or is not there.
   */
  add(rollout: RolloutRecord): void
  /**
   * Replaces a rollout, and adds what moved it to its events, if it is worth telling.
   * @throws FencedError if a coordinator with a higher epoch has taken over: nothing is written (I10).
   */
  move(rollout: RolloutRecord, event: RolloutEvent | null, epoch: number, at: string): void
}

/** Another coordinator has taken over; whoever gets this is not one any more. */
export class FencedError extends Error {
  override readonly name = 'FencedError'

  constructor(epoch: number, newest: number) {
    super(`a coordinator with epoch ${newest} has taken over from epoch ${epoch}; nothing was written`)
  }
}

export interface NodeFilter {
  /** Only those that do not run this release. */
  readonly notOn?: number
}

export interface AttemptRecord {
  readonly uid: string
  readonly config: string
  readonly number: number
  readonly digest: string
  readonly status: NodeStatus
  readonly detail?: string
  readonly attempt: number
  readonly at: string
}

export interface DraftRecord {
  readonly id: string
  readonly config: string
  /** The head it is made against; `null`: before the first release. */
  readonly base: number | null
  readonly digest: string
  readonly author: string
  readonly message: string
  readonly createdAt: string
  readonly updatedAt: string
  readonly status: 'open' | 'published' | 'withdrawn'
  /** Each is for one digest; an edit leaves those of other digests behind, and they no longer count. */
  readonly approvals: readonly { readonly by: string; readonly digest: string; readonly at: string }[]
}

export interface TokenRecord {
  readonly id: string
  /** Of the secret; the secret itself is nowhere. */
  readonly hash: string
  readonly name: string
  readonly role: Role
  readonly prefix: string
  readonly createdAt: string
  readonly createdBy: string
  readonly expiresAt: string | null
  readonly revokedAt: string | null
}

export interface IdempotencyRecord {
  readonly key: string
  /** Digest of the request that the key was used for first. */
  readonly request: string
  /** What that request was answered. */
  readonly response: Json
  readonly createdAt: string
}

export interface AuditEntry {
  readonly at: string
  readonly actor: string
  /** `publish`, `rollback`, `token-revoked`, … */
  readonly action: string
  /** Which config it was about; `null`: none in particular. */
  readonly config: string | null
  readonly detail: Json
}

export interface AuditRecord extends AuditEntry {
  /** 1, 2, 3 … without gaps. */
  readonly number: number
  /** Hash of the one before; 64 zeros for the first. */
  readonly prev: string
  /** SHA-256 of `prev` (its 64 hex digits) and the canonical text (RFC 8785) of `{number, at, actor, action, config, detail}`. */
  readonly hash: string
}

export interface PrunePolicy {
  /** Only this config; all of them if left out. */
  readonly config?: string
  /** So many of the newest contents of each config stay; 1 or more. */
  readonly keepNewest: number
  /** Contents of releases made at this time or later stay. */
  readonly keepSince?: string
  /** So many of the newest attempts of each node stay. */
  readonly attemptsPerNode?: number
  /** Idempotency keys from before this time go. */
  readonly idempotencyBefore?: string
}

/** How many were removed. */
export interface Pruned {
  readonly contents: number
  readonly attempts: number
  readonly idempotency: number
}

export interface StoreReport {
  readonly configs: number
  readonly releases: number
  readonly contents: number
  readonly audit: number
  /** Empty if all is well. */
  readonly problems: readonly StoreError[]
}

export type StoreErrorCode =
  | 'not-a-database'
  | 'newer-schema' // written by a later version
  | 'damaged' // a page, a row or the write-ahead log is not what was written
  | 'gap' // a release or an audit entry is missing in the sequence
  | 'audit-broken' // an entry does not follow from the one before
  | 'locked' // another process has it open
  | 'full' // no room on the disk; nothing of the transaction is there
  | 'read-only' // it may not be written
  | 'io' // the disk failed; what was not acknowledged may be there or not
  | 'exists' // a backup or a restore would overwrite something
  | 'closed'

/** What is wrong with the store itself. What a caller does wrong is a RangeError. */
export class StoreError extends Error {
  override readonly name = 'StoreError'
  readonly code: StoreErrorCode
  /** Which part it is: `release shop/gateway/prod #41`, `audit #17`, a file. */
  readonly row: string
  /** What to do about it, in one sentence. */
  readonly recover: string

  constructor(code: StoreErrorCode, row: string, message: string, recover: string, cause?: unknown) {
    super(`${row} ${message}; ${recover}`, cause === undefined ? undefined : { cause })
    this.code = code
    this.row = row
    this.recover = recover
  }
}
