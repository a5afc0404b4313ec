/**
 * The sequences of keys that the objects of one text have, as a tree. Objects that stand in the same place of their
 * parents mostly have the same keys in the same order. So a key is compared with the one that came here before: it is
 * read once, costs no hash and no string, and is known not to be in its object yet.
 */
import { Buffer } from 'node:buffer'

/** A sequence of keys without repetition, as a path from the root of the tree to here. */
export interface Step {
  readonly key: string
  /** The key as it is written, with its closing quote. */
  readonly raw: Buffer
  /** The length of `raw`. */
  readonly size: number
  /** The first and the next four bytes of `raw`, and which bits of them count. */
  readonly word0: number
  readonly mask0: number
  readonly word1: number
  readonly mask1: number
  readonly before: Step | undefined
  /** How many keys lead here. */
  readonly length: number
  readonly next: Step[]
  /** Where the keys of an object begin that is the value of this key, or an element of it. */
  inner: Step | undefined
}

/** Sequences that are longer, or go on in more ways, are those of a dictionary, not of a record. */
const maxLength = 32
const maxFollowers = 8

export function isTooVaried(step: Step): boolean {
  return step.length >= maxLength || step.next.length >= maxFollowers
}

/** The root of a tree: no key yet. */
export function firstStep(): Step {
  return stepOf('', Buffer.alloc(0), undefined)
}

/** Goes on from `step` by `key`, which is written as `raw`. */
export function stepAfter(step: Step, key: string, raw: Buffer): Step {
  const added = stepOf(key, Buffer.from(raw), step)
  step.next.push(added)
  return added
}

export function keysOf(step: Step): string[] {
  const keys = new Array<string>(step.length)
  for (let s: Step | undefined = step; s !== undefined && s.length > 0; s = s.before) keys[s.length - 1] = s.key
  return keys
}

/** Whether `raw`, from its byte `from` on, stands at `p`. */
export function sameFrom(bytes: Buffer, p: number, raw: Buffer, from: number): boolean {
  for (let k = from; k < raw.length; k++) if (bytes[p + k] !== raw[k]) return false
  return true
}

/** Written anew for each step. */
const words = Buffer.alloc(8)

function stepOf(key: string, raw: Buffer, before: Step | undefined): Step {
  words.fill(0)
  raw.copy(words)
  return {
    key,
    raw,
    size: raw.length,
    word0: words.readInt32LE(0),
    mask0: maskOf(raw.length),
    word1: words.readInt32LE(4),
    mask1: maskOf(raw.length - 4),
    before,
    length: before === undefined ? 0 : before.length + 1,
    next: [],
    inner: undefined,
  }
}

/** The bits of the first `size` bytes of a word. */
function maskOf(size: number): number {
  return size >= 4 ? -1 : size <= 0 ? 0 : (1 << (size * 8)) - 1
}
