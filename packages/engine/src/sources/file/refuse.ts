/** The errors of the file source in one form. Which situation leads to which error is decided where it is met. */
import type { IssueCode, Origin } from '../../issue.ts'
import type { Path } from '../../json.ts'
import { SourceError } from '../../source.ts'

export interface Refusal {
  /** `true` where another try soon may succeed. */
  readonly transient?: boolean
  readonly path?: Path
  readonly related?: readonly Origin[]
  readonly hint?: string
  readonly cause?: unknown
}

export function refuse(code: IssueCode, origin: Origin, message: string, more: Refusal = {}): SourceError {
  const issue = {
    code,
    path: more.path ?? [],
    message,
    origin,
    ...(more.related ? { related: more.related } : {}),
    ...(more.hint ? { hint: more.hint } : {}),
  }
  return new SourceError([issue], { transient: more.transient ?? false, cause: more.cause })
}

/** The same error, with the place that led to the file: an `include` entry, a `${file:…}`. */
export function ledBy(error: unknown, place: Origin | undefined): unknown {
  if (!(error instanceof SourceError) || !place) return error
  const issues = error.issues.map((issue) => ({ ...issue, related: [...(issue.related ?? []), place] }))
  return new SourceError(issues, { transient: error.transient, cause: error })
}

/** `134217728` → `128 MiB (134217728 bytes)`. */
export function sizeText(sizeBytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB', 'TiB']
  let size = sizeBytes
  let unit = 0
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024
    unit++
  }
  if (unit === 0) return `${sizeBytes} bytes`
  return `${Number(size.toFixed(1))} ${units[unit]} (${sizeBytes} bytes)`
}
