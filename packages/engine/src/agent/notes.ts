/** What a node notes on disk about the releases it takes, beside the one in use: for what decides with them see `trial.ts`. */
import { isObject, type Json } from '../json.ts'
import { digestText, releaseNumber } from '../protocol/release.ts'
import * as shape from '../protocol/shape.ts'

const notes = shape.record({
  /** The highest that was heard of: who has a lower one is not listened to (I10). */
  epoch: shape.integer(0),
  /** Is being taken, or was a moment ago. Found at a start, the process has died of it, as far as can be known. */
  suspect: shape.optional(
    shape.record({ number: releaseNumber, digest: digestText, revertMs: shape.optional(shape.integer(1)) }),
  ),
  /** In use, and to be taken back unless it is confirmed within this. */
  unconfirmed: shape.optional(shape.record({ number: releaseNumber, digest: digestText, revertMs: shape.integer(1) })),
  /** Not to be taken again. */
  refused: shape.optional(
    shape.record({
      number: releaseNumber,
      digest: digestText,
      detail: shape.text(4096),
      attempts: shape.integer(0),
    }),
  ),
})
export type Notes = shape.Of<typeof notes>

export const noNotes: Notes = { epoch: 0 }

/** Where what was written last is damaged, only the epoch counts of what was written before: the rest is history. */
export function notesIn(found: Json | undefined, isNewest: boolean): Notes {
  if (!isObject(found) || notes.mismatch(found, []) !== undefined) return noNotes
  const read = found as unknown as Notes
  return isNewest ? read : { epoch: read.epoch }
}
