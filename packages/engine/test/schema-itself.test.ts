/** What is told when the schema itself is wrong, and that no pattern in it can hang the process. */
import { execFileSync } from 'node:child_process'
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import type { Json } from '../src/json.ts'
import { formats } from '../src/schema/formats.ts'
import { isHarmless } from '../src/schema/regexp-harmless.ts'
import { compile, jsonSchema, SchemaError } from '../src/schema.ts'

const wrong: [string, Json, RegExp][] = [
  ['an unknown keyword', { requried: ['a'] }, /unknown keyword: "requried"/],
  ['an unknown type', { type: 'strng' }, /type must be equal to one of the allowed values/],
  ['an unknown format', { format: 'creditcard' }, /unknown format "creditcard"/],
  [
    'another dialect',
    { $schema: 'http://json-schema.org/draft-04/schema#' },
    /want https:\/\/json-schema.org\/draft\/2020-12/,
  ],
  ['a reference to elsewhere', { $ref: 'https://example.com/other.json' }, /can't resolve reference/],
  ['a reference to itself', { $ref: '#' }, /^JSON Schema: # refers to itself/],
  [
    'a reference to itself in a definition',
    { $defs: { a: { $ref: '#/$defs/a' } }, $ref: '#/$defs/a' },
    /^JSON Schema: #\/\$defs\/a refers to itself/,
  ],
  [
    'references in a ring',
    { $defs: { a: { $ref: '#/$defs/b' }, b: { $ref: '#/$defs/a' } }, properties: { x: { $ref: '#/$defs/a' } } },
    /^JSON Schema: #\/\$defs\/[ab] refers to itself/,
  ],
  [
    'a reference to itself by an anchor',
    { properties: { x: { $anchor: 'a', $ref: '#a' } } },
    /^JSON Schema: #a refers to itself/,
  ],
  [
    'a secret and a reference by $id',
    { $defs: { p: { $id: 'pw', writeOnly: true } }, properties: { x: { $ref: 'pw' } } },
    /the \$(ref|id) pw cannot be followed/,
  ],
  [
    'a secret and a part with a base of its own',
    {
      $defs: { p: { $id: 'http://a/', properties: { y: { writeOnly: true } } } },
      properties: { x: { $ref: '#/$defs/p' } },
    },
    /the \$id http:\/\/a\/ cannot be followed/,
  ],
  ['a pattern that is none', { pattern: '(' }, /regex|no regular expression/],
  ['a dynamic reference', { $dynamicRef: '#a' }, /\$dynamicRef is not supported/],
  [
    'a key that is no name',
    { properties: { a: { type: 'array', 'x-midflight-key': 7 } } },
    /x-midflight-key at a is 7/,
  ],
]
test.each(wrong)('a schema with %s is refused when it is compiled', async (_, schema, message) => {
  await expect(compile(jsonSchema(schema))).rejects.toThrow(SchemaError)
  await expect(compile(jsonSchema(schema))).rejects.toThrow(message)
})

test('marks behind an anchor are those of the place that refers to it', async () => {
  const password = { type: 'string', writeOnly: true } as const
  const schemas: Json[] = [
    { $defs: { p: { $anchor: 'pw', ...password } }, properties: { x: { $ref: '#pw' } } },
    {
      $schema: 'http://json-schema.org/draft-07/schema#',
      definitions: { p: { $id: '#pw', ...password } },
      properties: { x: { $ref: '#pw' } },
    },
  ]
  for (const schema of schemas) expect((await compile(jsonSchema(schema))).secretPaths).toEqual(['x'])
})

test('what is no schema is refused', async () => {
  await expect(compile({ type: 'object' } as never)).rejects.toThrow('is no schema; want a Standard Schema')
})

test('a missing ajv and a missing re2js are told with the command that installs them', () => {
  const alone = mkdtempSync(join(tmpdir(), 'midflight-schema-'))
  try {
    cpSync(fileURLToPath(new URL('../src', import.meta.url)), join(alone, 'src'), { recursive: true })
    writeFileSync(join(alone, 'package.json'), '{ "type": "module" }')
    const script = `
      const { compile, jsonSchema } = await import('./src/schema.ts')
      const { regexpsFor } = await import('./src/schema/regexp.ts')
      console.log(JSON.stringify(await (await compile(jsonSchema(true))).validate({ a: 1 })))
      await compile(jsonSchema({})).catch((error) => console.log(error.name, error.message))
      try { (await regexpsFor({ pattern: '^(a+)+$' }))('^(a+)+$', 'u') } catch (error) { console.log(error.name, error.message) }`
    const said = execFileSync(process.execPath, ['--input-type=module', '-e', script], { cwd: alone, encoding: 'utf8' })
    expect(said).toContain('{"config":{"a":1}}') // what asks nothing needs no package
    expect(said).toMatch(/^SchemaError JSON Schema needs the package ajv: npm install ajv$/m)
    expect(said).toMatch(/^SchemaError the pattern \^\(a\+\)\+\$ may take exponential time; .* npm install re2js$/m)
  } finally {
    rmSync(alone, { recursive: true, force: true })
  }
})

describe('patterns', () => {
  const harmless = [
    '^[a-z0-9]+(?:-[a-z0-9]+)*$',
    '^[A-Z_][A-Z0-9_]*$',
    '^(?:[0-9]{1,3}\\.){3}[0-9]{1,3}$',
    '^v?\\d+\\.\\d+\\.\\d+(-[0-9a-z]+(\\.[0-9a-z]+)*)?$',
    '^https?://',
    '^(GET|POST|PUT)$',
    '^[^@\\s]+@[^@\\s]+$',
    '.*',
    '^/(?:[\\w-]+/)*$',
    '\\d+(ms|s|m|h)',
    '^x',
    '^\\p{L}+$',
    '[\\]a-]+',
  ]
  const risky = [
    '^(a+)+$',
    '(a*)*',
    '(a|a)*$',
    '(a|ab)*c',
    '^(.*)*$',
    '(x+x+)+y',
    '^(\\w+\\s?)*$',
    '(?=a)b',
    '(a)\\1',
    '^([a-z]+-?)+$',
    'a*a*a*a*b',
    '(',
  ]
  test.each(harmless)('%s runs natively', (source) => {
    expect(isHarmless(source)).toBe(true)
  })
  test.each(risky)('%s does not', (source) => {
    expect(isHarmless(source)).toBe(false)
  })

  test('what runs natively takes no long time on long texts that all but match', () => {
    for (const source of harmless) {
      for (const unit of ['a', '-', 'a-', '1', '1.', 'x', '/', 'a/', '@', ' ', 'é']) {
        const started = performance.now()
        new RegExp(source, 'u').test(`${unit.repeat(2_000)}!`)
        expect(performance.now() - started, `${source} on ${unit}`).toBeLessThan(1000)
      }
    }
  })

  test('a catastrophic one is decided at once, or refused where re2js is not installed', async () => {
    const started = performance.now()
    const schema = jsonSchema<Json>({ type: 'string', pattern: '^(a+)+$' })
    try {
      const validator = await compile(schema)
      expect(await validator.validate(`${'a'.repeat(40)}!`, undefined)).toHaveProperty('issues')
      expect(await validator.validate('a'.repeat(40), undefined)).toHaveProperty('config')
    } catch (error) {
      expect(String(error)).toContain('npm install re2js')
    }
    expect(performance.now() - started).toBeLessThan(2000)
  })
})

describe('formats', () => {
  const cases: [string, string[], string[]][] = [
    ['date', ['2024-02-29'], ['2023-02-29', '2024-13-01', '2024-1-1']],
    [
      'date-time',
      ['2024-02-29T23:59:60Z', '2024-01-01t00:00:00.5+01:00'],
      ['2024-01-01', '2024-01-01T24:00:00Z', '2024-01-01T12:00:60Z'],
    ],
    ['duration', ['P1D', 'PT5M', 'P1Y2M3DT4H', 'P2W'], ['P', 'PT', '5m', 'P1Y2W']],
    ['email', ['a.b@example.com', 'x@[127.0.0.1]'], ['a', 'a@', '@b', 'a..b@c']],
    ['hostname', ['example.com', 'a-b', '1.2.3'], ['-a', 'a_b', 'a..b', `${'a'.repeat(64)}.b`]],
    ['ipv4', ['127.0.0.1'], ['127.0.0.01', '256.0.0.1', '::1']],
    ['ipv6', ['::1', 'fe80::1'], ['fe80::1%eth0', '127.0.0.1']],
    [
      'uri',
      ['https://user@host:8080/a?b=c#d', 'urn:a:b', 'http://[::1]/'],
      ['/a', 'http://a b', 'http://[::1', 'http://h:port'],
    ],
    ['regex', ['^a+$'], ['(']],
  ]
  test.each(cases)('%s', (format, good, bad) => {
    for (const text of good) expect(formats[format]!(text), text).toBe(true)
    for (const text of bad) expect(formats[format]!(text), text).toBe(false)
  })
})
