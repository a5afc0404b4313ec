/**
 * The weights of the risk model: one flat table that anyone can read. What they are multiplied with is `risk.ts`; what
 * came of them is judged by `risk-report.ts`.
 */

export interface Weights {
  /** From this score on the risk is medium, … */
  readonly mediumFrom: number
  /** … and from this one on it is high. */
  readonly highFrom: number

  /** It adds something. */
  readonly added: number
  /** It changes something. */
  readonly changed: number
  /** It puts entries in another order. */
  readonly moved: number
  /** It removes something. What is gone is missed at once, and by everyone. */
  readonly removed: number
  /** It removes all entries of a list or of a map: mostly somebody's mistake. */
  readonly emptied: number

  /** It changes a number by `jumpFrom` times or more, its sign, or from or to 0: mostly a digit too many, or too few. */
  readonly jump: number
  /** So many times: 10 is from 5 to 50, and from 50 to 5. */
  readonly jumpFrom: number

  /** It touches so large a share of the config as `bulkShare`; of less, as much less. */
  readonly bulk: number
  /** The share, 0 to 1, at which a change has all points of `bulk`. */
  readonly bulkShare: number
  /** A removed value counts as so many in the share. */
  readonly bulkRemoved: number
  /** A config with fewer values than this counts as having so many: one of two is no bulk. */
  readonly bulkLeast: number

  /** Some of it takes a restart. */
  readonly restart: number

  /** For each recent release that changed the same path and went badly, of the path with most of them … */
  readonly failedEach: number
  /** … but not more than this. */
  readonly failedMost: number
  /** A path that no recent release changed well; after some that did, as much less. */
  readonly unproven: number
  /** So many releases that changed a path and went well prove it. */
  readonly provenAfter: number

  /** The author's first release of the config; after some, as much less. */
  readonly newAuthor: number
  /** After so many releases an author is known. */
  readonly knownAfter: number

  /** For each release since the last that completed on all nodes … */
  readonly unstableEach: number
  /** … but not more than this. */
  readonly unstableMost: number

  /** It reaches all nodes of the control plane; for some of them, as much less. */
  readonly nodes: number

  /** It goes back to what ran well before: this part of all points, 0 to 1, is taken off. */
  readonly ranBefore: number

  /** So few nodes are not worth steps. */
  readonly fewNodes: number
  /** How much of the fleet the first step takes, in percent. */
  readonly firstPercent: number
  /** How many times as long a step is watched where the risk is high. */
  readonly longBake: number
}

export const defaultWeights: Weights = Object.freeze({
  mediumFrom: 30,
  highFrom: 60,

  added: 2,
  changed: 4,
  moved: 2,
  removed: 12,
  emptied: 25,

  jump: 30,
  jumpFrom: 10,

  bulk: 20,
  bulkShare: 0.5,
  bulkRemoved: 2,
  bulkLeast: 20,

  restart: 20,

  failedEach: 10,
  failedMost: 30,
  unproven: 8,
  provenAfter: 3,

  newAuthor: 12,
  knownAfter: 5,

  unstableEach: 4,
  unstableMost: 16,

  nodes: 10,

  ranBefore: 0.9,

  fewNodes: 2,
  firstPercent: 10,
  longBake: 3,
})
