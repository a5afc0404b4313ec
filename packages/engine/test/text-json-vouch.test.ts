/** What the JSON parser vouches for is not looked at by `check`: so it must be what `check` would have passed. */
import { Buffer } from 'node:buffer'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { check, defaultLimits } from '../src/check.ts'
import { vouched, type Json } from '../src/json.ts'
import { SourceError } from '../src/source.ts'
import { defaultLimits as textLimits, parseText } from '../src/text/parse.ts'

async function parsed(text: string): Promise<Json | undefined> {
  try {
    return (await parseText(Buffer.from(text), { file: 'a.json', format: 'json', limits: textLimits })).config
  } catch (error) {
    if (error instanceof SourceError) return undefined
    throw error
  }
}

/** JSON as people do not write it: numbers and strings on the edge, awkward keys, white space. */
const number = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }).map(String),
  fc.integer().map(String),
  fc.bigInt({ min: -(2n ** 70n), max: 2n ** 70n }).map(String),
  fc.constantFrom(
    '9007199254740991',
    '9007199254740992',
    '-9007199254740993',
    '1e15',
    '1e21',
    '1.5e300',
    '1e400',
    '-0',
  ),
  fc.constantFrom('1e-400', '123456789012345', '1234567890123456', '0.1', '9007199254740991.0', '9.007199254740992e15'),
)
const string = fc.oneof(
  fc.string({ unit: 'binary' }).map((text) => JSON.stringify(text)),
  fc.constantFrom('"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\\u0024"', '"\\\\ud800"', '"é"'),
)
const key = fc.oneof(
  string,
  fc.constantFrom('"__proto__"', '"\\u005f_proto__"', '"constructor"', '"prototype"', '"toString"', '"a"', '"b"'),
)
const { value } = fc.letrec<{ value: string }>((tie) => ({
  value: fc.oneof(
    { depthSize: 'medium', withCrossShrink: true },
    fc.constantFrom('true', 'false', 'null'),
    number,
    string,
    fc.array(tie('value'), { maxLength: 6 }).map((all) => `[${all.join(' , ')}]`),
    fc
      .array(fc.tuple(key, tie('value')), { maxLength: 6 })
      .map((all) => `{${all.map((e) => e.join(':')).join(',\n')}}`),
  ),
}))

test('property: what is vouched for passes the check, within the extent that is named', async () => {
  let seen = 0
  await fc.assert(
    fc.asyncProperty(value, async (text) => {
      const config = await parsed(text)
      const extent = config === undefined ? undefined : vouched(config)
      if (config === undefined || extent === undefined) return
      seen++
      const limits = { maxDepth: extent.depth, maxNodes: extent.maxValues }
      expect(check(structuredClone(config), undefined, limits)).toEqual([])
    }),
    { numRuns: 2000 },
  )
  expect(seen).toBeGreaterThan(200)
})

test('a document that is vouched for is refused where it is larger than the limits', async () => {
  const config = (await parsed('{"a":[[1,2,3]]}')) as Json
  expect(vouched(config)).toEqual({ maxValues: 6, depth: 3 })
  expect(check(config, undefined, { ...defaultLimits, maxDepth: 3 })).toEqual([])
  expect(check(config, undefined, { ...defaultLimits, maxDepth: 2 })).toMatchObject([{ code: 'limit' }])
  expect(check(config, undefined, { ...defaultLimits, maxNodes: 5 })).toMatchObject([{ code: 'limit' }])
})

test('nobody vouches for whole numbers that are no longer exact', async () => {
  for (const text of ['[9007199254740992]', '[1e21]', '[1e300]']) {
    const config = (await parsed(text)) as Json
    expect(vouched(config)).toBeUndefined()
    expect(check(config, undefined, defaultLimits)).toMatchObject([{ code: 'number-precision' }])
  }
  expect(vouched((await parsed('[9007199254740991, 0.1, 1e15]')) as Json)).toBeDefined()
})
