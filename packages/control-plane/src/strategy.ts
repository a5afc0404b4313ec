/**
 * How a release reaches its nodes: in which steps, which node is in which, how long each is watched, and what must hold.
 * Pure. What users write is made into one of these in `strategies/`; what is done with it is `rollout.ts`.
 */
import type { GateSpec } from './gates/gate.ts'

export interface Strategy {
  /** What it was made from, in one word, for people. */
  readonly kind: StrategyKind
  /** 1 to 100. A node is in the first that selects it; the last selects all. */
  readonly steps: readonly Step[]
  /** Each step is prepared by all of its nodes before any of them commits. */
  readonly twoPhase: boolean
  /** Two-phase: how many nodes of a step may be missing when it is decided. They follow when they are back. */
  readonly absent: Absent
  /** Two-phase: how long a step's nodes have to vote, in milliseconds. */
  readonly prepareMs: number
  /** How long a step's nodes have to say that they run it, in milliseconds. */
  readonly applyMs: number
  /** So many nodes may fail, counted over all steps so far. */
  readonly maxFailed: number
  /** Whether nodes that report no health of their own count as unhealthy. */
  readonly probes: 'if-present' | 'required'
  /** Asked while a step bakes; each must pass before the next step. */
  readonly gates: readonly GateSpec[]
  /** A gate that has not passed so long after the bake time counts as failed, in milliseconds. */
  readonly gateMs: number
  /** After the last step: rolled back unless somebody confirms within this, in milliseconds. `null`: nobody has to. */
  readonly confirmMs: number | null
  /** A node reverts by itself unless its step is through within this, in milliseconds. `null`: it does not. */
  readonly revertMs: number | null
  /** What happens if another rollout of the config is under way. */
  readonly whenBusy: 'wait' | 'supersede'
}

export const strategyKinds = ['all-at-once', 'two-phase', 'staged', 'linear', 'exponential', 'by-zone'] as const
export type StrategyKind = (typeof strategyKinds)[number]

export interface Step {
  readonly select: Select
  /** How long it is watched before the next, in milliseconds. */
  readonly bakeMs: number
}

/** All that is given must hold; nothing given selects all. */
export interface Select {
  /** These labels with these values. */
  readonly labels?: Readonly<Record<string, string>>
  /** So many of those, more than 0 and at most 100, always the same ones, and always at least one if there is one. */
  readonly percent?: number
}

export type Absent =
  | { readonly kind: 'count'; readonly max: number }
  | { readonly kind: 'percent'; readonly max: number }
  /** So many in each zone, which is the value of this label. */
  | { readonly kind: 'per-zone'; readonly max: number; readonly label: string }

/** What places a node. */
export interface Placed {
  readonly uid: string
  readonly labels: Readonly<Record<string, string>>
}

/** The highest place that a step's percentage reaches; `null` where it has none. In the order of the steps. */
export type Cuts = readonly (number | null)[]

/**
 * Fixes which nodes a percentage means, by the nodes that are known now; those that come later find their step by the
 * same cuts. By rank and not by the bare hash: 10 % of three nodes is one of them, and not, most of the time, none.
 */
export function cutsOf(steps: readonly Step[], nodes: readonly Placed[]): Cuts {
  return steps.map(({ select: { percent, labels } }) => {
    if (percent === undefined) return null
    const places = nodes.filter((node) => hasLabels(node, labels)).map(({ uid }) => placeOf(uid))
    places.sort((a, b) => a - b)
    const count = Math.min(places.length, Math.max(1, Math.ceil((places.length * percent) / 100 - 1e-9)))
    // Without a node to go by, by the hash alone.
    return places[count - 1] ?? Math.floor((percent / 100) * highestPlace)
  })
}

/** The step that a node is in: 0 for the first. */
export function stepOf(steps: readonly Step[], cuts: Cuts, node: Placed): number {
  const last = steps.length - 1
  for (let i = 0; i < last; i++) {
    const { labels } = (steps[i] as Step).select
    const cut = cuts[i] ?? null
    if (hasLabels(node, labels) && (cut === null || placeOf(node.uid) <= cut)) return i
  }
  return last
}

function hasLabels(node: Placed, labels: Select['labels']): boolean {
  if (labels === undefined) return true
  for (const key in labels) if (!Object.hasOwn(node.labels, key) || node.labels[key] !== labels[key]) return false
  return true
}

const highestPlace = 2 ** 32 - 1

/** Where a node stands among all: spread evenly, and the same for ever (FNV-1a, with the last mixing of MurmurHash3). */
export function placeOf(uid: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < uid.length; i++) hash = Math.imul(hash ^ uid.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return (hash ^ (hash >>> 16)) >>> 0
}

/** How many may be missing of these. @param inZone missing nodes by zone, for the policy that counts them so. */
export function mayBeMissing(
  absent: Absent,
  missing: number,
  total: number,
  inZone: Readonly<Record<string, number>>,
): boolean {
  switch (absent.kind) {
    case 'count':
      return missing <= absent.max
    case 'percent':
      return missing * 100 <= absent.max * total
    case 'per-zone':
      return Object.values(inZone).every((count) => count <= absent.max)
  }
}
