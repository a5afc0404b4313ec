/**
 * Which written numbers JavaScript can hold. A number that would come out as another one is refused, not rounded:
 * whole numbers must be exact, and nothing may become infinite or, if it is not zero, become zero. The rounding of
 * a fraction (0.1) is what every reader of the text expects and is left alone.
 */

/**
 * The number that a decimal literal (`-12`, `1.5e3`; a leading `+` and zeros are fine) stands for.
 * @returns `undefined` if it does not survive.
 */
export function exactNumber(literal: string): number | undefined {
  const value = Number(literal)
  if (!Number.isFinite(value)) return undefined
  if (value === 0) return /^[^eE]*[1-9]/.test(literal) ? undefined : value
  if (Number.isInteger(value) && !Number.isSafeInteger(value) && /^[-+]?\d+$/.test(literal)) {
    return writtenNumber(value) === wholeNumber(literal) ? value : undefined
  }
  return value
}

/**
 * The whole number that `value` is when it is written again: 2^63 is written 9223372036854776000, so that a reader
 * with longer integers would see another number than the one that stood in the file.
 */
function writtenNumber(value: number): bigint {
  const [mantissa = '', exponent = '0'] = String(value).split('e')
  const [whole = '', fraction = ''] = mantissa.split('.')
  return BigInt(whole + fraction + '0'.repeat(Number(exponent) - fraction.length))
}

/** Whether a whole number can be read, held and written again without becoming another one. */
export function survives(value: bigint): boolean {
  return Number.isFinite(Number(value)) && writtenNumber(Number(value)) === value
}

function wholeNumber(literal: string): bigint {
  return literal.startsWith('-') ? -BigInt(literal.slice(1)) : BigInt(literal.replace('+', ''))
}

/** What to say about a literal that `exactNumber` refuses. */
export function precisionMessage(literal: string): string {
  const found = literal.length <= 40 ? literal : `${literal.slice(0, 39)}…`
  const value = Number(literal)
  const becomes = Number.isFinite(value) ? `would become ${value}` : 'is larger than any number here'
  return `is ${found}, which ${becomes}; want a number that keeps its value, or a string`
}
