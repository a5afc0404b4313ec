/**
 * One pass over the bytes of a text that `JSON.parse` has accepted, for everything `JSON.parse` lets through: equal
 * keys in one object, forbidden keys, numbers that lose their value, lone surrogates, too deep nesting. It says only
 * whether the text is clean; what is wrong and where is found by `json-diagnose.ts`. On the way it notes where the
 * entries of large containers near the root begin and end, for `json-incremental.ts` and `json-locate.ts`.
 *
 * Keys are compared with the keys that the objects before had in the same place (a tree of key sequences). A key that
 * follows a known path is read once, costs no hashing and no string, and is known to be new in its object.
 */
import { Buffer } from 'node:buffer'
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
  /** The outermost container, if there is something to gain from it. */
  readonly root: Nested | undefined
}

/** Containers with fewer entries are read again as a whole; it costs less than to remember them. */
const minEntries = 64
/** How far from the root entries are noted: `a.b.c.rules` is. */
const maxNotedDepth = 4

/** Key sequences that are longer, or more varied, go into a `Set` instead. */
const maxSequence = 32
const maxFollowers = 8
const maxSteps = 20_000

/** A sequence of keys without repetition, as a path from the root of the tree to here. */
interface Step {
  readonly raw: Buffer
  readonly key: string
  readonly before: Step | undefined
  readonly length: number
  readonly next: Step[]
}

/** An open container whose entries are noted. */
interface Noted {
  readonly open: number
  /** The index of its first entry. */
  readonly first: number
  inside: Map<number, Nested>
}

const quote = 34
const backslash = 92

export function checkJson(bytes: Buffer, maxDepth: number, notedDepth = maxNotedDepth): Check {
  return new Checker(bytes, maxDepth, notedDepth).run()
}

class Checker {
  readonly #bytes: Buffer
  readonly #maxDepth: number
  readonly #notedDepth: number
  #clean = true
  #escapedDollar = false
  #sawConstructor = false
  #sawPrototype = false
  readonly #start: Step = { raw: Buffer.alloc(0), key: '', before: undefined, length: 0, next: [] }
  #steps = 0
  #root: Nested | undefined
  // Entries of the open containers that are near enough to the root, one container after the other.
  #starts = new Uint32Array(256)
  #ends = new Uint32Array(256)
  #entries = 0
  readonly #noted: Noted[] = []

  constructor(bytes: Buffer, maxDepth: number, notedDepth: number) {
    this.#bytes = bytes
    this.#maxDepth = maxDepth
    this.#notedDepth = notedDepth
  }

  run(): Check {
    this.#scan()
    // Rare enough to let the exact reader decide whether the one stands in the other.
    const clean = this.#clean && !(this.#sawConstructor && this.#sawPrototype)
    return { clean, escapedDollar: this.#escapedDollar, root: this.#root }
  }

  #scan(): void {
    const bytes = this.#bytes
    const length = bytes.length
    const maxDepth = this.#maxDepth
    const notedDepth = this.#notedDepth
    // One element per open container; a Step, or a Set once the sequence is too long, is undefined in arrays.
    const steps: (Step | Set<string> | undefined)[] = []
    let depth = 0
    let step: Step | Set<string> | undefined
    let wantKey = false
    let valueEnd = 0
    let p = 0
    while (p < length) {
      const c = bytes[p] as number
      if (c === quote) {
        if (wantKey) {
          if (depth <= notedDepth) this.#begin(p)
          wantKey = false
          if (step instanceof Set) {
            const end = this.#stringEnd(p)
            this.#addToSet(step, p, end)
            p = end
          } else {
            const found = this.#follow(step as Step, p)
            if (found !== undefined) {
              step = found
              p += found.raw.length + 2
            } else {
              const end = this.#stringEnd(p)
              step = this.#extend(step as Step, p, end)
              p = end
            }
          }
          continue
        }
        p++
        let d: number
        while ((d = bytes[p] as number) !== quote) p = d === backslash ? this.#escapeEnd(p) : p + 1
        valueEnd = ++p
      } else if (c === 44) {
        if (depth <= notedDepth) {
          this.#ends[this.#entries - 1] = valueEnd
          if (step === undefined) this.#begin(valueStart(bytes, p + 1))
        }
        wantKey = step !== undefined
        p++
      } else if (c === 123 || c === 91) {
        if (++depth > maxDepth) {
          this.#clean = false
          return
        }
        steps.push(step)
        step = c === 123 ? this.#start : undefined
        wantKey = c === 123
        if (depth <= notedDepth) this.#open(p, c === 91)
        p++
      } else if (c === 125 || c === 93) {
        p++
        if (depth <= notedDepth) this.#close(p, step, valueEnd)
        depth--
        step = steps.pop()
        wantKey = false
        valueEnd = p
      } else if (c === 45 || (c >= 48 && c <= 57)) {
        const end = numberEnd(bytes, p + 1)
        if (end < 0 || end - p >= 16) valueEnd = this.#suspectNumber(p)
        else valueEnd = end
        p = valueEnd
      } else if (c === 116 || c === 110) {
        valueEnd = p += 4
      } else if (c === 102) {
        valueEnd = p += 5
      } else {
        p++
      }
    }
  }

  /** The step after `step` whose key is written at `p`, if another object went there before. */
  #follow(step: Step, p: number): Step | undefined {
    const bytes = this.#bytes
    const next = step.next
    search: for (let n = 0; n < next.length; n++) {
      const candidate = next[n] as Step
      const raw = candidate.raw
      const end = raw.length
      if (bytes[p + 1 + end] !== quote) continue
      for (let k = 0; k < end; k++) if (bytes[p + 1 + k] !== raw[k]) continue search
      return candidate
    }
    return undefined
  }

  /** A key that no object before had here. */
  #extend(step: Step, p: number, end: number): Step | Set<string> {
    const key = this.#keyAt(p, end)
    if (step.length >= maxSequence || step.next.length >= maxFollowers || this.#steps >= maxSteps) {
      const set = new Set(keysOf(step))
      if (set.has(key)) this.#clean = false
      return set.add(key)
    }
    for (let s: Step | undefined = step; s !== undefined && s.length > 0; s = s.before) {
      if (s.key === key) this.#clean = false
    }
    const raw = Buffer.from(this.#bytes.subarray(p + 1, end - 1))
    const added: Step = { raw, key, before: step, length: step.length + 1, next: [] }
    step.next.push(added)
    this.#steps++
    return added
  }

  #addToSet(set: Set<string>, p: number, end: number): void {
    const size = set.size
    set.add(this.#keyAt(p, end))
    if (set.size === size) this.#clean = false
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
    if (exactNumber(this.#bytes.toString('latin1', p, end)) === undefined) this.#clean = false
    return end
  }

  #open(p: number, isArray: boolean): void {
    this.#noted.push({ open: p, first: this.#entries, inside: noneInside })
    if (!isArray) return
    const start = valueStart(this.#bytes, p + 1)
    if (this.#bytes[start] !== 93) this.#begin(start)
  }

  #begin(p: number): void {
    if (this.#entries === this.#starts.length) {
      this.#starts = grown(this.#starts)
      this.#ends = grown(this.#ends)
    }
    this.#starts[this.#entries++] = p
  }

  #close(end: number, step: Step | Set<string> | undefined, valueEnd: number): void {
    const { open, first, inside } = this.#noted.pop() as Noted
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
      const keys = step === undefined ? undefined : step instanceof Set ? [...step] : keysOf(step)
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
  }
}

const noneInside: Map<number, Nested> = new Map()

function keysOf(step: Step): string[] {
  const keys = new Array<string>(step.length)
  for (let s: Step | undefined = step; s !== undefined && s.length > 0; s = s.before) keys[s.length - 1] = s.key
  return keys
}

function grown(old: Uint32Array): Uint32Array<ArrayBuffer> {
  const larger = new Uint32Array(old.length * 2)
  larger.set(old)
  return larger
}

function valueStart(bytes: Buffer, p: number): number {
  let at = p
  for (;;) {
    const c = bytes[at]
    if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return at
    at++
  }
}

/** After the digits and points from `p` on, or -1 if an exponent follows. */
function numberEnd(bytes: Buffer, p: number): number {
  let at = p
  for (;;) {
    const c = bytes[at] as number
    if ((c >= 48 && c <= 57) || c === 46) at++
    else return c === 101 || c === 69 ? -1 : at
  }
}

/** The code unit of the `\uXXXX` at `p`. */
function unitAt(bytes: Buffer, p: number): number {
  return Number.parseInt(bytes.toString('latin1', p + 2, p + 6), 16)
}
