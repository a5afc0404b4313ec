/** Rollouts as a control plane tells of them, and one followed until it has ended. */
import type { Json } from 'midflight'
import type { Address } from '../admin/address.ts'
import { call, configPath } from './call.ts'
import { pause } from '../pause.ts'

export interface Advice {
  readonly score: number
  readonly level: string
  readonly recommended: string
  readonly factors: Readonly<Record<string, number>>
}

/** Of a publish: how it is brought to the nodes. */
export interface PublishedRollout {
  readonly number: number
  readonly kind: string
  readonly steps: number
  readonly phase: string
  readonly advice?: Advice
}

interface Runs {
  readonly number: number
  readonly digest: string
}

export interface RolloutSummary {
  readonly config: string
  readonly number: number
  readonly kind: string
  readonly phase: string
  /** Counting from 0. */
  readonly step: number
  readonly steps: number
  readonly by: string
  readonly createdAt: string
  readonly startedAt: string | null
  readonly endedAt: string | null
  readonly pauses: readonly { readonly reason: string; readonly by: string }[]
  readonly failure: {
    readonly kind: string
    readonly step: number
    readonly found: string
    readonly nodes: readonly { readonly node: string; readonly reason: string }[]
  } | null
  readonly from: Runs | null
  readonly rollback: Runs | null
  readonly mixedMs: number
  readonly advice?: Advice
}

export interface Select {
  readonly percent?: number
  readonly labels?: Readonly<Record<string, string>>
}

export interface StepView {
  readonly select: Select
  readonly bakeMs: number
  /** Nodes by how far they are; `null` once it has ended. */
  readonly counts: Readonly<Record<string, number>> | null
}

export interface RolloutView extends RolloutSummary {
  readonly strategy: {
    readonly twoPhase: boolean
    readonly gates: readonly { readonly name: string }[]
    readonly confirmMs: number | null
  }
  /** How long the phase has lasted, pauses left out. */
  readonly spentMs: number
  /** So many steps are through. */
  readonly confirmed: number
  readonly passed: readonly string[]
  readonly counts: Readonly<Record<string, Json>>
  readonly progress: readonly StepView[]
}

/** Of a plan: what a publish would mean for the fleet. */
export interface Forecast {
  readonly risk: {
    readonly score: number
    readonly level: string
    readonly reasons: readonly { readonly factor: string; readonly points: number; readonly text: string }[]
    readonly recommended: { readonly strategy: string; readonly why: string }
  } | null
  readonly fleet: {
    readonly present: number
    readonly away: { readonly count: number }
    readonly reach: { readonly nodes: number; readonly of: number; readonly share: number }
    readonly restarts: number
    readonly kinds: readonly {
      readonly agent: { readonly name: string; readonly version: string }
      readonly nodes: number
      readonly components:
        | readonly { readonly name: string; readonly action: string; readonly restartPaths: readonly string[] }[]
        | null
    }[]
  } | null
  readonly rollout: {
    readonly from: 'request' | 'config' | 'default' | 'none'
    readonly kind: string
    readonly twoPhase: boolean
    readonly steps: readonly { readonly select: Select; readonly bakeMs: number; readonly nodes: number }[]
    readonly gates: readonly string[]
    readonly confirmMs: number | null
    readonly frozen: { readonly reason: string; readonly endsAt: string } | null
    readonly waitsFor: number | null
  }
}

const ends: readonly string[] = ['completed', 'rolled-back', 'superseded', 'failed']

/** Also one that failed and has nothing to go back to: by itself it comes no further. */
export function hasEnded({ phase }: Pick<RolloutSummary, 'phase'>): boolean {
  return ends.includes(phase)
}

/** 0 completed, 1 rolled back, failed or superseded, 2 under way. */
export function exitCodeOf(rollout: Pick<RolloutSummary, 'phase'>): 0 | 1 | 2 {
  if (rollout.phase === 'completed') return 0
  return hasEnded(rollout) ? 1 : 2
}

/** @param number of a release; `current`: the one under way. */
export async function rolloutOf(address: Address, config: string, number: number | 'current'): Promise<RolloutView> {
  // What moved it is on record there; here is shown how it is now.
  return (await call<RolloutView>(address, configPath(config, `/rollouts/${number}`), { query: { limit: 1 } })).body
}

const pauseMs = 250

/** Looks again and again until it has ended, or the time is over. @param onLook called after each look. */
export async function followRollout(
  address: Address,
  config: string,
  number: number,
  options: { readonly waitMs: number; readonly signal: AbortSignal; onLook(rollout: RolloutView): void },
): Promise<RolloutView> {
  const until = performance.now() + options.waitMs
  for (;;) {
    const found = await rolloutOf(address, config, number)
    options.onLook(found)
    const now = performance.now()
    if (hasEnded(found) || now >= until || options.signal.aborted) return found
    await pause(Math.min(pauseMs, until - now), options.signal)
  }
}
