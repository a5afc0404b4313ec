/**
 * The entries of a container that is put together from old entries and new ones: its value, and where its entries are.
 */
import { isArray, type Json, type JsonObject } from '../json.ts'
import type { Container, Nested } from './json-noted.ts'

export class EntryList {
  readonly #old: Container
  readonly #oldValue: Json
  readonly #open: number
  #starts: Uint32Array
  #ends: Uint32Array
  #count = 0
  readonly #values: Json[] = []
  readonly #keys: string[] | undefined
  readonly #inside = new Map<number, Nested>()
  #index: Map<string, number> | undefined
  /** Whether the entries so far are the first old ones, in their order. */
  #isSame = true

  /** @param open offset of the opening bracket in the new text */
  constructor(old: Container, oldValue: Json, open: number) {
    this.#old = old
    this.#oldValue = oldValue
    this.#open = open
    this.#starts = new Uint32Array(old.starts.length + 16)
    this.#ends = new Uint32Array(old.starts.length + 16)
    this.#keys = old.keys && []
  }

  /** The value of the old entry `k`. */
  oldValue(k: number): Json | undefined {
    const value = this.#oldValue
    if (isArray(value)) return value[k]
    const key = this.#old.keys?.[k]
    return key === undefined ? undefined : (value as JsonObject)[key]
  }

  /** The old entry with this key, or -1. @param guess where to look first */
  indexOfKey(key: string, guess: number): number {
    const keys = this.#old.keys ?? []
    if (keys[guess] === key) return guess
    this.#index ??= new Map(keys.map((old, k) => [old, k]))
    return this.#index.get(key) ?? -1
  }

  /** Takes the old entries `first` to `last`, which stand in the new text from `at` on as they stood in the old. */
  take(first: number, last: number, at: number): void {
    const { starts, ends, keys, inside } = this.#old
    const shift = at - this.#open - (starts[first] as number)
    const count = last - first + 1
    if (first !== this.#count) this.#isSame = false
    this.#reserve(count)
    for (let k = 0; k < count; k++) {
      this.#starts[this.#count + k] = (starts[first + k] as number) + shift
      this.#ends[this.#count + k] = (ends[first + k] as number) + shift
    }
    const old = this.#oldValue
    if (isArray(old)) {
      for (let k = first; k <= last; k++) this.#values.push(old[k] as Json)
    } else {
      for (let k = first; k <= last; k++) {
        const key = keys?.[k] as string
        this.#keys?.push(key)
        this.#values.push((old as JsonObject)[key] as Json)
      }
    }
    if (inside.size > 0) {
      for (const [k, nested] of inside) if (k >= first && k <= last) this.#inside.set(this.#count + k - first, nested)
    }
    this.#count += count
  }

  /** Adds an entry that was read anew, from `start` to `end` in the new text. */
  add(key: string | undefined, value: Json, start: number, end: number, inside: Nested | undefined): void {
    const k = this.#count
    this.#isSame &&= Object.is(this.oldValue(k), value) && this.#old.keys?.[k] === key
    this.#reserve(1)
    this.#starts[k] = start - this.#open
    this.#ends[k] = end - this.#open
    this.#values.push(value)
    if (key !== undefined) this.#keys?.push(key)
    if (inside) this.#inside.set(k, inside)
    this.#count++
  }

  /** The whole container, which is the old one itself if nothing changed. `undefined`: a key is there twice. */
  value(): Json | undefined {
    if (this.#isSame && this.#count === this.#old.starts.length) return this.#oldValue
    if (this.#keys === undefined) return this.#values
    const object: { [key: string]: Json } = {}
    for (let k = 0; k < this.#count; k++) object[this.#keys[k] as string] = this.#values[k] as Json
    return Object.keys(object).length === this.#count ? object : undefined
  }

  /** @param end offset after the closing bracket in the new text */
  container(end: number): Container {
    const starts = this.#starts.subarray(0, this.#count)
    const ends = this.#ends.subarray(0, this.#count)
    return { length: end - this.#open, starts, ends, keys: this.#keys, inside: this.#inside }
  }

  #reserve(count: number): void {
    if (this.#count + count <= this.#starts.length) return
    const size = Math.max(this.#starts.length * 2, this.#count + count)
    this.#starts = resized(this.#starts, size)
    this.#ends = resized(this.#ends, size)
  }
}

function resized(old: Uint32Array, size: number): Uint32Array {
  const larger = new Uint32Array(size)
  larger.set(old)
  return larger
}
