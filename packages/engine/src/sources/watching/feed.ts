/**
 * What a source of a store has to bring, and what it has to say: the store's own protocol, and nothing else. Trying
 * again, comparing, joining keys into a document and asking for reloads is `../watching.ts`.
 */
import type { IssueCode } from '../../issue.ts'

/** One look at a store, and whatever comes after it. */
export interface Feed {
  /**
   * Begins with a look at the server, so that the first news is as new as the call, and then tells what changes, with
   * nothing lost in between. Ends soon after `signal` aborts; what it tells even then is taken. Throws FollowError, or
   * anything, when it is cut off or refused; it is then called again after a wait. Never called while an earlier call
   * still runs.
   * @param warn told when it works, but worse than it should.
   */
  follow(signal: AbortSignal, warn: (message: string) => void): AsyncIterable<News>
  /** Which server is asked, for people and without credentials; where the name of the source does not say so. */
  readonly server?: string
  /** Lets go of what outlives a call of `follow`, such as the client. Called once, when no call runs. */
  close?(): Promise<void>
}

export type News =
  /**
   * All keys at one moment. What was there and is missing now has been removed, except where nothing is left at all:
   * that is taken for a loss and refused, unless `emptied` says that someone is known to have removed the last one.
   */
  | { readonly kind: 'whole'; readonly entries: ReadonlyMap<string, Uint8Array>; readonly emptied?: boolean }
  /** In the order in which they happened. Without a value: it was seen to be removed. */
  | { readonly kind: 'changes'; readonly changes: readonly KeyChange[] }
  /** The server was asked: all is as it was told last. */
  | { readonly kind: 'same' }
  /** There is an answer, but it is no configuration: a login page, too large. Refused until other news come. */
  | { readonly kind: 'unusable'; readonly key: string; readonly code: IssueCode; readonly message: string }

export interface KeyChange {
  readonly key: string
  readonly value: Uint8Array | undefined
}

/** Why a feed has ended. What it told last stays in use. */
export class FollowError extends Error {
  override readonly name = 'FollowError'
  readonly code: IssueCode
  /** False: a start need not try again at once, as with a wrong password. Following is tried again all the same. */
  readonly transient: boolean
  /** How long the server wants to be left alone. */
  readonly retryAfterMs: number | undefined

  constructor(
    message: string,
    options: { code?: IssueCode; transient?: boolean; retryAfterMs?: number | undefined; cause?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.code = options.code ?? 'unreadable'
    this.transient = options.transient ?? true
    this.retryAfterMs = options.retryAfterMs
  }
}
