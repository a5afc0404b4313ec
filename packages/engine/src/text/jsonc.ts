/**
 * JSON with comments and trailing commas, made into JSON of the same length: what JSON does not know becomes spaces
 * in place, so that every offset, line and column stays what it was. The rest is `json.ts`.
 */
import { Buffer } from 'node:buffer'
import type { SourceText } from './source-text.ts'

const quote = 34
const comma = 44
const slash = 47
const star = 42
const backslash = 92

/**
 * A copy of the text without comments and trailing commas.
 * @throws SourceError `syntax`, if a block comment is not closed.
 */
export function blankComments(source: SourceText): Buffer {
  const bytes = Buffer.from(source.bytes)
  /** The last byte that is neither white space nor comment, and where: a comma here may turn out to be trailing. */
  let last = 0
  let lastAt = -1
  let before = 0
  for (let at = 0; at < bytes.length;) {
    const c = bytes[at]
    if (c === quote) {
      before = last
      last = quote
      at = stringEnd(bytes, at)
    } else if (c === slash && (bytes[at + 1] === slash || bytes[at + 1] === star)) {
      const end = commentEnd(source, bytes, at)
      blank(bytes, at, end)
      at = end
    } else if (c === 32 || c === 10 || c === 13 || c === 9) {
      at++
    } else {
      const closes = c === 93 || c === 125
      // `[,]` stays wrong: only a comma after a value is a trailing one.
      if (closes && last === comma && before !== 91 && before !== 123 && before !== comma && before !== 0) {
        bytes[lastAt] = 32
      }
      before = last
      last = c ?? 0
      lastAt = at++
    }
  }
  return bytes
}

function stringEnd(bytes: Buffer, start: number): number {
  let at = start + 1
  while (at < bytes.length && bytes[at] !== quote) at += bytes[at] === backslash ? 2 : 1
  return at + 1
}

function commentEnd(source: SourceText, bytes: Buffer, start: number): number {
  if (bytes[start + 1] === slash) {
    const end = bytes.indexOf(10, start)
    return end < 0 ? bytes.length : end
  }
  const end = bytes.indexOf('*/', start + 2)
  if (end < 0) throw source.refusal('syntax', start, 'the comment is not closed; want */')
  return end + 2
}

/** Line ends stay, so that lines still count the same. */
function blank(bytes: Buffer, start: number, end: number): void {
  for (let at = start; at < end; at++) if (bytes[at] !== 10 && bytes[at] !== 13) bytes[at] = 32
}
