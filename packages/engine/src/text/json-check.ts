/**
 * One pass over the bytes of a text that `JSON.parse` has accepted, for everything `JSON.parse` lets through: equal
 * keys in one object, forbidden keys, numbers that lose their value, lone surrogates, too deep nesting. It says only
 * whether the text is clean; what is wrong and where is found by `json-diagnose.ts`. On the way `json-noted.ts` notes
 * where entries begin and end.
 */
import { Buffer } from 'node:buffer'
import type { Extent } from '../json.ts'
import { EntryNotes, maxNotedDepth, type Nested } from './json-noted.ts'
import { firstStep, isTooVaried, keysOf, sameFrom, stepAfter, type Step } from './json-steps.ts'
import { exactNumber } from './number.ts'

export interface Check {
  /** False: something is wrong, or may be. */
  readonly clean: boolean
  /** A string may hold a `$` that was written as an escape. */
  readonly escapedDollar: boolean
  /** Every whole number is exact in every reader: from -(2^53 - 1) to 2^53 - 1. */
  readonly safeNumbers: boolean
  readonly extent: Extent
  /** The outermost container, if there is something to gain from it. */
  readonly root: Nested | undefined
}

/** How many steps one text may add; beyond them, its keys go into sets. And how many are kept for the next text. */
const [maxSteps, maxKeptSteps] = [20_000, 64]

const quote = 34
const backslash = 92
const noBytes = Buffer.alloc(0)
const noView = new DataView(noBytes.buffer)
/**
 * Checks one text, or several that are parts of one: what it has learnt of their keys stays, and so does that one of
 * them was not clean.
 */
export class JsonChecker {
  #bytes: Buffer = noBytes
  #view: DataView = noView
  #maxDepth = 0
  #clean = true
  #escapedDollar = false
  #safeNumbers = true
  #extent: Extent = { maxValues: 1, depth: 0 }
  #sawConstructor = false
  #sawPrototype = false
  readonly #start: Step = firstStep()
  #steps = 0
  /** Some keys went into a set. */
  #isVaried = false
  readonly #notes = new EntryNotes()
  check(bytes: Buffer, maxDepth: number, notedDepth = maxNotedDepth): Check {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#maxDepth = maxDepth
    this.#escapedDollar = false
    this.#safeNumbers = true
    this.#notes.begin(bytes, notedDepth)
    this.#scan(notedDepth)
    // Rare enough to let the exact reader decide whether the one stands in the other.
    const clean = this.#clean && !(this.#sawConstructor && this.#sawPrototype)
    this.#bytes = noBytes
    this.#view = noView
    const [escapedDollar, safeNumbers] = [this.#escapedDollar, this.#safeNumbers]
    return { clean, escapedDollar, safeNumbers, extent: this.#extent, root: this.#notes.end() }
  }

  /** Whether the next text may go on with what it knows: little, of small texts without anything that is rare. */
  get isReusable(): boolean {
    if (!this.#notes.isReusable || this.#steps > maxKeptSteps || this.#isVaried) return false
    return this.#clean && !this.#sawConstructor && !this.#sawPrototype
  }

  /** The hot loop: some 60 MB go through here. Everything that is rare is elsewhere. */
  #scan(mostNotedDepth: number): void {
    const bytes = this.#bytes
    const view = this.#view
    const length = bytes.length
    const maxDepth = this.#maxDepth
    // Where 8 bytes can be read at once.
    const wordsEnd = length - 16
    const notes = this.#notes
    // Of containers that are deeper, entries are not noted.
    let notedDepth = mostNotedDepth
    // Of each container that is open around the innermost one, and of that: the keys so far (undefined in a list),
    // the same as a set once they are too many, and where the keys of objects inside of it begin.
    const steps: (Step | undefined)[] = []
    const sets: (Set<string> | undefined)[] = []
    const starts: Step[] = []
    let step: Step | undefined
    let set: Set<string> | undefined
    let start = this.#start
    let depth = 0
    let deepest = 0
    // Before each value stands a bracket or a comma, but for the outermost one.
    let maxValues = 1
    let wantKey = false
    let valueEnd = 0
    let p = 0
    while (p < length) {
      const c = bytes[p] as number
      if (c === quote) {
        if (wantKey) {
          if (depth <= notedDepth) notedDepth = notes.entry(p)
          wantKey = false
          if (set !== undefined) {
            p = this.#addToSet(set, p)
          } else {
            const likely = (step as Step).next[0]
            if (
              likely !== undefined &&
              p < wordsEnd &&
              (view.getInt32(p + 1, true) & likely.mask0) === likely.word0 &&
              (view.getInt32(p + 5, true) & likely.mask1) === likely.word1 &&
              (likely.size <= 8 || sameFrom(bytes, p + 1, likely.raw, 8))
            ) {
              step = likely
              p += 1 + likely.size
            } else {
              const end = this.#stringEnd(p)
              const found = this.#follow(step as Step, p, end)
              if (found === undefined) {
                set = this.#setOf(step as Step, p, end)
                start = (step as Step).inner ??= firstStep()
              } else {
                step = found
              }
              p = end
            }
          }
          if (bytes[p] === 58) p++
          continue
        }
        p++
        // Four bytes at a time: the lowest bit that is set in `found` is in the first quote or backslash.
        for (;;) {
          if (p >= wordsEnd) {
            p = this.#stringEnd(p - 1) - 1
            break
          }
          const word = view.getInt32(p, true)
          const q = word ^ 0x22222222
          const b = word ^ 0x5c5c5c5c
          const found = (((q - 0x01010101) & ~q) | ((b - 0x01010101) & ~b)) & 0x80808080
          if (found === 0) {
            p += 4
            continue
          }
          p += (31 - Math.clz32(found & -found)) >> 3
          if (bytes[p] === quote) break
          p = this.#escapeEnd(p)
        }
        valueEnd = ++p
      } else if (c <= 32) {
        p++
      } else if (c === 44) {
        p++
        maxValues++
        if (depth <= notedDepth) notedDepth = notes.comma(p, valueEnd, step === undefined)
        wantKey = step !== undefined
      } else if (c === 123 || c === 91) {
        if (depth === maxDepth) {
          this.#clean = false
          return
        }
        if (set === undefined && step !== undefined) start = step.inner ??= firstStep()
        steps[depth] = step
        sets[depth] = set
        starts[depth++] = start
        if (depth > deepest) deepest = depth
        maxValues++
        set = undefined
        wantKey = c === 123
        step = wantKey ? start : undefined
        if (depth <= notedDepth) notedDepth = notes.open(p, depth, !wantKey)
        p++
      } else if (c === 125 || c === 93) {
        p++
        if (depth <= notedDepth) notedDepth = notes.close(p, step, set, valueEnd)
        step = steps[--depth]
        set = sets[depth]
        start = starts[depth] as Step
        wantKey = false
        valueEnd = p
      } else if (c === 45 || (c >= 48 && c <= 57)) {
        let end = p + 1
        let d: number
        while (((d = bytes[end] as number) >= 48 && d <= 57) || d === 46) end++
        valueEnd = d === 101 || d === 69 || end - p >= 16 ? this.#suspectNumber(p) : end
        p = valueEnd
      } else if (c === 116 || c === 110) {
        valueEnd = p += 4
      } else if (c === 102) {
        valueEnd = p += 5
      } else {
        p++
      }
    }
    this.#extent = { maxValues, depth: deepest }
  }

  /** The step after `step` with the key at `p`, or `undefined` if the keys so far should go into a set. */
  #follow(step: Step, p: number, end: number): Step | undefined {
    const size = end - p - 1
    for (const candidate of step.next) {
      if (candidate.raw.length === size && sameFrom(this.#bytes, p + 1, candidate.raw, 0)) return candidate
    }
    if (this.#steps >= maxSteps || isTooVaried(step)) return undefined
    const key = this.#keyAt(p, end)
    if (keysOf(step).includes(key)) this.#clean = false
    this.#steps++
    return stepAfter(step, key, this.#bytes.subarray(p + 1, end))
  }

  #setOf(step: Step, p: number, end: number): Set<string> {
    this.#isVaried = true
    const set = new Set(keysOf(step))
    const key = this.#keyAt(p, end)
    if (set.has(key)) this.#clean = false
    return set.add(key)
  }

  /** @returns the end of the key at `p` */
  #addToSet(set: Set<string>, p: number): number {
    const end = this.#stringEnd(p)
    const size = set.size
    set.add(this.#keyAt(p, end))
    if (set.size === size) this.#clean = false
    return end
  }

  #keyAt(p: number, end: number): string {
    const raw = this.#bytes.toString('utf8', p + 1, end - 1)
    const key = raw.includes('\\') ? (JSON.parse(`"${raw}"`) as string) : raw
    if (key === '__proto__') this.#clean = false
    else if (key === 'constructor') this.#sawConstructor = true
    else if (key === 'prototype') this.#sawPrototype = true
    return key
  }

  /** After the closing quote of the string that opens at `p`. */
  #stringEnd(p: number): number {
    const bytes = this.#bytes
    let at = p + 1
    let c: number
    while ((c = bytes[at] as number) !== quote) at = c === backslash ? this.#escapeEnd(at) : at + 1
    return at + 1
  }

  /** After the escape at `p`. Notes lone surrogates, and dollars that are written as escapes. */
  #escapeEnd(p: number): number {
    const bytes = this.#bytes
    if (bytes[p + 1] !== 117) return p + 2
    const unit = unitAt(bytes, p)
    if (unit === 36) this.#escapedDollar = true
    if (unit < 0xd800 || unit > 0xdfff) return p + 6
    if (unit < 0xdc00 && bytes[p + 6] === backslash && bytes[p + 7] === 117) {
      const low = unitAt(bytes, p + 6)
      if (low >= 0xdc00 && low <= 0xdfff) return p + 12
    }
    this.#clean = false
    return p + 6
  }

  /** A number with an exponent or many digits. @returns its end */
  #suspectNumber(p: number): number {
    let end = p + 1
    for (;;) {
      const c = this.#bytes[end] as number
      if ((c >= 48 && c <= 57) || c === 46 || c === 45 || c === 43 || c === 101 || c === 69) end++
      else break
    }
    const value = exactNumber(this.#bytes.toString('latin1', p, end))
    if (value === undefined) this.#clean = false
    else if (Number.isInteger(value) && !Number.isSafeInteger(value)) this.#safeNumbers = false
    return end
  }
}

/** The code unit of the `\uXXXX` at `p`. */
function unitAt(bytes: Buffer, p: number): number {
  return Number.parseInt(bytes.toString('latin1', p + 2, p + 6), 16)
}
