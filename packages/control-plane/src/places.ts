/**
 * The places that a change touches: its paths as a tree of bounded size, so that what is asked of each place costs the
 * same however large the change is. Pure.
 */
import { parsePath, pathText, type Path } from 'midflight'

export type ChangeKind = 'added' | 'removed' | 'changed' | 'moved'

/** A change as the engine lists or shows it: paths as steps or as text. */
export interface ChangedPath {
  readonly kind: ChangeKind
  readonly path: string | Path
}

export interface Place {
  readonly path: Path
  /** What happened to what stands here, as a whole; empty if all that happened is below. */
  readonly kinds: ReadonlySet<ChangeKind>
  readonly children: ReadonlyMap<string, Place>
  /** The only child stands for all of many, whatever its name. */
  readonly merged: boolean
  /** So many different children were removed. */
  readonly removed: number
}

interface Growing extends Place {
  readonly kinds: Set<ChangeKind>
  children: Map<string, Growing>
  merged: boolean
  removed: number
}

/** The name of the child that stands for many. */
const anyStep = '*'
/** What is deeper counts as a change of what stands here. */
const maxDepth = 32
/** Beyond so many, what has no place of its own yet counts as a change of what it stands in. */
const maxGrown = 200_000

/** @param max places beside the root: the widest ones give up their names first where there would be more. */
export function placesOf(changes: Iterable<ChangedPath>, max = 1000): Place {
  const root = grown([])
  let count = 0
  for (const { kind, path } of changes) {
    const steps = stepsOf(path)
    let place = root
    let parent: Growing | undefined
    let depth = 0
    for (; depth < Math.min(steps.length, maxDepth); depth++) {
      const name = String(steps[depth])
      let child = place.children.get(name)
      if (child === undefined) {
        if (count === maxGrown) break
        count++
        child = grown([...place.path, name])
        place.children.set(name, child)
      }
      parent = place
      place = child
    }
    const isWhole = depth === steps.length
    if (isWhole && kind === 'removed' && parent !== undefined && !place.kinds.has(kind)) parent.removed++
    place.kinds.add(isWhole ? kind : 'changed')
  }
  narrow(root, max)
  return root
}

function grown(path: Path): Growing {
  return { path, kinds: new Set(), children: new Map(), merged: false, removed: 0 }
}

/** What is no path (it was shown with something covered, or comes from elsewhere) is one step. */
export function stepsOf(path: string | Path): Path {
  if (typeof path !== 'string') return path
  // Reading a path takes time in the square of its quoted part.
  if (path.length > maxPathText) return [path]
  try {
    return parsePath(path)
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error
    return [path]
  }
}

const maxPathText = 4096

/** From the top, so that the names that are kept are the most telling ones. */
function narrow(root: Growing, max: number): void {
  let level = [root]
  let places = 0
  while (level.length > 0) {
    const next: Growing[] = []
    // Narrow ones first: one wide list must not cost all others their names.
    for (const place of level.toSorted((a, b) => a.children.size - b.children.size)) {
      if (places + place.children.size > max && place.children.size > 0) merge(place)
      places += place.children.size
      for (const child of place.children.values()) next.push(child)
    }
    level = next
  }
}

function merge(place: Growing): void {
  const all = grown([...place.path, anyStep])
  for (const child of place.children.values()) join(all, child)
  place.children = new Map([[anyStep, all]])
  place.merged = true
}

function join(into: Growing, from: Growing): void {
  for (const kind of from.kinds) into.kinds.add(kind)
  into.removed += from.removed
  for (const [name, child] of from.children) {
    let own = into.children.get(name)
    if (own === undefined) {
      own = grown([...into.path, name])
      into.children.set(name, own)
    }
    join(own, child)
  }
}

/** For people. */
export function placeText(place: Place): string {
  return pathText(place.path)
}
