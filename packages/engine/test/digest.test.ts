import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { canonicalText } from '../src/canonical.ts'
import { digest } from '../src/digest.ts'
import type { Json } from '../src/json.ts'
import { equal, freezeDeep, share } from '../src/snapshot.ts'
import { copy, edited, reordered, tree } from './tree-arbitrary.ts'

interface Vector {
  readonly name: string
  readonly json: string
  readonly digest: string
}

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const vectors = JSON.parse(readFileSync(here('vectors/digest.json'), 'utf8')) as Vector[]
const hasPython = spawnSync('python3', ['--version']).status === 0

describe('the digest', () => {
  test.each(vectors)('of $name is the one of the test vectors', ({ json, digest: wanted }) => {
    expect(digest(JSON.parse(json) as Json)).toBe(wanted)
  })

  test('is typed: values that print alike differ (B6, prior-art B1)', () => {
    const values: Json[] = [
      { a: 1 },
      { a: '1' },
      [1, 23],
      [12, 3],
      [123],
      ['1', '23'],
      null,
      'None',
      'null',
      '',
      [],
      {},
      [[]],
      [{}],
      { a: null },
      { a: '1&b=2' },
      { a: '1', b: '2' },
      0,
      '0',
      false,
      'false',
      [null],
      ['null'],
      { port: 8088 },
      { port: '8088' },
    ]
    expect(new Set(values.map((value) => digest(value))).size).toBe(values.length)
  })

  test('is the same for equal trees and different for others, whatever the order of their keys', () => {
    fc.assert(
      fc.property(fc.oneof(edited, fc.tuple(tree, tree)), ([a, b]) => {
        expect(digest(a) === digest(b)).toBe(equal(a, b))
        expect(digest(reordered(a))).toBe(digest(a))
      }),
      { numRuns: 300 },
    )
  })

  test('takes -0 for 0, as JSON text does', () => {
    expect(digest([-0])).toBe(digest([0]))
  })

  test('is the same whether or not an earlier version is at hand', () => {
    const wide = fc.tuple(
      fc.array(tree, { maxLength: 3 }),
      fc.array(edited, { minLength: 1, maxLength: 4 }),
      fc.nat(3000),
    )
    fc.assert(
      fc.property(wide, ([more, edits, size]) => {
        let live = freezeDeep({
          list: Array.from({ length: size }, (_, i) => padded(i)),
          map: mapOf(size),
          more,
        } as Json)
        digest(live)
        for (const [, value] of edits) {
          const next = copy(live) as { list: Json[]; map: Record<string, Json>; more: Json }
          next.list.splice(size >> 1, 1, value, ...more)
          next.list.splice(size >> 2, 1)
          if (size % 2) next.list.length = Math.min(3, next.list.length)
          next.map[`k${size >> 1}`] = value
          const after = share(next as Json, live, {})
          expect(digest(after, live)).toBe(digest(copy(after)))
          live = after
        }
      }),
      { numRuns: 60 },
    )
  })

  test('of a tree that is not frozen follows its changes', () => {
    const list = Array.from({ length: 5000 }, (_, i) => i)
    const before = digest({ list })
    list[7] = 8
    expect(digest({ list })).not.toBe(before)
  })

  test('refuses half of a surrogate pair', () => {
    expect(() => digest(['\ud800'])).toThrow('surrogate')
  })

  test('rests on the canonical text of RFC 8785', () => {
    // The example of RFC 8785, section 3.2.2.
    const value = JSON.parse(
      String.raw`{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}`,
    ) as Json
    expect(canonicalText(value)).toBe(
      String.raw`{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"}`,
    )
    // Keys by UTF-16 code units, section 3.2.3: the emoji's surrogates sort before U+FB33.
    expect(canonicalText({ '\ufb33': 1, '😀': 2, '€': 3, '\r': 4, '1': 5, ö: 6 })).toBe(
      '{"\\r":4,"1":5,"ö":6,"€":3,"😀":2,"\ufb33":1}',
    )
  })

  test.skipIf(!hasPython)('is what an independent implementation computes (skipped where there is no python3)', () => {
    const arbitrary = fc.oneof(tree, fc.array(tree, { minLength: 50, maxLength: 400 }))
    const samples = fc.sample(arbitrary, { numRuns: 150, seed: 8785 }) as Json[]
    const texts = [...vectors.map((vector) => vector.json), ...samples.map((sample) => JSON.stringify(sample))]
    const run = spawnSync('python3', [here('vectors/digest.py')], {
      input: texts.join('\n'),
      encoding: 'utf8',
      maxBuffer: 1 << 26,
    })
    expect(run.stderr).toBe('')
    expect(run.stdout.trim().split('\n')).toEqual(texts.map((text) => digest(JSON.parse(text) as Json)))
  })
})

function padded(i: number): Json {
  return i % 3 === 0 ? i : { id: `r${i}`, text: 'x'.repeat(i % 90) }
}

function mapOf(size: number): Json {
  return Object.fromEntries(Array.from({ length: size }, (_, i) => [`k${i}`, padded(i)]))
}
