/**
 * Which components a change touches, in which order, and what of it needs a restart. Pure: carries nothing out.
 */
import type { Component } from './component.ts'
import { isContentChange } from './contents.ts'
import type { Change } from './diff.ts'
import { at, covers, parsePath, pathText, type Json, type Path } from './json.ts'

export interface Touched {
  readonly component: Component<unknown>
  readonly changes: readonly Change[]
  /** What of it cannot change while the process runs: concrete paths, keyed steps by key. */
  readonly restart: readonly Path[]
}

/**
 * Components in the order in which they are prepared: each after those it names, otherwise as declared.
 * @throws TypeError for a name given twice, an `after` that names nobody, or a circle.
 */
export function ordered(components: readonly Component<unknown>[]): Component<unknown>[] {
  const byName = new Map<string, Component<unknown>>()
  for (const component of components) {
    if (byName.has(component.name)) throw new TypeError(`two components are named ${JSON.stringify(component.name)}`)
    byName.set(component.name, component)
  }
  const out: Component<unknown>[] = []
  const placed = new Set<string>()
  const visit = (component: Component<unknown>, chain: readonly string[]) => {
    if (placed.has(component.name)) return
    if (chain.includes(component.name)) {
      throw new TypeError(`components wait for each other: ${[...chain, component.name].join(' after ')}`)
    }
    for (const name of component.after) {
      const before = byName.get(name)
      if (!before)
        throw new TypeError(
          `component ${JSON.stringify(component.name)} comes after ${JSON.stringify(name)}, which is not there`,
        )
      visit(before, [...chain, component.name])
    }
    placed.add(component.name)
    out.push(component)
  }
  for (const component of components) visit(component, [])
  return out
}

export function sliceOf(component: Component<unknown>, config: Json): unknown {
  return component.slice(component.paths.map((path) => at(config, parsePath(path))))
}

/** @param before `undefined` at the first start: everything is touched, nothing needs a restart. */
export function touchedBy(
  components: readonly Component<unknown>[],
  before: Json | undefined,
  after: Json,
  changes: readonly Change[],
  also: { readonly always: (component: Component<unknown>) => boolean; readonly restartPaths: readonly string[] },
): Touched[] {
  const out: Touched[] = []
  const readers = readersOf(components)
  const related = new Map<Component<unknown>, Change[]>()
  for (const change of changes) collect(readers.tree, change, related)
  for (const component of components) {
    const paths = readers.paths.get(component) ?? []
    const differs = before === undefined || paths.some((path) => at(before, path) !== at(after, path))
    const mine = related.get(component) ?? []
    if (!differs && !mine.some(isContentChange) && !also.always(component)) continue
    out.push({
      component,
      changes: mine,
      restart: before === undefined ? [] : restartPathsOf(component, mine, before, after, also.restartPaths),
    })
  }
  return out
}

/** Paths marked restart-only in the schema that changed although no component reads them. */
export function unreadRestarts(
  changes: readonly Change[],
  before: Json,
  after: Json,
  patterns: readonly string[],
): Path[] {
  const paths = patterns.map(parsePath)
  return changes.flatMap((change) => paths.flatMap((path) => restartsFor(path, change, before, after)))
}

/** What of them is held until the next start, for plans that show it beside what applies. */
export function heldParts(touched: readonly Touched[]): Touched[] {
  return touched
    .filter((t) => t.restart.length > 0)
    .map((t) => {
      const held = new Set(t.restart.map(pathText))
      const isHeld = ({ path }: Change) =>
        Array.from({ length: path.length + 1 }, (_, end) => path.slice(0, end)).some((above) =>
          held.has(pathText(above)),
        )
      return { ...t, changes: t.changes.filter(isHeld) }
    })
}

/** Who reads what: each component's paths, and all of them as a tree of steps. */
interface Readers {
  readonly paths: ReadonlyMap<Component<unknown>, readonly Path[]>
  readonly tree: Reading
}

interface Reading {
  readonly here: Component<unknown>[]
  readonly below: Map<string, Reading>
}

/** Made once for the components of an engine. */
const known = new WeakMap<readonly Component<unknown>[], Readers>()

function readersOf(components: readonly Component<unknown>[]): Readers {
  const found = known.get(components)
  if (found) return found
  const tree: Reading = { here: [], below: new Map() }
  const paths = new Map(components.map((component) => [component, component.paths.map(parsePath)]))
  for (const [component, all] of paths) {
    for (const path of all) {
      let node = tree
      for (const step of path) {
        const next: Reading = node.below.get(step) ?? { here: [], below: new Map() }
        node.below.set(step, next)
        node = next
      }
      node.here.push(component)
    }
  }
  known.set(components, { paths, tree })
  return { paths, tree }
}

/** Gives `change` to all who read what it is in, or something inside of it. */
function collect(tree: Reading, change: Change, related: Map<Component<unknown>, Change[]>): void {
  const give = ({ here }: Reading) => {
    for (const component of here) {
      const mine = related.get(component)
      if (mine === undefined) related.set(component, [change])
      else if (mine.at(-1) !== change) mine.push(change)
    }
  }
  let node: Reading | undefined = tree
  for (const step of change.path) {
    give(node)
    node = node.below.get(String(step))
    if (node === undefined) return
  }
  const inside = [node]
  for (let one = inside.pop(); one !== undefined; one = inside.pop()) {
    give(one)
    for (const next of one.below.values()) inside.push(next)
  }
}

function restartPathsOf(
  component: Component<unknown>,
  changes: readonly Change[],
  before: Json,
  after: Json,
  schemaPatterns: readonly string[],
): Path[] {
  const { hot } = component
  if (hot === 'none') return unique(changes.map((change) => change.path))
  const patterns = [...(hot === 'full' ? [] : hot.restartFor), ...schemaPatterns].map(parsePath)
  return unique(changes.flatMap((change) => patterns.flatMap((pattern) => restartsFor(pattern, change, before, after))))
}

/** The path at which `change` needs a restart because of `pattern`, if it does. */
function restartsFor(pattern: Path, change: Change, before: Json, after: Json): Path[] {
  if (change.kind === 'moved') return []
  if (covers(pattern, change.path)) {
    // An entry that comes or goes is not a change of its fields, and `plugins.*` is about entries that stay.
    if (change.kind !== 'changed' && change.path.length === pattern.length && pattern.at(-1) === '*') return []
    return [change.path]
  }
  // The change is above the pattern: something that holds the restart-only value came, went or changed its type.
  const head = pattern.slice(0, change.path.length)
  if (!covers(head, change.path) || pattern.slice(change.path.length - 1).includes('*')) return []
  return at(before, pattern) === at(after, pattern) ? [] : [pattern]
}

function unique(paths: readonly Path[]): Path[] {
  return [...new Map(paths.map((path) => [pathText(path), path])).values()]
}
