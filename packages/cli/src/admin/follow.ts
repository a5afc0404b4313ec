/** Follows a process's events for as long as one likes: comes back when the connection breaks, and misses nothing. */
import type { Status } from 'midflight'
import { Refusal } from '../refusal.ts'
import type { Address } from './address.ts'
import { askEvents, askStatus } from './admin.ts'
import { readStream, type StreamItem } from './event-stream.ts'
import { pause } from '../pause.ts'

export type Followed =
  | Extract<StreamItem, { kind: 'event' | 'gap' }>
  /** `restarted`: it is another process than before. */
  | { readonly kind: 'connected'; readonly status: Status; readonly restarted: boolean }
  | { readonly kind: 'lost'; readonly reason: string; readonly retryMs: number }

const firstMs = 1000
const mostMs = 15_000

/**
 * @param after events with an id above it; without it those from now on
 * @throws Refusal if the first connection fails, or if later ones are refused for good
 */
export async function* follow(
  address: Address,
  after: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<Followed> {
  let startedAt: string | undefined
  let last = after
  let baseMs = firstMs
  let tries = 0
  while (!signal.aborted) {
    let reason = 'the connection ended'
    try {
      const status = await askStatus(address, signal)
      const restarted = startedAt !== undefined && startedAt !== status.startedAt
      if (last === undefined) last = (await askEvents(address, { limit: 1 })).at(-1)?.id ?? 0
      else if (restarted) last = await resumedAfter(address, last)
      startedAt = status.startedAt
      for await (const item of readStream(address, last, signal)) {
        if (item.kind === 'open') {
          tries = 0
          yield { kind: 'connected', status, restarted }
        } else if (item.kind === 'retry') baseMs = Math.max(100, item.afterMs)
        else {
          if (item.kind === 'event') last = item.event.id
          yield item
        }
      }
    } catch (error) {
      if (signal.aborted) return
      const forGood = error instanceof Refusal && (error.code === 'unauthorized' || error.code === 'forbidden')
      if (!(error instanceof Refusal) || startedAt === undefined || forGood) throw error
      reason = error.message
    }
    if (signal.aborted) return
    // Full jitter: many watchers of one process do not come back together.
    const retryMs = Math.round(Math.random() * Math.min(mostMs, baseMs * 2 ** Math.min(tries++, 10)))
    yield { kind: 'lost', reason, retryMs }
    await pause(retryMs, signal)
  }
}

/** A new process may count its events from 1 again: what it recorded since it started is new in any case. */
async function resumedAfter(address: Address, last: number): Promise<number> {
  const events = await askEvents(address, { after: 0, limit: 1000 })
  const started = events.findLast(({ kind }) => kind === 'started')?.id
  if (started !== undefined) return Math.min(last, started - 1)
  return (events.at(-1)?.id ?? 0) < last ? 0 : last
}
