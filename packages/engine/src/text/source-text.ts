/**
 * The bytes of one text, known to be UTF-8, and where in them a line begins. Every format reports its errors through
 * here, so that lines, columns and offsets mean the same everywhere. What the text says is left to the formats.
 */
import { Buffer, isAscii, isUtf8 } from 'node:buffer'
import type { Issue, IssueCode, Origin } from '../issue.ts'
import type { Path } from '../json.ts'
import { SourceError } from '../source.ts'

export class SourceText {
  readonly file: string
  /** Without the byte order mark. Offsets inside the parsers count from here. */
  readonly bytes: Buffer
  readonly #markBytes: number
  #ascii: boolean | undefined
  #lineStarts: number[] | undefined

  /** Takes the bytes as they are; `checkedText` is the way in for bytes nobody has looked at yet. */
  constructor(file: string, bytes: Uint8Array) {
    const marked = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf
    this.file = file
    this.#markBytes = marked ? 3 : 0
    this.bytes =
      !marked && Buffer.isBuffer(bytes)
        ? bytes
        : Buffer.from(bytes.buffer, bytes.byteOffset + this.#markBytes, bytes.length - this.#markBytes)
  }

  /** The whole text as a string. */
  text(): string {
    // A one-byte string is the fastest thing to parse, and latin1 the fastest way to one.
    return this.isAscii() ? this.bytes.toString('latin1') : this.bytes.toString()
  }

  isAscii(): boolean {
    return (this.#ascii ??= isAscii(this.bytes))
  }

  /** The byte offset of the UTF-16 index `index` of `text`, which is this text, or this with parts made blank. */
  offsetAt(text: string, index: number): number {
    return this.isAscii() ? index : Buffer.byteLength(text.slice(0, index))
  }

  /** Where the byte at `offset` stands. Lines end with `\n`; columns count UTF-16 code units. */
  origin(offset: number): Origin {
    const starts = (this.#lineStarts ??= lineStarts(this.bytes))
    let low = 0
    let high = starts.length - 1
    while (low < high) {
      const middle = (low + high + 1) >> 1
      if ((starts[middle] ?? 0) <= offset) low = middle
      else high = middle - 1
    }
    const start = starts[low] ?? 0
    const column = this.isAscii() ? offset - start : this.bytes.toString('utf8', start, offset).length
    return { file: this.file, line: low + 1, column: column + 1, offset: offset + this.#markBytes }
  }

  issue(code: IssueCode, offset: number, message: string, more: IssueParts = {}): Issue {
    return { code, path: more.path ?? [], message, origin: this.origin(offset), ...more.also }
  }

  refusal(code: IssueCode, offset: number, message: string, more: IssueParts = {}): SourceError {
    return new SourceError([this.issue(code, offset, message, more)])
  }

  /** The text holds nothing. Stale beats empty, so this is never an empty configuration. */
  emptiness(): SourceError {
    const origin: Origin = { file: this.file, line: 1, column: 1, offset: 0 }
    const message = this.bytes.length === 0 ? 'is empty' : 'holds nothing but white space and comments'
    return new SourceError([{ code: 'empty', path: [], message: `${message}; want a configuration`, origin }])
  }
}

export interface IssueParts {
  readonly path?: Path
  readonly also?: Pick<Issue, 'related' | 'hint'>
}

function lineStarts(bytes: Buffer): number[] {
  const starts = [0]
  for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) starts.push(at + 1)
  return starts
}

/**
 * The bytes as a text. A UTF-8 byte order mark is passed over.
 * @throws SourceError `limit` (too large), `encoding` (UTF-16 or UTF-32, bytes that are not UTF-8).
 */
export function checkedText(file: string, bytes: Uint8Array, maxBytes: number): SourceText {
  if (bytes.length > maxBytes) {
    const message = `is ${bytes.length} bytes; want at most ${maxBytes}`
    throw new SourceError([{ code: 'limit', path: [], message, origin: { file } }])
  }
  const foreign = foreignMark(bytes)
  if (foreign !== undefined) throw encodingError(file, 0, `starts with a ${foreign} byte order mark; want UTF-8`)
  const source = new SourceText(file, bytes)
  // Most texts are ASCII, which is UTF-8, and to know it makes the string quick.
  if (!source.isAscii() && !isUtf8(source.bytes)) {
    const bad = firstBadByte(source.bytes)
    const found = `0x${(source.bytes[bad] ?? 0).toString(16).padStart(2, '0')}`
    throw source.refusal('encoding', bad, `the byte ${found} is not UTF-8 here; want a text in UTF-8`)
  }
  return source
}

/** @throws SourceError `encoding`, if a NUL byte is in the text. */
export function refuseNul(source: SourceText): void {
  const at = source.bytes.indexOf(0)
  if (at >= 0) throw source.refusal('encoding', at, 'found a NUL byte; want text')
}

function encodingError(file: string, offset: number, message: string): SourceError {
  return new SourceError([{ code: 'encoding', path: [], message, origin: { file, line: 1, column: 1, offset } }])
}

function foreignMark(bytes: Uint8Array): string | undefined {
  const a = bytes[0]
  // Nearly all.
  if (a !== undefined && a !== 0 && a < 0xfe) return undefined
  const [, b, c, d] = bytes
  if (a === 0xff && b === 0xfe) return c === 0 && d === 0 ? 'UTF-32' : 'UTF-16'
  if (a === 0xfe && b === 0xff) return 'UTF-16'
  if (a === 0 && b === 0 && c === 0xfe && d === 0xff) return 'UTF-32'
  return undefined
}

/** How many bytes from the start are UTF-8: found by halving, since `isUtf8` is native and this a rare path. */
function firstBadByte(bytes: Buffer): number {
  let good = 0
  let size = bytes.length
  while (size > 16) {
    const half = boundaryBefore(bytes, good + (size >> 1), good)
    if (half > good && isUtf8(bytes.subarray(good, half))) {
      size -= half - good
      good = half
    } else {
      size >>= 1
    }
  }
  for (let at = good; at < bytes.length;) {
    let length = 1
    while (length <= 4 && !isUtf8(bytes.subarray(at, at + length))) length++
    if (length > 4) return at
    at += length
  }
  return good
}

/** The start of the character that `at` stands in, so that a cut there does not itself make a bad character. */
function boundaryBefore(bytes: Buffer, at: number, floor: number): number {
  let start = at
  while (start > floor && start > at - 4 && ((bytes[start] ?? 0) & 0xc0) === 0x80) start--
  return start
}
