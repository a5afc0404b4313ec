/**
 * What can be asked of releases, and what is said when it is refused. Pure: shapes and errors only. How a release
 * comes about is `publish.ts`; what it looks like on the wire is the engine's `protocol/release.ts`.
 */
import type { Json, PatchOperation } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type { PlacedIssue } from './marks.ts'

/** Why something was refused: a closed set, so that every door (HTTP, command line) can answer each of them. */
export type RefusalCode =
  | 'conflict' // made against a head that is no longer the head
  | 'idempotency' // the key was used for another request
  | 'invalid' // the content, or the request itself, is not what it must be; `issues` says where
  | 'too-large'
  | 'not-found'
  | 'exists' // a config of that name is there already
  | 'not-applied' // rollback to a release that no node ever ran
  | 'review' // reviewers are missing, or what they approved is not what would be published
  | 'denied' // this person may not do this
  | 'signature' // it is signed, and the signature is not good
  | 'state' // a rollout is not in a state in which this could be done
  | 'frozen' // nothing is to be changed now
  | 'busy' // others write faster than this could be tried again

/** A request that was refused. Nothing was changed. */
export class RefusedError extends Error {
  override readonly name: string = 'RefusedError'
  readonly code: RefusalCode
  /** What is wrong, place by place. Empty unless the content is at fault. */
  readonly issues: readonly PlacedIssue[]

  constructor(code: RefusalCode, message: string, issues: readonly PlacedIssue[] = []) {
    super(message)
    this.code = code
    this.issues = issues
  }
}

/** Where a config stands: number 0 and no digest before its first release. */
export interface Head {
  readonly config: string
  readonly number: number
  readonly digest: string | null
}

/** Made against a head that is no longer the head: `head` is. */
export class ConflictError extends RefusedError {
  override readonly name = 'ConflictError'
  readonly head: Head

  constructor(head: Head, wanted: IfMatch) {
    const found = head.number === 0 ? 'has no release yet' : `is at release ${head.number} (${head.digest})`
    super('conflict', `${head.config} ${found}; the request was made against ${wantedText(wanted)}`)
    this.head = head
  }
}

/** The same idempotency key came with another request. */
export class IdempotencyError extends RefusedError {
  override readonly name = 'IdempotencyError'

  constructor(key: string) {
    super('idempotency', `the idempotency key ${JSON.stringify(key)} was used for another request; take a new one`)
  }
}

/** The head a change was made against: its digest (`sha256:…`), its number, or `none`: there is no release yet. */
export type IfMatch = string | number

function wantedText(wanted: IfMatch): string {
  if (wanted === 'none') return 'no release'
  return typeof wanted === 'number' ? `release ${wanted}` : String(wanted)
}

/** @throws ConflictError if the head is another. */
export function requireHead(head: Head, wanted: IfMatch | undefined): void {
  if (wanted === undefined) return
  const holds =
    wanted === 'none' ? head.number === 0 : typeof wanted === 'number' ? head.number === wanted : head.digest === wanted
  if (!holds) throw new ConflictError(head, wanted)
}

/** What a release is to hold: all of it, or what is to change in the head. */
export type Edit =
  | { readonly content: Json }
  /** JSON Patch, RFC 6902. */
  | { readonly patch: readonly PatchOperation[] }
  /** JSON Merge Patch, RFC 7396. */
  | { readonly mergePatch: Json }

/** One config's part of a publish. */
export type ConfigChange = Edit & {
  readonly config: string
  readonly ifMatch?: IfMatch
  /** Why, for people; at most 4,096 characters. */
  readonly message?: string
  /** Makes a release even if the content is that of the head. */
  readonly force?: boolean
  /** Signed before it was published, by a key that the control plane does not hold. */
  readonly signed?: OfflineSignature
}

/** The fields of a release that are otherwise set by the control plane must be fixed to be signed elsewhere. */
export interface OfflineSignature {
  readonly number: number
  readonly createdAt: string
  readonly keyId: string
  /** base64url, see `signing.ts`. */
  readonly value: string
}

export interface Published {
  readonly config: string
  /** The new release; the head, if the content was that of the head. */
  readonly release: ReleaseInfo
  readonly created: boolean
}

export interface PublishResult {
  /** In the order of the changes. */
  readonly published: readonly Published[]
  /** This is the answer to an earlier request with the same key. */
  readonly replayed: boolean
}
