/** The strategy that the risk of a change recommends, with whatever else was asked for. Pure. */
import type { Recommendation } from '../risk.ts'
import type { StrategyKind } from '../strategy.ts'
import type { StrategySpec } from './spec.ts'

export type SettledSpec = StrategySpec & { readonly kind: StrategyKind | 'instant' }

const usualBakeMs = 60_000
const lowBakeMs = 5_000
/** Between the first nodes and all of them. */
const halfPercent = 50

/** @param recommended `undefined`: it could not be judged, and what is not known is treated with care. */
export function settled(spec: StrategySpec, recommended: Recommendation | undefined): SettledSpec {
  if (spec.kind !== 'by-risk') return spec as SettledSpec
  const { strategy = 'staged' } = recommended ?? {}
  // A moment to see what the nodes say of their health, also where little is risked.
  if (strategy !== 'staged') return { ...spec, kind: strategy, bakeMs: spec.bakeMs ?? lowBakeMs }
  const { firstPercent = 10, bakeFactor = 1 } = recommended?.strategy === 'staged' ? recommended : {}
  const steps = [firstPercent, ...(firstPercent < halfPercent ? [halfPercent] : [])].map((percent) => ({ percent }))
  return { ...spec, kind: 'staged', steps: spec.steps ?? steps, bakeMs: (spec.bakeMs ?? usualBakeMs) * bakeFactor }
}
