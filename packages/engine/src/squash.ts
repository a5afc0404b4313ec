/** Two deltas, one after the other, made one. What cancels out is gone. */
import { diff } from './compare.ts'
import { apply, none, places, reverse, type Delta, type Kept, type ListDelta, type Placed } from './delta.ts'
import { digest } from './digest.ts'
import type { Json } from './json.ts'
import { keyOf } from './keys.ts'
import { carried, stayable } from './positions.ts'

/**
 * `apply(a, squash(first, second))` equals `apply(apply(a, first), second)`.
 * @throws TypeError if `second` was not made for what `first` leads to, as far as that shows.
 */
export function squash(first: Delta, second: Delta): Delta {
  if (first.op === 'none') return second
  if (second.op === 'none') return first
  if (first.op === 'set') {
    if (second.op === 'set') return between(first.before, second.after)
    if (first.after === undefined) throw new TypeError('the second delta changes what the first one removes')
    return between(first.before, apply(first.after, second))
  }
  if (second.op === 'set') {
    if (second.before === undefined) throw new TypeError('the second delta adds what the first one only changes')
    return between(apply(second.before, reverse(first)), second.after)
  }
  if (first.op === 'object' && second.op === 'object') return squashFields(first.fields, second.fields)
  if (first.op === 'list' && second.op === 'list') return squashLists(first, second)
  throw new TypeError('one delta is for an object, the other for a list')
}

function between(before: Json | undefined, after: Json | undefined): Delta {
  if (before !== undefined && after !== undefined) return diff(before, after)
  return before === after ? none : { op: 'set', before, after }
}

function squashFields(first: ReadonlyMap<string, Delta>, second: ReadonlyMap<string, Delta>): Delta {
  const fields = new Map(first)
  for (const [key, delta] of second) {
    const both = squash(first.get(key) ?? none, delta)
    if (both.op === 'none') fields.delete(key)
    else fields.set(key, both)
  }
  return fields.size === 0 ? none : { op: 'object', fields }
}

function squashLists(first: ListDelta, second: ListDelta): Delta {
  if (first.lengthAfter !== second.lengthBefore) {
    throw new TypeError(`the second delta was made for a list of ${second.lengthBefore}, not ${first.lengthAfter}`)
  }
  // All in terms of places in the list between the two.
  const addedFirst = new Set(first.added.map((placed) => placed.index))
  const keptFirst = new Map(first.kept.map((kept) => [kept.to, kept]))
  const removedSecond = new Set(second.removed.map((placed) => placed.index))
  const keptSecond = new Map(second.kept.map((kept) => [kept.from, kept]))
  const one = places(first)
  const two = places(second)
  const backward = (index: number): number => keptFirst.get(index)?.from ?? carried(index, one.arrived, one.out)
  const forward = (index: number): number => keptSecond.get(index)?.to ?? carried(index, two.out, two.arrived)

  const removed: Placed[] = [...first.removed]
  for (const { index, value } of second.removed) {
    if (addedFirst.has(index)) continue
    removed.push({ index: backward(index), value: apply(value, reverse(keptFirst.get(index)?.delta ?? none)) })
  }
  const added: Placed[] = [...second.added]
  for (const { index, value } of first.added) {
    if (removedSecond.has(index)) continue
    added.push({ index: forward(index), value: apply(value, keptSecond.get(index)?.delta ?? none) })
  }
  const kept: Kept[] = []
  for (const index of new Set([...keptFirst.keys(), ...keptSecond.keys()])) {
    if (addedFirst.has(index) || removedSecond.has(index)) continue
    const old = keptFirst.get(index)
    const fresh = keptSecond.get(index)
    kept.push({
      from: backward(index),
      to: forward(index),
      moved: (old?.moved ?? false) || (fresh?.moved ?? false),
      key: fresh?.key ?? old?.key,
      delta: squash(old?.delta ?? none, fresh?.delta ?? none),
    })
  }
  return settled({
    op: 'list',
    field: first.field ?? second.field,
    lengthBefore: first.lengthBefore,
    lengthAfter: second.lengthAfter,
    removed,
    added,
    kept,
  })
}

/** In normal form: what went and came back is kept, what need not move does not, and lists are in order. */
function settled(delta: ListDelta): Delta {
  const returned = returnedEntries(delta)
  const gone = new Set(returned.map((entry) => entry.from))
  const back = new Set(returned.map((entry) => entry.to))
  const byIndex = (a: Placed, b: Placed): number => a.index - b.index
  const removed = delta.removed.filter((placed) => !gone.has(placed.index)).sort(byIndex)
  const added = delta.added.filter((placed) => !back.has(placed.index)).sort(byIndex)
  const all = [...delta.kept, ...returned]
  const stay = stayable(
    all.filter((entry) => entry.moved),
    removed.map((placed) => placed.index),
    added.map((placed) => placed.index),
  )
  const kept = all
    .map((entry) => (stay.has(entry) ? { ...entry, moved: false } : entry))
    .filter((entry) => entry.moved || entry.delta.op !== 'none')
    .sort((a, b) => a.to - b.to)
  return removed.length === 0 && added.length === 0 && kept.length === 0 ? none : { ...delta, removed, added, kept }
}

/** Removed entries that were added again: with the same key, or equal where there are no keys. */
function returnedEntries({ removed, added, field }: ListDelta): Kept[] {
  if (removed.length === 0 || added.length === 0) return []
  const identity = (value: Json): string => (field === undefined ? undefined : keyOf(value, field)) ?? digest(value)
  const waiting = new Map<string, Placed[]>()
  for (const placed of removed) {
    const name = identity(placed.value)
    const others = waiting.get(name)
    if (others === undefined) waiting.set(name, [placed])
    else others.push(placed)
  }
  const returned: Kept[] = []
  for (const { index, value } of added) {
    const old = waiting.get(identity(value))?.shift()
    if (old === undefined) continue
    const key = field === undefined ? undefined : keyOf(value, field)
    returned.push({ from: old.index, to: index, moved: true, key, delta: between(old.value, value) })
  }
  return returned
}
