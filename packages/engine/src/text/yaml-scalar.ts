/**
 * What a plain (unquoted) YAML scalar is, by the core schema of YAML 1.2.2 (chapter 10.3):
 * `null`, `~` and nothing are null; `true`, `True`, `TRUE` and their opposites are booleans; `12`, `012` (twelve),
 * `0o14`, `0xC`, `1.2`, `1e3` are numbers; everything else is a string, also `no`, `on`, `12:30` and `2001-12-14`.
 */
import type { Json } from '../json.ts'
import { exactNumber, precisionMessage, survives } from './number.ts'

const decimal = /^[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?$/
const based = /^0(?:o[0-7]+|x[\da-fA-F]+)$/
const notFinite = /^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$/

/** What `core` found instead of a value: a number that JSON cannot hold. */
export interface Unfit {
  readonly unfit: string
}

export type CoreScalar = null | boolean | number | string

/** The value of a plain scalar, or why there is none. */
export function coreScalar(text: string): CoreScalar | Unfit {
  // Most scalars are words and numbers, and the first character tells which.
  const first = text.charCodeAt(0)
  const mayBeNumber = first <= 57 && (first >= 48 || first === 45 || first === 43 || first === 46)
  return mayBeNumber ? numeric(text) : word(text)
}

function word(text: string): CoreScalar {
  switch (text) {
    case '':
    case '~':
    case 'null':
    case 'Null':
    case 'NULL':
      return null
    case 'true':
    case 'True':
    case 'TRUE':
      return true
    case 'false':
    case 'False':
    case 'FALSE':
      return false
    default:
      return text
  }
}

function numeric(text: string): CoreScalar | Unfit {
  if (decimal.test(text)) {
    const value = exactNumber(text)
    return value ?? { unfit: precisionMessage(text) }
  }
  if (based.test(text)) {
    const value = Number(text)
    return survives(BigInt(text)) ? value : { unfit: precisionMessage(text) }
  }
  if (notFinite.test(text)) return { unfit: `is ${text}; want a finite number, or quotes to make it a string` }
  return text
}

export function isUnfit(value: CoreScalar | Unfit): value is Unfit {
  return typeof value === 'object' && value !== null
}

/**
 * The value that `text` has as a plain scalar: `8080` is a number, `true` a boolean, `` and `~` null.
 * @throws RangeError if it is a number that JavaScript or JSON cannot hold: `1e400`, `9007199254740993`, `.inf`.
 */
export function plainScalar(text: string): Json {
  const value = coreScalar(text)
  if (isUnfit(value)) throw new RangeError(value.unfit)
  return value
}
