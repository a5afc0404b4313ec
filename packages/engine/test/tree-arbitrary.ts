/** Random JSON trees for property tests: awkward keys, keyed collections, and edited copies of a tree. */
import fc from 'fast-check'
import type { Json } from '../src/json.ts'

const awkwardKeys = ['', 'constructor', 'toString', 'hasOwnProperty', '0', '~1/', 'a', 'b', 'c', 'id', 'ä', '€', '😀']

const key = fc.constantFrom(...awkwardKeys)
const scalar: fc.Arbitrary<Json> = fc.oneof(
  fc.constantFrom<Json>(null, true, false, 0, 1, '', '1', 'None', 'null'),
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (x === 0 || !isExact(x) ? 0.5 : x)),
  fc.string({ unit: 'binary' }),
)

function isExact(x: number): boolean {
  return !Number.isInteger(x) || Number.isSafeInteger(x)
}

export const tree: fc.Arbitrary<Json> = fc.letrec<{ tree: Json; list: Json; object: Json; keyed: Json }>((tie) => ({
  tree: fc.oneof({ depthSize: 'small', withCrossShrink: true }, scalar, tie('list'), tie('object'), tie('keyed')),
  list: fc.array(tie('tree'), { maxLength: 6 }) as fc.Arbitrary<Json>,
  object: fc.dictionary(key, tie('tree'), { maxKeys: 6, noNullPrototype: true }) as fc.Arbitrary<Json>,
  keyed: fc
    .uniqueArray(fc.tuple(fc.constantFrom('r1', 'r2', 'r3', 'r4', 'r5'), tie('tree')), { selector: (e) => e[0] })
    .map((list) => ({ rules: list.map(([id, value]) => ({ id, value })) })) as fc.Arbitrary<Json>,
})).tree

/** Entries of a keyed collection, in any order, some of them deep. */
export const entries = fc
  .uniqueArray(fc.tuple(fc.integer({ min: 0, max: 30 }), fc.oneof(scalar, tree)), {
    selector: (e) => e[0],
    maxLength: 30,
  })
  .map((list) => list.map(([id, value]) => ({ id: `r${id}`, value })) as Json[])

/** A copy that shares nothing. */
export function copy<T extends Json>(value: T): T {
  return structuredClone(value)
}

/** The same content with the keys of every object in another order. */
export function reordered(value: Json): Json {
  if (Array.isArray(value)) return value.map(reordered)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([k, v]) => [k, reordered(v as Json)]),
  )
}

/** A tree and one that came from it by a few edits, so that most is the same. */
export const edited: fc.Arbitrary<[Json, Json]> = fc
  .tuple(tree, fc.array(fc.tuple(fc.nat(1000), fc.nat(5), tree), { maxLength: 4 }))
  .map(([before, edits]) => {
    let after = copy(before)
    for (const [where, how, value] of edits) after = edit(after, where, how, copy(value))
    return [before, after]
  })

function edit(value: Json, where: number, how: number, fresh: Json): Json {
  if (Array.isArray(value)) {
    const list = [...(value as Json[])]
    const i = where % (list.length + 1)
    if (how === 0) list.splice(i, 0, fresh)
    else if (how === 1) list.splice(i, 1)
    else if (how === 2) list.reverse()
    else if (i < list.length) list[i] = edit(list[i] as Json, where >> 2, how, fresh)
    return list
  }
  if (typeof value === 'object' && value !== null) {
    const keys = Object.keys(value)
    const k = keys[where % Math.max(1, keys.length)]
    if (k === undefined || how === 0) return { ...value, [awkwardKeys[where % awkwardKeys.length] as string]: fresh }
    const { [k]: old, ...rest } = value as Record<string, Json>
    return how === 1 ? rest : { ...rest, [k]: edit(old as Json, where >> 2, how, fresh) }
  }
  return fresh
}

export function isDeepFrozen(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return true
  return Object.isFrozen(value) && Object.values(value).every(isDeepFrozen)
}
