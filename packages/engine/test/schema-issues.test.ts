/** What a refused configuration is told, by JSON Schema and by any Standard Schema. */
import { type } from 'arktype'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { issueText } from '../src/issue.ts'
import type { Json } from '../src/json.ts'
import { compile, jsonSchema, type AnySchema, type CompileOptions } from '../src/schema.ts'
import { defaultLimits, parseText } from '../src/text/parse.ts'

async function told(schema: AnySchema, config: Json, options: CompileOptions = {}): Promise<string[]> {
  const result = await (await compile(schema, options)).validate(config, undefined)
  return 'issues' in result ? result.issues.map((issue) => `${issue.code}: ${issueText(issue)}`) : []
}
const of = (properties: Record<string, unknown>, more: object = {}) =>
  jsonSchema<Json>({ type: 'object', properties, ...more })

describe('JSON Schema', () => {
  test('a wrong type, a value out of range and a wrong choice are told with all that was wanted', async () => {
    const port = { type: 'integer', minimum: 1, maximum: 65535 }
    expect(await told(of({ port }), { port: '80a' })).toEqual([
      'schema: port is "80a"; want an integer from 1 to 65535',
    ])
    expect(await told(of({ port }), { port: 70000 })).toEqual([
      'schema: port is 70000; want an integer from 1 to 65535',
    ])
    expect(await told(of({ level: { enum: ['info', 'debug'] } }), { level: 'invalid_level' })).toEqual([
      'schema: level is "invalid_level"; want "info" or "debug"',
    ])
    expect(await told(of({ hosts: { type: 'array', minItems: 1 } }), { hosts: [] })).toEqual([
      'schema: hosts is a list of 0; want a list of at least 1 entry',
    ])
    expect(await told(of({ on: { type: 'boolean' } }), { on: 'yes' })).toEqual([
      'schema: on is "yes"; want true or false',
    ])
  })

  test('a required field that is missing or blank is told at its own place', async () => {
    const schema = of({ name: { type: 'string', minLength: 1 } }, { required: ['name'] })
    expect(await told(schema, {})).toEqual(['schema: name is missing; want a string that is not empty'])
    expect(await told(schema, { name: '' })).toEqual(['schema: name is ""; want a string that is not empty'])
  })

  test('a typo is refused where further keys are, with the key that was meant', async () => {
    const log = { type: 'object', additionalProperties: false, properties: { format: { default: 'json' }, level: {} } }
    expect(await told(of({ log }), { log: { fromat: 'json', level: 'info' } })).toEqual([
      'unknown-key: log.fromat is not a known key; want format, level; did you mean "format"?',
    ])
    expect(await told(of({ log }), { log: { Level: 1 } })).toEqual([
      'unknown-key: log.Level is not a known key; want format, level; did you mean "level"?',
    ])
    expect(await told(of({ log }), { log: { colour: 1 } })).toEqual([
      'unknown-key: log.colour is not a known key; want format, level',
    ])
  })

  test('of alternatives, the one that was meant is explained; where that is unclear, all are named', async () => {
    const auth = {
      oneOf: [
        { type: 'object', required: ['user'], properties: { kind: { const: 'basic' }, user: { type: 'string' } } },
        { type: 'object', required: ['token'], properties: { kind: { const: 'token' }, token: { type: 'string' } } },
      ],
    }
    expect(await told(of({ auth }), { auth: { kind: 'basic' } })).toEqual([
      'schema: auth.user is missing; want a string',
    ])
    const limit = { anyOf: [{ type: 'integer', minimum: 0 }, { const: 'none' }] }
    expect(await told(of({ limit }), { limit: true })).toEqual([
      'schema: limit is true; want an integer of at least 0 or "none"',
    ])
  })

  test('a list with 100,000 wrong entries is told its first 50, quickly', async () => {
    const started = performance.now()
    const issues = await told(of({ n: { type: 'array', items: { type: 'number' } } }), {
      n: Array.from({ length: 100_000 }, () => 'x'),
    })
    expect(issues).toHaveLength(50)
    expect(issues[49]).toBe('schema: n.49 is "x"; want a number')
    const flat = await told(
      jsonSchema<Json>({ additionalProperties: false }),
      Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, 1])),
    )
    expect(flat.length).toBeGreaterThan(0)
    expect(performance.now() - started).toBeLessThan(5000)
  })

  test('100,000 objects are found to be unique in time that grows with their number', async () => {
    const list = Array.from({ length: 100_000 }, (_, i) => ({ id: `r${i}`, limit: i }))
    const started = performance.now()
    expect(await told(of({ list: { type: 'array', uniqueItems: true } }), { list })).toEqual([])
    expect(performance.now() - started).toBeLessThan(5000)
    expect(await told(of({ list: { uniqueItems: true } }), { list: [{ a: 1, b: 2 }, 1, '1', { b: 2, a: 1 }] })).toEqual(
      ['schema: list has equal entries at 0 and 3; want a list without duplicates'],
    )
  })

  test('entries are unique also where they are of another type than those that follow', async () => {
    const first = { type: 'integer' }
    const list = { type: 'array', prefixItems: [first, first], items: { type: 'string' }, uniqueItems: true }
    expect(await told(of({ list }), { list: [1, 1] })).toEqual([
      'schema: list has equal entries at 0 and 1; want a list without duplicates',
    ])
  })

  test('a default is written where it belongs, also where one object stands in two places, as aliases of YAML do', async () => {
    const { config } = await parseText(Buffer.from('list: [&one {}, {a: *one}]'), {
      file: 'f.yaml',
      format: 'yaml',
      limits: defaultLimits,
    })
    const schema = of({ list: { type: 'array', items: { properties: { a: { default: {} } } } } })
    const validator = await compile(schema)
    const wanted = { config: { list: [{ a: {} }, { a: {} }] } }
    expect(await validator.validate(config, undefined)).toEqual(wanted)
    expect(await validator.validate(config, { list: [] })).toEqual(wanted)
    expect(config).toEqual({ list: [{}, { a: {} }] })
  })

  test('defaults that never end are an issue', async () => {
    const two = { properties: { a: { $ref: '#/$defs/two', default: {} } } }
    expect(await told(of({ x: { $ref: '#/$defs/two' } }, { $defs: { two } }), { x: {} })).toEqual([
      expect.stringMatching(/^limit: is nested too deeply .* never end$/),
    ])
  })

  test('a frozen configuration gets its defaults in a copy', async () => {
    const schema = of({
      log: { type: 'object', default: {}, properties: { level: { default: 'info' } } },
      on: { type: 'boolean' },
    })
    const frozen = Object.freeze({ on: true })
    expect(await (await compile(schema)).validate(frozen, undefined)).toEqual({
      config: { on: true, log: { level: 'info' } },
    })
    const inside = { on: true, log: Object.freeze({}) }
    expect(await (await compile(schema)).validate(inside, undefined)).toEqual({
      config: { on: true, log: { level: 'info' } },
    })
    expect(frozen).toEqual({ on: true })
  })
})

describe('secrets', () => {
  const schemas: [string, AnySchema][] = [
    [
      'writeOnly',
      of({ db: { type: 'object', properties: { password: { type: 'string', writeOnly: true, maxLength: 3 } } } }),
    ],
    [
      'format: password',
      of({ db: { properties: { password: { type: 'string', format: 'password', enum: ['topsecret'] } } } }),
    ],
    [
      'x-midflight-secret',
      of(
        { db: { $ref: '#/$defs/db' } },
        { $defs: { db: { properties: { password: { const: 'topsecret', 'x-midflight-secret': true } } } } },
      ),
    ],
    ['zod meta', z.object({ db: z.object({ password: z.string().max(3).meta({ 'x-midflight-secret': true }) }) })],
  ]
  test.each(schemas)('marked by %s are known by path and never shown', async (_, schema) => {
    const validator = await compile(schema)
    expect(validator.secretPaths).toEqual(['db.password'])
    for (const password of ['hunter2', 12345678, ['hunter2']]) {
      const result = await validator.validate({ db: { password } } as Json, undefined)
      if (!('issues' in result)) throw new Error('must be refused')
      const text = JSON.stringify(result)
      expect(text).not.toMatch(/hunter2|12345678|topsecret/)
      if (typeof password !== 'object') expect(text).toContain('is ‹secret›; want')
    }
  })

  test('inside lists and records are named with a star; inside a recursive definition they are refused', async () => {
    const user = { properties: { token: { writeOnly: true } } }
    const schema = of({ users: { type: 'array', items: user }, byName: { additionalProperties: user } })
    expect((await compile(schema)).secretPaths).toEqual(['users.*.token', 'byName.*.token'])
    const tree = { properties: { token: { writeOnly: true }, next: { $ref: '#/$defs/tree' } } }
    await expect(compile(of({ tree: { $ref: '#/$defs/tree' } }, { $defs: { tree } }))).rejects.toThrow(
      'recursive definition',
    )
  })
})

test('keys of collections and restart-only paths are read from the schema, also from zod’s', async () => {
  const rules = { type: 'array', 'x-midflight-key': 'id', items: { type: 'object' } }
  const inJson = await compile(of({ rules, server: { properties: { port: { 'x-midflight-restart': true } } } }))
  expect(inJson.keys).toEqual({ rules: 'id' })
  expect(inJson.restartPaths).toEqual(['server.port'])
  const inZod = await compile(
    z.object({
      rules: z.array(z.object({ id: z.string() })).meta({ 'x-midflight-key': 'id' }),
      port: z.int().meta({ 'x-midflight-restart': true }),
    }),
  )
  expect(inZod.keys).toEqual({ rules: 'id' })
  expect(inZod.restartPaths).toEqual(['port'])
})

describe('Standard Schema', () => {
  const libraries: [string, AnySchema][] = [
    [
      'zod',
      z.strictObject({
        log: z.strictObject({ level: z.enum(['info', 'debug']).optional() }),
        port: z.int().min(1).max(65535),
      }),
    ],
    [
      'valibot',
      v.strictObject({
        log: v.strictObject({ level: v.optional(v.picklist(['info', 'debug'])) }),
        port: v.pipe(v.number(), v.minValue(1), v.maxValue(65535)),
      }),
    ],
    [
      'arktype',
      type({
        log: { 'level?': "'info' | 'debug'", '+': 'reject' },
        port: '1 <= number.integer <= 65535',
        '+': 'reject',
      }),
    ],
  ]
  describe.each(libraries)('%s', (name, schema) => {
    test('says where and what, in the words of the house', async () => {
      const [issue] = await told(schema, { log: {}, port: '80a' })
      expect(issue).toMatch(/^schema: port is "80a"; want (?:an integer from 1 to 65535|a number|an integer|number)/)
      expect(await told(schema, { port: 80 })).toEqual([expect.stringMatching(/^schema: log is missing; want /)])
    })
    test('refuses an unknown key', async () => {
      const [issue, ...more] = await told(schema, { log: { levl: 'info' }, port: 80 })
      expect(more).toEqual([])
      expect(issue).toMatch(
        name === 'valibot'
          ? /^unknown-key: log.levl is not a known key/
          : /^unknown-key: log.levl .* did you mean "level"\?$/,
      )
    })
    test('takes what is right as it is', async () => {
      expect(await told(schema, { log: { level: 'info' }, port: 80 })).toEqual([])
    })
  })

  test('a key that the library drops without a word is refused, unless allowed', async () => {
    const schema = z.object({ log: z.object({ level: z.string() }), format: z.string().optional() })
    const config = { log: { level: 'info', colour: true }, formt: 'x' }
    expect(await told(schema, config)).toEqual([
      'unknown-key: log.colour is not a known key; want level',
      'unknown-key: formt is not a known key; want log, format; did you mean "format"?',
    ])
    expect(await told(schema, config, { unknownKeys: 'allow' })).toEqual([])
  })

  test('defaults are filled in and undefined members dropped; what JSON cannot hold is an issue', async () => {
    const schema = z.object({
      level: z.string().default('info'),
      gone: z
        .string()
        .optional()
        .transform(() => undefined),
    })
    expect(await (await compile(schema)).validate({ gone: 'x' }, undefined)).toEqual({ config: { level: 'info' } })
    expect(
      await told(z.object({ since: z.string().transform((text) => new Date(text)) }), { since: '2026-01-01' }),
    ).toEqual(['schema: since is turned into a Date by the schema; want plain JSON data'])
  })

  test('the author’s own message, and an asynchronous check, are heard', async () => {
    const schema = z.object({ id: z.string().refine(async (id) => id !== 'taken', 'is taken already') })
    expect(await told(schema, { id: 'taken' })).toEqual(['schema: id is "taken"; is taken already'])
  })
})
