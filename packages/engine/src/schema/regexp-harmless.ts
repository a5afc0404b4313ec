/**
 * Whether a regular expression is certain not to take exponential (or steep polynomial) time in a backtracking
 * engine. Pure and conservative: `false` means "cannot tell". Reading expressions is `regexp-read.ts`.
 *
 * Refused: back references and lookaround; a repeated group that can match one text in several ways; more than two
 * open-ended repetitions in a row that compete for the same characters. A repeated group passes if it repeats at most
 * once, if each round has one fixed length, or if each round begins or ends with a character that occurs nowhere else in it
 * (`(-[a-z0-9]+)*`, `([a-z]+/)*`), for then a text divides into rounds in one way only.
 */
import { emptySet, everything, join, overlap, readRegexp, type Chars, type Group, type Item } from './regexp-read.ts'

const maxCompeting = 2
/** Above so many rounds a bounded repetition is as bad as an open-ended one. */
const manyRounds = 64

export function isHarmless(source: string): boolean {
  const options = readRegexp(source)
  return options !== undefined && options.every(isSafe)
}

function isSafe(sequence: readonly Item[]): boolean {
  let competing: Chars[] = startsAnywhere(sequence) ? [everything()] : []
  for (const [i, item] of sequence.entries()) {
    if (item.kind === 'edge') continue
    if (item.kind === 'group' && !isSafeGroup(item)) return false
    const chars = charsOf(item)
    // What ends the whole expression cannot fail, and so never gives anything back.
    if (isOpenEnded(item) && i + 1 < sequence.length) {
      competing.push(chars)
      if (competing.filter((one) => overlap(one, chars)).length > maxCompeting) return false
    } else if (item.kind === 'chars' && item.min > 0) {
      // A character that an earlier repetition cannot match settles where that one ends.
      competing = competing.filter((one) => overlap(one, chars))
    }
  }
  return true
}

/** Inside a group the anchors around it are not seen; what competes within one round still counts. */
function isSafeGroup(group: Group): boolean {
  const inside = group.options.every((option) => isSafe([{ kind: 'edge' }, ...option, { kind: 'edge' }]))
  return inside && (group.max <= 1 || roundsAreClear(group.options))
}

/** Without `^` the engine tries every start: one more loop, if something open-ended comes first. */
function startsAnywhere(sequence: readonly Item[]): boolean {
  const first = sequence[0]
  return first !== undefined && isOpenEnded(first)
}

function roundsAreClear(options: readonly (readonly Item[])[]): boolean {
  if (options.length === 1 && beginsUniquely(options[0]!.toReversed(), options)) return true
  const firsts = options.map(firstOf)
  const apart = firsts.every((first, i) =>
    firsts.every((other, j) => i === j || (first !== undefined && other !== undefined && !overlap(first, other))),
  )
  return apart && options.every((option) => lengthOf(option) !== undefined || beginsUniquely(option, options))
}

/** The number of characters that every match has, if it is always the same, and not zero. */
function lengthOf(sequence: readonly Item[]): number | undefined {
  let length = 0
  for (const item of sequence) {
    if (item.kind === 'edge') continue
    if (item.min !== item.max) return undefined
    const lengths = item.kind === 'chars' ? [1] : item.options.map(lengthOf)
    const one = lengths[0]
    if (one === undefined || lengths.some((other) => other !== one)) return undefined
    length += one * item.min
  }
  return length === 0 ? undefined : length
}

function firstOf(sequence: readonly Item[]): Chars | undefined {
  const first = sequence.find((item) => item.kind !== 'edge')
  return first?.kind === 'chars' && first.min === 1 && first.max === 1 ? first.chars : undefined
}

function beginsUniquely(option: readonly Item[], options: readonly (readonly Item[])[]): boolean {
  const first = firstOf(option)
  if (first === undefined) return false
  const start = option.findIndex((item) => item.kind !== 'edge')
  const elsewhere = options.length === 1 ? [] : options.filter((other) => other !== option).flat()
  return [...option.slice(start + 1), ...elsewhere].every((item) => !overlap(charsOf(item), first))
}

function isOpenEnded(item: Item): boolean {
  if (item.kind === 'edge') return false
  if (item.max > manyRounds) return true
  return item.kind === 'group' && item.options.some((option) => option.some(isOpenEnded))
}

function charsOf(item: Item): Chars {
  if (item.kind === 'chars') return item.chars
  const chars = emptySet()
  if (item.kind === 'group') for (const option of item.options) for (const inner of option) join(chars, charsOf(inner))
  return chars
}
