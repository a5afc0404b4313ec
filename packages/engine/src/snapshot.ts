/**
 * Snapshots: frozen JSON trees in which equal subtrees are the same object as in the snapshot before, so that "did
 * it change?" is a comparison of references. Whether a value may become one is `check.ts`; what differs between two
 * is `diff.ts`.
 */
import { equal } from './equal.ts'
import type { Json } from './json.ts'
import { below, keyNode, keyOf, type KeyNode, type Keys } from './keys.ts'

export { check, defaultLimits, type Limits } from './check.ts'
export { equal } from './equal.ts'
export type { Keys } from './keys.ts'

/** How far an entry that is not where it was is looked for, before its key is looked up. */
const lookAhead = 32
/** How far back, in lists without a key. */
const lookBack = 8

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

function shareList(next: readonly Json[], liveList: readonly Json[], node: KeyNode | undefined): Json {
  // A copy, because reading the entries of a frozen list takes five times as long.
  const live = liveList.length > 16 ? liveList.slice() : liveList
  const find = node?.field === undefined ? finderByContent(live) : finderByKey(live, node.field)
  let out: Json[] | undefined
  let same = next.length === live.length
  /** Where in `live` the next entry is expected. */
  let expected = 0
  for (let i = 0; i < next.length; i++) {
    const entry = next[i] as Json
    let shared = entry
    if (entry === live[expected]) expected++
    else if (typeof entry === 'object' && entry !== null) {
      const found = find(entry, expected)
      if (found >= 0) expected = found + 1
      const isKeyed = node?.field !== undefined
      const old = found >= 0 ? live[found] : isKeyed ? undefined : live[expected]
      // Most entries are equal: comparing them first keeps that case free of writes.
      if (old !== undefined && equal(entry, old)) shared = old
      else shared = shareValue(entry, old, node && below(node, (node.field && keyOf(entry, node.field)) ?? String(i)))
    } else expected++
    if (same && shared !== live[i]) same = false
    if (shared !== entry) {
      out ??= Object.isFrozen(next) ? [...next] : (next as Json[])
      out[i] = shared
    }
  }
  return same ? liveList : Object.freeze(out ?? next)
}

/** Finds the index of the entry that is, or was, `entry`; −1 if there is none. */
type Find = (entry: Json, expected: number) => number

function finderByKey(live: readonly Json[], field: string): Find {
  let indexes: Map<string, number> | undefined
  return (entry, expected) => {
    const key = keyOf(entry, field)
    if (key === undefined) return -1
    const end = Math.min(live.length, expected + lookAhead)
    for (let i = expected; i < end; i++) if (keyOf(live[i], field) === key) return i
    if (indexes === undefined) {
      indexes = new Map()
      for (let i = live.length - 1; i >= 0; i--) {
        const known = keyOf(live[i], field)
        if (known !== undefined) indexes.set(known, i)
      }
    }
    return indexes.get(key) ?? -1
  }
}

function finderByContent(live: readonly Json[]): Find {
  return (entry, expected) => {
    const end = Math.min(live.length, expected + lookAhead)
    for (let i = expected; i < end; i++) if (equal(entry, live[i])) return i
    for (let i = expected - 1; i >= 0 && i >= expected - lookBack; i--) if (equal(entry, live[i])) return i
    return -1
  }
}
