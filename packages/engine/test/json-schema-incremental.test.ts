/** Validating against the live tree says exactly what ajv says about the whole, and looks at little. */
import { Ajv2020 } from 'ajv/dist/2020.js'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { isArray, isObject, type Json, type JsonObject } from '../src/json.ts'
import { compile, jsonSchema, type Validator } from '../src/schema.ts'
import { unseen } from '../src/schema/unseen.ts'

const names = ['a', 'b', 'c', 'xa']

const scalarSchema: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.record({
    type: fc.constantFrom('integer', 'number'),
    minimum: fc.integer({ min: 0, max: 2 }),
    maximum: fc.integer({ min: 2, max: 5 }),
  }),
  fc.constantFrom<JsonObject[]>(
    { type: 'string' },
    { type: 'string', pattern: '^x' },
    { type: 'boolean' },
    { enum: ['x', 1, null] },
    { const: 'x' },
    { type: ['string', 'null'], maxLength: 1 },
    { type: 'integer', default: 1 },
    { type: 'string', default: 'x' },
    {},
  ),
)

const reference = fc.constantFrom<JsonObject[]>(
  { $ref: '#/$defs/one' },
  { $ref: '#/$defs/two' },
  { $ref: '#/$defs/two', minProperties: 1 },
)

const { schemaNode } = fc.letrec<{
  schemaNode: JsonObject
  object: JsonObject
  array: JsonObject
  combined: JsonObject
}>((tie) => ({
  schemaNode: fc.oneof(
    { depthSize: 'small', withCrossShrink: true },
    scalarSchema,
    reference,
    tie('object'),
    tie('array'),
    tie('combined'),
  ),
  object: fc
    .record(
      {
        type: fc.constant('object'),
        properties: fc.dictionary(fc.constantFrom(...names), tie('schemaNode'), { maxKeys: 3 }),
        required: fc.uniqueArray(fc.constantFrom(...names), { maxLength: 2 }),
        additionalProperties: fc.oneof(fc.constant(false), fc.constant(true), tie('schemaNode')),
        patternProperties: fc.dictionary(fc.constantFrom('^x', 'a$'), tie('schemaNode'), { maxKeys: 2 }),
        propertyNames: fc.constantFrom<JsonObject[]>({ maxLength: 1 }, { pattern: '^[a-c]' }),
        maxProperties: fc.integer({ min: 1, max: 4 }),
        dependentRequired: fc.constant({ a: ['b'] }),
        default: fc.constantFrom<Json[]>({}, { a: 1 }),
      },
      { requiredKeys: [] },
    )
    .map((node) => node as JsonObject),
  array: fc
    .record(
      {
        type: fc.constant('array'),
        items: tie('schemaNode'),
        minItems: fc.constantFrom(1, 2),
        maxItems: fc.constantFrom(2, 5),
        uniqueItems: fc.constant(true),
        contains: scalarSchema,
        prefixItems: fc.array(tie('schemaNode'), { minLength: 1, maxLength: 2 }),
      },
      { requiredKeys: ['items'] },
    )
    // ajv's own `uniqueItems` passes over what is of another type than `items`, which is not for those of `prefixItems`.
    .map(({ uniqueItems, ...node }): JsonObject =>
      uniqueItems === undefined || 'prefixItems' in node ? node : { ...node, uniqueItems },
    ),
  combined: fc
    .tuple(
      tie('schemaNode'),
      tie('schemaNode'),
      fc.constantFrom('anyOf', 'allOf', 'oneOf', 'if', 'not', 'beside', 'unevaluated'),
    )
    .map(([one, two, kind]): JsonObject => {
      if (kind === 'if') return { ...two, if: one, then: { type: 'object' } }
      if (kind === 'not') return { ...two, not: one }
      if (kind === 'beside') return { ...two, anyOf: [one, {}] }
      if (kind === 'unevaluated') return { ...two, allOf: [one], unevaluatedProperties: false }
      return { [kind]: [one, two] }
    }),
}))

/** ajv refuses a default at the root of what it compiles, where it has no effect. */
function withoutDefault({ default: _, ...node }: JsonObject): JsonObject {
  return node
}

/** A root with one of each container, so that most schemas have something to split. */
const wideRoot: fc.Arbitrary<JsonObject> = fc
  .tuple(schemaNode, schemaNode, schemaNode, fc.constantFrom<JsonObject[]>({}, { propertyNames: { maxLength: 1 } }))
  .map(([item, member, matched, names]) => ({
    type: 'object',
    properties: {
      a: { type: 'array', items: item },
      b: {
        type: 'object',
        properties: { a: member },
        additionalProperties: item,
        patternProperties: { '^x': matched },
      },
      c: { type: 'object', ...names, additionalProperties: member },
    },
    required: ['a'],
  }))

const rootSchema = fc
  .tuple(fc.oneof(schemaNode, { arbitrary: wideRoot, weight: 2 }), schemaNode, schemaNode)
  .map(([root, one, two]): JsonObject => ({
    ...withoutDefault(root),
    $defs: { one: withoutDefault(one), two: withoutDefault(two) },
  }))

const anyTree: fc.Arbitrary<Json> = fc.letrec<{ tree: Json }>((tie) => ({
  tree: fc.oneof(
    { depthSize: 'small' },
    fc.constantFrom<Json[]>(0, 1, 3, 1.5, 'x', 'xy', '', true, null),
    fc.dictionary(fc.constantFrom(...names), tie('tree'), { maxKeys: 4 }),
    fc.array(tie('tree'), { maxLength: 4 }),
  ),
})).tree

/** A tree that mostly fits: chance decides where it does not. */
function grow(node: Json | undefined, root: JsonObject, random: () => number, depth: number): Json {
  const pick = <T>(of: readonly T[]): T => of[Math.floor(random() * of.length)]!
  if (!isObject(node) || random() < 0.04 || depth > 6) return pick<Json>([0, 1, 3, 'x', 'xy', true, null, {}, []])
  if (typeof node['$ref'] === 'string') {
    return grow((root['$defs'] as JsonObject)[node['$ref'].slice(8)], root, random, depth + 1)
  }
  if (isArray(node['enum'])) return pick(node['enum'])
  if (node['const'] !== undefined) return node['const']
  for (const word of ['anyOf', 'oneOf', 'allOf']) {
    const of = node[word]
    if (isArray(of) && !('properties' in node) && !('items' in node)) return grow(pick(of), root, random, depth)
  }
  if ('items' in node) {
    const length = Math.floor(random() * 4) + (random() < 0.8 ? 1 : 0)
    return Array.from({ length }, () => grow(node['items'], root, random, depth + 1))
  }
  const type = isArray(node['type']) ? pick(node['type']) : node['type']
  if (type === 'object' || 'properties' in node || 'additionalProperties' in node || 'patternProperties' in node) {
    return growObject(node, root, random, depth)
  }
  if (type === 'integer' || type === 'number') return pick([1, 2, 3])
  if (type === 'string') return pick(['x', 'xy'])
  if (type === 'boolean') return true
  return pick<Json>([1, 'x', {}, { a: 1 }, []])
}

function growObject(node: JsonObject, root: JsonObject, random: () => number, depth: number): Json {
  const properties = (node['properties'] ?? {}) as JsonObject
  const required = (node['required'] ?? []) as string[]
  const own: Record<string, Json> = {}
  for (const name of new Set([...Object.keys(properties), ...required, ...names])) {
    const spare = isObject(node['additionalProperties']) ? 0.4 : 0.05
    const wanted = required.includes(name) ? 0.97 : name in properties ? 0.6 : spare
    const member = properties[name] ?? node['additionalProperties'] ?? {}
    if (random() < wanted) own[name] = grow(member, root, random, depth + 1)
  }
  return own
}

/** Changes a few places and keeps every other subtree as the same object. */
function edit(value: Json, random: () => number, chance: number, fresh: () => Json): Json {
  if (random() < chance / 3) return fresh()
  if (random() < 0.4) return value
  if (isArray(value)) {
    const list = value.map((entry) => edit(entry, random, chance, fresh))
    if (random() < chance) list.splice(Math.floor(random() * (list.length + 1)), 0, fresh())
    if (random() < chance) list.splice(Math.floor(random() * list.length), 1)
    if (random() < chance) list.reverse()
    return list
  }
  if (isObject(value)) {
    const own: Record<string, Json> = {}
    for (const [key, member] of Object.entries(value)) {
      if (random() > chance / 2) own[key] = edit(member, random, chance, fresh)
    }
    if (random() < chance) own[names[Math.floor(random() * names.length)]!] = fresh()
    if (random() < chance / 2 && 'a' in own && 'b' in own) [own['a'], own['b']] = [own['b']!, own['a']!]
    return own
  }
  return value
}

function anyWithin(value: Json, random: () => number): Json {
  const members: Json[] = typeof value === 'object' && value !== null ? Object.values(value) : []
  const one = members[Math.floor(random() * members.length)]
  return one === undefined || random() < 0.3 ? value : anyWithin(one, random)
}

function frozen(value: Json): Json {
  if (typeof value === 'object' && value !== null) {
    for (const one of Object.values(Object.freeze(value))) frozen(one as Json)
  }
  return value
}

function seeded(seed: number): () => number {
  let state = seed | 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0
    return ((state >>> 8) & 0xffffff) / 0x1000000
  }
}

/** ajv ends with a TypeError: what it notes for `unevaluatedProperties` is now and then written into `undefined`. */
const undecided = Symbol('undecided')
type Verdict = Json | undefined | typeof undecided

/** What plain ajv says of the whole, and the tree with its defaults. */
function plainAjv(schema: JsonObject): (config: Json) => Verdict {
  const ajv = new Ajv2020({
    useDefaults: true,
    ownProperties: true,
    strictTypes: false,
    strictTuples: false,
    allowMatchingProperties: true,
    logger: false,
  })
  const check = ajv.compile(schema)
  return (config) => {
    // Not structuredClone: what stands at two places would be one object there, and a default at one a default at both.
    const copy = JSON.parse(JSON.stringify(config)) as Json
    try {
      return check(copy) ? copy : undefined
    } catch (error) {
      if (error instanceof RangeError) return undefined // defaults that never end: an issue here
      if (error instanceof TypeError) return undecided
      throw error
    }
  }
}

async function verdict(validator: Validator, config: Json, live: Json | undefined, asks: boolean): Promise<Verdict> {
  let result: Awaited<ReturnType<Validator['validate']>>
  try {
    result = await validator.validate(config, live)
  } catch (error) {
    if (error instanceof TypeError && asks) return undecided
    throw error
  }
  if ('config' in result) return result.config
  expect(result.issues.length).toBeGreaterThan(0)
  expect(result.issues.length).toBeLessThanOrEqual(50)
  return undefined
}

test('cold, and beside the live tree, a configuration gets the verdict and the defaults that plain ajv gives it', async () => {
  const told = { valid: 0, invalid: 0, lives: 0 }
  await fc.assert(
    fc.asyncProperty(
      rootSchema,
      fc.integer(),
      fc.array(anyTree, { minLength: 1, maxLength: 3 }),
      async (schema, seed, spare) => {
        let whole: ReturnType<typeof plainAjv>
        try {
          whole = plainAjv(schema)
        } catch (error) {
          // Where a combinator always holds, because one of its branches does, only ajv's notes make it look into the others.
          if (String(error).includes('default is ignored')) return
          await expect(compile(jsonSchema(schema))).rejects.toThrow('JSON Schema')
          return
        }
        let validator: Validator
        try {
          validator = await compile(jsonSchema(schema))
        } catch (error) {
          if (!String(error).includes('refers to itself')) throw error
          return // ajv would never come to an end
        }
        const asksUnevaluated = JSON.stringify(schema).includes('"unevaluatedProperties"')
        const random = seeded(seed)
        let live: Json | undefined
        // New values, and parts of the live tree that turn up elsewhere, frozen as they are.
        const fresh = (): Json =>
          random() < 0.5 && live !== undefined
            ? anyWithin(live, random)
            : structuredClone(spare[Math.floor(random() * spare.length)]!)
        for (let round = 0; round < 60; round++) {
          const anew = live === undefined || random() < 0.1
          const config: Json = anew
            ? grow(schema, schema, random, 0)
            : edit(live!, random, random() < 0.5 ? 0.05 : 0.2, fresh)
          const wanted = whole(config)
          const cold = await verdict(validator, config, undefined, asksUnevaluated)
          const saw = await verdict(validator, config, live, asksUnevaluated)
          if (asksUnevaluated && [wanted, cold, saw].includes(undecided)) continue
          expect(cold).toEqual(wanted)
          if (live !== undefined) told.lives++
          expect(saw).toEqual(wanted)
          if (wanted === undefined) told.invalid++
          else told.valid++
          if (saw !== undefined && saw !== undecided) live = frozen(saw)
        }
      },
    ),
    { numRuns: process.env['MIDFLIGHT_LONG'] ? 5_000 : 120 },
  )
  // The test is worth something only if both verdicts and live trees were common.
  expect(Math.min(told.valid, told.invalid, told.lives)).toBeGreaterThan(100)
}, 600_000)

test('a branch that has looked at all members does not end the check of those beside it', async () => {
  const schema = {
    patternProperties: { '^x': { type: 'string' } },
    anyOf: [{ additionalProperties: true }, {}],
  }
  for (const more of [{}, { unevaluatedProperties: false }]) {
    const validator = await compile(jsonSchema({ ...schema, ...more }))
    expect(await validator.validate({ xa: 'x' }, undefined)).toEqual({ config: { xa: 'x' } })
    expect(await validator.validate({ xa: 1 }, undefined)).toHaveProperty('issues.0.path', ['xa'])
  }
})

test('of a list, every entry that was not there before is looked at, and few others', () => {
  const entries = Array.from({ length: 400 }, (_, i) => ({ i }))
  fc.assert(
    fc.property(fc.integer(), fc.integer({ min: 0, max: 30 }), fc.constantFrom(0, 1, 40), (seed, edits, moved) => {
      const random = seeded(seed)
      const before = entries.slice(0, Math.floor(random() * entries.length))
      const now = [...before]
      for (let n = 0; n < edits; n++) {
        const where = Math.floor(random() * now.length)
        const kind = Math.floor(random() * 3)
        now.splice(where, kind === 0 ? 0 : 1, ...(kind === 1 ? [] : [{ i: -n }]))
      }
      now.push(...now.splice(0, moved))
      const met: number[] = []
      unseen(now, before, (index, replaced) => {
        expect(replaced === undefined || before.includes(replaced)).toBe(true)
        return met.push(index) > 0
      })
      expect(met).toEqual([...new Set(met)].toSorted((a, b) => a - b))
      const known = new Set(before)
      const unknown = now.flatMap((entry, index) => (known.has(entry) ? [] : [index]))
      expect(unknown.filter((index) => !met.includes(index))).toEqual([])
      // What was moved behind the end of the earlier list is the price of not keeping a set.
      expect(met.length).toBeLessThanOrEqual(unknown.length + moved + edits)
    }),
  )
})

test('of 100,000 rules with 20 changes only the 20 are looked into', async () => {
  const rule = { type: 'object', required: ['id'], properties: { id: { type: 'string' }, limit: { type: 'integer' } } }
  const validator = await compile(jsonSchema<Json>({ properties: { rules: { type: 'array', items: rule } } }))
  const untouchable = (): Json =>
    Object.defineProperty({}, 'id', {
      enumerable: true,
      get: () => {
        throw new Error('looked into an unchanged rule')
      },
    }) as Json
  const live = { rules: Array.from({ length: 100_000 }, untouchable) }
  const next = { rules: [...live.rules] }
  for (let n = 0; n < 10; n++) next.rules[n * 4_999] = { id: `r${n}`, limit: n }
  for (let n = 0; n < 5; n++) next.rules.splice(n * 8_888, 0, { id: `new${n}` })
  for (let n = 0; n < 5; n++) next.rules.splice(n * 7_777 + 3, 1)
  expect(await validator.validate(next, live)).toEqual({ config: expect.anything() as unknown })
  await expect(validator.validate(next, undefined)).rejects.toThrow('looked into')

  next.rules[77_777] = { id: 'x', limit: '7' }
  expect(await validator.validate(next, live)).toEqual({
    issues: [{ code: 'schema', path: ['rules', 77_777, 'limit'], message: 'is "7"; want an integer' }],
  })
})
