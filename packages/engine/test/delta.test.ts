import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { apply, diff, isEmpty, reverse, squash } from '../src/diff.ts'
import type { Json } from '../src/json.ts'
import { equal, freezeDeep, share } from '../src/snapshot.ts'
import { copy, edited, entries, isDeepFrozen, reordered, tree } from './tree-arbitrary.ts'

const keys = { rules: 'id', '*.rules': 'id' }
const runs = { numRuns: 300 }

describe('a delta', () => {
  test('leads from the one tree to the other, frozen, whether or not they share structure', () => {
    fc.assert(
      fc.property(fc.oneof(edited, fc.tuple(tree, tree)), fc.boolean(), ([a, b], shared) => {
        const before = freezeDeep(copy(a))
        const after = shared ? share(copy(b), before, keys) : copy(b)
        const result = apply(before, diff(before, after, keys))
        expect(equal(result, b)).toBe(true)
        expect(isDeepFrozen(result)).toBe(true)
      }),
      runs,
    )
  })

  test('shares with the tree before everything that did not change', () => {
    fc.assert(
      fc.property(edited, ([a, b]) => {
        const before = freezeDeep(copy(a))
        const after = share(copy(b), before, keys)
        const result = apply(before, diff(before, after, keys))
        // Sharing once more finds nothing that it could replace.
        expect(share(result, before, keys)).toBe(equal(a, b) ? before : result)
      }),
      runs,
    )
  })

  test('is empty for equal trees, whatever the order of their keys', () => {
    fc.assert(
      fc.property(tree, (a) => {
        expect(isEmpty(diff(a, reordered(copy(a)), keys))).toBe(true)
      }),
      runs,
    )
  })

  test('reversed, leads back', () => {
    fc.assert(
      fc.property(fc.oneof(edited, fc.tuple(tree, tree)), ([a, b]) => {
        expect(equal(apply(b, reverse(diff(a, b, keys))), a)).toBe(true)
      }),
      runs,
    )
  })

  test('squashed with the next one, leads to where both lead', () => {
    fc.assert(
      fc.property(edited, tree, fc.boolean(), ([a, b], other, far) => {
        const c = far ? other : edit(b)
        const both = squash(diff(a, b, keys), diff(b, c, keys))
        expect(equal(apply(a, both), c)).toBe(true)
        expect(equal(apply(c, reverse(both)), a)).toBe(true)
      }),
      runs,
    )
  })

  test('squashed with its reverse, vanishes', () => {
    fc.assert(
      fc.property(fc.oneof(edited, fc.tuple(tree, tree)), ([a, b]) => {
        const there = diff(a, b, keys)
        expect(squash(there, reverse(there))).toEqual({ op: 'none' })
      }),
      runs,
    )
  })

  test('refuses a tree that it was not made for', () => {
    expect(() => apply([1], diff([1, 2], [1]))).toThrow('made for a list of 2')
    expect(() => apply([1], diff({ a: 1 }, { a: 2 }))).toThrow('made for an object')
  })
})

describe('a delta of keyed collections', () => {
  const lists = fc.tuple(entries, entries, fc.array(fc.tuple(fc.nat(30), fc.nat(30)), { maxLength: 6 }))
  const versions = lists.map(([a, b, moves]): [Json, Json, Json] => {
    const ids = new Set(a.map((entry) => (entry as { id: string }).id))
    const extra = b.filter((entry) => !ids.has((entry as { id: string }).id)).slice(0, 4)
    const middle = [...copy(a), ...extra]
    for (const [from, to] of moves) {
      if (from < middle.length) middle.splice(to % middle.length, 0, ...middle.splice(from, 1))
    }
    return [{ rules: a }, { rules: middle }, { rules: b }]
  })

  test('restores the exact order after random moves, both ways and squashed', () => {
    fc.assert(
      fc.property(versions, ([a, b, c]) => {
        const first = diff(a, b, keys)
        const second = diff(b, c, keys)
        expect(equal(apply(a, first), b)).toBe(true)
        expect(equal(apply(b, reverse(first)), a)).toBe(true)
        const joined = squash(first, second)
        expect(equal(apply(a, joined), c)).toBe(true)
        expect(equal(apply(c, reverse(joined)), a)).toBe(true)
        expect(squash(joined, reverse(joined))).toEqual({ op: 'none' })
      }),
      runs,
    )
  })

  test('squashes a removal and a return into what changed of the entry', () => {
    const a: Json = { rules: [{ id: 'x', n: 1 }, { id: 'y' }] }
    const b: Json = { rules: [{ id: 'y' }] }
    const c: Json = { rules: [{ id: 'x', n: 2 }, { id: 'y' }] }
    expect(squash(diff(a, b, keys), diff(b, c, keys))).toEqual(diff(a, c, keys))
  })
})

/** A next step that is not far from where it starts. */
function edit(value: Json): Json {
  if (Array.isArray(value)) {
    return [...(value as Json[]).slice(1), 'new', value[0] as Json].filter((x) => x !== undefined)
  }
  if (typeof value === 'object' && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([k, v], i) => [k, i % 2 ? (v as Json) : edit(v as Json)]))
  }
  return [value]
}
