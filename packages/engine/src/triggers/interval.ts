/** Asks for a reload again and again: for sources that cannot tell when they change. */
import { setTimeout as delay } from 'node:timers/promises'
import type { ReloadRequest, Trigger } from '../trigger.ts'

const shortestMs = 100
const longestMs = 86_400_000

/**
 * Asks for a reload every `periodMs` (milliseconds, 100 to 86 400 000), first after one period,
 * jittered by ±10 %. Missed ticks are dropped, not queued.
 * @throws RangeError at the call, if `periodMs` is out of range.
 */
export function every(periodMs: number): Trigger {
  if (!(periodMs >= shortestMs && periodMs <= longestMs)) {
    throw new RangeError(`every: periodMs is ${periodMs}; want ${shortestMs} to ${longestMs} milliseconds`)
  }
  return { name: `every ${periodMs} ms`, requests: (signal) => ticks(periodMs, signal) }
}

async function* ticks(periodMs: number, signal: AbortSignal): AsyncGenerator<ReloadRequest, void, undefined> {
  while (!signal.aborted) {
    // Jitter keeps processes that were started together from asking their source together.
    const waitMs = periodMs * (0.9 + 0.2 * Math.random())
    try {
      await delay(waitMs, undefined, { signal })
    } catch (error) {
      if (signal.aborted) return
      throw error
    }
    yield { trigger: 'interval' }
  }
}
