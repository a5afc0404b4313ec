/**
 * What differs between two JSON trees, as a tree of the same shape: applied and reversed. Pure. How a delta is found
 * is `compare.ts`, how two become one `squash.ts`, how it travels `patch.ts`.
 */
import { isArray, isObject, type Json } from './json.ts'
import { rising } from './positions.ts'
import { freezeDeep } from './snapshot.ts'

export type Delta =
  | { readonly op: 'none' }
  /** One value in place of another. `undefined` where there is none: a field that is added or removed. */
  | { readonly op: 'set'; readonly before: Json | undefined; readonly after: Json | undefined }
  /** The fields that differ. Never empty, never `none` inside. */
  | { readonly op: 'object'; readonly fields: ReadonlyMap<string, Delta> }
  | ListDelta

/**
 * The entries that differ. All others keep their order and fill what places are left. Indexes of `removed` and `from`
 * count in the list before, of `added` and `to` in the list after.
 */
export interface ListDelta {
  readonly op: 'list'
  /** The field that identifies the entries, in a keyed collection. */
  readonly field: string | undefined
  readonly lengthBefore: number
  readonly lengthAfter: number
  /** Rising by `index`. */
  readonly removed: readonly Placed[]
  /** Rising by `index`. */
  readonly added: readonly Placed[]
  /** Entries that were changed, moved, or both; rising by `to`. */
  readonly kept: readonly Kept[]
}

export interface Placed {
  readonly index: number
  readonly value: Json
}

export interface Kept {
  readonly from: number
  readonly to: number
  /** It changed its place among those that stayed. Where not, `from` and `to` differ only by what came and went. */
  readonly moved: boolean
  readonly key: string | undefined
  readonly delta: Delta
}

export const none: Delta = Object.freeze({ op: 'none' })

export function isEmpty(delta: Delta): boolean {
  return delta.op === 'none'
}

/** The indexes that entries leave in the list before, and those they arrive at in the list after; both rising. */
export function places(delta: ListDelta): { out: number[]; arrived: number[] } {
  const moves = delta.kept.filter((kept) => kept.moved)
  return {
    out: rising([...delta.removed.map((placed) => placed.index), ...moves.map((move) => move.from)]),
    arrived: rising([...delta.added.map((placed) => placed.index), ...moves.map((move) => move.to)]),
  }
}

/**
 * The tree after the change: frozen, sharing with `before` all that did not change.
 * @throws TypeError if `before` is not of the shape that the delta was made for.
 */
export function apply(before: Json, delta: Delta): Json {
  switch (delta.op) {
    case 'none':
      return before
    case 'set':
      if (delta.after === undefined) throw new TypeError('the delta removes the value it is applied to')
      return freezeDeep(delta.after)
    case 'object':
      return applyToObject(before, delta.fields)
    case 'list':
      return applyToList(before, delta)
  }
}

function applyToObject(before: Json, fields: ReadonlyMap<string, Delta>): Json {
  if (!isObject(before)) throw new TypeError('the delta was made for an object')
  const after: Record<string, Json> = {}
  for (const key of Object.keys(before)) {
    const delta = fields.get(key)
    if (delta === undefined) after[key] = before[key] as Json
    else if (delta.op !== 'set' || delta.after !== undefined) after[key] = apply(before[key] as Json, delta)
  }
  for (const [key, delta] of fields) {
    if (Object.hasOwn(before, key)) continue
    if (delta.op !== 'set') throw new TypeError(`the delta was made for an object with the key "${key}"`)
    if (delta.after !== undefined) after[key] = freezeDeep(delta.after)
  }
  return Object.freeze(after)
}

function applyToList(before: Json, delta: ListDelta): Json {
  if (!isArray(before) || before.length !== delta.lengthBefore) {
    throw new TypeError(`the delta was made for a list of ${delta.lengthBefore}`)
  }
  const { out } = places(delta)
  const arrivals = [
    ...delta.added.map(({ index, value }) => ({ index, value: freezeDeep(value) })),
    ...delta.kept.filter((kept) => kept.moved).map(({ from, to }) => ({ index: to, value: before[from] as Json })),
  ].sort((a, b) => a.index - b.index)
  const after: Json[] = []
  // Entries that stay are copied in stretches between one departure or arrival and the next.
  let from = 0
  let nextOut = 0
  const copyUntil = (length: number): void => {
    while (after.length < length) {
      while (out[nextOut] === from) {
        nextOut++
        from++
      }
      const until = Math.min(out[nextOut] ?? before.length, from + length - after.length)
      if (until <= from) throw new TypeError('the delta does not add up')
      for (; from < until; from++) after.push(before[from] as Json)
    }
  }
  for (const { index, value } of arrivals) {
    copyUntil(index)
    after.push(value)
  }
  copyUntil(delta.lengthAfter)
  for (const { to, delta: change } of delta.kept) after[to] = apply(after[to] as Json, change)
  return Object.freeze(after)
}

/** The way back: `apply(b, reverse(diff(a, b)))` equals `a`. */
export function reverse(delta: Delta): Delta {
  switch (delta.op) {
    case 'none':
      return delta
    case 'set':
      return { op: 'set', before: delta.after, after: delta.before }
    case 'object':
      return { op: 'object', fields: new Map([...delta.fields].map(([key, field]) => [key, reverse(field)])) }
    case 'list':
      return {
        op: 'list',
        field: delta.field,
        lengthBefore: delta.lengthAfter,
        lengthAfter: delta.lengthBefore,
        removed: delta.added,
        added: delta.removed,
        kept: delta.kept
          .map((kept) => ({ ...kept, from: kept.to, to: kept.from, delta: reverse(kept.delta) }))
          .sort((a, b) => a.to - b.to),
      }
  }
}
