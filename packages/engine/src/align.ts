/**
 * Which entries of two lists belong together. Made for lists that share nearly all entries by reference: those cost
 * one comparison each. What became of a pair is left to `compare.ts`.
 */
import { equal } from './equal.ts'
import type { Json } from './json.ts'
import { keyOf } from './keys.ts'
import { stayable } from './positions.ts'

export interface Alignment {
  /** Rising indexes of entries with no counterpart. */
  readonly removed: readonly number[]
  readonly added: readonly number[]
  /** Entries that belong together and are not the same object at the same place in the order. Rising by `to`. */
  readonly pairs: readonly Pair[]
}

export interface Pair {
  readonly from: number
  readonly to: number
  readonly moved: boolean
  /** Known to be equal. Where not, they may be. */
  readonly equal: boolean
}

/** How far ahead an entry is looked for before it counts as gone. */
const lookAhead = 32
/** Entries that may be looked for in vain. Beyond, the lists have little in common and their keys decide alone. */
const maxSearches = 2000

type Same = (a: Json | undefined, b: Json | undefined) => boolean

/**
 * By key where `field` is given: entries of the same key belong together wherever they are. Otherwise equal stretches
 * do, and between them entries of the same place.
 */
export function align(before: readonly Json[], after: readonly Json[], field: string | undefined): Alignment {
  const last = remembered.get(after)
  if (last !== undefined && last.field === field && last.before.deref() === before) return last.alignment
  // Copies, because reading the entries of a frozen list takes five times as long.
  const alignment = aligned([...before], Object.isFrozen(after) ? [...after] : after, field)
  remember(before, after, field, alignment)
  return alignment
}

/** Says how two lists are aligned, where that is known already. Only frozen ones are remembered. */
export function remember(
  before: readonly Json[],
  after: readonly Json[],
  field: string | undefined,
  alignment: Alignment,
): void {
  if (!Object.isFrozen(before) || !Object.isFrozen(after)) return
  remembered.set(after, { before: new WeakRef(before), field, alignment })
}

/** By the list after, if both are frozen: the plan and the components ask for the same one after the other. */
const remembered = new WeakMap<
  readonly Json[],
  { readonly before: WeakRef<readonly Json[]>; readonly field: string | undefined; readonly alignment: Alignment }
>()

function aligned(before: readonly Json[], after: readonly Json[], field: string | undefined): Alignment {
  const same = field === undefined ? equal : sameKey(field)
  const removed: number[] = []
  const added: number[] = []
  const pairs: Pair[] = []
  let runFrom = 0
  let runTo = 0
  let searches = 0
  let i = 0
  let j = 0

  // Without keys, what stands between two equal stretches is paired place by place.
  const closeRun = (): void => {
    if (field !== undefined || (removed.length === runFrom && added.length === runTo)) return
    const length = Math.min(removed.length - runFrom, added.length - runTo)
    for (let k = 0; k < length; k++) {
      pairs.push({ from: removed[runFrom + k] as number, to: added[runTo + k] as number, moved: false, equal: false })
    }
    removed.splice(runFrom, length)
    added.splice(runTo, length)
    runFrom = removed.length
    runTo = added.length
  }

  for (;;) {
    const stretch = sameStretch(before, i, after, j)
    if (stretch > 0) {
      closeRun()
      i += stretch
      j += stretch
    }
    if (i >= before.length || j >= after.length) break
    const a = before[i] as Json
    const b = after[j] as Json
    if (same(a, b)) {
      closeRun()
      pairs.push({ from: i, to: j, moved: false, equal: field === undefined })
      i++
      j++
      continue
    }
    const search = searches < maxSearches
    const skipBefore = search ? distance(before, i + 1, b, same) : 0
    const skipAfter = search ? distance(after, j + 1, a, same) : 0
    if (skipBefore === 0 && skipAfter === 0) {
      searches++
      removed.push(i++)
      added.push(j++)
    } else if (skipAfter === 0 || (skipBefore > 0 && skipBefore < skipAfter)) {
      for (const end = i + skipBefore; i < end; i++) removed.push(i)
    } else {
      for (const end = j + skipAfter; j < end; j++) added.push(j)
    }
  }
  for (; i < before.length; i++) removed.push(i)
  for (; j < after.length; j++) added.push(j)
  closeRun()
  if (field === undefined || removed.length === 0 || added.length === 0) return { removed, added, pairs }
  return pairByKey(before, after, field, { removed, added, pairs })
}

/** How many entries from there on are the same objects. */
function sameStretch(before: readonly Json[], i: number, after: readonly Json[], j: number): number {
  const length = Math.min(before.length - i, after.length - j)
  let n = 0
  while (n < length && before[i + n] === after[j + n]) n++
  return n
}

/** How many entries from `start` on are passed over until one is the same; 0 if none within reach is. */
function distance(list: readonly Json[], start: number, wanted: Json, same: Same): number {
  const end = Math.min(list.length, start + lookAhead)
  for (let i = start; i < end; i++) if (list[i] === wanted || same(list[i], wanted)) return i - start + 1
  return 0
}

/** Entries without a key belong to nothing but their equal. */
function sameKey(field: string): Same {
  return (a, b) => {
    const key = keyOf(a, field)
    return key === undefined ? keyOf(b, field) === undefined && equal(a, b) : key === keyOf(b, field)
  }
}

/** Finds the moved ones among those that seem to have gone and come. */
function pairByKey(before: readonly Json[], after: readonly Json[], field: string, found: Alignment): Alignment {
  const gone = new Map<string, number[]>()
  for (const index of found.removed) {
    const key = keyOf(before[index], field)
    if (key === undefined) continue
    const sameKeyed = gone.get(key)
    if (sameKeyed === undefined) gone.set(key, [index])
    else sameKeyed.push(index)
  }
  const moves: Pair[] = []
  const added: number[] = []
  const returned = new Set<number>()
  for (const to of found.added) {
    const key = keyOf(after[to], field)
    const from = key === undefined ? undefined : gone.get(key)?.shift()
    if (from === undefined) added.push(to)
    else {
      returned.add(from)
      moves.push({ from, to, moved: true, equal: false })
    }
  }
  if (moves.length === 0) return found
  const removed = found.removed.filter((index) => !returned.has(index))
  const stay = stayable(moves, removed, added)
  const settled = moves.map((move) => (stay.has(move) ? { ...move, moved: false } : move))
  return { removed, added, pairs: [...found.pairs, ...settled].sort((a, b) => a.to - b.to) }
}
