/** The canonical text of JSON data, RFC 8785 (JCS): no white space, keys by UTF-16 code units, numbers as ECMAScript. */
import type { Json } from './json.ts'

/** @throws RangeError for what is not JSON data, or not Unicode text. */
export function canonicalText(value: Json): string {
  switch (typeof value) {
    case 'string':
      return stringText(value)
    case 'number':
      return numberText(value)
    case 'boolean':
      return value ? 'true' : 'false'
  }
  if (value === null) return 'null'
  if (typeof value !== 'object') throw new RangeError(`${typeof value} is not a JSON value`)
  return containerText(value)
}

function containerText(value: readonly Json[] | { readonly [key: string]: Json }): string {
  let text = ''
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) text += (i === 0 ? '' : ',') + canonicalText(value[i] as Json)
    return `[${text}]`
  }
  const fields = value as { readonly [key: string]: Json }
  for (const key of sortedKeys(Object.keys(fields))) {
    text += `${text === '' ? '' : ','}${stringText(key)}:${canonicalText(fields[key] as Json)}`
  }
  return `{${text}}`
}

const escaped = /["\\\p{Cc}\p{Cs}]/u

export function stringText(value: string): string {
  if (!escaped.test(value)) return `"${value}"`
  if (!value.isWellFormed()) throw new RangeError('text with half of a surrogate pair has no canonical form')
  return JSON.stringify(value)
}

function numberText(value: number): string {
  if (!Number.isFinite(value)) throw new RangeError(`${value} is not a JSON value`)
  return value === 0 ? '0' : String(value)
}

interface Shape {
  readonly keys: readonly string[]
  readonly sorted: readonly string[]
}

/** The entries of a collection have the same keys in the same order: those are sorted once. By their first key. */
const shapes = new Map<string, Shape>()
const maxShapes = 1000

/** Sorts `keys` by UTF-16 code units; may sort in place. */
export function sortedKeys(keys: string[]): readonly string[] {
  if (keys.length < 2) return keys
  if (keys.length > 64) return keys.sort()
  const name = keys[0] as string
  const known = shapes.get(name)
  if (known !== undefined && sameKeys(known.keys, keys)) return known.sorted
  const sorted = keys.toSorted()
  if (shapes.size >= maxShapes) shapes.clear()
  shapes.set(name, { keys, sorted })
  return sorted
}

export function sameKeys(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
