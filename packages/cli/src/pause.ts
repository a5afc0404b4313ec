/** Waiting between two tries. */
import { setTimeout as sleep } from 'node:timers/promises'

/** Over when the time is, or as soon as `signal` aborts: whoever waits looks at the signal himself. Milliseconds. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  // An abort is all that it can reject with.
  await sleep(ms, undefined, { signal }).catch(() => {})
}
