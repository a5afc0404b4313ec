/** What replacing references and merging remember: only saved work, never another result. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { Json, JsonObject, Path } from '../src/json.ts'
import { interpolate, type Interpolated, type Interpolation } from '../src/sources/file/interpolate.ts'
import { contributor, mergeAll } from '../src/sources/file/merge.ts'

function work(variables: Readonly<Record<string, string>>, asked: string[] = []): Interpolation {
  return {
    scope: {
      variable(name) {
        asked.push(name)
        const text = variables[name]
        return text === undefined ? undefined : { text, secret: name === 'SECRET' }
      },
      secret: (path) => ({ text: `of ${path}`, secret: true }),
    },
    scalar: (_path, text) => text,
    refuse(path, error) {
      throw new Error(`${path.join('.')} ${error.message}`)
    },
  }
}

function replaced(
  raw: Json,
  variables: Readonly<Record<string, string>>,
  previous?: Interpolated,
  asked?: string[],
): Interpolated {
  const result = interpolate(raw, work(variables, asked), previous)
  if (!result) throw new Error('a secret was left unknown')
  return result
}

const leaf = fc.constantFrom<Json>('plain', '${A}', 'x-${B}', '${SECRET}', '${file:f}', '$$', 7, true, null)
const { node } = fc.letrec<{ node: Json }>((tie) => ({
  node: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    leaf,
    fc.array(tie('node'), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom('a', 'b', 'c'), tie('node'), { maxKeys: 3, noNullPrototype: true }),
  ),
}))
const variables = fc.record({
  A: fc.constantFrom('1', '2'),
  B: fc.constantFrom('1', '2'),
  SECRET: fc.constantFrom('s', 't'),
})

test('whatever was there before, the result is that of a first time', () => {
  fc.assert(
    fc.property(
      fc.array(node, { maxLength: 12 }),
      fc.infiniteStream(fc.nat(99)),
      variables,
      variables,
      (pool, random, first, second) => {
        const pick = () =>
          Array.from(
            { length: random.next().value % 12 },
            () => pool[random.next().value % Math.max(1, pool.length)] ?? null,
          )
        // The two share many entries, at other places and in other orders, as texts do that were parsed incrementally.
        const [before, after] = [
          { list: pick(), one: pool[0] ?? null },
          { list: pick(), one: pool[0] ?? null },
        ]
        const remembered = replaced(before, first)
        for (const values of [first, second]) {
          const fresh = replaced(after, values)
          const result = replaced(after, values, remembered)
          expect(result.config).toEqual(fresh.config)
          expect(result.secrets).toEqual(fresh.secrets)
        }
      },
    ),
    { numRuns: 500 },
  )
})

test('an entry that is the same object is not looked at again, wherever it is now', () => {
  const entries = Array.from({ length: 2000 }, (_, i) => ({ id: i, at: '${A}' }))
  const before = replaced({ entries }, { A: '1' })
  const list = (of: Interpolated) => (of.config as { entries: unknown[] }).entries
  const fresh = (id: string) => ({ id, at: '${A}' })

  const near = [
    fresh('new'),
    ...entries.slice(0, 1000),
    fresh('other'),
    fresh('third'),
    ...entries.slice(1005),
    fresh('last'),
  ]
  let asked: string[] = []
  let after = replaced({ entries: near }, { A: '1' }, before, asked)
  // Once to see that nothing has changed, and once for each of the new ones.
  expect(asked).toHaveLength(5)
  expect(list(after)[1]).toBe(list(before)[0])
  expect(list(after).at(-2)).toBe(list(before).at(-1))

  asked = []
  after = replaced({ entries: entries.toReversed() }, { A: '1' }, before, asked)
  // Where all is in another order, some are, before it pays to look for each of them everywhere.
  expect(asked.length).toBeLessThan(300)
  expect(list(after).at(-1)).toBe(list(before)[0])
  expect(list(after)).toEqual(list(before).toReversed())
})

const configs = fc.array(
  node.map((value): Json =>
    typeof value === 'object' && value !== null && !Array.isArray(value) ? value : { a: value },
  ),
  { minLength: 1, maxLength: 4 },
)

/** As the documentation says it, without anything remembered. */
function plainMerge(under: Json | undefined, over: Json): Json {
  if (!isMapping(under) || !isMapping(over)) return over
  const keys = new Set([...Object.keys(under), ...Object.keys(over)])
  return Object.fromEntries(
    [...keys].map((key) => [
      key,
      Object.hasOwn(over, key) ? plainMerge(under[key], over[key] as Json) : (under[key] as Json),
    ]),
  )
}

function isMapping(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

test('merging gives the same with and without what is remembered', () => {
  fc.assert(
    fc.property(configs, configs, (before, after) => {
      const remembered = mergeAll(before, undefined)
      const mixed = after.map((config, i) => (i % 2 === 0 ? (before[i] ?? config) : config))
      for (const each of [after, mixed, before]) {
        const expected = each.reduce<Json | undefined>(plainMerge, undefined)
        expect(mergeAll(each, remembered).config).toEqual(expected)
      }
      expect(mergeAll([...before], remembered).config).toBe(remembered.config)
    }),
    { numRuns: 500 },
  )
})

test('the file that is named for a value is the last one that holds it', () => {
  fc.assert(
    fc.property(configs, (all) => {
      const { config } = mergeAll(all, undefined)
      for (const { path, value } of leaves(config, [])) {
        const index = contributor(all, path)
        expect(index).toBeDefined()
        expect(valueAt(all[index as number] as Json, path)).toEqual(value)
      }
      expect(contributor(all, ['nowhere'])).toBeUndefined()
    }),
    { numRuns: 500 },
  )
})

function* leaves(value: Json, path: Path): Iterable<{ path: Path; value: Json }> {
  if (typeof value !== 'object' || value === null) yield { path, value }
  else
    for (const [key, child] of Object.entries(value))
      yield* leaves(child as Json, [...path, Array.isArray(value) ? Number(key) : key])
}

function valueAt(root: Json, path: Path): unknown {
  return path.reduce<unknown>((value, step) => (value as Record<string | number, unknown>)[step], root)
}
