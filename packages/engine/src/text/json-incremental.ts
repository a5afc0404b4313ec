/**
 * Reads a JSON text by what changed since the one before it. Entries of large containers whose bytes are the same are
 * taken over as the objects that they were; all others are read anew.
 *
 * Why the result is always that of a full reading: the value of an entry is a function of its bytes alone. This reader
 * follows the brackets, commas and white space between the entries of a known container itself, exactly; an entry
 * is either equal, byte for byte, to one that was read before, or goes through `JSON.parse` and all checks. Which old
 * entry a new one is compared with is a guess, and a bad guess costs time only. Whatever is not as expected, errors
 * included, ends the attempt, and the text is read in full.
 */
import { type Buffer, isUtf8 } from 'node:buffer'
import { isArray, type Json } from '../json.ts'
import { JsonChecker } from './json-check.ts'
import { maxNotedDepth, type Container, type Nested } from './json-noted.ts'
import { EntryList } from './json-entries.ts'
import { skipSpace, stringEnd, valueEnd } from './json-locate.ts'
import type { JsonText } from './json.ts'

/** Above this share of the text that is to be read anew, one full reading is faster. */
const maxFreshShare = 0.25
const minFreshBytes = 1 << 16

/** How many old entries are tried at a place, besides one for each entry that was new since the last equal one. */
const minWindow = 8
const maxWindow = 64

/** How many entries are compared at once while all is equal. */
const maxStride = 1024

/** Ends an attempt. Never leaves this file. */
class Unexpected extends Error {
  override readonly name = 'Unexpected'
}
const unexpected = new Unexpected('the text must be read in full')

/** The text `bytes`, which came after `before`, or `undefined` if it must be read in full. */
export function parseChanged(before: JsonText, bytes: Buffer, maxDepth: number): JsonText | undefined {
  if (before.root === undefined) return undefined
  try {
    return new Comparison(before, bytes, maxDepth).read(before.root)
  } catch (error) {
    // JSON.parse throws SyntaxError; every place that it can throw at belongs to a text that is wrong there.
    if (error === unexpected || error instanceof SyntaxError) return undefined
    throw error
  }
}

interface Taken {
  readonly value: Json
  readonly container: Container
  readonly end: number
}

class Comparison {
  readonly #before: JsonText
  readonly #old: Buffer
  readonly #new: Buffer
  readonly #maxDepth: number
  readonly #maxFresh: number
  /** One for all that is new: most entries have the keys of the first. */
  readonly #checker = new JsonChecker()
  #freshBytes = 0
  #mayHaveReferences: boolean

  constructor(before: JsonText, bytes: Buffer, maxDepth: number) {
    this.#before = before
    this.#old = before.bytes
    this.#new = bytes
    this.#maxDepth = maxDepth
    this.#maxFresh = Math.max(minFreshBytes, bytes.length * maxFreshShare)
    this.#mayHaveReferences = false
  }

  read(root: Nested): JsonText | undefined {
    const at = skipSpace(this.#new, 0)
    if (this.#new[at] !== this.#old[root.offset]) return undefined
    const { value, container, end } = this.#container(root.container, root.offset, this.#before.config, at, 1)
    if (skipSpace(this.#new, end) !== this.#new.length) return undefined
    const mayHaveReferences =
      this.#mayHaveReferences ||
      (this.#before.mayHaveReferences && (this.#before.escapedDollar || this.#new.includes(36)))
    return {
      config: value,
      bytes: this.#new,
      root: { offset: at, container },
      mayHaveReferences,
      escapedDollar: this.#before.escapedDollar,
    }
  }

  /** The container at `open` in the new text, by what it was at `oldOpen` in the old. */
  #container(old: Container, oldOpen: number, oldValue: Json, open: number, depth: number): Taken {
    const bytes = this.#new
    const list = new EntryList(old, oldValue, open)
    const close = isArray(oldValue) ? 93 : 125
    /** The old entry that is expected next, and how many new ones came since the last that was equal. */
    let next = 0
    let fresh = 0
    let at = skipSpace(bytes, open + 1)
    if (bytes[at] === close) return this.#taken(list, at + 1)
    for (;;) {
      const first = this.#equalEntry(old, oldOpen, next, fresh, at)
      if (first >= 0) {
        const last = this.#equalRun(old, oldOpen, first, at)
        list.take(first, last, at)
        at += (old.ends[last] as number) - (old.starts[first] as number)
        next = last + 1
        fresh = 0
      } else {
        const end = this.#freshEntry(old, oldOpen, list, next + fresh, at, depth)
        fresh++
        if (isPowerOfFour(fresh)) {
          const found = this.#search(old, oldOpen, at, end)
          if (found >= 0) {
            next = found + 1
            fresh = 0
          }
        }
        at = end
      }
      at = skipSpace(bytes, at)
      if (bytes[at] === close) return this.#taken(list, at + 1)
      if (bytes[at] !== 44) throw unexpected
      at = skipSpace(bytes, at + 1)
    }
  }

  #taken(list: EntryList, end: number): Taken {
    const value = list.value()
    if (value === undefined) throw unexpected
    return { value, container: list.container(end), end }
  }

  /** An old entry near `next` that stands at `at` in the new text, or -1. */
  #equalEntry(old: Container, oldOpen: number, next: number, fresh: number, at: number): number {
    const end = Math.min(next + Math.min(minWindow + fresh, maxWindow), old.starts.length)
    for (let k = next; k < end; k++) if (this.#isAt(old, oldOpen, k, at)) return k
    return -1
  }

  #isAt(old: Container, oldOpen: number, k: number, at: number): boolean {
    const start = oldOpen + (old.starts[k] as number)
    const end = oldOpen + (old.ends[k] as number)
    const atEnd = at + end - start
    if (atEnd > this.#new.length || !isDelimiter(this.#new[atEnd])) return false
    // The call into native code costs more than to see the usual difference here.
    const middle = (end - start) >> 1
    if (this.#new[atEnd - 1] !== this.#old[end - 1] || this.#new[at + middle] !== this.#old[start + middle])
      return false
    return this.#new.compare(this.#old, start, end, at, atEnd) === 0
  }

  /** The last of the old entries from `first` on, which stands at `at`, that follow each other in the new text too. */
  #equalRun(old: Container, oldOpen: number, first: number, at: number): number {
    const { starts, ends } = old
    const shift = at - oldOpen - (starts[first] as number)
    const highest = starts.length - 1
    let last = first
    let stride = 1
    let growing = true
    while (stride >= 1 && last < highest) {
      const to = Math.min(last + stride, highest)
      // From the end of the last equal entry on, so that what stands between the entries is compared too.
      const oldFrom = oldOpen + (ends[last] as number)
      const oldTo = oldOpen + (ends[to] as number)
      const newTo = oldTo + shift
      const equal =
        newTo <= this.#new.length &&
        isDelimiter(this.#new[newTo]) &&
        this.#new.compare(this.#old, oldFrom, oldTo, oldFrom + shift, newTo) === 0
      if (equal) {
        last = to
        if (growing) stride = Math.min(stride * 2, maxStride)
      } else {
        growing = false
      }
      if (!growing) stride >>= 1
    }
    return last
  }

  /** Reads the entry at `at`, of which no equal one was found. @returns its end */
  #freshEntry(old: Container, oldOpen: number, list: EntryList, guess: number, at: number, depth: number): number {
    const bytes = this.#new
    let key: string | undefined
    let valueAt = at
    if (old.keys !== undefined) {
      if (bytes[at] !== 34) throw unexpected
      const keyEnd = stringEnd(bytes, at)
      const colon = skipSpace(bytes, keyEnd)
      if (bytes[colon] !== 58) throw unexpected
      this.#refuseBytes(at, keyEnd)
      key = JSON.parse(bytes.toString('utf8', at, keyEnd)) as string
      if (key === '__proto__' || key === 'constructor' || key === 'prototype') throw unexpected
      valueAt = skipSpace(bytes, colon + 1)
    }
    const k = old.inside.size === 0 ? -1 : key === undefined ? guess : list.indexOfKey(key, guess)
    const known = old.inside.get(k)
    const oldEntry = oldOpen + (old.starts[k] ?? 0)
    if (known !== undefined && bytes[valueAt] === this.#old[oldEntry + known.offset]) {
      const oldValue = list.oldValue(k) as Json
      const taken = this.#container(known.container, oldEntry + known.offset, oldValue, valueAt, depth + 1)
      list.add(key, taken.value, at, taken.end, { offset: valueAt - at, container: taken.container })
      return taken.end
    }
    const end = valueEnd(bytes, valueAt)
    const { value, root } = this.#fresh(valueAt, end, depth)
    list.add(key, value, at, end, root && { offset: valueAt - at + root.offset, container: root.container })
    return end
  }

  #fresh(start: number, end: number, depth: number): { value: Json; root: Nested | undefined } {
    this.#refuseBytes(start, end)
    const piece = this.#new.subarray(start, end)
    const value = JSON.parse(piece.toString()) as Json
    const check = this.#checker.check(piece, this.#maxDepth - depth, maxNotedDepth - depth)
    if (!check.clean) throw unexpected
    if (check.escapedDollar) throw unexpected
    return { value, root: check.root }
  }

  /** What every stretch goes through that was not in the old text. */
  #refuseBytes(start: number, end: number): void {
    this.#freshBytes += end - start
    if (this.#freshBytes > this.#maxFresh) throw unexpected
    const piece = this.#new.subarray(start, end)
    if (!isUtf8(piece)) throw unexpected
    if (piece.includes(36)) this.#mayHaveReferences = true
  }

  /** The old entry that is equal to the new one between `at` and `end`, wherever it stood, or -1. */
  #search(old: Container, oldOpen: number, at: number, end: number): number {
    const found = this.#old.indexOf(this.#new.subarray(at, end), oldOpen) - oldOpen
    if (found < 0) return -1
    let low = 0
    let high = old.starts.length - 1
    while (low < high) {
      const middle = (low + high) >> 1
      if ((old.starts[middle] as number) < found) low = middle + 1
      else high = middle
    }
    return old.starts[low] === found && old.ends[low] === found + end - at ? low : -1
  }
}

function isDelimiter(c: number | undefined): boolean {
  return c === 44 || c === 93 || c === 125 || c === 10 || c === 13 || c === 32 || c === 9
}

/** From 16 on: a search through the old text is dear, and worth it only where much was inserted, removed or moved. */
function isPowerOfFour(n: number): boolean {
  return n >= 16 && (n & (n - 1)) === 0 && (n & 0x55555555) !== 0
}
