/**
 * JSON Schema, draft 2020-12 and draft-07, by ajv (an optional peer, loaded on first use).
 *
 * Values are never coerced; defaults are filled in. `format` is checked for the formats in `formats.ts`, others are
 * refused. References reach only into the schema itself: nothing is ever fetched.
 */
import type { Ajv, Options } from 'ajv'
import { isArray, isObject, parsePath, type Json } from '../json.ts'
import { issuesOf, type IssueContext } from './ajv-issues.ts'
import { formats } from './formats.ts'
import { marksOf } from './marks.ts'
import { SchemaError } from './schema-error.ts'
import type { Validator } from './validator.ts'

const maxIssues = 50

/** @throws SchemaError with what is wrong in the schema. */
export async function compileJsonSchema(schema: Json): Promise<Validator> {
  const ajv = await ajvFor(schema, { allErrors: true, verbose: true })
  const marks = marksOf(schema)
  const context: IssueContext = { root: schema, secrets: marks.secretPaths.map(parsePath) }
  const check = compiled(ajv, schema as object)
  return {
    ...marks,
    async validate(config) {
      if (check(config)) return { config }
      return { issues: issuesOf(check.errors ?? [], config, [], context).slice(0, maxIssues) }
    },
  }
}

function compiled(ajv: Ajv, schema: object) {
  try {
    return ajv.compile<Json>(schema)
  } catch (error) {
    throw new SchemaError(`JSON Schema: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
  }
}

const drafts: Readonly<Record<string, '2020-12' | '07'>> = {
  'https://json-schema.org/draft/2020-12/schema': '2020-12',
  'http://json-schema.org/draft-07/schema': '07',
  'https://json-schema.org/draft-07/schema': '07',
}

async function ajvFor(schema: Json, options: Options): Promise<Ajv> {
  const named = isObject(schema) && typeof schema['$schema'] === 'string' ? schema['$schema'].replace(/#$/, '') : undefined
  const draft = named === undefined ? '2020-12' : drafts[named]
  if (draft === undefined) {
    throw new SchemaError(`JSON Schema: $schema is ${JSON.stringify(named)}; want ${Object.keys(drafts).slice(0, 2).join(' or ')}`)
  }
  const { Make } = await loadAjv(draft)
  const ajv = new Make({
    strict: true,
    strictTypes: false,
    strictTuples: false,
    strictRequired: false,
    allowMatchingProperties: true,
    useDefaults: true,
    addUsedSchema: false,
    logger: false,
    formats: { ...formats },
    ...options,
  })
  ajv.addVocabulary([...extensionsIn(schema)])
  return ajv
}

async function loadAjv(draft: '2020-12' | '07'): Promise<{ Make: new (options: Options) => Ajv }> {
  try {
    if (draft === '07') return { Make: (await import('ajv')).Ajv }
    return { Make: (await import('ajv/dist/2020.js')).Ajv2020 }
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new SchemaError('JSON Schema needs the package ajv: npm install ajv', { cause: error })
  }
}

/** Keywords that begin with `x-` belong to whoever wrote them; any other unknown keyword is a mistake. */
function extensionsIn(schema: Json): Set<string> {
  const found = new Set<string>()
  const open: Json[] = [schema]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (isArray(node)) open.push(...node)
    else if (isObject(node)) {
      for (const [key, value] of Object.entries(node)) {
        if (key.startsWith('x-')) found.add(key)
        open.push(value)
      }
    }
  }
  return found
}
