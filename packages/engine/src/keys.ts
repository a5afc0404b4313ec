/**
 * Which arrays are keyed collections, and how an entry's key is read. Used wherever trees are compared; what a
 * component does with its entries is left to `keyed.ts`.
 */
import { isObject, parsePath, type Json } from './json.ts'

/**
 * Dotted path of an array (`*` for one step) → the field that identifies its entries:
 * `{ rules: 'id', 'pools.*.members': 'host' }`.
 */
export type Keys = Readonly<Record<string, string>>

/** The declared keys at and below one place of a tree. `undefined` stands for "none from here on down". */
export interface KeyNode {
  /** The array at this very place is keyed by this field. */
  field: string | undefined
  steps: Map<string, KeyNode>
  any: KeyNode | undefined
}

const compiled = new WeakMap<Keys, KeyNode>()

/** @throws SyntaxError if a path cannot be read. */
export function keyNode(keys: Keys | undefined): KeyNode | undefined {
  if (keys === undefined) return undefined
  let root = compiled.get(keys)
  if (root === undefined) {
    root = emptyNode()
    for (const [path, field] of Object.entries(keys)) insert(root, parsePath(path), field)
    compiled.set(keys, root)
  }
  return root.field === undefined && root.any === undefined && root.steps.size === 0 ? undefined : root
}

/** The keys below `name`: an object's key, or an entry's key or index. A step by name goes before `*`. */
export function below(node: KeyNode | undefined, name: string): KeyNode | undefined {
  if (node === undefined) return undefined
  return node.steps.get(name) ?? node.any
}

/** The key of an entry, or `undefined` if it has none: not an object, or its field is neither string nor number. */
export function keyOf(entry: Json | undefined, field: string): string | undefined {
  if (!isObject(entry)) return undefined
  const key = entry[field]
  return typeof key === 'string' ? key : typeof key === 'number' ? String(key) : undefined
}

function emptyNode(): KeyNode {
  return { field: undefined, steps: new Map(), any: undefined }
}

function insert(node: KeyNode, path: readonly string[], field: string): void {
  const [step, ...rest] = path
  if (step === undefined) {
    node.field ??= field
    return
  }
  if (step === '*') {
    node.any ??= emptyNode()
    insert(node.any, rest, field)
    // A place that is named by another path as well is also reached by this one.
    for (const child of node.steps.values()) insert(child, rest, field)
    return
  }
  let child = node.steps.get(step)
  if (child === undefined) {
    child = emptyNode()
    if (node.any !== undefined) merge(child, node.any)
    node.steps.set(step, child)
  }
  insert(child, rest, field)
}

function merge(into: KeyNode, from: KeyNode): void {
  into.field ??= from.field
  for (const [step, child] of from.steps) {
    const own = into.steps.get(step) ?? emptyNode()
    merge(own, child)
    into.steps.set(step, own)
  }
  if (from.any !== undefined) {
    into.any ??= emptyNode()
    merge(into.any, from.any)
  }
}
