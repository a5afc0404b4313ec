/** Which entries of a keyed collection came, went or changed. What is done about them is `keyed.ts`. */
import { align } from './align.ts'
import { equal } from './equal.ts'
import { isArray, isObject, type Json, type JsonObject } from './json.ts'
import { carryKeys, duplicate, keysOf, wantKey } from './known-keys.ts'

export { DuplicateKeyError } from './known-keys.ts'

export interface EntryChanges {
  readonly added: ReadonlyMap<string, Json>
  readonly removed: ReadonlyMap<string, Json>
  readonly updated: ReadonlyMap<string, { readonly before: Json; readonly after: Json }>
}

type Entries = readonly Json[] | JsonObject | undefined

/**
 * Exactly the entries that differ. `field` names the key of the entries of an array; an object's entries are known by
 * its keys. A moved entry does not differ. Cheap where most entries are the same references.
 * @throws DuplicateKeyError if a key stands twice in an array.
 * @throws TypeError if an entry of an array has no key, or the two are not both of the kind that `field` asks for.
 */
export function diffEntries(before: Entries, after: Entries, field: string | undefined): EntryChanges {
  if (field === undefined) return diffFields(fieldsOf(before), fieldsOf(after))
  return diffKeyed(listOf(before, field), listOf(after, field), field)
}

function fieldsOf(entries: Entries): JsonObject {
  if (entries === undefined) return {}
  if (!isObject(entries)) throw new TypeError('the entries are a list; want the name of the field that identifies them')
  return entries
}

function listOf(entries: Entries, field: string): readonly Json[] {
  if (entries === undefined) return []
  if (!isArray(entries)) throw new TypeError(`the entries are not a list; want a list of entries with a ${field}`)
  return entries
}

function diffFields(before: JsonObject, after: JsonObject): EntryChanges {
  const added = new Map<string, Json>()
  const removed = new Map<string, Json>()
  const updated = new Map<string, { before: Json; after: Json }>()
  for (const key of Object.keys(after)) {
    const value = after[key] as Json
    if (!Object.hasOwn(before, key)) added.set(key, value)
    else if (!equal(before[key], value)) updated.set(key, { before: before[key] as Json, after: value })
  }
  for (const key of Object.keys(before)) if (!Object.hasOwn(after, key)) removed.set(key, before[key] as Json)
  return { added, removed, updated }
}

function diffKeyed(before: readonly Json[], after: readonly Json[], field: string): EntryChanges {
  const added = new Map<string, Json>()
  const removed = new Map<string, Json>()
  const updated = new Map<string, { before: Json; after: Json }>()
  if (before.length === 0) {
    keysOf(after, field) // throws where one is missing or stands twice
    for (let i = 0; i < after.length; i++) added.set(wantKey(after, i, field), after[i] as Json)
    return { added, removed, updated }
  }
  const keys = keysOf(before, field)
  const alignment = align(before, after, field)
  for (const index of alignment.removed) removed.set(wantKey(before, index, field), before[index] as Json)
  for (const index of alignment.added) {
    const key = wantKey(after, index, field)
    if (added.has(key) || (keys.has(key) && !removed.has(key))) throw duplicate(after, key, field)
    added.set(key, after[index] as Json)
  }
  for (const { from, to } of alignment.pairs) {
    const old = before[from] as Json
    const entry = after[to] as Json
    if (!equal(old, entry)) updated.set(wantKey(after, to, field), { before: old, after: entry })
  }
  carryKeys(before, after, field, [...added.keys()], [...removed.keys()])
  return { added, removed, updated }
}
