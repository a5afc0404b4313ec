/** The numbers that an engine is given, with their defaults and ranges. */
import type { Deadlines } from './component.ts'
import { defaultDeadlines } from './deadline.ts'
import { defaultLimits, mostDepth, type Limits } from './snapshot.ts'

export interface Retries {
  /** Further tries after a transient failure. */
  readonly limit: number
  readonly firstMs: number
  readonly maxMs: number
}

const defaultRetries: Retries = { limit: 3, firstMs: 100, maxMs: 5_000 }

export interface Settings {
  readonly deadlines: Deadlines
  readonly retries: Retries
  readonly limits: Limits
}

/** @throws RangeError that names the number, what it is and what is wanted. */
export function settingsOf(given: { readonly [K in keyof Settings]?: Partial<Settings[K]> | undefined }): Settings {
  const settings = {
    deadlines: { ...defaultDeadlines, ...given.deadlines },
    retries: { ...defaultRetries, ...given.retries },
    limits: { ...defaultLimits, ...given.limits },
  }
  for (const [group, numbers] of Object.entries(settings)) {
    const least = group === 'retries' ? 0 : 1
    for (const [name, value] of Object.entries(numbers)) {
      if (typeof value === 'number' && value >= least) continue
      throw new RangeError(`${group}.${name} is ${String(value)}; want a number of at least ${least}`)
    }
  }
  const { maxDepth } = settings.limits
  if (maxDepth > mostDepth) throw new RangeError(`limits.maxDepth is ${maxDepth}; want a number from 1 to ${mostDepth}`)
  return settings
}
