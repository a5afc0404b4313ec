/**
 * What is wrong, where, and what was wanted: the one form in which anything refuses a configuration.
 * Printing, colours and redaction of whole documents are left to others.
 */
import { pathText, type Path } from './json.ts'

/** Where a value was written. Lines and columns count from 1, columns in UTF-16 code units, offsets in bytes from 0. */
export interface Origin {
  /** A file as the user named it, or a source's name (`env`, `etcd:/app`). */
  readonly file: string
  readonly line?: number
  readonly column?: number
  readonly offset?: number
}

export type IssueCode =
  | 'unreadable' // the source could not be read: missing, denied, away
  | 'empty' // nothing there; never taken for "delete everything"
  | 'syntax' // does not parse
  | 'encoding' // not UTF-8, NUL, lone surrogate
  | 'duplicate-key'
  | 'forbidden-key' // __proto__ and friends
  | 'number-precision' // would not survive a round trip
  | 'limit' // too large, too deep, too many aliases
  | 'reference' // ${VAR}, include or secret file that cannot be resolved
  | 'schema' // does not fit the schema
  | 'unknown-key'
  | 'component' // a component's own validate said no
  | 'timeout'
  | 'internal' // a bug, ours or a component's

export interface Issue {
  readonly code: IssueCode
  readonly path: Path
  /** Says what was found and what was wanted: `is "80a"; want an integer from 1 to 65535`. Never holds a secret. */
  readonly message: string
  readonly origin?: Origin
  /** Further places that belong to it, such as the first of two duplicate keys. */
  readonly related?: readonly Origin[]
  /** The path of the first of two that exclude each other; its origin joins `related`. */
  readonly firstPath?: Path
  /** What would mend it, where that is known: `did you mean "format"?` */
  readonly hint?: string
}

export function originText(origin: Origin): string {
  if (origin.line === undefined) {
    return origin.offset === undefined ? origin.file : `${origin.file}, byte ${origin.offset}`
  }
  return origin.column === undefined
    ? `${origin.file}:${origin.line}`
    : `${origin.file}:${origin.line}:${origin.column}`
}

/** `gateway.yaml:12:9 server.port is "80a"; want an integer from 1 to 65535 (did you mean …)` */
export function issueText(issue: Issue): string {
  const where = issue.origin ? `${originText(issue.origin)} ` : ''
  const what = issue.path.length > 0 ? `${pathText(issue.path)} ` : ''
  const also = issue.related?.length ? ` (also at ${issue.related.map(originText).join(', ')})` : ''
  const hint = issue.hint ? `; ${issue.hint}` : ''
  return `${where}${what}${issue.message}${also}${hint}`
}

const maxShown = 60

/** A found value as an error shows it: JSON, cut to a readable length. The caller masks secrets before. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value) ?? String(value)
  return text.length <= maxShown ? text : `${text.slice(0, maxShown - 1)}…`
}
