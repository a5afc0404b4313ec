/** How large JSON data is as text, without making the text: a patch of a few lines can copy a value a million times. */
import type { Json } from 'midflight'

/** Of frozen containers that are not tiny: what two contents share is measured once. */
const known = new WeakMap<object, number>()
const smallestKnown = 32
const tooDeep = 1000

/**
 * The bytes of `JSON.stringify(value)` in UTF-8, or some number above `max` as soon as there are more. Of what is nested
 * deeper than any limit allows only the outside is measured: `check` refuses it.
 */
export function jsonBytes(value: Json, max: number, depth = 0): number {
  if (typeof value === 'string') return textBytes(value)
  if (typeof value !== 'object' || value === null) return String(value).length
  if (depth > tooDeep) return 2
  const before = known.get(value)
  if (before !== undefined) return before
  let bytes = 2 // the brackets
  if (Array.isArray(value)) {
    bytes += Math.max(value.length - 1, 0)
    for (const entry of value as readonly Json[]) {
      bytes += jsonBytes(entry, max - bytes, depth + 1)
      if (bytes > max) return bytes
    }
  } else {
    const keys = Object.keys(value)
    bytes += Math.max(keys.length - 1, 0)
    for (const key of keys) {
      bytes += textBytes(key) + 1
      bytes += jsonBytes((value as Readonly<Record<string, Json>>)[key] as Json, max - bytes, depth + 1)
      if (bytes > max) return bytes
    }
  }
  if (bytes >= smallestKnown && Object.isFrozen(value)) known.set(value, bytes)
  return bytes
}

// What JSON escapes, and halves of pairs.
// oxlint-disable-next-line no-control-regex
const escaped = /["\\\u0000-\u001f\ud800-\udfff]/

function textBytes(text: string): number {
  return escaped.test(text) ? Buffer.byteLength(JSON.stringify(text)) : Buffer.byteLength(text) + 2
}
