/** All nodes make it ready and say so; only when all have is it committed, by all. */
import type { Strategy } from '../strategy.ts'
import { defaults } from './all-at-once.ts'

export function twoPhase(bakeMs = 0): Strategy {
  return { ...defaults, kind: 'two-phase', twoPhase: true, steps: [{ select: {}, bakeMs }] }
}
