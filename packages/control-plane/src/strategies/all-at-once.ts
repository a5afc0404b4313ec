/** All nodes at the same time; if too many of them fail, all go back. */
import type { Strategy } from '../strategy.ts'

/** What holds unless something else was said. */
export const defaults: Omit<Strategy, 'kind' | 'steps'> = {
  twoPhase: false,
  absent: { kind: 'count', max: 0 },
  prepareMs: 30_000,
  applyMs: 60_000,
  maxFailed: 0,
  probes: 'if-present',
  gates: [],
  gateMs: 60_000,
  confirmMs: null,
  revertMs: null,
  whenBusy: 'wait',
}

export function allAtOnce(bakeMs = 0): Strategy {
  return { ...defaults, kind: 'all-at-once', steps: [{ select: {}, bakeMs }] }
}

/**
 * For emergencies, and for releases that come in the place of one whose rollout is under way: it waits for nothing and
 * goes back for nothing. What is published without a rollout is brought to the nodes like this too.
 */
export const instant: Strategy = {
  ...allAtOnce(),
  applyMs: 0,
  maxFailed: Number.MAX_SAFE_INTEGER,
  whenBusy: 'supersede',
}
