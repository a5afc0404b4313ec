import { describe, expect, test } from 'vitest'
import { originText, type Issue } from '../src/issue.ts'
import { pathText } from '../src/json.ts'
import { SourceError } from '../src/source.ts'
import { defaultLimits, parseText, type Format, type TextLimits } from '../src/text/parse.ts'

async function refusal(format: Format, text: string | Uint8Array, limits: TextLimits = defaultLimits): Promise<Issue> {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text
  try {
    const parsed = await parseText(bytes, { file: 'f', format, limits })
    throw new Error(`was read as ${JSON.stringify(parsed.config)}`)
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    return error.issues[0] as Issue
  }
}

/** `code place path; also at place`, as one text that a table can hold. */
function told({ code, origin, path, related }: Issue): string {
  const also = related?.map((place) => `; also at ${originText(place)}`).join('') ?? ''
  return `${code} ${origin ? originText(origin) : '?'} ${pathText(path)}${also}`.trim()
}

type Row = readonly [what: string, text: string | Uint8Array, told: string, message?: RegExp]

function rows(format: Format, table: readonly Row[]): void {
  for (const [what, text, wanted, message] of table) {
    test(`${format}: ${what}`, async () => {
      const issue = await refusal(format, text)
      expect(told(issue)).toBe(wanted)
      if (message) expect(`${issue.message} ${issue.hint ?? ''}`).toMatch(message)
      expect(issue.origin?.offset).toEqual(expect.any(Number))
    })
  }
}

describe('JSON is refused with the place, what was found and what was wanted', () => {
  rows('json', [
    ['a trailing comma', '{"a": 1,\n}', 'syntax f:2:1', /found "}" after a comma; want/],
    ['a trailing comma in a list', '[1,]', 'syntax f:1:4', /found "]" after a comma/],
    ['a truncated text', '{"a": [1, 2', 'syntax f:1:12 a', /found the end of the text; want "," or "]"/],
    ['an open string', '{"a": "x', 'syntax f:1:7 a', /not closed/],
    ['NaN', '{"a": {"b": NaN}}', 'syntax f:1:13 a.b', /found "NaN"; want a value/],
    ['a NUL byte', '{"a": \0}', 'encoding f:1:7 a', /NUL/],
    ['a NUL byte in a string', '["\0"]', 'encoding f:1:3 0', /NUL/],
    ['a line end in a string', '["a\nb"]', 'syntax f:1:4 0', /"\\n" inside of a string/],
    ['bytes that are not UTF-8', Buffer.from('{"é": "\xff"}', 'latin1'), 'encoding f:1:3', /0xe9 is not UTF-8/],
    [
      'bad bytes far inside',
      Buffer.concat([Buffer.from(`["${'é'.repeat(999)}`), Buffer.from([0xc3, 0x22])]),
      'encoding f:1:1002',
    ],
    ['an encoded surrogate', Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]), 'encoding f:1:2', /0xed/],
    [
      'a UTF-16 byte order mark',
      Buffer.from([0xff, 0xfe, 0x7b, 0]),
      'encoding f:1:1',
      /UTF-16 byte order mark; want UTF-8/,
    ],
    ['a UTF-32 byte order mark', Buffer.from([0, 0, 0xfe, 0xff]), 'encoding f:1:1', /UTF-32/],
    ['a lone surrogate', '{"é": ["x\\ud800"]}', 'encoding f:1:10 é.0', /\\ud800, half of a surrogate pair/],
    ['a duplicate key', '{"a": 1,\n "b": {"c": 1, "c": 2}}', 'duplicate-key f:2:16 b.c; also at f:2:8', /twice/],
    ['a duplicate key by an escape', '{"a": 1, "\\u0061": 2}', 'duplicate-key f:1:10 a; also at f:1:2'],
    ['an infinite number', '{"a": 1e400}', 'number-precision f:1:7 a', /is 1e400, which is larger than any number/],
    ['a number that vanishes', '[1e-400]', 'number-precision f:1:2 0', /would become 0/],
    [
      'a whole number beyond 2^53',
      '[9007199254740993]',
      'number-precision f:1:2 0',
      /9007199254740993.* 9007199254740992/,
    ],
    ['2^63, which is written as another', '[9223372036854775808]', 'number-precision f:1:2 0', /9223372036854776000/],
    ['100,000 brackets', '['.repeat(100_000), 'limit f:1:101 0.0.0.0.0.0.0.0', /more than 100 deep/],
    ['100,000 brackets that close', '['.repeat(1e5) + ']'.repeat(1e5), 'limit f:1:101 0.0.0.0.0.0.0.0', /100 deep/],
    ['__proto__', '{"a": {"__proto__": {"b": 1}}}', 'forbidden-key f:1:8 a.__proto__', /__proto__/],
    ['__proto__ by an escape', '{"__\\u0070roto__": 1}', 'forbidden-key f:1:2 __proto__'],
    ['constructor.prototype', '{"constructor": {"prototype": 1}}', 'forbidden-key f:1:18 constructor.prototype'],
    ['nothing', '', 'empty f:1:1', /is empty; want/],
    ['white space', ' \n\t', 'empty f:1:1', /nothing but white space/],
    ['only a byte order mark', '\ufeff', 'empty f:1:1'],
    ['a second value', '{} {}', 'syntax f:1:4', /after the end/],
  ])
  rows('jsonc', [
    ['an open comment', '{"a": 1 /* x', 'syntax f:1:9', /not closed; want \*\//],
    ['only comments', '// a\n/* b */', 'empty f:1:1'],
    ['a comma for nothing', '[,]', 'syntax f:1:2 0', /found ","/],
    ['an error behind a comment', '{ /* é🙂 */ "a": nope }', 'syntax f:1:18 a', /nope/],
    ['a duplicate key behind comments', '{"a": 1, // é\n"a": 2}', 'duplicate-key f:2:1 a; also at f:1:2'],
  ])
})

describe('YAML is refused with the place, what was found and what was wanted', () => {
  rows('yaml', [
    ['a tab for indentation', 'a:\n\tb: 1', 'syntax f:2:1', /indent with spaces/],
    ['a duplicate key', 'a:\n  b: 1\n  c: [x]\n  b: 2', 'duplicate-key f:4:3 a.b; also at f:2:3', /twice/],
    ['a duplicate key in braces', 'a: {b: 1, b: 2}', 'duplicate-key f:1:11 a.b; also at f:1:5'],
    ['several documents', 'a: 1\n---\nb: 2', 'syntax f:2:1', /second document/],
    ['an empty second document', 'a: 1\n---\n', 'syntax f:2:1', /second document/],
    ['an anchor cycle', 'a: &a\n  b: *a', 'syntax f:2:6 a.b', /from inside of &a/],
    ['an unknown anchor', 'a: *b', 'syntax f:1:4 a', /no anchor/],
    ['!!js/function', 'a: !!js/function "x"', 'syntax f:1:4 a', /!!js\/function/],
    ['!!omap', 'a: !!omap [b: 1]', 'syntax f:1:4 a', /!!omap/],
    ['!!binary', 'a: !!binary aGk=', 'syntax f:1:4 a', /!!binary/],
    ['a tag of an application', 'a: !vault x', 'syntax f:1:4 a', /!vault/],
    ['a tag with a handle', '%TAG !e! tag:example.com,2000:\n---\na: !e!x y', 'syntax f:3:4 a', /example\.com/],
    ['a tag that does not fit', 'a: !!int x', 'syntax f:1:4 a', /"x"; want a value for !!int/],
    ['__proto__', 'a: {__proto__: 1}', 'forbidden-key f:1:5 a.__proto__', /__proto__/],
    ['__proto__ by a merge', 'a: &a {x: 1}\n<<: {__proto__: *a}', 'forbidden-key f:2:6 <<.__proto__'],
    ['__proto__ by an alias', 'a: &a __proto__\n*a : 1', 'forbidden-key f:2:1 __proto__'],
    [
      'prototype merged into constructor',
      'a: &a {prototype: 1}\nconstructor: {<<: *a}',
      'forbidden-key f:2:19 constructor',
    ],
    ['constructor.prototype', 'constructor: {prototype: 1}', 'forbidden-key f:1:15 constructor.prototype'],
    ['a list for a key', '? [a]\n: b', 'syntax f:1:3', /list for a key; want a string/],
    ['a mapping for a key', '{a: b}: c', 'syntax f:1:1', /mapping for a key; want a string/],
    ['null for a key', 'a: 1\n~: 2', 'syntax f:2:1', /null for a key; want a string/],
    ['a merge of a scalar', '<<: x', 'syntax f:1:1', /no mapping/],
    ['infinity', 'a: .inf', 'number-precision f:1:4 a', /is \.inf; want a finite number/],
    ['a number too large', 'a: [1e400]', 'number-precision f:1:5 a.0'],
    ['a whole number beyond 2^53', 'a: 9007199254740993', 'number-precision f:1:4 a'],
    ['an open quote', 'a: "x', 'syntax f:1:6', /double quoted/],
    ['a NUL byte', 'a: \0', 'encoding f:1:4', /NUL/],
    ['a control character', 'a: \u0007', 'encoding f:1:4', /non-printable/],
    ['deep nesting', '['.repeat(100_000), 'limit f:1:101', /100 deep/],
    ['only comments', '# a\n', 'empty f:1:1'],
    ['an empty document', '---\n', 'empty f:1:1'],
  ])

  const lists = (count: number, entry: (k: number) => string): string =>
    Array.from({ length: count }, (_, k) => entry(k)).join('\n')
  const bombs: readonly (readonly [string, string])[] = [
    [
      'billion laughs',
      `a0: &a0 [x,x,x,x,x,x,x,x,x]\n${lists(12, (k) => `a${k + 1}: &a${k + 1} [${Array(9).fill(`*a${k}`).join()}]`)}`,
    ],
    ['a large list many times', `a: &a [${'x,'.repeat(5000)}]\nb: [${'*a,'.repeat(900)}]`],
    ['quadratic merges', `b0: &b0 {k0: 1}\n${lists(900, (k) => `b${k + 1}: &b${k + 1} {<<: *b${k}, k${k + 1}: 1}`)}`],
    [
      'one large merge many times',
      `b: &b {${Array.from({ length: 400 }, (_, k) => `k${k}: 1`).join()}}\n${lists(40, (k) => `m${k}: {<<: *b}`)}`,
    ],
    ['too many aliases', `a: &a 1\nb: [${'*a,'.repeat(2000)}]`],
  ]
  test.each(bombs)('yaml: %s ends at the limit, soon', async (_, text) => {
    const start = performance.now()
    expect(await refusal('yaml', text)).toMatchObject({ code: 'limit', origin: { line: expect.any(Number) } })
    // Some 5 ms; the bound leaves room for a busy machine.
    expect(performance.now() - start).toBeLessThan(2000)
  })

  test('yaml: an `!!omap` of any size is refused, soon', async () => {
    const start = performance.now()
    const text = `a: !!omap\n${lists(5000, (k) => `- k${k}: 1`)}`
    expect(told(await refusal('yaml', text))).toBe('syntax f:1:4 a')
    expect(performance.now() - start).toBeLessThan(2000)
  })
})

describe('TOML and .env are refused with the place, what was found and what was wanted', () => {
  rows('toml', [
    ['a table defined twice', '[a]\nx = 1\n[a]\n', 'duplicate-key f:3:2 a; also at f:1:1', /there already/],
    ['a key twice', '[a]\nb = 1\nb = 2', 'duplicate-key f:3:1 a.b; also at f:2:5'],
    [
      'a key twice in a table of a list',
      '[[a]]\nx = 1\n[[a]]\nx = 1\nx = 2',
      'duplicate-key f:5:1 a.1.x; also at f:4:5',
    ],
    ['an inline table extended', 't = {a = 1}\nt.b = 2', 'duplicate-key f:2:1 t.b; also at f:1:5'],
    ['a key twice in an inline table', 't = {a = 1, a = 2}', 'duplicate-key f:1:13'],
    ['a bad date', 'd = 2001-99-99', 'syntax f:1:5', /date/],
    ['a missing value', 'a =\n', 'syntax f:1:4'],
    ['an open string', 'a = "x', 'syntax f:1:5', /unfinished/],
    ['an open list', 'a = [1, 2', 'syntax f:1:10', /comma or end/],
    ['a whole number beyond 2^53', 'a = [1, 9223372036854775807]', 'number-precision f:1:9 a.1', /9223372036854775807/],
    ['infinity', 'a = inf', 'number-precision f:1:5 a', /is inf/],
    ['__proto__', '[a]\n__proto__ = 1', 'forbidden-key f:2:13 a.__proto__'],
    ['deep nesting', `a = ${'['.repeat(500)}`, 'limit f:1:105', /100 deep/],
    ['only comments', '# a', 'empty f:1:1'],
    ['a NUL byte', 'a = "\0"', 'encoding f:1:6'],
  ])
  rows('env', [
    ['a missing =', 'A=1\nSECRET_TOKEN', 'syntax f:2:1', /found "SECRET_TOKEN" without "="; want NAME=value/],
    ['an open quote', 'A="x\nB=1', 'syntax f:1:3 A', /not closed/],
    ['a name twice', 'A=1\nB=2\nexport A=3', 'duplicate-key f:3:8 A; also at f:1:1'],
    ['a bad name', '1A=1', 'syntax f:1:1', /the name "1A"/],
    ['text after a quote', 'A="x" y', 'syntax f:1:6 A', /after the closing "/],
    ['a # inside of a value', 'A=pass#word', 'syntax f:1:7 A', /quotes/],
    ['__proto__', '__proto__=1', 'forbidden-key f:1:1 __proto__'],
    ['nothing but comments', '# A=1\n', 'empty f:1:1'],
  ])

  test('.env: a line that is not understood is shown only in part, for it may be a secret', async () => {
    expect((await refusal('env', 'correct-horse-battery-staple')).message).not.toContain('staple')
  })
})

test.each(['json', 'jsonc', 'yaml', 'toml', 'env'] as const)(
  '%s: a text that is too large names both sizes',
  async (format) => {
    const issue = await refusal(format, 'x'.repeat(101), { ...defaultLimits, maxBytes: 100 })
    expect(issue).toMatchObject({ code: 'limit', message: 'is 101 bytes; want at most 100' })
  },
)
