/** What a node can be in, what may happen to it, and what it then has done: the shapes of `node.ts`, which says when. */
import type { Json } from '../json.ts'
import type { ReleaseInfo } from '../protocol/release.ts'
import type { FinalStatus, NodeStatus } from '../protocol/status.ts'

/** A release that was verified, with its content. */
export interface Held {
  readonly release: ReleaseInfo
  readonly content: Json
}

export interface Known {
  /** The newest number heard of, verified or not. */
  readonly seen: number | null
}

/** Nothing was ever verified. */
export interface Empty extends Known {
  readonly kind: 'empty'
}

/** The engine was asked to take `newest`, and has not begun. */
export interface Ready extends Known {
  readonly kind: 'ready'
  readonly runs: Held | null
  readonly newest: Held
  /** How often `newest` was tried before. */
  readonly attempts: number
}

/** The engine has taken `trying`. `newest` may have come since; the engine was asked to take that next. */
export interface Applying extends Known {
  readonly kind: 'applying'
  readonly runs: Held | null
  readonly newest: Held
  readonly trying: Held
  readonly attempts: number
  /** Where to go back to, if it was only looked at. */
  readonly before: Ready | Failed
}

/** The newest is in use. */
export interface Current extends Known {
  readonly kind: 'current'
  readonly runs: Held
  /** How often it was tried until it was. */
  readonly attempts: number
}

/** `newest` could not be applied. */
export interface Failed extends Known {
  readonly kind: 'failed'
  readonly runs: Held | null
  readonly newest: Held
  readonly status: Exclude<FinalStatus, 'APPLIED'>
  readonly attempts: number
  /** Whether another try may help. */
  readonly retrying: boolean
}

/** A release that was in use and is not to be again, and why. */
export interface Refused extends Pick<ReleaseInfo, 'number' | 'digest'> {
  readonly detail: string
  /** As the control plane was told them. */
  readonly attempts: number
}

/** `target` is to be in use, or is, though `refused` came after it. Only what is newer than that is taken. */
export interface Back extends Known {
  readonly kind: 'back'
  readonly at: 'asked' | 'trying' | 'there'
  readonly runs: Held | null
  readonly target: Held
  readonly refused: Refused
  readonly attempts: number
}

export interface Closed extends Known {
  readonly kind: 'closed'
  readonly runs: Held | null
}

export type NodeState = Empty | Ready | Applying | Current | Failed | Back | Closed

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
  /** What became of a release that the engine had held ready. */
  | {
      readonly kind: 'tried'
      readonly held: Held
      readonly status: FinalStatus
      readonly detail?: string | undefined
      readonly mayRetry: boolean
    }
  /** At the start, or while `refused` is in use: the release before it is to be used. */
  | { readonly kind: 'go-back'; readonly target: Held; readonly refused: Refused }
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
