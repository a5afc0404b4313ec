import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { SourceError } from '../src/source.ts'
import { JsonChecker } from '../src/text/json-check.ts'
import { diagnoseJson } from '../src/text/json-diagnose.ts'
import { defaultLimits, parseText } from '../src/text/parse.ts'
import { SourceText } from '../src/text/source-text.ts'

const maxDepth = 6
const limits = { ...defaultLimits, maxDepth }

/** JSON as text, so that keys can be there twice, and be written in several ways. */
const key = fc.constantFrom(
  ...['a', 'b', 'id', 'limit', 'a key that is longer', 'a key that is longer too', 'é', '', '1', 'toString', '🙂'].map(
    (k) => JSON.stringify(k),
  ),
  ...['"\\u0061"', '"\\u0069d"', '"constructor"', '"prototype"', '"a\\"b"', '"a\\\\"', '"__proto_"'],
)
const scalar = fc.oneof(
  fc.string().map((text) => JSON.stringify(text)),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.constantFrom(
    '1',
    '-0',
    '1e5',
    '1E-7',
    '12345678901234567',
    '9007199254740993',
    '1.2345678901234567',
    '1e309',
    '1e-330',
    '0.0000000000000000000',
  ),
  fc.constantFrom(
    'true',
    'false',
    'null',
    '"\\ud83d\\ude42"',
    '"\\ud83d"',
    '"\\ud83d\\u0041"',
    '"\\ud83d\\ud83d"',
    '"\\ude42\\ud83d"',
    '"x\\u0024"',
    '"\\\\ud800"',
    '"\\\\"',
    '"\\""',
    '"{\\"a\\":[1,"',
  ),
)
const space = fc.constantFrom('', '', ' ', '\n  ', '\t')
const { value } = fc.letrec<{ value: string; object: string; list: string }>((tie) => ({
  value: fc.oneof({ depthSize: 'small' }, scalar, tie('object'), tie('list')),
  object: fc
    .tuple(space, fc.array(fc.tuple(key, space, tie('value')), { maxLength: 5 }))
    .map(([s, members]) => `{${s}${members.map(([k, gap, v]) => `${k}${gap}:${gap}${v}${s}`).join(`,${s}`)}}`),
  list: fc
    .tuple(space, fc.array(tie('value'), { maxLength: 4 }))
    .map(([s, values]) => `[${s}${values.join(`${s},${s}`)}${s}]`),
}))
const records = fc.array(value, { minLength: 1, maxLength: 80 }).map((values) => `[${values.join(',')}]`)
const dictionary = fc
  .tuple(fc.array(value, { minLength: 30, maxLength: 70 }), fc.nat({ max: 69 }))
  .map(([values, twin]) => `{${values.map((v, k) => `"k${k === 0 ? twin : k}":${v}`).join()}}`)

describe('the quick check and the exact reader agree', () => {
  test.each([
    ['values', value],
    ['lists of records', records],
    ['dictionaries, some with a key twice', dictionary],
  ])('on %s', async (_, texts) => {
    await fc.assert(
      fc.asyncProperty(texts, async (text) => {
        const bytes = Buffer.from(text)
        const issue = diagnoseJson(new SourceText('f', bytes), text, maxDepth)
        const parsed = await parseText(bytes, { file: 'f', format: 'json', limits }).catch((error: unknown) => error)
        if (issue) expect((parsed as SourceError).issues).toEqual([issue])
        else expect(parsed).toMatchObject({ config: JSON.parse(text) })
        // Not clean means that something may be wrong; where nothing is, only these two names together may raise it.
        const named = text.includes('"constructor"') && text.includes('"prototype"')
        if (!issue && !named) expect(new JsonChecker().check(bytes, maxDepth).clean).toBe(true)
      }),
      { numRuns: process.env.MIDFLIGHT_LONG ? 5000 : 400 },
    )
  })

  test('on where the entries of large containers are', () => {
    const plain = fc.string().map((text) => JSON.stringify(text))
    const rules = fc.array(fc.oneof(plain, fc.integer().map(String), fc.constant('[{},"]"]')), {
      minLength: 64,
      maxLength: 70,
    })
    fc.assert(
      fc.property(rules, space, (values, s) => {
        const entries = values.map((v, k) => `{"k${k}":${v}}`)
        const text = `{"a":${s}{"list":${s}[${entries.join(`${s},`)}${s}],"map":{${entries.map((e, k) => `"e${k}":${s}${e}`).join()}}}}`
        const bytes = Buffer.from(text)
        const { root, clean } = new JsonChecker().check(bytes, maxDepth)
        expect(clean).toBe(true)
        const inner = root?.container.inside.get(0)
        const open = text.indexOf('{', 1)
        const lists = [0, 1].map((k) => inner?.container.inside.get(k)?.container)
        expect(inner?.container.keys).toEqual(['list', 'map'])
        expect(lists.map((found) => found?.starts.length)).toEqual([entries.length, entries.length])
        const start = open + (inner?.container.starts[0] ?? 0) + (inner?.container.inside.get(0)?.offset ?? 0)
        const shown = entries.map((_, k) =>
          bytes.toString('utf8', start + (lists[0]?.starts[k] ?? 0), start + (lists[0]?.ends[k] ?? 0)),
        )
        expect(shown).toEqual(entries)
        expect(lists[1]?.keys).toEqual(entries.map((_, k) => `e${k}`))
      }),
    )
  })
})

test('thousands of kinds of objects are checked as exactly as one', async () => {
  const objects = Array.from({ length: 30_000 }, (_, k) => `{"x${k}":1,"y${k}":{"x${k}":[]}}`)
  const good = `[${objects.join()}]`
  expect(new JsonChecker().check(Buffer.from(good), 10).clean).toBe(true)
  const bad = good.replace('"y29999":', '"x29999":')
  const refused = await parseText(Buffer.from(bad), { file: 'f', format: 'json', limits }).catch(
    (error: unknown) => error,
  )
  expect((refused as SourceError).issues).toMatchObject([{ code: 'duplicate-key', path: [29_999, 'x29999'] }])
})
