/**
 * Values at paths as one tree of JSON, made anew only where it changed: what lies beside a change is the same object
 * as before, so that whoever compares has no work with it. Trees do not change; a document can keep its own.
 */
import type { Json, Path } from '../../json.ts'

/** `below` goes through `path`, which has a value. */
export interface Conflict<V> {
  readonly path: readonly string[]
  readonly above: readonly string[]
  readonly value: V
}

export interface Found<V> {
  readonly path: readonly string[]
  readonly value: V
}

interface Valued {
  readonly config: Json
}

/** A step. Changed only by the update that made it; its JSON, once made, stays. */
interface Node<V> {
  value: V | undefined
  below: Map<string, Node<V>> | undefined
  /** Whether `below` is in the order of its names. */
  isSorted: boolean
  json: Json | undefined
}

export class Tree<V extends Valued> {
  readonly #root: Node<V>

  private constructor(root: Node<V>) {
    this.#root = root
  }

  static empty<V extends Valued>(): Tree<V> {
    return new Tree<V>({ value: undefined, below: undefined, isSorted: true, json: undefined })
  }

  /** With other values at these paths, of at least one step; without one where it is undefined. */
  with(changes: Iterable<readonly [path: readonly string[], value: V | undefined]>): Tree<V> {
    const own = new Set<Node<V>>()
    const root = copied(this.#root, own)
    for (const [path, value] of changes) {
      if (value === undefined) removeAt(root, path, own)
      else nodeAt(root, path, own).value = value
    }
    return new Tree(root)
  }

  /** The tree; undefined if a value lies below another. The fields of an object are in the order of their names. */
  json(): Json | undefined {
    return this.#root.below ? jsonOf(this.#root) : {}
  }

  /** All values, each with its path. */
  values(): Iterable<Found<V>> {
    return valuesOf(this.#root, [])
  }

  conflicts(): Conflict<V>[] {
    const found: Conflict<V>[] = []
    collect(this.#root, [], undefined, found)
    return found
  }

  at(path: readonly string[]): V | undefined {
    let node: Node<V> | undefined = this.#root
    for (const step of path) node = node?.below?.get(step)
    return node?.value
  }

  /** The value at `path`, or the nearest above it. */
  nearest(path: Path): Found<V> | undefined {
    let found: Found<V> | undefined
    let node: Node<V> | undefined = this.#root
    for (const [i, step] of path.entries()) {
      node = node.below?.get(String(step))
      if (!node) break
      if (node.value) found = { path: path.slice(0, i + 1).map(String), value: node.value }
    }
    return found
  }
}

function copied<V>({ value, below, isSorted }: Node<V>, own: Set<Node<V>>): Node<V> {
  const copy = { value, below: below && new Map(below), isSorted, json: undefined }
  own.add(copy)
  return copy
}

/** The node at `path`, made where there is none, to be changed. */
function nodeAt<V>(root: Node<V>, path: readonly string[], own: Set<Node<V>>): Node<V> {
  let node = root
  for (const step of path) {
    const nodes: Map<string, Node<V>> = (node.below ??= new Map())
    let next = nodes.get(step)
    if (next === undefined) {
      next = { value: undefined, below: undefined, isSorted: true, json: undefined }
      own.add(next)
      nodes.set(step, next)
      node.isSorted = false
    } else if (!own.has(next)) {
      next = copied(next, own)
      nodes.set(step, next)
    }
    node = next
  }
  return node
}

function removeAt<V>(root: Node<V>, path: readonly string[], own: Set<Node<V>>): void {
  let there: Node<V> | undefined = root
  for (const step of path) there = there?.below?.get(step)
  if (there?.value === undefined) return
  nodeAt(root, path, own).value = undefined
  // A step without anything at or below it is none.
  let last: { readonly node: Node<V>; readonly step: string } | undefined
  let node = root
  for (const step of path) {
    if (last === undefined || node.value !== undefined || (node.below?.size ?? 0) > 1) last = { node, step }
    node = node.below?.get(step) as Node<V>
  }
  if (node.below || last === undefined) return
  last.node.below?.delete(last.step)
  if (last.node.below?.size === 0) last.node.below = undefined
}

function jsonOf<V extends Valued>(node: Node<V>): Json | undefined {
  if (!node.below) return node.value?.config
  if (node.json !== undefined) return node.json
  if (node.value) return undefined
  if (!node.isSorted) {
    node.below = new Map([...node.below].sort(([a], [b]) => (a < b ? -1 : 1)))
    node.isSorted = true
  }
  const object: Record<string, Json> = {}
  for (const [step, child] of node.below) {
    const json = jsonOf(child)
    if (json === undefined) return undefined
    object[step] = json
  }
  return (node.json = object)
}

function collect<V extends Valued>(
  node: Node<V>,
  path: readonly string[],
  above: readonly string[] | undefined,
  found: Conflict<V>[],
): void {
  if (node.value && above) found.push({ path, above, value: node.value })
  for (const [step, child] of node.below ?? []) collect(child, [...path, step], above ?? (node.value && path), found)
}

function* valuesOf<V extends Valued>(node: Node<V>, path: readonly string[]): Generator<Found<V>> {
  if (node.value) yield { path, value: node.value }
  for (const [step, child] of node.below ?? []) yield* valuesOf(child, [...path, step])
}
