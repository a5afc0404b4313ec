/**
 * What a place has to bring so that configuration can be written to it: the store's own protocol, and nothing else.
 * Whether a value has to be written at all, and what a lost race means, is `put-if-changed.ts`. The writers are in this
 * folder, one file each; the suite that each passes is `testWriter` in `midflight/testing`.
 */

/**
 * Keys are the store's own, whole. Each call ends within the writer's own time limit, and soon after `signal` aborts;
 * what fails throws WriteError. Calls may run beside each other.
 */
export interface Writer {
  /** As errors and outputs show it: the kind of store and where it is. Holds no secret. */
  readonly name: string
  /** What this store cannot do, and why. What is not named here it does, and passes the cases for it. */
  readonly lacks: Readonly<Partial<Record<WriterAbility, string>>>
  /** As new as the call: what was written before it, by anyone, is seen. */
  read(key: string, signal: AbortSignal): Promise<Stored | undefined>
  /** All keys that begin with `prefix`, in any order; each is as it was at some moment of the call. */
  list(prefix: string, signal: AbortSignal): AsyncIterable<StoredEntry>
  /** Takes effect only where the key is as `expected`, and then whole. */
  write(key: string, value: Uint8Array, expected: Expected, signal: AbortSignal): Promise<Written>
  /** As `write`. A key that is not there is `absent`, unless a revision was expected: then someone else removed it. */
  remove(key: string, expected: Expected, signal: AbortSignal): Promise<Removed>
  /** Lets go of its connections. */
  close(): Promise<void>
}

export type WriterAbility =
  | 'read'
  | 'list'
  | 'remove'
  | 'compare' // to write or remove only where the key is as expected; without it only `any` can be expected
  | 'revisions' // a value that came back to what it was has another revision
  | 'bytes' // values are bytes, also those that are not UTF-8
  | 'empty' // a value may have no bytes

export interface Stored {
  readonly value: Uint8Array
  /** Opaque. Another after each write that changed the value; also where it came back, unless the store lacks that. */
  readonly revision: string
}

export interface StoredEntry extends Stored {
  readonly key: string
}

/** `absent`: nobody has written the key, or it was removed. */
export type Expected = 'any' | 'absent' | { readonly revision: string }

/** `conflict`: it was not as expected, and is as before. */
export type Written = { readonly kind: 'written'; readonly revision: string } | { readonly kind: 'conflict' }

export type Removed = { readonly kind: 'removed' | 'absent' | 'conflict' }

/**
 * `unreachable`: the store was not asked, or has not begun; nothing was written. `unknown`: it was asked, and its answer
 * did not come; it may have been written. `denied`: credentials, permissions, certificates. `refused`: the store does
 * not take such a key or value, or lacks what was asked for.
 */
export type WriteErrorCode = 'unreachable' | 'unknown' | 'denied' | 'refused'

/** Why nothing is known to have been written. The message names the store, and holds no secret. */
export class WriteError extends Error {
  override readonly name = 'WriteError'
  readonly code: WriteErrorCode

  constructor(code: WriteErrorCode, message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.code = code
  }

  /** Worth another try: the same call may succeed later. */
  get transient(): boolean {
    return this.code === 'unreachable' || this.code === 'unknown'
  }
}
