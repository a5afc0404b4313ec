/**
 * The digest of a configuration: typed SHA-256, a function of content alone. The definition, with test vectors for
 * other languages, is in `docs/protocol.md`, section "Digest".
 *
 * A large container keeps one record per child in a table beside it, so that the next version of the container
 * copies the table and makes the records of what changed only.
 */
import { hash } from 'node:crypto'
import { canonicalText, sameKeys, smallText, stringText } from './canonical.ts'
import { isArray, isObject, type Json, type JsonObject } from './json.ts'

/** A container whose canonical text has more bytes is large. Part of the definition. */
const maxTextBytes = 4096
/** A child whose canonical text has at most this many bytes stands for itself. Part of the definition. */
const maxInlineBytes = 32
const recordBytes = 1 + maxInlineBytes
const listTag = 0x4c // 'L': no JSON text begins with it
const objectTag = 0x4f // 'O'
/** Records begin after the tag, and of an object after the sum of its keys. */
const listStart = 1
const objectStart = 1 + 32

/** What is kept of a large container. */
interface Large {
  readonly sum: Buffer
  /** Tag, then the records in order. Given up when two versions have come after, as few go back that far. */
  table: Buffer | undefined
  readonly keys: SortedKeys | undefined
  /** The version whose table this one was made from. */
  from: Large | undefined
}

/** The keys of an object, and the sum of the canonical text of their list. */
interface SortedKeys {
  readonly sorted: readonly string[]
  readonly sum: Buffer
}

/** Frozen containers only: others may still change. */
const known = new WeakMap<object, Large>()

/**
 * `sha256:` and 64 hex digits. The same for trees that are `equal`, another for others.
 * @param like an earlier version whose digest was taken: what the two share is not computed again.
 * @throws RangeError for what is not JSON data or not Unicode text (`check` refuses both).
 */
export function digest(tree: Json, like?: Json): string {
  const found = summary(tree, like)
  return `sha256:${(typeof found === 'string' ? sha256(found) : found.sum).toString('hex')}`
}

/** The canonical text of a scalar or a small container; what is kept of a large one. */
function summary(value: Json, like: Json | undefined): string | Large {
  if (typeof value !== 'object' || value === null) return canonicalText(value)
  const text = smallText(value, maxTextBytes)
  if (text !== undefined && isSmall(text)) return text
  const cached = known.get(value)
  if (cached !== undefined) return cached
  const found = isArray(value)
    ? ofList(value, isArray(like) ? like : [])
    : ofObject(value as JsonObject, isObject(like) ? like : {})
  if (Object.isFrozen(value)) known.set(value, found)
  return found
}

function ofList(list: readonly Json[], like: readonly Json[]): Large {
  const old = known.get(like)
  // Copies, because reading the entries of a frozen list takes five times as long.
  return large(listTable([...list], [...like], old?.table), undefined, old)
}

/** Copies the records of what `list` has in common with `like`, whose table is `source`. */
function listTable(list: readonly Json[], like: readonly Json[], source: Buffer | undefined): Buffer {
  const table = emptyTable(listTag, listStart + list.length * recordBytes)
  /** Where in `like` the next entry is expected. */
  let expected = 0
  for (let i = 0; i < list.length;) {
    const found = source === undefined ? -1 : placeNear(like, list[i] as Json, expected)
    if (source === undefined || found < 0) {
      writeRecord(table, listStart + i * recordBytes, summary(list[i] as Json, like[expected]))
      i++
      if (list[i] !== like[expected]) expected++
      continue
    }
    let length = 1
    while (i + length < list.length && found + length < like.length && list[i + length] === like[found + length])
      length++
    const start = listStart + found * recordBytes
    source.copy(table, listStart + i * recordBytes, start, start + length * recordBytes)
    i += length
    expected = found + length
  }
  return table
}

const lookAhead = 32

function placeNear(list: readonly Json[], entry: Json, expected: number): number {
  const end = Math.min(list.length, expected + lookAhead)
  for (let i = expected; i < end; i++) if (list[i] === entry) return i
  return -1
}

function ofObject(value: JsonObject, like: JsonObject): Large {
  const own = Object.keys(value)
  const old = known.get(like)
  if (old?.table !== undefined && old.keys !== undefined && sameKeys(own, Object.keys(like))) {
    return large(objectTable(value, like, old.table, old.keys.sorted), old.keys, old)
  }
  const sorted = own.sort()
  const keys = { sorted, sum: sha256(`[${sorted.map(stringText).join(',')}]`) }
  const table = emptyTable(objectTag, objectStart + sorted.length * recordBytes)
  keys.sum.copy(table, 1)
  sorted.forEach((key, i) => {
    const child = summary(value[key] as Json, Object.hasOwn(like, key) ? like[key] : undefined)
    writeRecord(table, objectStart + i * recordBytes, child)
  })
  return large(table, keys, undefined)
}

/** Of an object with the same keys as `like`, whose table is `source`. */
function objectTable(value: JsonObject, like: JsonObject, source: Buffer, sorted: readonly string[]): Buffer {
  const table = Buffer.from(source)
  for (let i = 0; i < sorted.length; i++) {
    const key = sorted[i] as string
    const child = value[key] as Json
    if (child !== like[key]) writeRecord(table, objectStart + i * recordBytes, summary(child, like[key]))
  }
  return table
}

function large(table: Buffer, keys: SortedKeys | undefined, from: Large | undefined): Large {
  if (from?.from !== undefined) {
    from.from.table = undefined
    from.from = undefined
  }
  return { sum: sha256(table), table, keys, from }
}

function isSmall(text: string): boolean {
  return text.length * 3 <= maxTextBytes || Buffer.byteLength(text) <= maxTextBytes
}

/** First byte 1 to 32: that many bytes of text, then zeros. First byte 0: a SHA-256. */
function writeRecord(table: Buffer, at: number, part: string | Large): void {
  if (typeof part === 'string' && part.length <= maxInlineBytes) {
    const length = Buffer.byteLength(part)
    if (length <= maxInlineBytes) {
      table[at] = length
      table.fill(0, at + 1 + length, at + recordBytes)
      table.write(part, at + 1)
      return
    }
  }
  table[at] = 0
  ;(typeof part === 'string' ? sha256(part) : part.sum).copy(table, at + 1)
}

function emptyTable(tag: number, sizeBytes: number): Buffer {
  const table = Buffer.alloc(sizeBytes)
  table[0] = tag
  return table
}

function sha256(data: string | Buffer): Buffer {
  return hash('sha256', data, 'buffer')
}
