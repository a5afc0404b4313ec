/**
 * Finds what differs between two JSON trees. References are compared first, so that two snapshots that share
 * structure cost what their differences cost; trees that share nothing are compared in full.
 */
import { align } from './align.ts'
import { none, type Delta, type Kept } from './delta.ts'
import { isArray, isObject, type Json, type JsonObject } from './json.ts'
import { below, keyNode, keyOf, type KeyNode, type Keys } from './keys.ts'

/** What makes `after` of `before`. Entries of the arrays in `keys` belong together by their key, not by their place. */
export function diff(before: Json, after: Json, keys?: Keys): Delta {
  return diffValue(before, after, keyNode(keys))
}

function diffValue(before: Json, after: Json, node: KeyNode | undefined): Delta {
  if (before === after) return none
  if (isObject(before) && isObject(after)) return diffObject(before, after, node)
  if (isArray(before) && isArray(after)) return diffList(before, after, node)
  return { op: 'set', before, after }
}

function diffObject(before: JsonObject, after: JsonObject, node: KeyNode | undefined): Delta {
  let fields: Map<string, Delta> | undefined
  let common = 0
  for (const key in after) {
    const value = after[key] as Json
    const old = before[key]
    if (value === old) {
      common++
      continue
    }
    // What `before` only inherits (`toString`) is a function, and no value of ours.
    if (old === undefined || typeof old === 'function') {
      fields ??= new Map()
      fields.set(key, { op: 'set', before: undefined, after: value })
      continue
    }
    common++
    const delta = diffValue(old, value, below(node, key))
    if (delta.op === 'none') continue
    fields ??= new Map()
    fields.set(key, delta)
  }
  for (const _ in before) common--
  if (common < 0) {
    fields ??= new Map()
    for (const key in before) {
      if (!Object.hasOwn(after, key)) fields.set(key, { op: 'set', before: before[key] as Json, after: undefined })
    }
  }
  return fields === undefined ? none : { op: 'object', fields }
}

function diffList(before: readonly Json[], after: readonly Json[], node: KeyNode | undefined): Delta {
  const field = node?.field
  const { removed, added, pairs } = align(before, after, field)
  const kept: Kept[] = []
  for (const { from, to, moved, equal } of pairs) {
    if (equal && !moved) continue
    const value = after[to] as Json
    const key = field === undefined ? undefined : keyOf(value, field)
    const delta = diffValue(before[from] as Json, value, node && below(node, key ?? String(to)))
    if (moved || delta.op !== 'none') kept.push({ from, to, moved, key, delta })
  }
  if (removed.length === 0 && added.length === 0 && kept.length === 0) return none
  return {
    op: 'list',
    field,
    lengthBefore: before.length,
    lengthAfter: after.length,
    removed: removed.map((index) => ({ index, value: before[index] as Json })),
    added: added.map((index) => ({ index, value: after[index] as Json })),
    kept,
  }
}
