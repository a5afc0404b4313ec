/**
 * What the marks of a schema say about places in contents: which are secret, and in which lists an entry is known by a
 * key; and what may be said of an issue there. Pure; where the marks come from is `validation.ts`.
 */
import { parsePath, type Issue, type Json, type Keys, type Path } from 'midflight'

export interface Marks {
  /** `*` for one step. All that is below is secret too. */
  readonly secret: readonly Path[]
  readonly keys: Keys
}

/** An issue of a content. Its `path` is for people: in what the schema says, entries of keyed lists go by their keys. */
export interface PlacedIssue extends Issue {
  /** The same place by indexes, where that is known to be another. */
  readonly exact?: Path
}

/** Whether the place is secret, or is in a secret, or has one in it. */
function touchesSecret({ secret }: Marks, path: Path): boolean {
  return secret.some((pattern) => fits(pattern, path))
}

/** As far as both go. */
function fits(pattern: Path, path: Path): boolean {
  return pattern.every((step, i) => i >= path.length || step === '*' || step === String(path[i]))
}

const unsaid = 'is not as it must be; it is, or holds, a secret, so more is not said'

/**
 * What may be said of an issue: nothing that stands at a secret, nor the names in one.
 * @param isSafe its words show no secret of these marks.
 */
export function covered(marks: Marks, issue: PlacedIssue, isSafe = isSafelyWorded(issue)): PlacedIssue {
  const around = marks.secret.find((pattern) => pattern.length < issue.path.length && fits(pattern, issue.path))
  if (around === undefined && (isSafe || !touchesSecret(marks, issue.path))) return issue
  const { hint: _, exact, ...rest } = issue
  const within = around?.length ?? issue.path.length
  const operation = /^operation \d+/.exec(issue.message)?.[0]
  return {
    ...rest,
    path: issue.path.slice(0, within),
    ...(exact && { exact: exact.slice(0, within) }),
    message: operation === undefined ? unsaid : `${operation} ${unsaid}`,
  }
}

/** Words of the schema are the engine's, those of rules were made with `showing`; a patch begins with where in it. */
function isSafelyWorded({ code, message }: Issue): boolean {
  return code === 'component' || (code === 'schema' && !/^(?:operation \d+|patch), at /.test(message))
}

/** A value in words, unless one of the places that it stands at, or is compared with, is secret. */
export type Show = (value: Json, ...at: readonly Path[]) => string

export function showing(marks: Marks): Show {
  return (value, ...at) => (at.some((path) => touchesSecret(marks, path)) ? '‹secret›' : JSON.stringify(value))
}

/** The path with an index for each step into a list, where a text may be a key. `undefined`: there is no such entry. */
export function exactPath({ keys }: Marks, content: Json, path: Path): Path | undefined {
  const exact: (string | number)[] = []
  let value: Json | undefined = content
  for (const [depth, step] of path.entries()) {
    const inside = Array.isArray(value) ? indexIn(value, keyAt(keys, path.slice(0, depth)), step) : step
    if (inside === -1) return undefined
    exact.push(inside)
    value = memberOf(value, inside)
  }
  return exact
}

/** −1: there is no such entry. */
function indexIn(list: readonly Json[], key: string | undefined, step: string | number): number {
  if (typeof step === 'number') return step
  if (key === undefined) return /^(?:0|[1-9]\d{0,9})$/.test(step) ? Number(step) : -1
  return list.findIndex((entry) => {
    const name = memberOf(entry, key)
    return (typeof name === 'string' || typeof name === 'number') && String(name) === step
  })
}

function keyAt(keys: Keys, path: Path): string | undefined {
  const found = Object.entries(keys).find(([pattern]) => {
    const steps = parsePath(pattern)
    return steps.length === path.length && fits(steps, path)
  })
  return found?.[1]
}

function memberOf(value: Json | undefined, name: string | number): Json | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Readonly<Record<string | number, Json>>)[name]
}
