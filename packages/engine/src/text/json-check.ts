/**
 * One pass over the bytes of a text that `JSON.parse` has accepted, for everything `JSON.parse` lets through: equal
 * keys in one object, forbidden keys, numbers that lose their value, lone surrogates, too deep nesting. It says only
 * whether the text is clean; what is wrong and where is found by `json-diagnose.ts`. On the way it notes where the
 * entries of large containers near the root begin and end, for `json-incremental.ts` and `json-locate.ts`.
 */
import { Buffer } from 'node:buffer'
import type { Extent } from '../json.ts'
import { firstStep, isTooVaried, keysOf, sameFrom, stepAfter, type Step } from './json-steps.ts'
import { exactNumber } from './number.ts'

/** Where the entries of one container are. Offsets count from its opening bracket, so a container can be moved. */
export interface Container {
  /** From the opening bracket to after the closing one. */
  readonly length: number
  /** Of each entry: where its key, in an array its value, begins. */
  readonly starts: Uint32Array
  readonly ends: Uint32Array
  /** The keys in the order of the text; `undefined` for an array. */
  readonly keys: readonly string[] | undefined
  /** Containers inside of entries, by the entry's index. */
  readonly inside: ReadonlyMap<number, Nested>
}

export interface Nested {
  /** Of the opening bracket, from the entry's start. */
  readonly offset: number
  readonly container: Container
}

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

/** Containers with fewer entries are read again as a whole; it costs less than to remember them. */
const minEntries = 64
/** How far from the root entries are noted: `a.b.c.rules` is. */
export const maxNotedDepth = 4

/** How many steps one text may add; beyond them, its keys go into sets. And how many are kept for the next text. */
const [maxSteps, maxKeptSteps] = [20_000, 64]

/** An open container whose entries are noted. */
interface Noted {
  readonly open: number
  readonly depth: number
  /** The index of its first entry. */
  readonly first: number
  /** What `#notedDepth` was outside of it. */
  readonly notedDepth: number
  inside: Map<number, Nested>
}

const quote = 34
const backslash = 92
const noBytes = Buffer.alloc(0)
const noView = new DataView(noBytes.buffer)
const noneInside: Map<number, Nested> = new Map()
// Every check begins with these: memory of its own would cost more than the check of a small text.
const firstStarts = new Uint32Array(256)
const firstEnds = new Uint32Array(256)

/**
 * Checks one text, or several that are parts of one: what it has learnt of their keys stays, and so does that one of
 * them was not clean.
 */
export class JsonChecker {
  #bytes: Buffer = noBytes
  #view: DataView = noView
  #maxDepth = 0
  /** Entries of containers that are deeper are not noted. */
  #notedDepth = 0
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
  #root: Nested | undefined
  // Entries of the open containers that are near enough to the root, one container after the other.
  #starts = firstStarts
  #ends = firstEnds
  #entries = 0
  #noted: Noted[] = []
  /** The number of entries at which the innermost of these containers is known to be large. */
  #large = minEntries

  check(bytes: Buffer, maxDepth: number, notedDepth = maxNotedDepth): Check {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
    this.#maxDepth = maxDepth
    this.#notedDepth = notedDepth
    this.#escapedDollar = false
    this.#safeNumbers = true
    this.#root = undefined
    this.#entries = 0
    this.#noted = []
    this.#large = minEntries
    this.#scan()
    // Rare enough to let the exact reader decide whether the one stands in the other.
    const clean = this.#clean && !(this.#sawConstructor && this.#sawPrototype)
    this.#bytes = noBytes
    this.#view = noView
    const [escapedDollar, safeNumbers] = [this.#escapedDollar, this.#safeNumbers]
    return { clean, escapedDollar, safeNumbers, extent: this.#extent, root: this.#root }
  }

  /** Whether the next text may go on with what it knows: little, of small texts without anything that is rare. */
  get isReusable(): boolean {
    if (this.#root !== undefined || this.#steps > maxKeptSteps || this.#isVaried) return false
    return this.#clean && !this.#sawConstructor && !this.#sawPrototype && this.#starts === firstStarts
  }

  /** The hot loop: some 60 MB go through here. Everything that is rare is elsewhere. */
  #scan(): void {
    const bytes = this.#bytes
    const view = this.#view
    const length = bytes.length
    const maxDepth = this.#maxDepth
    // Where 8 bytes can be read at once.
    const wordsEnd = length - 16
    let notedDepth = this.#notedDepth
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
          if (depth <= notedDepth) notedDepth = this.#begin(p)
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
        if (depth <= notedDepth) {
          this.#ends[this.#entries - 1] = valueEnd
          if (step === undefined) notedDepth = this.#begin(valueStart(bytes, p))
        }
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
        if (depth <= notedDepth) notedDepth = this.#open(p, depth, !wantKey)
        p++
      } else if (c === 125 || c === 93) {
        p++
        if (depth <= notedDepth) notedDepth = this.#close(p, step, set, valueEnd)
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

  // The three return the depth to which entries are noted from there on.

  #open(p: number, depth: number, isArray: boolean): number {
    this.#noted.push({ open: p, depth, first: this.#entries, notedDepth: this.#notedDepth, inside: noneInside })
    this.#large = this.#entries + minEntries
    if (!isArray) return this.#notedDepth
    const start = valueStart(this.#bytes, p + 1)
    return this.#bytes[start] === 93 ? this.#notedDepth : this.#begin(start)
  }

  #begin(p: number): number {
    if (this.#entries === this.#starts.length) {
      this.#starts = grown(this.#starts)
      this.#ends = grown(this.#ends)
    }
    this.#starts[this.#entries++] = p
    if (this.#entries === this.#large) {
      const noted = this.#noted.at(-1) as Noted
      // If the first entries of a large container hold no large one, the others are not searched for it.
      if (noted.inside.size === 0) this.#notedDepth = noted.depth
    }
    return this.#notedDepth
  }

  #close(end: number, step: Step | undefined, set: Set<string> | undefined, valueEnd: number): number {
    const { open, first, notedDepth, inside } = this.#noted.pop() as Noted
    const count = this.#entries - first
    if (count > 0) this.#ends[this.#entries - 1] = valueEnd
    const outer = this.#noted.at(-1)
    if (count >= minEntries || inside.size > 0) {
      const starts = this.#starts.slice(first, this.#entries)
      const ends = this.#ends.slice(first, this.#entries)
      for (let k = 0; k < count; k++) {
        starts[k] = (starts[k] as number) - open
        ends[k] = (ends[k] as number) - open
      }
      const keys = set ? [...set] : step && keysOf(step)
      const container: Container = { length: end - open, starts, ends, keys, inside }
      if (outer === undefined) {
        this.#root = { offset: open, container }
      } else {
        const entryStart = this.#starts[first - 1] as number
        if (outer.inside === noneInside) outer.inside = new Map()
        outer.inside.set(first - 1 - outer.first, { offset: open - entryStart, container })
      }
    }
    this.#entries = first
    this.#notedDepth = notedDepth
    this.#large = outer === undefined ? 0 : outer.first + minEntries
    return notedDepth
  }
}

function grown(old: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(old.length * 2)
  larger.set(old)
  return larger
}

function valueStart(bytes: Buffer, p: number): number {
  let at = p
  while ((bytes[at] as number) <= 32) at++
  return at
}

/** The code unit of the `\uXXXX` at `p`. */
function unitAt(bytes: Buffer, p: number): number {
  return Number.parseInt(bytes.toString('latin1', p + 2, p + 6), 16)
}
