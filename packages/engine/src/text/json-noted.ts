/**
 * Where the entries of large containers near the root of a JSON text begin and end, noted while `json-check.ts` passes
 * over it, for `json-incremental.ts` and `json-locate.ts`.
 */
import { Buffer } from 'node:buffer'
import { keysOf, type Step } from './json-steps.ts'

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

/** Containers with fewer entries are read again as a whole; it costs less than to remember them. */
const minEntries = 64
/** How far from the root entries are noted: `a.b.c.rules` is. */
export const maxNotedDepth = 4

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

const noneInside: Map<number, Nested> = new Map()
const noBytes = Buffer.alloc(0)
// Every check begins with these: memory of its own would cost more than the check of a small text.
const firstStarts = new Uint32Array(256)
const firstEnds = new Uint32Array(256)

/** Of one text after the other: what was told of is passed over in the order of the text. */
export class EntryNotes {
  #bytes: Buffer = noBytes
  /** Entries of containers that are deeper are not noted. */
  #notedDepth = 0
  #root: Nested | undefined
  // Entries of the open containers that are near enough to the root, one container after the other.
  #starts = firstStarts
  #ends = firstEnds
  #entries = 0
  #noted: Noted[] = []
  /** The number of entries at which the innermost of these containers is known to be large. */
  #large = minEntries

  begin(bytes: Buffer, notedDepth: number): void {
    this.#bytes = bytes
    this.#notedDepth = notedDepth
    this.#root = undefined
    this.#entries = 0
    this.#noted = []
    this.#large = minEntries
  }

  /** @returns the outermost container, if there is something to gain from it. */
  end(): Nested | undefined {
    this.#bytes = noBytes
    return this.#root
  }

  /** Nothing was noted, and no memory of its own was needed. */
  get isReusable(): boolean {
    return this.#root === undefined && this.#starts === firstStarts
  }

  // The four return the depth to which entries are noted from there on.

  open(p: number, depth: number, isArray: boolean): number {
    this.#noted.push({ open: p, depth, first: this.#entries, notedDepth: this.#notedDepth, inside: noneInside })
    this.#large = this.#entries + minEntries
    if (!isArray) return this.#notedDepth
    const start = valueStart(this.#bytes, p + 1)
    return this.#bytes[start] === 93 ? this.#notedDepth : this.entry(start)
  }

  /** An entry begins at `p`: with its key, in an array with its value. */
  entry(p: number): number {
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

  /** Before `p`; the value before it ends at `valueEnd`. */
  comma(p: number, valueEnd: number, isArray: boolean): number {
    this.#ends[this.#entries - 1] = valueEnd
    return isArray ? this.entry(valueStart(this.#bytes, p)) : this.#notedDepth
  }

  close(end: number, step: Step | undefined, set: Set<string> | undefined, valueEnd: number): number {
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
