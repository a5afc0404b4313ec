/** The canonical text of JSON data, RFC 8785 (JCS): no white space, keys by UTF-16 code units, numbers as ECMAScript. */
import type { Json } from './json.ts'

/** @throws RangeError for what is not JSON data, or not Unicode text. */
export function canonicalText(value: Json): string {
  if (typeof value === 'string') return stringText(value)
  if (typeof value === 'number') return numberText(value)
  if (typeof value === 'boolean') return value ? 'true' : 'false'
  if (value === null) return 'null'
  if (typeof value !== 'object') throw new RangeError(`${typeof value} is not a JSON value`)
  return containerText(value)
}

function containerText(value: readonly Json[] | { readonly [key: string]: Json }): string {
  return smallText(value, Infinity) as string
}

/** The canonical text of a container, or `undefined` if it has more than `maxLength` UTF-16 code units. */
export function smallText(value: object, maxLength: number): string | undefined {
  let text = ''
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const part = partText(value[i] as Json, maxLength)
      if (part === undefined || text.length > maxLength) return undefined
      text = i === 0 ? part : `${text},${part}`
    }
    return within(`[${text}]`, maxLength)
  }
  const fields = value as { readonly [key: string]: Json }
  const { sorted, labels } = shapeOf(Object.keys(fields))
  for (let i = 0; i < sorted.length; i++) {
    const part = partText(fields[sorted[i] as string] as Json, maxLength)
    if (part === undefined || text.length > maxLength) return undefined
    text += (labels[i] as string) + part
  }
  return within(`{${text}}`, maxLength)
}

function partText(value: Json, maxLength: number): string | undefined {
  return typeof value === 'object' && value !== null ? smallText(value, maxLength) : canonicalText(value)
}

function within(text: string, maxLength: number): string | undefined {
  return text.length > maxLength ? undefined : text
}

// Not by \p{Cc}: this is tested for every text, and classes of properties take three times as long.
// oxlint-disable-next-line no-control-regex
const escaped = /["\\\u0000-\u001f\ud800-\udfff]/

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
  /** The sorted keys as they stand in the text, comma and colon included. */
  readonly labels: readonly string[]
}

/** The entries of a collection have the same keys in the same order: those are sorted once. By first key and count. */
const shapes = new Map<string, Map<number, Shape>>()
const maxShapes = 1000

function shapeOf(keys: readonly string[]): Shape {
  const name = keys[0] ?? ''
  const known = shapes.get(name)?.get(keys.length)
  if (known !== undefined && sameKeys(known.keys, keys)) return known
  const sorted = keys.toSorted()
  const shape = { keys, sorted, labels: sorted.map((key, i) => `${i === 0 ? '' : ','}${stringText(key)}:`) }
  if (keys.length > 64) return shape
  if (shapes.size >= maxShapes) shapes.clear()
  const byCount = shapes.get(name)
  if (byCount === undefined) shapes.set(name, new Map([[keys.length, shape]]))
  else byCount.set(keys.length, shape)
  return shape
}

export function sameKeys(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}
