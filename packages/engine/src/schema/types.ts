/**
 * What a schema may be, and what its configuration looks like to TypeScript. Types only; nothing runs.
 *
 * Standard Schema (https://standardschema.dev, version 1) is restated here, so that zod, valibot, arktype and others
 * fit without a dependency. Validation is in `standard-schema.ts` and `json-schema.ts`.
 */
import type { Json, JsonObject } from '../json.ts'

/** Any validator that speaks Standard Schema v1. */
export interface StandardSchemaV1<Input = unknown, Output = Input> {
  readonly '~standard': StandardProps<Input, Output>
}

export interface StandardProps<Input = unknown, Output = Input> {
  readonly version: 1
  readonly vendor: string
  readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
  readonly types?: { readonly input: Input; readonly output: Output } | undefined
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

export interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** A JSON Schema and the type of the configurations that fit it; made by `jsonSchema()`. */
export interface JsonSchema<Config = Json> {
  readonly kind: 'json-schema'
  readonly schema: JsonObject | boolean
  /** Never there at run time: it carries the type. */
  readonly '~config'?: Config
}

// oxlint-disable-next-line typescript/no-explicit-any -- any input and any output: the schema decides
export type AnySchema = StandardSchemaV1<any, any> | JsonSchema<any>

/** The type of a valid configuration. `Json` where the schema does not tell. */
export type ConfigOf<S extends AnySchema> =
  S extends JsonSchema<infer Config>
    ? Config
    : S extends { readonly '~standard': { readonly types?: infer Types } }
      ? NonNullable<Types> extends { readonly output: infer Output }
        ? Output
        : Json
      : Json
