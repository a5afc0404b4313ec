/**
 * Snapshots: frozen JSON trees in which equal subtrees are the same object as in the snapshot before, so that "did
 * it change?" is a comparison of references. Whether a value may become one is `check.ts`; what differs between two
 * is `diff.ts`.
 */
import { align, remember, type Pair } from './align.ts'
import { equal } from './equal.ts'
import type { Json } from './json.ts'
import { below, keyNode, keyOf, type KeyNode, type Keys } from './keys.ts'

export { check, copyOf, defaultLimits, mostDepth, type Limits } from './check.ts'
export { equal } from './equal.ts'
export type { Keys } from './keys.ts'

/**
 * `next` with every subtree that equals the one in `live` replaced by `live`'s very object, deeply frozen; `live`
 * itself if all is equal. Entries of keyed arrays are compared with the entry of the same key, those of other arrays
 * with their equal nearby, or else with the one at their place.
 *
 * Takes `next` over: what is not frozen yet is changed in place (to an equal value) and frozen. `next` has passed
 * `check`, and `live` is a snapshot.
 */
export function share(next: Json, live: Json | undefined, keys: Keys): Json {
  return shareValue(next, live, keyNode(keys))
}

/** Freezes a tree, and returns it. Looks below what is frozen already: that may hold what is not. */
export function freezeDeep<T extends Json>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const entry = value[i] as Json
      if (typeof entry === 'object' && entry !== null) freezeDeep(entry)
    }
  } else {
    for (const key in value) {
      const field = (value as Record<string, Json>)[key] as Json
      if (typeof field === 'object' && field !== null) freezeDeep(field)
    }
  }
  return Object.freeze(value)
}

function shareValue(next: Json, live: Json | undefined, node: KeyNode | undefined): Json {
  if (next === live) return next
  if (typeof next !== 'object' || next === null) return next
  if (typeof live !== 'object' || live === null || Array.isArray(next) !== Array.isArray(live)) return freezeDeep(next)
  if (Array.isArray(next)) return shareList(next, live as readonly Json[], node)
  return shareObject(next as Record<string, Json>, live as Record<string, Json>, node)
}

function shareObject(next: Record<string, Json>, live: Record<string, Json>, node: KeyNode | undefined): Json {
  let out: Record<string, Json> | undefined
  let same = true
  let surplus = 0
  for (const key in next) {
    surplus++
    const value = next[key] as Json
    const old = live[key]
    if (value === old) continue
    // What `live` only inherits (`toString`) is a function, and no value of ours.
    const shared = shareValue(value, typeof old === 'function' ? undefined : old, below(node, key))
    if (shared !== old) same = false
    if (shared !== value) {
      out ??= Object.isFrozen(next) ? { ...next } : next
      out[key] = shared
    }
  }
  if (same) {
    for (const _ in live) surplus--
    if (surplus === 0) return live
  }
  return Object.freeze(out ?? next)
}

function shareList(next: readonly Json[], live: readonly Json[], node: KeyNode | undefined): Json {
  const field = node?.field
  const { removed, added, pairs } = align(live, next, field)
  const out = Object.isFrozen(next) ? [...next] : (next as Json[])
  const changed: Pair[] = []
  let same = removed.length === 0 && added.length === 0
  let replaced = false
  for (const pair of pairs) {
    const entry = next[pair.to] as Json
    const old = live[pair.from] as Json
    let shared = entry
    // Most entries are equal: comparing them first keeps that case free of writes.
    if (entry === old || pair.equal || equal(entry, old)) shared = old
    else {
      const key = field === undefined ? undefined : keyOf(entry, field)
      shared = shareValue(entry, old, node && below(node, key ?? String(pair.to)))
    }
    if (shared !== old || pair.moved) {
      same = false
      changed.push(pair)
    }
    if (shared === entry) continue
    out[pair.to] = shared
    replaced = true
  }
  if (same) return live
  for (const index of added) freezeDeep(next[index] as Json)
  const result = Object.freeze(replaced ? out : next)
  remember(live, result, field, { removed, added, pairs: changed })
  return result
}
