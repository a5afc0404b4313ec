/**
 * Compiles a JSON Schema and its parts with ajv (an optional peer, loaded on first use).
 *
 * Strict about the schema: unknown keywords and formats are mistakes; keywords that begin with `x-` belong to whoever
 * wrote them. References reach only into the schema itself: nothing is ever fetched.
 */
import type { Ajv, Options, ValidateFunction } from 'ajv'
import { isArray, isObject, type Json } from '../json.ts'
import { optional } from '../optional.ts'
import { formats } from './formats.ts'
import { regexpsFor, type Matcher } from './regexp.ts'
import { SchemaError } from './schema-error.ts'
import type { Pointer } from './split.ts'
import { addUniqueItems } from './unique-items.ts'
import type { Checks } from './walk.ts'

const schemaKey = 'midflight:schema'

const drafts: Readonly<Record<string, '2020-12' | '07'>> = {
  'https://json-schema.org/draft/2020-12/schema': '2020-12',
  'http://json-schema.org/draft-07/schema': '07',
  'https://json-schema.org/draft-07/schema': '07',
}

/** Each part is compiled when it is first asked for. @throws SchemaError, then or now. */
export async function checksFor(schema: Json): Promise<Checks> {
  const make = await loadAjv(draftOf(schema))
  const regExp = await regexpsFor(schema)
  const extensions = [...extensionsIn(schema)]
  const inherits = namesInherited(schema)
  const isUnevaluatedAsked = /"unevaluated(Items|Properties)"/.test(JSON.stringify(schema))
  const matchers = new Map<string, Matcher>()

  const compiler = (allErrors: boolean): ((pointer: Pointer) => ValidateFunction) => {
    const warnings: string[] = []
    const warn = (message: string): void => void warnings.push(message)
    const options: Options = {
      allErrors,
      verbose: true,
      strictSchema: 'log', // so that `mistakeIn` decides
      strictNumbers: true,
      strictTypes: false,
      strictTuples: false,
      allowMatchingProperties: true,
      useDefaults: true,
      // Looking only at own members takes three times as long, and matters for names that every object inherits.
      ownProperties: inherits,
      logger: { log: warn, warn, error: warn },
      formats: { ...formats },
      // Its passes over the code take longer than what they save, most of all on the schema that ajv checks schemas by.
      code: { regExp, optimize: false, process: isUnevaluatedAsked ? (code) => code : strict },
    }
    let ajv: Ajv | undefined // made when it is first needed: most programs never see an invalid configuration
    const compiled = new Map<Pointer, ValidateFunction>()
    return (pointer) => {
      const known = compiled.get(pointer)
      if (known) return known
      const check = explained(() => {
        if (ajv === undefined) {
          ajv = new make(options)
          // Notes for those words cost time, and beside `patternProperties` are written into `true`, or into `undefined`.
          ajv.opts.unevaluated &&= isUnevaluatedAsked
          ajv.addVocabulary(['$anchor', ...extensions])
          addUniqueItems(ajv)
          if (isObject(schema)) ajv.addSchema(schema, schemaKey)
        }
        if (!isObject(schema)) return ajv.compile(schema as boolean)
        return (pointer === '#' ? ajv.getSchema(schemaKey) : undefined) ?? ajv.compile({ $ref: schemaKey + pointer })
      })
      const mistake = mistakeIn(warnings)
      if (mistake !== undefined) throw new SchemaError(`JSON Schema: ${plain(mistake)}`)
      compiled.set(pointer, check)
      return check
    }
  }
  return {
    fast: compiler(false),
    thorough: compiler(true),
    matches(source, text) {
      const matcher = matchers.get(source) ?? regExp(source, 'u')
      matchers.set(source, matcher)
      return matcher.test(text)
    },
  }
}

/** So that a default which cannot be written into a frozen object is an error and not left out. */
function strict(code: string): string {
  return `"use strict";${code}`
}

/** A part that is compiled by itself looks to ajv like a root, where a default has no effect: that is no mistake. */
function mistakeIn(warnings: readonly string[]): string | undefined {
  return warnings.find((warning) => !warning.includes('default is ignored in the schema root'))
}

function explained<T>(step: () => T): T {
  try {
    return step()
  } catch (error) {
    if (error instanceof SchemaError) throw error
    throw new SchemaError(`JSON Schema: ${plain(error instanceof Error ? error.message : String(error))}`, {
      cause: error,
    })
  }
}

function plain(message: string): string {
  return message
    .replaceAll(schemaKey, '')
    .replace(/^strict mode: /, '')
    .replace(/^schema is invalid: data/, 'invalid at ')
}

function draftOf(schema: Json): '2020-12' | '07' {
  const named =
    isObject(schema) && typeof schema['$schema'] === 'string' ? schema['$schema'].replace(/#$/, '') : undefined
  const draft = named === undefined ? '2020-12' : drafts[named]
  if (draft !== undefined) return draft
  throw new SchemaError(
    `JSON Schema: $schema is ${JSON.stringify(named)}; want ${Object.keys(drafts).slice(0, 2).join(' or ')}`,
  )
}

function loadAjv(draft: '2020-12' | '07'): Promise<new (options: Options) => Ajv> {
  return optional(
    async () => (draft === '07' ? (await import('ajv')).Ajv : (await import('ajv/dist/2020.js')).Ajv2020),
    (cause) => new SchemaError('JSON Schema needs the package ajv: npm install ajv', { cause }),
  )
}

/** Whether the schema speaks of members such as `constructor`. */
function namesInherited(schema: Json): boolean {
  const text = JSON.stringify(schema)
  return Object.getOwnPropertyNames(Object.prototype).some((name) => text.includes(`"${name}"`))
}

function extensionsIn(schema: Json): Set<string> {
  const found = new Set<string>()
  const open: Json[] = [schema]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (typeof node !== 'object' || node === null) continue
    if (!isArray(node)) for (const key of Object.keys(node)) if (key.startsWith('x-')) found.add(key)
    for (const child of Object.values(node) as Json[]) open.push(child)
  }
  return found
}
