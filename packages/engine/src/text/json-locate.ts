/**
 * Finds values in the bytes of a valid JSON text: where one ends, and where the one at a path begins.
 */
import type { Buffer } from 'node:buffer'
import type { Path } from '../json.ts'
import type { Nested } from './json-noted.ts'

const quote = 34
const backslash = 92

export function skipSpace(bytes: Buffer, p: number): number {
  let at = p
  for (;;) {
    const c = bytes[at]
    if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return at
    at++
  }
}

/** After the string whose opening quote is at `p`, or the end of the bytes. */
export function stringEnd(bytes: Buffer, p: number): number {
  const length = bytes.length
  let at = p + 1
  while (at < length) {
    const c = bytes[at]
    if (c === quote) return at + 1
    at += c === backslash ? 2 : 1
  }
  return length
}

/** After the value that begins at `p`, or the end of the bytes. What is not JSON leads to some place, never further. */
export function valueEnd(bytes: Buffer, p: number): number {
  const length = bytes.length
  const first = bytes[p]
  if (first === quote) return stringEnd(bytes, p)
  let at = p
  if (first !== 123 && first !== 91) {
    for (; at < length; at++) {
      const c = bytes[at]
      if (c === 44 || c === 93 || c === 125 || c === 32 || c === 10 || c === 13 || c === 9) break
    }
    return at
  }
  let depth = 0
  while (at < length) {
    const c = bytes[at]
    if (c === quote) {
      at = stringEnd(bytes, at)
      continue
    }
    at++
    if (c === 123 || c === 91) depth++
    else if ((c === 125 || c === 93) && --depth === 0) return at
  }
  return length
}

/** The key whose opening quote is at `p` and which ends before `end`. */
export function keyText(bytes: Buffer, p: number, end: number): string {
  const raw = bytes.toString('utf8', p + 1, end - 1)
  return raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw
}

/** The offset of the value at `path` in a valid text, or -1. `root` makes large containers quick. */
export function locate(bytes: Buffer, path: Path, root: Nested | undefined): number {
  let at = skipSpace(bytes, 0)
  let known = root?.container
  for (const step of path) {
    const isArray = bytes[at] === 91
    if (!isArray && bytes[at] !== 123) return -1
    if (known !== undefined) {
      const index: number = known.keys === undefined ? indexOf(step) : known.keys.indexOf(String(step))
      const start = known.starts[index]
      if (start === undefined) return -1
      const inside = known.inside.get(index)
      at = isArray ? at + start : afterColon(bytes, at + start)
      known = inside?.container
    } else {
      at = isArray ? elementAt(bytes, at, indexOf(step)) : memberAt(bytes, at, String(step))
      if (at < 0) return -1
    }
  }
  return at
}

function indexOf(step: string | number): number {
  return /^\d+$/.test(String(step)) ? Number(step) : -1
}

function elementAt(bytes: Buffer, open: number, index: number): number {
  let at = skipSpace(bytes, open + 1)
  if (index < 0 || bytes[at] === 93) return -1
  for (let k = 0; k < index; k++) {
    at = skipSpace(bytes, valueEnd(bytes, at))
    if (bytes[at] !== 44) return -1
    at = skipSpace(bytes, at + 1)
  }
  return at
}

function memberAt(bytes: Buffer, open: number, key: string): number {
  let at = skipSpace(bytes, open + 1)
  while (bytes[at] === quote) {
    const value = afterColon(bytes, at)
    if (keyText(bytes, at, stringEnd(bytes, at)) === key) return value
    at = skipSpace(bytes, valueEnd(bytes, value))
    if (bytes[at] !== 44) return -1
    at = skipSpace(bytes, at + 1)
  }
  return -1
}

/** Where the value of the member begins whose key begins at `p`. */
function afterColon(bytes: Buffer, p: number): number {
  return skipSpace(bytes, skipSpace(bytes, stringEnd(bytes, p)) + 1)
}
