/** One question to a program. */

/** Resolves for a yes, rejects with why for a no. */
export type Ask = (signal: AbortSignal) => Promise<void>

/** A no that is not going to become a yes. */
export class Final extends Error {
  override readonly name = 'Final'
}
