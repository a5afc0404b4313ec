/**
 * The TypeScript type of what a JSON Schema literal lets through. Best effort: what it does not understand is `Json`.
 *
 * Members with a `default` are there for certain, because validation fills them in. Where an object has `properties`,
 * further members that `additionalProperties` would let through are not typed.
 */
import type { Json, JsonObject } from '../json.ts'

/** @example FromJsonSchema<{ type: 'object', properties: { port: { type: 'integer' } }, required: ['port'] }> */
export type FromJsonSchema<S> = unknown extends S ? Json : Infer<S, S>

type Infer<S, Root> = S extends true
  ? Json
  : S extends false
    ? never
    : S extends { readonly $ref: infer R extends string }
      ? InferRef<R, Root>
      : S extends { readonly const: infer C }
        ? Unlocked<C>
        : S extends { readonly enum: readonly (infer E)[] }
          ? Unlocked<E>
          : S extends { readonly anyOf: readonly (infer U)[] }
            ? Infer<U, Root> & Rest<S, Root, 'anyOf'>
            : S extends { readonly oneOf: readonly (infer U)[] }
              ? Infer<U, Root> & Rest<S, Root, 'oneOf'>
              : S extends { readonly allOf: infer U extends readonly unknown[] }
                ? InferAll<U, Root> & Rest<S, Root, 'allOf'>
                : S extends { readonly type: readonly (infer T)[] }
                  ? InferType<T, S, Root>
                  : S extends { readonly type: infer T extends string }
                    ? InferType<T, S, Root>
                    : S extends { readonly properties: object }
                      ? InferObject<S, Root>
                      : Json

/** What the keywords beside `anyOf`, `oneOf` or `allOf` say: nothing, unless they describe members. */
type Rest<S, Root, K extends string> = S extends { readonly properties: object } ? Infer<Omit<S, K>, Root> : unknown

type InferAll<U extends readonly unknown[], Root> = U extends readonly [infer First, ...infer More]
  ? More extends readonly []
    ? Infer<First, Root>
    : Infer<First, Root> & InferAll<More, Root>
  : unknown

type InferType<T, S, Root> = T extends 'string'
  ? string
  : T extends 'number' | 'integer'
    ? number
    : T extends 'boolean'
      ? boolean
      : T extends 'null'
        ? null
        : T extends 'array'
          ? InferArray<S, Root>
          : T extends 'object'
            ? InferObject<S, Root>
            : Json

type InferArray<S, Root> = S extends { readonly prefixItems: infer P extends readonly unknown[] }
  ? Tuple<P, S, S extends { readonly items: infer I } ? I : true, Root>
  : S extends { readonly items: infer P extends readonly unknown[] }
    ? Tuple<P, S, S extends { readonly additionalItems: infer I } ? I : true, Root>
    : S extends { readonly items: infer I }
      ? Infer<I, Root>[]
      : Json[]

type Tuple<P extends readonly unknown[], S, More, Root> = [
  ...(S extends { readonly minItems: P['length'] } ? InferEach<P, Root> : Partial<InferEach<P, Root>>),
  ...(More extends false ? [] : Infer<More, Root>[]),
]
type InferEach<P extends readonly unknown[], Root> = { -readonly [I in keyof P]: Infer<P[I], Root> }

type InferObject<S, Root> = S extends { readonly properties: infer P }
  ? Simplify<
      { -readonly [K in keyof P as K extends Present<S, P> ? K : never]: Infer<P[K], Root> } & {
        -readonly [K in keyof P as K extends Present<S, P> ? never : K]?: Infer<P[K], Root>
      }
    >
  : S extends { readonly additionalProperties: infer A extends object }
    ? { [key: string]: Infer<A, Root> }
    : S extends { readonly patternProperties: infer A }
      ? { [key: string]: Infer<A[keyof A], Root> }
      : JsonObject

/** Members that are there for certain: required, or filled in from a default. */
type Present<S, P> =
  | (S extends { readonly required: readonly (infer R)[] } ? R : never)
  | { [K in keyof P]: P[K] extends { readonly default: unknown } ? K : never }[keyof P]

type InferRef<R extends string, Root> = R extends '#'
  ? Infer<Root, Root>
  : R extends `#/${infer Pointer}`
    ? InferPointer<Pointer, Root, Root>
    : Json
type InferPointer<Pointer extends string, Node, Root> = Pointer extends `${infer Key}/${infer More}`
  ? Key extends keyof Node
    ? InferPointer<More, Node[Key], Root>
    : Json
  : Pointer extends keyof Node
    ? Infer<Node[Pointer], Root>
    : Json

type Simplify<T> = { [K in keyof T]: T[K] }
type Unlocked<T> = T extends object ? { -readonly [K in keyof T]: Unlocked<T[K]> } : T
