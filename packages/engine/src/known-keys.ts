/**
 * The keys of a keyed list, to see whether one stands twice. One set serves all versions of a list: it stands at one
 * of them, and every other knows the difference to the next one on the way there. So the question costs what the
 * change costs, and the whole list only the first time.
 */
import type { Json } from './json.ts'
import { keyOf } from './keys.ts'

/** Two entries of a keyed collection have the same key. */
export class DuplicateKeyError extends Error {
  override readonly name = 'DuplicateKeyError'
  readonly key: string
  /** Their indexes, rising. */
  readonly indexes: readonly [number, number]

  constructor(field: string, key: string, indexes: readonly [number, number]) {
    super(
      `entries ${indexes[0]} and ${indexes[1]} have the same ${field}, ${JSON.stringify(key)}; want every ${field} once`,
    )
    this.key = key
    this.indexes = indexes
  }
}

/** One version of a list. */
interface Version {
  /** Here the set stands, or else `next` leads there. */
  keys: Set<string> | undefined
  next: Version | undefined
  /** What `next` has more, and less, than this one. */
  added: readonly string[]
  removed: readonly string[]
}

/** By list and field. Frozen lists only: others may still change. */
const versions = new WeakMap<readonly Json[], Map<string, Version>>()

/** @throws DuplicateKeyError; TypeError if an entry has no key. */
export function keysOf(entries: readonly Json[], field: string): ReadonlySet<string> {
  const version = versions.get(entries)?.get(field)
  if (version !== undefined) return broughtTo(version)
  const keys = new Set<string>()
  for (let i = 0; i < entries.length; i++) {
    const key = wantKey(entries, i, field)
    keys.add(key)
    if (keys.size <= i) throw duplicate(entries, key, field)
  }
  remember(entries, field, { keys, next: undefined, added: [], removed: [] })
  return keys
}

/** Tells that `after` has the keys of `before` but for these. */
export function carryKeys(
  before: readonly Json[],
  after: readonly Json[],
  field: string,
  added: readonly string[],
  removed: readonly string[],
): void {
  const here = versions.get(before)?.get(field)
  if (here === undefined || before === after || !Object.isFrozen(after) || versions.get(after)?.has(field)) return
  const there: Version = { keys: undefined, next: here, added: removed, removed: added }
  broughtTo(here)
  turn(there, here)
  remember(after, field, there)
}

/** @throws TypeError */
export function wantKey(entries: readonly Json[], index: number, field: string): string {
  const key = keyOf(entries[index], field)
  if (key === undefined) throw new TypeError(`entry ${index} has no ${field}; want a string or a number`)
  return key
}

export function duplicate(entries: readonly Json[], key: string, field: string): DuplicateKeyError {
  const first = entries.findIndex((entry) => keyOf(entry, field) === key)
  const second = entries.findIndex((entry, index) => index > first && keyOf(entry, field) === key)
  return new DuplicateKeyError(field, key, [first, second])
}

function remember(entries: readonly Json[], field: string, version: Version): void {
  if (!Object.isFrozen(entries)) return
  const fields = versions.get(entries)
  if (fields === undefined) versions.set(entries, new Map([[field, version]]))
  else fields.set(field, version)
}

/** Turns every step on the way to the set round, the last one first. */
function broughtTo(version: Version): Set<string> {
  const way: Version[] = []
  for (let at = version; at.next !== undefined; at = at.next) way.push(at)
  for (const at of way.reverse()) turn(at, at.next as Version)
  return version.keys as Set<string>
}

/** Moves the set from `there` one step back to `here`. */
function turn(here: Version, there: Version): void {
  const keys = there.keys as Set<string>
  for (const key of here.added) keys.delete(key)
  for (const key of here.removed) keys.add(key)
  there.keys = undefined
  there.next = here
  there.added = here.removed
  there.removed = here.added
  here.keys = keys
  here.next = undefined
  here.added = []
  here.removed = []
}
