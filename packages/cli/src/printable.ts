/**
 * Text that comes from configurations, made fit for a terminal: nothing in it can move the cursor, change colours or
 * turn the direction of writing. Also how wide text is there. Colours are put on afterwards, by others.
 */

import { stripVTControlCharacters } from 'node:util'

// C0 and C1 controls, line and paragraph separators, marks that turn the direction of text, a lone surrogate.
const unfit = /[\p{Cc}\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\p{Cs}]/gu
const short: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** Control characters as `\n`, `\u001b` and the like, everything else as it is. */
export function printable(text: string): string {
  return text.replace(unfit, (found) => short[found] ?? escaped(found))
}

/**
 * What others have said in several lines, such as a program's complaint: each is a line here too, those after the first
 * indented, so that none can be taken for a line of ours. Empty ones are left out.
 */
export function printableLines(text: string, indent: number): string[] {
  const lines = text.split('\n').map((line) => printable(line.trimEnd().replaceAll('\t', '  ')))
  const [first = '', ...more] = lines.filter((line) => line !== '')
  return [first, ...more.map((line) => ' '.repeat(indent) + line)]
}

/** JSON that may also be shown on a terminal: what `JSON.stringify` leaves raw of the above is escaped too. */
export function jsonText(value: unknown, indent = 0): string {
  // Line ends that the indentation brings are not inside strings, where they would be escaped already.
  return (JSON.stringify(value, null, indent) ?? 'null').replace(unfit, (found) =>
    found === '\n' ? found : escaped(found),
  )
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
}

const ascii = /^[\x20-\x7e]*$/
const wide =
  /\p{Emoji_Presentation}|[\u1100-\u115f\u2e80-\u303e\u3041-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|[\u{20000}-\u{3fffd}]/u
const graphemes = new Intl.Segmenter(undefined, { granularity: 'grapheme' })

/** Columns that printable text takes. */
export function widthOf(text: string): number {
  if (ascii.test(text)) return text.length
  let columns = 0
  for (const { segment } of graphemes.segment(text)) columns += columnsOf(segment)
  return columns
}

/** The text, or its beginning and `…`, in at most `columns`. */
export function cut(text: string, columns: number): string {
  const maxLength = columns * 16
  // Of a very long value only the beginning is looked at: what is measured is what may be shown.
  const long = text.length > maxLength
  const head = long ? text.slice(0, maxLength) : text
  if (!long && widthOf(head) <= columns) return text
  let taken = ''
  let used = 0
  for (const { segment } of graphemes.segment(head)) {
    used += columnsOf(segment)
    if (used > columns - 1) break
    taken += segment
  }
  return `${taken}…`
}

/** Breaks a line between words, so that what follows a break is indented; colours do not count. */
export function wrapped(line: string, columns: number, indent: number): string {
  let out = ''
  let used = 0
  for (const [i, word] of line.split(' ').entries()) {
    const wide = widthOf(stripVTControlCharacters(word))
    const breaks = i > 0 && used > indent && used + 1 + wide > columns
    out += breaks ? `\n${' '.repeat(indent)}${word}` : i > 0 ? ` ${word}` : word
    used = breaks ? indent + wide : used + (i > 0 ? 1 : 0) + wide
  }
  return out
}

export function padded(text: string, columns: number): string {
  return text + ' '.repeat(Math.max(0, columns - widthOf(text)))
}

function columnsOf(grapheme: string): number {
  return wide.test(grapheme) ? 2 : 1
}
