/**
 * Schemas: what a configuration must look like, checked as a whole before anything else happens to it.
 *
 * Takes any Standard Schema (zod, valibot, arktype …) or a JSON Schema wrapped in `jsonSchema()`. What several values
 * mean together for one component (min above max) is that component's `validate`.
 */
import { isObject, type JsonObject } from './json.ts'
import type { FromJsonSchema } from './schema/from-json-schema.ts'
import { compileJsonSchema } from './schema/json-schema.ts'
import { marksOf } from './schema/marks.ts'
import { SchemaError } from './schema/schema-error.ts'
import { compileStandard, jsonSchemaOf } from './schema/standard-schema.ts'
import type { AnySchema, JsonSchema, StandardSchemaV1 } from './schema/types.ts'
import type { Validator } from './schema/validator.ts'

export type { FromJsonSchema } from './schema/from-json-schema.ts'
export type { EntryOf, KeyedPathOf, PathOf, ValueAt } from './schema/paths-of-type.ts'
export { SchemaError } from './schema/schema-error.ts'
export type { AnySchema, ConfigOf, JsonSchema, StandardSchemaV1 } from './schema/types.ts'
export type { Validator } from './schema/validator.ts'

/**
 * A JSON Schema, draft 2020-12 or, when `$schema` says so, draft-07. Written as a literal, its configuration's type is
 * inferred; otherwise give it: `jsonSchema<MyConfig>(JSON.parse(text))`. Needs the package `ajv` when it is compiled.
 */
export function jsonSchema<Config = never>(schema: OnlyIfGiven<Config>): JsonSchema<Config>
export function jsonSchema<const S>(schema: S): JsonSchema<FromJsonSchema<S>>
export function jsonSchema(schema: unknown): JsonSchema<unknown> {
  return { kind: 'json-schema', schema: schema as JsonObject | boolean }
}

/** Without a type argument nothing fits `never`, so that the literal is inferred from instead. */
type OnlyIfGiven<Config> = [Config] extends [never] ? never : unknown

export interface CompileOptions {
  /**
   * Keys that a Standard Schema validator would drop without a word: `refuse` (default) makes each an issue. A JSON
   * Schema says itself what it allows (`additionalProperties`).
   */
  readonly unknownKeys?: 'refuse' | 'allow'
}

/** ajv takes milliseconds for what validates in microseconds, so who uses one schema often has it compiled once. */
const compiled = new WeakMap<object, Validator>()

/**
 * Makes a schema ready for use.
 * @throws SchemaError with what is wrong in the schema itself, or which package it needs.
 */
export async function compile(schema: AnySchema, options: CompileOptions = {}): Promise<Validator> {
  if (isStandard(schema)) return compileStandard(schema, options.unknownKeys ?? 'refuse')
  if (isObject(schema) && schema['kind'] === 'json-schema') {
    const validator = compiled.get(schema) ?? (await compileJsonSchema(schema.schema))
    compiled.set(schema, validator)
    return validator
  }
  throw new SchemaError('is no schema; want a Standard Schema (zod, valibot, arktype …) or jsonSchema({ … })')
}

/**
 * The key field that the schema gives the array at `path` (`x-midflight-key`), if it does.
 * @throws SchemaError if a mark in it cannot be meant
 */
export function keyField(schema: AnySchema, path: string): string | undefined {
  const described = isStandard(schema) ? jsonSchemaOf(schema) : (schema as JsonSchema).schema
  return marksOf(described).keys[path]
}

// arktype's schemas are functions
function isStandard(schema: unknown): schema is StandardSchemaV1 {
  return ((typeof schema === 'object' && schema !== null) || typeof schema === 'function') && '~standard' in schema
}
