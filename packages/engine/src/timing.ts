/** How long the phases of a reload take. What is made of the figures is `stats.ts` and `metrics.ts`. */
import type { Phase } from './outcome.ts'

/** Milliseconds by phase, to the microsecond; a phase that comes twice is added up. */
export type DurationsMs = Partial<Record<Phase, number>>

export async function timed<T>(durations: DurationsMs, phase: Phase, work: () => T | Promise<T>): Promise<T> {
  const began = performance.now()
  try {
    return await work()
  } finally {
    durations[phase] = sinceMs(began - (durations[phase] ?? 0))
  }
}

/** @param began a reading of `performance.now()`. */
export function sinceMs(began: number): number {
  return Math.round((performance.now() - began) * 1000) / 1000
}
