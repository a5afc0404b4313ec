/** How long is waited for what, and waiting that can be ended. */
import { setTimeout as elapsed } from 'node:timers/promises'

/** All in milliseconds. */
export interface Pace {
  /** For one call to an installer. */
  readonly callMs: number
  /** For nodes to have what they are to have. */
  readonly upMs: number
  /** For nodes to have let go. */
  readonly goneMs: number
  /** How often nodes are looked at meanwhile. */
  readonly pollMs: number
  /** Between two tries, growing, jittered. */
  readonly retryMs: number
  readonly longestRetryMs: number
  /** Between two inspections of what is on the nodes. */
  readonly inspectMs: number
}

export const defaultPace: Pace = {
  callMs: 30_000,
  upMs: 600_000,
  goneMs: 600_000,
  pollMs: 500,
  retryMs: 1_000,
  longestRetryMs: 60_000,
  inspectMs: 60_000,
}

/** @returns whether it was waited for to the end: nobody has stopped it. */
export async function pause(ms: number, ...stops: readonly AbortSignal[]): Promise<boolean> {
  try {
    await elapsed(ms, undefined, { signal: AbortSignal.any([...stops]), ref: false })
    return true
  } catch {
    // The only way for it to fail is that it was stopped.
    return false
  }
}

/** Longer with each try: at least half of the first wait, the rest at random, so that not all come back at once. */
export async function again(pace: Pace, tries: number, ...stops: readonly AbortSignal[]): Promise<boolean> {
  const { retryMs, longestRetryMs } = pace
  const most = Math.min(longestRetryMs, retryMs * 2 ** tries)
  return await pause(retryMs / 2 + Math.random() * most, ...stops)
}
