import { isDeepStrictEqual } from 'node:util'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isArray, isObject, type Json, type Path } from '../src/json.ts'
import { SourceError } from '../src/source.ts'
import { defaultLimits, parseText, type Format, type ParsedText } from '../src/text/parse.ts'

const limits = { ...defaultLimits, maxDepth: 12 }

async function read(text: string, format: Format, previous?: ParsedText): Promise<ParsedText | SourceError> {
  try {
    return await parseText(Buffer.from(text), { file: 'x.json', format, limits, ...(previous && { previous }) })
  } catch (error) {
    if (error instanceof SourceError) return error
    throw error
  }
}

function frozen(value: Json): Json {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value)
    for (const inner of Object.values(value)) frozen(inner)
  }
  return value
}

function pathsOf(value: Json, limit: number, path: Path = []): Path[] {
  const inner = isArray(value) ? value.map((v, k) => [k, v] as const) : isObject(value) ? Object.entries(value) : []
  return [path, ...inner.slice(-limit).flatMap(([step, v]) => pathsOf(v, limit, [...path, step]))]
}

/** Reads `text` after `previous` and in full, and wants the same of both. @returns what may be the next previous */
async function expectSame(
  text: string,
  previous: ParsedText | undefined,
  format: Format,
): Promise<ParsedText | undefined> {
  const whole = await read(text, format)
  const changed = await read(text, format, previous)
  if (whole instanceof SourceError || changed instanceof SourceError) {
    expect(changed).toBeInstanceOf(SourceError)
    expect((changed as SourceError).issues).toEqual((whole as SourceError).issues)
    return previous
  }
  // Not toStrictEqual: that takes a key `constructor` for the object's class.
  expect(isDeepStrictEqual(changed.config, whole.config)).toBe(true)
  expect(JSON.stringify(changed.config)).toBe(JSON.stringify(whole.config))
  if (whole.mayHaveReferences) expect(changed.mayHaveReferences).toBe(true)
  for (const path of pathsOf(whole.config, 2)) expect(changed.origin(path)).toEqual(whole.origin(path))
  frozen(changed.config)
  return changed
}

const name = fc.constantFrom(
  'a',
  'b',
  'id',
  'é',
  '',
  'toString',
  'constructor',
  'prototype',
  '__proto__',
  '1',
  '0',
  'x y',
)
const scalar = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom('', 'x', '"', '\\', '],', '{"a":1}', '${A}', '🙂', null, true, false, 0, -0, 1e21, 12, 123),
)
const small = fc.oneof(
  scalar,
  fc.record({ id: fc.integer({ min: 0, max: 99 }), n: scalar }),
  fc.array(scalar, { maxLength: 3 }),
)
const large: fc.Arbitrary<unknown> = fc.oneof(
  fc.array(small, { minLength: 60, maxLength: 90 }),
  fc.array(
    fc.record({ id: fc.integer(), match: fc.record({ host: fc.string(), tags: fc.array(scalar, { maxLength: 2 }) }) }),
    {
      minLength: 64,
      maxLength: 80,
    },
  ),
  fc.dictionary(fc.string({ maxLength: 6 }), small, { minKeys: 64, maxKeys: 80 }),
)
const document = fc.oneof(
  large,
  fc.record({ version: scalar, rules: large, more: small }),
  fc.record({ a: fc.record({ b: fc.record({ rules: large, z: small }), rules: large }), v: scalar }),
  fc.array(fc.record({ id: fc.integer(), rules: large }), { minLength: 1, maxLength: 3 }),
)

/** One change of a text. Positions are shares of its length, so that they fit every text. */
const share = fc.double({ min: 0, max: 1, noNaN: true })
const fragment = fc.constantFrom(
  ...[
    ' ',
    '\n',
    ',',
    ':',
    '"',
    '{',
    '}',
    '[',
    ']',
    '1',
    '12',
    'null',
    '"x"',
    '{"id":1}',
    '"a":1',
    ',"a":1',
    '"__proto__":1,',
    '\\',
    '$',
    '\u0000',
    'é',
    '1e999,',
    '9007199254740993,',
    '"\\ud800",',
    '"\\u0024",',
    '[[[[[[[[[[[[[]]]]]]]]]]]]],',
  ],
)
const edit = fc.oneof(
  fc.record({ kind: fc.constant('insert' as const), at: share, text: fragment }),
  fc.record({ kind: fc.constant('cut' as const), at: share, length: fc.nat({ max: 30 }) }),
  fc.record({ kind: fc.constant('end' as const), at: share }),
  fc.record({ kind: fc.constant('copy' as const), at: share, length: fc.nat({ max: 60 }), to: share }),
)
type Edit = typeof edit extends fc.Arbitrary<infer E> ? E : never

function edited(text: string, { at, ...change }: Edit): string {
  const here = Math.floor(at * text.length)
  if (change.kind === 'insert') return text.slice(0, here) + change.text + text.slice(here)
  if (change.kind === 'cut') return text.slice(0, here) + text.slice(here + change.length)
  if (change.kind === 'end') return text.slice(0, here)
  const to = Math.floor(change.to * text.length)
  return text.slice(0, to) + text.slice(here, here + change.length) + text.slice(to)
}

/** A change of the tree: entries of containers are removed, repeated, swapped, changed or added. */
const treeEdit = fc.record({
  at: fc.array(share, { maxLength: 4 }),
  what: fc.constantFrom('remove', 'repeat', 'swap', 'change', 'add', 'cutHalf'),
  where: share,
  to: share,
  value: small,
})
type TreeEdit = typeof treeEdit extends fc.Arbitrary<infer E> ? E : never

function changedTree(root: Json, change: TreeEdit): Json {
  const copy = structuredClone(root) as unknown
  let container = copy
  for (const step of change.at) {
    const inner = Object.values(container as object).filter((v) => typeof v === 'object' && v !== null)
    if (inner.length > 0) container = inner[Math.min(inner.length - 1, Math.floor(step * inner.length))]
  }
  if (isArray(container as Json)) changeList(container as unknown[], change)
  else if (isObject(container as Json)) changeObject(container as Record<string, unknown>, change)
  return copy as Json
}

function changeList(list: unknown[], { what, where, to, value }: TreeEdit): void {
  const k = Math.floor(where * list.length)
  const other = Math.floor(to * list.length)
  if (what === 'remove') list.splice(k, 1)
  else if (what === 'repeat') list.splice(other, 0, list[k] ?? null)
  else if (what === 'swap') [list[k], list[other]] = [list[other] ?? 1, list[k] ?? 2]
  else if (what === 'change') list[Math.min(k, list.length)] = value
  else if (what === 'add') list.splice(k, 0, value, value)
  else list.splice(0, k)
}

function changeObject(object: Record<string, unknown>, { what, where, value }: TreeEdit): void {
  const keys = Object.keys(object)
  const key = keys[Math.floor(where * keys.length)] ?? 'k'
  if (what === 'remove') delete object[key]
  else if (what === 'add') object[`${key}+`] = value
  else if (what === 'cutHalf') for (const k of keys.slice(0, Math.floor(where * keys.length))) delete object[k]
  else object[key] = value
}

const indent = fc.constantFrom(0, 1, '\t')

describe('reading what changed gives what reading all gives', () => {
  const runs = { numRuns: process.env.MIDFLIGHT_LONG ? 3000 : 250 }

  test('for any change of the tree, in compact and in indented texts', async () => {
    const changes = fc.array(treeEdit, { minLength: 1, maxLength: 6 })
    await fc.assert(
      fc.asyncProperty(
        document,
        indent,
        fc.array(changes, { minLength: 1, maxLength: 3 }),
        async (start, space, steps) => {
          let tree = JSON.parse(JSON.stringify(start)) as Json
          let previous = await expectSame(JSON.stringify(tree, null, space), undefined, 'json')
          for (const step of steps) {
            tree = step.reduce(changedTree, tree)
            previous = await expectSame(JSON.stringify(tree, null, space), previous, 'json')
          }
        },
      ),
      runs,
    )
  })

  test('for any change of the text, valid or not', async () => {
    const edits = fc.array(edit, { minLength: 1, maxLength: 3 })
    await fc.assert(
      fc.asyncProperty(
        document,
        indent,
        fc.array(edits, { minLength: 1, maxLength: 4 }),
        async (start, space, steps) => {
          let text = JSON.stringify(start, null, space)
          let previous = await expectSame(text, undefined, 'json')
          for (const step of steps) {
            const next = step.reduce(edited, text)
            const result = await expectSame(next, previous, 'json')
            if (result !== previous) text = next
            previous = result
          }
        },
      ),
      runs,
    )
  })

  test('in JSONC too, with comments that come, go and change', async () => {
    const comments = fc.array(fc.record({ at: share, text: fc.constantFrom('/* é */', '// x\n', '/* " */', ',') }), {
      maxLength: 5,
    })
    await fc.assert(
      fc.asyncProperty(document, fc.array(comments, { minLength: 2, maxLength: 4 }), async (start, steps) => {
        const lines = JSON.stringify(start, null, 1).split('\n')
        let previous: ParsedText | undefined
        for (const step of steps) {
          const commented = [...lines]
          for (const { at, text } of step) commented.splice(Math.floor(at * commented.length), 0, text)
          previous = await expectSame(commented.join('\n'), previous, 'jsonc')
        }
      }),
      { numRuns: 60 },
    )
  })

  test('for keys that are like those of every object, and for the refused ones', async () => {
    await fc.assert(
      fc.asyncProperty(name, name, small, async (key, other, value) => {
        const rules = Object.fromEntries(Array.from({ length: 70 }, (_, k) => [`k${k}`, { n: k }]))
        const first = await expectSame(JSON.stringify({ rules }), undefined, 'json')
        const member = `${JSON.stringify(key)}:{${JSON.stringify(other)}:${JSON.stringify(value)}}`
        await expectSame(JSON.stringify({ rules }).replace('"k9":', `${member},"k9":`), first, 'json')
        await expectSame(JSON.stringify({ rules }).replace('"rules":', `${member},"rules":`), first, 'json')
      }),
      { numRuns: 150 },
    )
  })
})

describe('what did not change', () => {
  const rules = Array.from({ length: 500 }, (_, k) => ({ id: `r${k}`, limit: { rps: k }, tags: ['a', 'b'] }))
  const reading = (tree: unknown, previous?: ParsedText) =>
    read(JSON.stringify(tree), 'json', previous) as Promise<ParsedText>
  const list = (parsed: ParsedText) => (parsed.config as { rules: Json[] }).rules

  test('is the same text: the previous reading itself', async () => {
    const before = await reading({ rules })
    expect(await reading({ rules }, before)).toBe(before)
    for (const [format, text] of [
      ['yaml', 'a: 1'],
      ['toml', 'a = 1'],
      ['env', 'A=1'],
    ] as const) {
      const first = (await read(text, format)) as ParsedText
      expect(await read(text, format, first)).toBe(first)
    }
  })

  test('is the same object in the new tree', async () => {
    const before = await reading({ version: 1, rules })
    const next = rules.toSpliced(100, 1).toSpliced(300, 0, { id: 'new', limit: { rps: 1 }, tags: [] })
    next[7] = { ...rules[7], limit: { rps: -1 } } as (typeof rules)[0]
    const after = await reading({ version: 2, rules: next }, before)
    expect(after.config).toEqual({ version: 2, rules: next })
    const old = new Set(list(before))
    expect(list(after).filter((rule) => !old.has(rule))).toEqual([next[7], next[300]])
  })

  test('keeps a whole container that stands in a changed place', async () => {
    const before = await reading({ version: 1, rules })
    const after = await reading({ version: 10_000, rules }, before)
    expect(list(after)).toBe(list(before))
  })

  test('is found again after a block was moved or removed', async () => {
    const before = await reading({ rules })
    for (const next of [rules.slice(250), [...rules.slice(400), ...rules.slice(0, 400)]]) {
      const after = await reading({ rules: next }, before)
      const old = new Set(list(before))
      expect(list(after)).toEqual(next)
      expect(list(after).filter((rule) => !old.has(rule)).length).toBeLessThan(80)
    }
  })
})

describe('what reading only the changes could overlook is found', () => {
  const members = (count: number) => Array.from({ length: count }, (_, k) => `"k${k}":{"n":${k}}`)
  const object = (entries: readonly string[]) => `{"v":1,"rules":{${entries.join(',')}}}`
  const before = object(members(100))
  const deep = '['.repeat(limits.maxDepth - 2) + ']'.repeat(limits.maxDepth - 2)

  test.each([
    ['a key twice, with the same value', before.replace('"k9":', '"k50":{"n":50},"k9":')],
    ['a key twice, with another value', before.replace('"k9":', '"k50":{},"k9":')],
    ['a missing comma', before.replace('},"k50"', '} "k50"')],
    ['a colon in place of a comma', before.replace('},"k50"', '}:"k50"')],
    ['a comma too many', before.replace('},"k50"', '},,"k50"')],
    ['a comma at the end', before.replace('}}}', '},}}')],
    ['something behind the end', `${before} 1`],
    ['an entry that just fits', before.replace('{"n":50}', deep)],
    ['an entry that is one too deep', before.replace('{"n":50}', `[${deep}]`)],
    ['constructor.prototype', before.replace('"k50":{"n"', '"constructor":{"prototype"')],
    [
      'constructor.prototype, after each of the two words by itself',
      before
        .replace('{"n":10}', '{"constructor":1}')
        .replace('{"n":30}', '{"prototype":1}')
        .replace('{"n":50}', '{"constructor":{"prototype":1}}'),
    ],
    ['a key twice in two entries', before.replace('{"n":10}', '{"m":1,"m":2}').replace('{"n":50}', '{"m":1,"m":2}')],
    ['__proto__', before.replace('"k50"', '"__proto__"')],
    ['__proto__ by an escape', before.replace('"k50"', '"\\u005f_proto__"')],
    ['a number that loses its value', before.replace('{"n":50}', '9007199254740993')],
    ['an escaped dollar', before.replace('{"n":50}', '"\\u0024{A}"')],
    ['another kind of container', before.replace('{"k0"', '[{"k0"').replace('}}}', '}}]}')],
    ['a list in place of the object', '{"v":1,"rules":[]}'],
    ['nothing', ''],
  ])('%s', async (_, text) => {
    const previous = await expectSame(before, undefined, 'json')
    await expectSame(text, previous, 'json')
  })

  test('bytes that are not UTF-8, in a value and in a key', async () => {
    const previous = await expectSame(before, undefined, 'json')
    for (const text of [before.replace('{"n":50}', '"\xff"'), before.replace('"k50"', '"\xff"')]) {
      const options = { file: 'x.json', format: 'json', limits, ...(previous && { previous }) } as const
      const reading = parseText(Buffer.from(text, 'latin1'), options)
      await expect(reading).rejects.toMatchObject({ issues: [{ code: 'encoding' }] })
    }
  })

  test('numbers that change places with equal ones', async () => {
    const numbers = Array.from({ length: 100 }, (_, k) => k)
    const previous = await expectSame(JSON.stringify(numbers), undefined, 'json')
    for (const at of [0, 1, 50, 98]) await expectSame(JSON.stringify(numbers.with(at, at + 1)), previous, 'json')
    await expectSame(JSON.stringify(numbers.toSpliced(50, 1)), previous, 'json')
    await expectSame(JSON.stringify(numbers).replace(',50,', ',-0,'), previous, 'json')
  })
})
