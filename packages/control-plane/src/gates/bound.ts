/** What a measured value must fulfil: `< 0.05`. Read once, with a clear error. Pure. */

export interface Bound {
  /** As it is shown. */
  readonly text: string
  holds(value: number): boolean
}

const operators: Readonly<Record<string, (value: number, limit: number) => boolean>> = {
  '<': (value, limit) => value < limit,
  '<=': (value, limit) => value <= limit,
  '>': (value, limit) => value > limit,
  '>=': (value, limit) => value >= limit,
  '==': (value, limit) => value === limit,
  '!=': (value, limit) => value !== limit,
}

const maxLength = 64
const pattern = /^\s*(<=|>=|==|!=|<|>)\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*$/

/** The bound, or what is wanted instead of this text. */
export function parseBound(text: string): Bound | string {
  const [, operator = '', number = ''] = (text.length <= maxLength && pattern.exec(text)) || []
  const limit = Number(number)
  const compare = operators[operator]
  if (compare === undefined || !Number.isFinite(limit)) {
    return 'want <, <=, >, >=, == or != and a number, such as "< 0.05"'
  }
  return {
    text: `${operator} ${limit}`,
    // No bound holds for what is no measurement: 0/0 is NaN, and 1/0 infinite (I12).
    holds: (value) => Number.isFinite(value) && compare(value, limit),
  }
}
