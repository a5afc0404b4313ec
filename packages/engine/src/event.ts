/**
 * The record of what happened: reported outward only. Nothing inside is driven by an event. How events are kept and
 * written is `journal.ts`.
 */
import type { Outcome } from './outcome.ts'

export type Event = { readonly id: number; readonly at: string } & (
  | {
      readonly kind: 'started'
      readonly from: 'sources' | 'last-good' | 'bundled'
      readonly ageMs?: number
      readonly reason?: string
    }
  | { readonly kind: 'reload-began'; readonly run: number; readonly triggers: readonly string[] }
  | { readonly kind: 'reload'; readonly outcome: Outcome }
  /** A component settled after its deadline, and was undone. */
  | { readonly kind: 'late'; readonly component: string; readonly phase: string; readonly result: string }
  /** Something works, but worse than it should: polling instead of watching, last good not written, journal cut. */
  | { readonly kind: 'warning'; readonly about: string; readonly message: string }
  | { readonly kind: 'closed' }
)

export type EventBody = Event extends infer E ? (E extends Event ? Omit<E, 'id' | 'at'> : never) : never

/** What others may do with the record. */
export interface Journal {
  /** The newest `limit` events with an id above `after`, oldest first. */
  recent(options?: { readonly limit?: number; readonly after?: number }): readonly Event[]
  /** Calls `listener` for each event from now on, in order; what it throws is recorded and goes no further. */
  subscribe(listener: (event: Event) => void): () => void
}
