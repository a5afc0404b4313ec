/**
 * What a change would mean for the fleet before it is published: which nodes follow, what their components do with it,
 * and how much of the fleet that is. Pure, from what nodes have said of themselves; whether it is wise is `risk.ts`.
 */
import { pathText, type Path } from 'midflight'
import { placesOf, stepsOf, type ChangedPath, type Place } from './places.ts'
import type { NodeRecord } from './store.ts'

export interface FleetPlanInput {
  readonly config: string
  /** All nodes that are known, of whatever config. */
  readonly nodes: Iterable<PlannedNode>
  readonly isAway: (uid: string) => boolean
  readonly changes: Iterable<ChangedPath>
  /** What the schema marks as applied by a restart only, and is touched. */
  readonly restartPaths: readonly string[]
}

export interface PlannedNode extends Pick<NodeRecord, 'uid' | 'config' | 'labels' | 'agent'> {
  readonly components?: readonly ReportedComponent[]
}

export interface ReportedComponent {
  readonly name: string
  /** `full`, `partial` or `none`. */
  readonly hot: unknown
  readonly restartFor: readonly string[]
  /** What it reads; not told: it may read anything. */
  readonly paths?: readonly string[]
}

export interface FleetPlan {
  /** Nodes that follow the config and are there. */
  readonly present: number
  /** Nodes that follow it and were not heard of for longer than their lease: they take it when they are back. */
  readonly away: { readonly count: number; readonly uids: readonly string[] }
  readonly reach: Reach
  /** By the value of the label `zone`, those it reaches most first; empty if no node that follows has one. */
  readonly zones: readonly ZoneReach[]
  /** Zones beyond those listed. */
  readonly moreZones: number
  /** Distinct kinds of nodes among those that follow, the most frequent first. */
  readonly kinds: readonly NodeKind[]
  /** Beyond those listed: nobody looked at what their components do. */
  readonly more: { readonly kinds: number; readonly nodes: number }
  /** Nodes of the listed kinds of which a part needs a restart. */
  readonly restarts: number
}

/** How many follow, away or not, of how many that are known. */
export interface Reach {
  readonly nodes: number
  readonly of: number
  /** 0 to 1. */
  readonly share: number
}

export interface ZoneReach extends Reach {
  readonly zone: string
}

export interface NodeKind {
  readonly agent: { readonly name: string; readonly version: string }
  readonly nodes: number
  /** Some of them. */
  readonly uids: readonly string[]
  /** Those that the change may touch, restarts first; `null`: these nodes have not said what they consist of. */
  readonly components: readonly ComponentPlan[] | null
  readonly moreComponents: number
  /** For these, marked in the schema, or for what a component said, it takes a restart. */
  readonly restart: boolean
}

export interface ComponentPlan {
  readonly name: string
  /** `hot`: it takes this while it runs, if it reads it at all. */
  readonly action: 'hot' | 'restart'
  /** What of the change needs the restart: some of it. */
  readonly restartPaths: readonly string[]
}

const maxUids = 20
const maxExamples = 3
const maxZones = 50
const maxKinds = 20
const maxComponents = 50
const maxPathsShown = 5
const maxPlaces = 300

export function fleetPlan(input: FleetPlanInput): FleetPlan {
  const away: string[] = []
  const zones = new Map<string, { nodes: number; of: number }>()
  const kinds = new Map<string, { node: PlannedNode; nodes: number; uids: string[] }>()
  let awayCount = 0
  let followers = 0
  let all = 0
  for (const node of input.nodes) {
    all++
    const follows = node.config === input.config
    countZone(zones, node.labels, follows)
    if (!follows) continue
    followers++
    if (input.isAway(node.uid)) {
      awayCount++
      if (away.length < maxUids) away.push(node.uid)
    }
    const key = JSON.stringify([node.agent.name, node.agent.version, node.components])
    const kind = kinds.get(key) ?? { node, nodes: 0, uids: [] }
    kinds.set(key, kind)
    kind.nodes++
    if (kind.uids.length < maxExamples) kind.uids.push(node.uid)
  }
  const touch = touchOf(input)
  const sorted = [...kinds].toSorted(([a, x], [b, y]) => y.nodes - x.nodes || byText(a, b)).map(([, kind]) => kind)
  const listed = sorted.slice(0, maxKinds).map(({ node, nodes, uids }): NodeKind => {
    return { agent: node.agent, nodes, uids, ...componentsPlanned(node, touch) }
  })
  const unlisted = sorted.slice(maxKinds)
  const reached = [...zones].filter(([, { nodes }]) => nodes > 0)
  reached.sort(([a, x], [b, y]) => y.nodes - x.nodes || byText(a, b))
  return {
    present: followers - awayCount,
    away: { count: awayCount, uids: away },
    reach: reachOf(followers, all),
    zones: reached.slice(0, maxZones).map(([zone, { nodes, of }]) => ({ zone, ...reachOf(nodes, of) })),
    moreZones: Math.max(0, reached.length - maxZones),
    kinds: listed,
    more: { kinds: unlisted.length, nodes: sum(unlisted) },
    restarts: sum(listed.filter(({ restart }) => restart)),
  }
}

function countZone(
  zones: Map<string, { nodes: number; of: number }>,
  labels: PlannedNode['labels'],
  follows: boolean,
): void {
  const zone = Object.hasOwn(labels, 'zone') ? labels['zone'] : undefined
  if (zone === undefined) return
  const counts = zones.get(zone) ?? { nodes: 0, of: 0 }
  zones.set(zone, counts)
  counts.of++
  if (follows) counts.nodes++
}

function reachOf(nodes: number, of: number): Reach {
  return { nodes, of, share: of === 0 ? 0 : nodes / of }
}

function sum(kinds: readonly { readonly nodes: number }[]): number {
  return kinds.reduce((total, { nodes }) => total + nodes, 0)
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** What a component's patterns come to; each is looked at once for the whole fleet. */
interface Touch {
  readonly isMarked: boolean
  /** What of the change is at or below, or above the pattern. */
  related(pattern: string): readonly string[]
  /** What of it needs a restart because of the pattern. */
  restarts(pattern: string): readonly string[]
}

function touchOf({ changes, restartPaths }: FleetPlanInput): Touch {
  const places = placesOf(changes, maxPlaces)
  return {
    isMarked: restartPaths.length > 0,
    related: remembered((pattern) => search(places, stepsOf(pattern), true)),
    restarts: remembered((pattern) => search(places, stepsOf(pattern), false)),
  }
}

function remembered<T>(find: (pattern: string) => T): (pattern: string) => T {
  const known = new Map<string, T>()
  return (pattern) => {
    const value = known.get(pattern) ?? find(pattern)
    known.set(pattern, value)
    return value
  }
}

type Components = Pick<NodeKind, 'components' | 'moreComponents' | 'restart'>

function componentsPlanned({ components }: PlannedNode, touch: Touch): Components {
  if (components === undefined) return { components: null, moreComponents: 0, restart: touch.isMarked }
  const planned = components.flatMap((component): ComponentPlan[] => {
    const { name, paths } = component
    if (paths !== undefined && !paths.some((path) => touch.related(path).length > 0)) return []
    const restartPaths = restartPathsOf(component, touch)
    const silent = component.hot === 'none' && component.restartFor.length === 0 && paths === undefined
    const action = silent || restartPaths.length > 0 ? 'restart' : 'hot'
    return [{ name, action, restartPaths }]
  })
  const restarts = planned.filter(({ action }) => action === 'restart')
  const sorted = [...restarts, ...planned.filter(({ action }) => action === 'hot')]
  return {
    components: sorted.slice(0, maxComponents),
    moreComponents: Math.max(0, sorted.length - maxComponents),
    restart: touch.isMarked || restarts.length > 0,
  }
}

/** One that takes nothing needs a restart for all that it reads, which is what it names then. */
function restartPathsOf({ hot, restartFor, paths }: ReportedComponent, touch: Touch): readonly string[] {
  const found = new Set<string>()
  const patterns = hot === 'none' && restartFor.length === 0 ? (paths ?? []) : restartFor
  for (const pattern of patterns) {
    for (const path of hot === 'none' ? touch.related(pattern) : touch.restarts(pattern)) found.add(path)
    if (found.size >= maxPathsShown) break
  }
  return [...found].slice(0, maxPathsShown)
}

/**
 * Some of the places that a pattern (`*` for one step) is about. As the engine does it: an entry that comes or goes is
 * not a change of its fields. Without values it cannot be told whether a field within what was replaced is the same; it
 * counts as another.
 * @param any coming, going and moving too.
 */
function search(root: Place, pattern: Path, any: boolean): readonly string[] {
  const found = new Set<string>()
  const counts = (place: Place, depth: number): boolean => {
    const kinds = [...place.kinds].filter((kind) => any || kind !== 'moved')
    if (kinds.length === 0) return false
    if (any) return true
    if (depth < pattern.length) return !pattern.slice(Math.max(0, depth - 1)).includes('*')
    return depth > pattern.length || pattern.at(-1) !== '*' || kinds.includes('changed')
  }
  const visit = (place: Place, depth: number): void => {
    if (found.size >= maxPathsShown) return
    if (counts(place, depth)) found.add(pathText(depth < pattern.length && !any ? pattern : place.path))
    const step = pattern[depth]
    if (step === undefined || step === '*' || place.merged) {
      for (const child of place.children.values()) visit(child, depth + 1)
      return
    }
    const child = place.children.get(String(step))
    if (child !== undefined) visit(child, depth + 1)
  }
  visit(root, 0)
  return [...found]
}
