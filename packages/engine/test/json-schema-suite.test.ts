/**
 * The JSON Schema Test Suite, each case cold and beside live trees that share part of it. Where we disagree, the case
 * stands with its reason in test/corpora/json-schema-disagreements.json. It comes with Debian's json-schema-test-suite;
 * MIDFLIGHT_JSON_SCHEMA_SUITE may name a newer one.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { isArray, isObject, type Json, type JsonObject } from '../src/json.ts'
import { compile, jsonSchema, SchemaError, type Validator } from '../src/schema.ts'

interface Group {
  readonly description: string
  readonly schema: JsonObject | boolean
  readonly tests: readonly { readonly description: string; readonly data: Json; readonly valid: boolean }[]
}

const suite = process.env['MIDFLIGHT_JSON_SCHEMA_SUITE'] ?? '/usr/share/json-schema-test-suite'
const listed = JSON.parse(
  readFileSync(new URL('../../../test/corpora/json-schema-disagreements.json', import.meta.url), 'utf8'),
) as Record<string, Record<string, string>>

const drafts = [
  { folder: 'draft7', $schema: 'http://json-schema.org/draft-07/schema#' },
  { folder: 'draft2020-12', $schema: 'https://json-schema.org/draft/2020-12/schema' },
] as const

for (const draft of drafts) {
  const folder = join(suite, 'tests', draft.folder)
  const there = existsSync(folder)
  describe(`JSON Schema Test Suite, ${draft.folder}`, () => {
    test.skipIf(!there)(
      `every case is decided as the suite says, cold and beside a live tree${there ? '' : ' (skipped: the suite is not installed)'}`,
      async () => {
        const known = listed[draft.folder] ?? {}
        const disagreements: Record<string, string> = {}
        const met = new Set<string>()
        let cases = 0
        let lives = 0
        for (const path of filesIn(folder)) {
          const file = path.slice(folder.length + 1)
          for (const group of JSON.parse(readFileSync(path, 'utf8')) as Group[]) {
            const schema = isObject(group.schema) ? { $schema: draft.$schema, ...group.schema } : group.schema
            const validator = await compiled(schema)
            for (const one of group.tests) {
              cases++
              const name = `${file}: ${group.description}: ${one.description}`
              met.add(name).add(`${file}: ${group.description}`)
              if (typeof validator === 'string') {
                disagreements[`${file}: ${group.description}`] = `refused: ${validator}`
                continue
              }
              const cold = await isValid(validator, structuredClone(one.data), undefined)
              if (cold !== one.valid) disagreements[name] = cold ? 'accepted' : 'not accepted'
              for (const live of sharing(one.data)) {
                if (!(await isValid(validator, live, undefined))) continue
                lives++
                expect(await isValid(validator, one.data, live), `${name}, beside ${JSON.stringify(live)}`).toBe(cold)
              }
            }
          }
        }
        // Each disagreement has a reason on file, and each on file is still one.
        const unexplained = Object.keys(disagreements).filter((name) => !known[name])
        expect(unexplained).toEqual([])
        expect(cases).toBeGreaterThan(500)
        expect(lives).toBeGreaterThan(100)
        const isDebian = process.env['MIDFLIGHT_JSON_SCHEMA_SUITE'] === undefined
        if (isDebian)
          expect(Object.keys(known).filter((name) => met.has(name) && disagreements[name] === undefined)).toEqual([])
      },
    )
  })
}

function filesIn(folder: string): string[] {
  const here = readdirSync(folder, { withFileTypes: true })
  const own = here.filter((entry) => entry.name.endsWith('.json')).map((entry) => join(folder, entry.name))
  // Only what we claim to check of the optional part.
  const formats = join(folder, 'optional', 'format')
  const claimed =
    /^(?:date|time|date-time|duration|email|hostname|ipv4|ipv6|uri|uri-reference|uuid|json-pointer|regex)\.json$/
  const ofFormats = existsSync(formats) ? readdirSync(formats).filter((name) => claimed.test(basename(name))) : []
  return [...own, ...ofFormats.map((name) => join(formats, name))]
}

async function compiled(schema: JsonObject | boolean): Promise<Validator | string> {
  try {
    return await compile(jsonSchema(schema))
  } catch (error) {
    if (error instanceof SchemaError) return error.message
    throw error
  }
}

async function isValid(validator: Validator, config: Json, live: Json | undefined): Promise<boolean> {
  return 'config' in (await validator.validate(config, live))
}

/** Trees that have some of the members of `data`, as the same objects: which of them are valid is for others to say. */
function sharing(data: Json): Json[] {
  if (isArray(data)) {
    const half = data.length >> 1
    return [
      data.slice(0, half),
      data.slice(half),
      data.toReversed(),
      ...data.map((_, i) => data.filter((__, j) => j !== i)),
    ]
  }
  if (!isObject(data)) return []
  const entries = Object.entries(data)
  const half = entries.length >> 1
  const some = [
    entries.slice(0, half),
    entries.slice(half),
    ...entries.map((_, i) => entries.filter((__, j) => j !== i)),
  ]
  return some.map((kept) => Object.fromEntries(kept))
}
