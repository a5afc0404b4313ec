import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Json } from '../src/json.ts'
import { check, defaultLimits, equal, freezeDeep, share } from '../src/snapshot.ts'
import { copy, edited, entries, isDeepFrozen, reordered, tree } from './tree-arbitrary.ts'

const keys = { rules: 'id', '*.rules': 'id' }

interface Rules {
  readonly rules: readonly { readonly match: Json; readonly limit?: Json }[]
}

describe('a snapshot', () => {
  test('of an equal tree is the live one itself, whatever the order of the keys', () => {
    fc.assert(
      fc.property(tree, (value) => {
        const live = freezeDeep(copy(value))
        expect(share(copy(value), live, keys)).toBe(live)
        expect(share(reordered(value), live, keys)).toBe(live)
        expect(share(freezeDeep(copy(value)), live, keys)).toBe(live)
      }),
      { numRuns: 500 },
    )
  })

  test('has the content it was made from, deeply frozen, and leaves a frozen input alone', () => {
    fc.assert(
      fc.property(fc.oneof(edited, fc.tuple(tree, tree)), fc.boolean(), ([a, b], frozen) => {
        const live = freezeDeep(copy(a))
        const next = frozen ? freezeDeep(copy(b)) : copy(b)
        const result = share(next, live, keys)
        expect(equal(result, b)).toBe(true)
        expect(isDeepFrozen(result)).toBe(true)
        expect(live).toEqual(a)
      }),
      { numRuns: 500 },
    )
  })

  test('is frozen also where what came was frozen at its surface only (F57)', () => {
    const next = Object.freeze({ a: { b: [1] } })
    expect(isDeepFrozen(share(next, undefined, {}))).toBe(true)
    expect(isDeepFrozen(share(next, { a: 1 }, {}))).toBe(true)
  })

  test('keeps the object of every unchanged entry of a keyed collection, wherever it stands now', () => {
    fc.assert(
      fc.property(entries, fc.func(fc.integer()), ([...list], rank) => {
        const live = freezeDeep({ rules: copy(list) }) as { rules: Json[] }
        const order = copy(list).sort((x, y) => rank(x) - rank(y))
        const result = share({ rules: [{ id: 'new' }, ...order.slice(1)] }, live, keys) as { rules: Json[] }
        for (const entry of result.rules.slice(1)) expect(live.rules).toContain(entry)
      }),
    )
  })

  test('keeps equal parts of a changed entry', () => {
    const live = freezeDeep<Json>({
      rules: [
        { id: 'a', match: { host: 'x' }, limit: { rps: 1 } },
        { id: 'b', match: { host: 'y' } },
      ],
    })
    const next = share(
      {
        rules: [
          { id: 'b', match: { host: 'y' } },
          { id: 'a', match: { host: 'x' }, limit: { rps: 2 } },
        ],
      },
      live,
      keys,
    ) as unknown as Rules
    const old = live as unknown as Rules
    expect(next.rules[0]).toBe(old.rules[1])
    expect(next.rules[1]?.match).toBe(old.rules[0]?.match)
    expect(next.rules[1]?.limit).toEqual({ rps: 2 })
  })

  test('keeps the entries of a list without keys around what was inserted and removed', () => {
    const live = freezeDeep({ list: Array.from({ length: 20 }, (_, i) => ({ i })) })
    const list = live.list.map((entry) => ({ ...entry }))
    list.splice(3, 0, { i: 100 }, { i: 101 })
    list.splice(12, 2)
    const next = share({ list }, live, {}) as typeof live
    expect(next.list.filter((entry) => live.list.includes(entry))).toHaveLength(18)
  })

  test('is typed: 1 and "1" differ (B6), 0 and -0 do not', () => {
    const live = freezeDeep({ a: 1, b: 0 })
    expect(share({ a: '1', b: 0 }, live, {})).toEqual({ a: '1', b: 0 })
    expect(share({ a: 1, b: -0 }, live, {})).toBe(live)
  })

  test('does not take what an object inherits for a value', () => {
    const live = freezeDeep({ a: 1 }) as Json
    const next = { a: 1, constructor: 1, toString: { valueOf: [] } } as unknown as Json
    const result = share(next, live, {})
    expect(Object.keys(result as object)).toEqual(['a', 'constructor', 'toString'])
    expect(equal(result, live)).toBe(false)
    expect(equal(live, result)).toBe(false)
  })

  test('can be made where one object stands at several places', () => {
    const shared = { x: { y: 1 } }
    const live = freezeDeep({ a: { x: { y: 1 } }, b: { x: { y: 2 } } })
    const result = share({ a: shared, b: shared }, live, {}) as typeof live
    expect(result).toEqual({ a: { x: { y: 1 } }, b: { x: { y: 1 } } })
    expect(result.a).toBe(live.a)
  })
})

describe('a value is refused', () => {
  class Point {
    x = 1
  }
  const sparse = [1, 2, 3]
  delete sparse[1]
  const cyclic: Record<string, unknown> = {}
  cyclic.self = cyclic
  const cases: [string, unknown, string, string][] = [
    ['undefined', { a: undefined }, 'a', 'is undefined; want a JSON value'],
    ['a function', { a: () => 1 }, 'a', 'is a function'],
    ['a symbol', [Symbol('s')], '0', 'is a symbol'],
    ['a bigint', { a: 1n }, 'a', 'is a bigint'],
    ['a Date', { a: [new Date(0)] }, 'a.0', 'is a Date'],
    ['a Map', { a: new Map() }, 'a', 'is a Map'],
    ['a class instance', { a: new Point() }, 'a', 'is a Point'],
    ['a hole in a list', { a: sparse }, 'a.1', 'is undefined'],
    ['NaN', [Number.NaN], '0', 'is NaN; want a finite number'],
    ['infinity', JSON.parse('[1e400]'), '0', 'is Infinity; want a finite number'],
    ['an integer that is not exact', { a: JSON.parse('9007199254740993') }, 'a', 'no longer exact'],
    ['__proto__', JSON.parse('{"a":{"__proto__":{"x":1}}}'), 'a.__proto__', 'would set a prototype'],
    [
      'constructor.prototype',
      JSON.parse('{"constructor":{"prototype":{}}}'),
      'constructor.prototype',
      'leads to a prototype',
    ],
    ['half of a surrogate pair', { a: '\ud800' }, 'a', 'half of a surrogate pair'],
    ['half of a surrogate pair in a key', { 'x\udc00': 1 }, 'x\udc00', 'half of a surrogate pair'],
    ['a cycle', cyclic, Array(100).fill('self').join('.'), 'nested more than 100 deep'],
  ]
  test.each(cases)('%s, with its path', (_name, value, path, message) => {
    const issues = check(value as Json, undefined, defaultLimits)
    expect(issues).toHaveLength(1)
    expect(issues[0]?.path.join('.')).toBe(path)
    expect(issues[0]?.message).toContain(message)
  })

  test('that is nested 100,000 deep', () => {
    let value: Json = []
    for (let i = 0; i < 100_000; i++) value = [value]
    expect(check(value, undefined, defaultLimits).map((issue) => issue.code)).toEqual(['limit'])
  })

  test('that has too many values, also through aliases of one another', () => {
    let laugh: Json = ['ha']
    for (let i = 0; i < 30; i++) laugh = [laugh, laugh]
    const issues = check(laugh, undefined, { maxDepth: 100, maxNodes: 10_000 })
    expect(issues).toMatchObject([{ code: 'limit', path: [] }])
  })

  test('with every issue named, up to a hundred', () => {
    expect(check({ a: undefined, b: [Number.NaN], c: 1 } as unknown as Json, undefined, defaultLimits)).toHaveLength(2)
    expect(check(Array(1000).fill(Number.NaN) as Json, undefined, defaultLimits)).toHaveLength(100)
  })
})

describe('a value is taken', () => {
  test('with every key that is merely awkward', () => {
    fc.assert(
      fc.property(tree, (value) => {
        expect(check(value, undefined, defaultLimits)).toEqual([])
      }),
    )
  })

  test('without a second look at what is live already, also behind an insertion', () => {
    const live = freezeDeep({ rules: Array.from({ length: 1000 }, (_, i) => ({ id: i, n: [1, 2, 3] })) })
    const rules = [...live.rules]
    rules.splice(500, 0, { id: -1, n: [] })
    rules.splice(700, 1)
    const limits = { maxDepth: 10, maxNodes: 1100 }
    expect(check({ rules }, live, limits)).toEqual([])
    expect(check({ rules }, undefined, limits)).toHaveLength(1)
  })
})
