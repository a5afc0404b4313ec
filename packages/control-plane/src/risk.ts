/**
 * The risk of a change, as points with reasons, and the strategy that follows from it. Pure, and the same for the same
 * input. What is known of the past is gathered by `risk-history.ts`; it knows paths and counts, and no values.
 */
import { defaultWeights, type Weights } from './risk-weights.ts'

/** What is to be judged. Counts are 0 or more; what is none of that counts as 0. */
export interface RiskInput {
  readonly changes: readonly RiskChange[]
  /** How many values the config has before the change: scalars, and containers with nothing in them. */
  readonly values: number
  /** Lists and maps that lose all of their entries: their paths. */
  readonly emptied: readonly string[]
  /** What of the change takes a restart: paths. */
  readonly restartPaths: readonly string[]
  /** For each path that is touched. */
  readonly past: readonly PastChanges[]
  /** How many of the newest releases were looked at for it. */
  readonly looked: number
  /** How many of those are the author's. */
  readonly authorReleases: number
  /** How many releases there were since the last that completed on all nodes; `null`: it is not known of any. */
  readonly sinceStable: number | null
  readonly nodes: NodesReached
  /** The release that held this very content and ran well; `null`: there is none. */
  readonly returnsTo: number | null
  /** The schema marks what is touched as something that nodes must agree on (`x-midflight-consistent`). */
  readonly consistent: boolean
}

export interface RiskChange {
  readonly kind: 'added' | 'removed' | 'changed' | 'moved'
  readonly path: string
  /** How many values come, go or change with it: 1, unless it is a whole list or object. */
  readonly values: number
  /** A number that changes: by how many times, 1 or more; `Infinity` if it changes its sign, or is or becomes 0. */
  readonly jump?: number
}

export interface PastChanges {
  readonly path: string
  /** How many releases changed what is there; those that only went back do not count. */
  readonly changed: number
  /** How many of those were rolled back, or failed on nodes. */
  readonly bad: number
}

export interface NodesReached {
  /** Nodes that follow the config. */
  readonly affected: number
  /** All nodes of the control plane. */
  readonly total: number
}

export type RiskLevel = 'low' | 'medium' | 'high'

/** What points are given for. A name stays what it is: records are judged by it. */
export type Factor =
  | 'added'
  | 'changed'
  | 'moved'
  | 'removed'
  | 'emptied'
  | 'jump'
  | 'bulk'
  | 'restart'
  | 'failed-before'
  | 'unproven'
  | 'new-author'
  | 'unstable'
  | 'nodes'
  | 'ran-before'

export interface RiskReason {
  readonly factor: Factor
  /** A whole number, not 0; less than 0 where it speaks for the change. */
  readonly points: number
  /** For people: what the points are for. */
  readonly text: string
}

export interface Risk {
  /** The sum of the points of all reasons; 0 to 100. */
  readonly score: number
  readonly level: RiskLevel
  /** Most points first. */
  readonly reasons: readonly RiskReason[]
  readonly recommended: Recommendation
}

export type Recommendation =
  | {
      readonly strategy: 'all-at-once' | 'two-phase'
      /** One sentence. */
      readonly why: string
    }
  | {
      readonly strategy: 'staged'
      readonly why: string
      /** The first step, in percent of the nodes. */
      readonly firstPercent: number
      /** How many times as long as usual each step is watched. */
      readonly bakeFactor: number
    }

export function riskOf(input: RiskInput, weights: Weights = defaultWeights): Risk {
  const given = factors.flatMap(([factor, find]): RiskReason[] => {
    const { points, text } = find(input, weights)
    const rounded = Math.round(points)
    return rounded === 0 ? [] : [{ factor, points: rounded, text }]
  })
  const sum = total(given)
  const reasons = [...given, ...ranBefore(input, weights, sum)]
  reasons.sort((a, b) => b.points - a.points)
  const score = Math.min(Math.max(total(reasons), 0), 100)
  const level = score >= weights.highFrom ? 'high' : score >= weights.mediumFrom ? 'medium' : 'low'
  return { score, level, reasons, recommended: recommended(input, level, weights) }
}

function total(reasons: readonly RiskReason[]): number {
  return reasons.reduce((sum, { points }) => sum + points, 0)
}

interface Found {
  readonly points: number
  readonly text: string
}
type Find = (input: RiskInput, weights: Weights) => Found

/** Each never falls when the change grows or when its past gets worse. */
const factors: readonly (readonly [Factor, Find])[] = [
  ['added', ofKind('added', 'adds')],
  ['changed', ofKind('changed', 'changes')],
  ['moved', ofKind('moved', 'moves')],
  ['removed', ofKind('removed', 'removes')],
  ['emptied', emptied],
  ['jump', jump],
  ['bulk', bulk],
  ['restart', restart],
  ['failed-before', failedBefore],
  ['unproven', unproven],
  ['new-author', newAuthor],
  ['unstable', unstable],
  ['nodes', nodes],
]

function ofKind(kind: 'added' | 'changed' | 'moved' | 'removed', verb: string): Find {
  return ({ changes }, weights) => {
    const mine = changes.filter((change) => change.kind === kind)
    return {
      points: mine.length === 0 ? 0 : weights[kind],
      text: `${verb} ${counted(valuesIn(mine), 'value')}: ${pathsText(mine.map(({ path }) => path))}`,
    }
  }
}

function emptied({ changes, emptied: paths }: RiskInput, weights: Weights): Found {
  const all = [...paths, ...changes.filter(isWildcardRemoval).map(({ path }) => path)]
  return {
    points: all.length === 0 ? 0 : weights.emptied,
    text: `removes everything that was in ${pathsText(all)}`,
  }
}

function isWildcardRemoval({ kind, path }: RiskChange): boolean {
  return kind === 'removed' && (path === '' || path === '*' || path.endsWith('.*'))
}

function jump({ changes }: RiskInput, weights: Weights): Found {
  const far = changes.filter((change) => (change.jump ?? 1) >= weights.jumpFrom)
  const most = far.reduce((times, change) => Math.max(times, change.jump ?? 1), 1)
  const by = most === Infinity ? 'to 0, from 0 or to another sign' : `by ${Math.round(most)} times`
  return { points: far.length === 0 ? 0 : weights.jump, text: `takes ${pathsText(far.map(({ path }) => path))} ${by}` }
}

function bulk({ changes, values }: RiskInput, weights: Weights): Found {
  const touched = valuesIn(changes)
  const removed = valuesIn(changes.filter(({ kind }) => kind === 'removed'))
  const weighed = touched + removed * (weights.bulkRemoved - 1)
  const all = Math.max(amount(values), weights.bulkLeast)
  return {
    points: weights.bulk * Math.min(1, weighed / all / weights.bulkShare),
    text: `touches ${counted(touched, 'value')} where there were ${amount(values)}`,
  }
}

function restart({ restartPaths }: RiskInput, weights: Weights): Found {
  return {
    points: restartPaths.length === 0 ? 0 : weights.restart,
    text: `takes a restart for ${pathsText(restartPaths)}`,
  }
}

function failedBefore({ past, looked }: RiskInput, weights: Weights): Found {
  const worst = past.reduce<PastChanges | undefined>(
    (most, next) => (most === undefined || amount(next.bad) > amount(most.bad) ? next : most),
    undefined,
  )
  if (worst === undefined) return { points: 0, text: '' }
  const { path, changed, bad } = worst
  return {
    points: Math.min(weights.failedMost, weights.failedEach * amount(bad)),
    text: `${pathText(path)} was changed ${times(changed)} in the last ${counted(looked, 'release')}, and ${amount(bad)} of those went badly`,
  }
}

function unproven({ changes, past, looked }: RiskInput, weights: Weights): Found {
  if (changes.length === 0) return { points: 0, text: '' }
  const least = past.reduce<PastChanges | undefined>(
    (found, next) => (found === undefined || good(next) < good(found) ? next : found),
    undefined,
  )
  const proven = least === undefined ? 0 : good(least)
  const where = pathText(least?.path ?? changes[0]?.path ?? '')
  const recent = looked === 1 ? 'in the one release so far' : `in the last ${counted(looked, 'release')}`
  return {
    points: weights.unproven * (1 - Math.min(proven, weights.provenAfter) / weights.provenAfter),
    text:
      looked === 0
        ? 'no release came before it'
        : `${where} was ${proven === 0 ? 'never changed well' : `changed well only ${times(proven)}`} ${recent}`,
  }
}

function good({ changed, bad }: PastChanges): number {
  return Math.max(0, amount(changed) - amount(bad))
}

function newAuthor({ authorReleases }: RiskInput, weights: Weights): Found {
  const before = amount(authorReleases)
  return {
    points: weights.newAuthor * (1 - Math.min(before, weights.knownAfter) / weights.knownAfter),
    text:
      before === 0 ? 'is the first release by its author' : `its author has made ${counted(before, 'release')} so far`,
  }
}

function unstable({ sinceStable }: RiskInput, weights: Weights): Found {
  const since = sinceStable === null ? 0 : amount(sinceStable)
  return {
    points: Math.min(weights.unstableMost, weights.unstableEach * since),
    text: `the last ${counted(since, 'release')} did not complete on all nodes`,
  }
}

function nodes({ nodes: { affected, total: all } }: RiskInput, weights: Weights): Found {
  const share = amount(all) === 0 ? 0 : Math.min(1, amount(affected) / amount(all))
  return {
    points: weights.nodes * share,
    text: `reaches ${amount(affected)} of ${counted(all, 'node')}`,
  }
}

/** A part of all other points, so that it is low however bad what it undoes was. */
function ranBefore({ returnsTo }: RiskInput, weights: Weights, sum: number): RiskReason[] {
  const points = Math.round(weights.ranBefore * sum)
  if (returnsTo === null || points === 0) return []
  return [
    { factor: 'ran-before', points: -points, text: `goes back to what release ${returnsTo} held, which ran well` },
  ]
}

function recommended(input: RiskInput, level: RiskLevel, weights: Weights): Recommendation {
  const affected = amount(input.nodes.affected)
  if (affected <= 1) {
    return { strategy: 'all-at-once', why: `${affected === 0 ? 'No node follows' : 'One node follows'} the config.` }
  }
  if (input.consistent) {
    return { strategy: 'two-phase', why: 'The schema says that nodes must agree on what is touched.' }
  }
  if (affected <= weights.fewNodes) {
    return { strategy: 'all-at-once', why: `${affected} nodes are too few for steps.` }
  }
  if (level === 'low') return { strategy: 'all-at-once', why: 'The risk is low.' }
  const { firstPercent } = weights
  const bakeFactor = level === 'high' ? weights.longBake : 1
  const watched = level === 'high' ? ', each step watched longer' : ''
  return {
    strategy: 'staged',
    why: `The risk is ${level}: ${firstPercent} % of the nodes first${watched}.`,
    firstPercent,
    bakeFactor,
  }
}

function valuesIn(changes: readonly RiskChange[]): number {
  return changes.reduce((sum, { values }) => sum + Math.max(1, amount(values)), 0)
}

/** What is no count is none: a score is a number whatever comes in. */
function amount(value: number): number {
  return Number.isFinite(value) && value > 0 ? value : 0
}

function counted(value: number, noun: string): string {
  return `${amount(value)} ${noun}${amount(value) === 1 ? '' : 's'}`
}

function times(value: number): string {
  return amount(value) === 0 ? 'never' : amount(value) === 1 ? 'once' : `${amount(value)} times`
}

const maxPaths = 3
const maxPathLength = 80

function pathsText(paths: readonly string[]): string {
  const shown = paths.slice(0, maxPaths).map(pathText)
  const more = paths.length - shown.length
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ')
}

/** On one line, however it was named. */
function pathText(path: string): string {
  if (path === '') return 'the root'
  const cut = path.length <= maxPathLength ? path : `${path.slice(0, maxPathLength)}…`
  return cut.replaceAll(/\p{C}|\p{Zl}|\p{Zp}/gu, (found) => `\\u{${found.codePointAt(0)?.toString(16)}}`)
}
