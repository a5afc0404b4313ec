/**
 * A small validator for what comes over the wire: says where, what was found and what was wanted, and can print itself
 * as JSON Schema. Pure and browser-safe. Which messages there are is `messages.ts`.
 *
 * Fields that a record does not know are passed over, so that a later version may add some.
 */
import { check as checkJson } from '../check.ts'
import { shown } from '../issue.ts'
import { isObject, pathText, type Json, type JsonObject, type Path } from '../json.ts'

export interface Mismatch {
  readonly path: Path
  /** What was found, and what was wanted: `is -1; want an integer from 0 to 9`. Shows at most 60 characters of the value. */
  readonly message: string
}

export interface Shape<T> {
  /** The first thing that does not fit, or `undefined`. */
  mismatch(value: unknown, path: Path): Mismatch | undefined
  /** As JSON Schema, draft 2020-12. */
  readonly schema: JsonObject
  readonly optional?: true
  /** Only for the type; never there. */
  readonly type?: T
}

export type Of<S> = S extends Shape<infer T> ? T : never

type Fields = Readonly<Record<string, Shape<unknown>>>
type OptionalKey<F extends Fields> = { [K in keyof F]: F[K] extends { optional: true } ? K : never }[keyof F]
type Simplify<T> = { readonly [K in keyof T]: T[K] }
export type RecordOf<F extends Fields> = Simplify<
  { [K in Exclude<keyof F, OptionalKey<F>>]: Of<F[K]> } & { [K in OptionalKey<F>]?: Of<F[K]> }
>

export function mismatchText({ path, message }: Mismatch): string {
  return path.length === 0 ? `the message ${message}` : `${pathText(path)} ${message}`
}

/** @param max length in characters (code points). @param pattern and what it stands for. */
export function text(max: number, pattern?: { readonly like: RegExp; readonly words: string }): Shape<string> {
  const want = pattern?.words ?? `a text of at most ${max} characters`
  return {
    mismatch(value, path) {
      if (typeof value !== 'string') return { path, message: `is ${shown(value)}; want ${want}` }
      if (!value.isWellFormed()) return { path, message: 'has half of a surrogate pair; want Unicode text' }
      // Code points are counted only where code units do not settle it already.
      if (value.length > 2 * max || (value.length > max && Array.from(value).length > max)) {
        return { path, message: `has more than ${max} characters; want at most ${max}` }
      }
      if (pattern && !pattern.like.test(value)) return { path, message: `is ${shown(value)}; want ${want}` }
      return undefined
    },
    schema: { type: 'string', maxLength: max, ...(pattern && { pattern: pattern.like.source }) },
  }
}

export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Shape<number> {
  return {
    mismatch: (value, path) =>
      Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
        ? undefined
        : { path, message: `is ${shown(value)}; want an integer from ${min} to ${max}` },
    schema: { type: 'integer', minimum: min, maximum: max },
  }
}

export function oneOf<const T extends string | boolean>(...values: readonly T[]): Shape<T> {
  const want = values.map((value) => JSON.stringify(value)).join(', ')
  return {
    mismatch: (value, path) =>
      values.includes(value as T)
        ? undefined
        : { path, message: `is ${shown(value)}; want ${values.length === 1 ? want : `one of ${want}`}` },
    schema: values.length === 1 ? { const: values[0] as T } : { enum: values },
  }
}

export const boolean: Shape<boolean> = oneOf(true, false)

export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return {
    mismatch: (value, path) => (value === null ? undefined : shape.mismatch(value, path)),
    schema: { anyOf: [shape.schema, { type: 'null' }] },
  }
}

/** A field that may be missing. */
export function optional<T>(shape: Shape<T>): Shape<T> & { readonly optional: true } {
  return { ...shape, optional: true }
}

/** Where a value is looked at of which nearly always nothing is wrong: then no path to it need be made. */
const here: Path = []

function behind({ path, message }: Mismatch, before: Path): Mismatch {
  return { path: [...before, ...path], message }
}

/** An object with these fields, and perhaps others, which are passed over. */
export function record<const F extends Fields>(fields: F): Shape<RecordOf<F>> {
  const entries = Object.entries(fields)
  return {
    mismatch(value, path) {
      if (!isObject(value)) return { path, message: `is ${shown(value)}; want an object` }
      for (const [name, shape] of entries) {
        if (Object.hasOwn(value, name)) {
          const found = shape.mismatch(value[name], here)
          if (found) return behind(found, [...path, name])
        } else if (!shape.optional) {
          return { path: [...path, name], message: 'is missing' }
        }
      }
      return undefined
    },
    schema: {
      type: 'object',
      required: entries.filter(([, shape]) => !shape.optional).map(([name]) => name),
      properties: Object.fromEntries(entries.map(([name, shape]) => [name, shape.schema])),
    },
  }
}

/** An object whose keys are data. */
export function dictionary<T>(key: Shape<string>, value: Shape<T>, max: number): Shape<Readonly<Record<string, T>>> {
  return {
    mismatch(found, path) {
      if (!isObject(found)) return { path, message: `is ${shown(found)}; want an object` }
      const names = Object.keys(found)
      if (names.length > max) return { path, message: `has ${names.length} entries; want at most ${max}` }
      for (const name of names) {
        const wrongKey = key.mismatch(name, [])
        if (wrongKey) return { path, message: `has the key ${shown(name)}, which ${wrongKey.message}` }
        const wrong = value.mismatch(found[name], [...path, name])
        if (wrong) return wrong
      }
      return undefined
    },
    schema: { type: 'object', maxProperties: max, propertyNames: key.schema, additionalProperties: value.schema },
  }
}

export function list<T>(entry: Shape<T>, max: number): Shape<readonly T[]> {
  return {
    mismatch(value, path) {
      if (!Array.isArray(value)) return { path, message: `is ${shown(value)}; want a list` }
      if (value.length > max) return { path, message: `has ${value.length} entries; want at most ${max}` }
      for (let i = 0; i < value.length; i++) {
        const found = entry.mismatch(value[i], here)
        if (found) return behind(found, [...path, i])
      }
      return undefined
    },
    schema: { type: 'array', maxItems: max, items: entry.schema },
  }
}

/** One of several records, told apart by the text in the field `tag`. */
export function tagged<const Tag extends string, const V extends Readonly<Record<string, Shape<unknown>>>>(
  tag: Tag,
  variants: V,
): Shape<{ [K in keyof V & string]: Simplify<Readonly<Record<Tag, K>> & Of<V[K]>> }[keyof V & string]> {
  const names = Object.keys(variants)
  const want = names.map((name) => JSON.stringify(name)).join(', ')
  return {
    mismatch(value, path) {
      if (!isObject(value)) return { path, message: `is ${shown(value)}; want an object` }
      const name = Object.hasOwn(value, tag) ? value[tag] : undefined
      const variant = typeof name === 'string' && Object.hasOwn(variants, name) ? variants[name] : undefined
      if (!variant) return { path: [...path, tag], message: `is ${shown(name)}; want one of ${want}` }
      return variant.mismatch(value, path)
    },
    schema: {
      oneOf: Object.entries(variants).map(([name, variant]) => {
        const { required, properties } = variant.schema as { required: string[]; properties: JsonObject }
        return { type: 'object', required: [tag, ...required], properties: { [tag]: { const: name }, ...properties } }
      }),
    },
  }
}

/** Any JSON that may become a configuration: no deeper than `maxDepth`, no more than `maxNodes` values, none forbidden. */
export function json(maxDepth: number, maxNodes: number): Shape<Json> {
  return {
    mismatch(value, path) {
      const [issue] = checkJson(value as Json, undefined, { maxDepth, maxNodes })
      return issue && { path: [...path, ...issue.path], message: issue.message }
    },
    schema: {},
  }
}
