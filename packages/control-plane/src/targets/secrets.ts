/** Secrets among parameters: kept where they were not entered again, and never shown. Pure. */
import {
  parsePath,
  redactor,
  secretMark,
  secretsIn,
  type Issue,
  type Json,
  type JsonObject,
  type Path,
} from 'midflight'
import type { Targets } from './targets.ts'

/** The parameters as they may be shown: what either of the two marks is a secret in both. */
export function shownParameters(parameters: JsonObject, ...marks: readonly (readonly string[])[]): JsonObject {
  return redactor({ patterns: marks.flat() }).value([], parameters) as JsonObject
}

export function shownTargets(targets: Targets): Targets {
  return { ...targets, parameters: shownParameters(targets.parameters, targets.secrets) }
}

/** Takes secrets out of what somebody else said: an installer may quote what it was given. */
export function scrubber(...all: readonly (Targets | null)[]): (text: string) => string {
  const values = all.flatMap((one) => (one === null ? [] : secretsIn(one.parameters, { patterns: one.secrets })))
  const { text } = redactor({ patterns: [], secretValues: values })
  return text
}

/**
 * Fills in secrets that were not entered again: absent, or the mark that stands where one is shown. One that was not
 * secret before is not carried over under a mark: it was shown.
 */
export function withSecretsKept(
  before: Targets | null,
  after: Targets,
): { readonly targets: Targets } | { readonly issues: readonly Issue[] } {
  const issues: Issue[] = []
  const kept = after.secrets.filter((one) => before?.secrets.includes(one))
  let parameters: Json = after.parameters
  for (const pattern of kept) parameters = refilled(parameters, before?.parameters, parsePath(pattern))
  for (const path of placesOf(parameters, (value) => value === secretMark)) {
    issues.push({
      code: 'schema',
      path: ['parameters', ...path],
      message: `is ${secretMark}, which stands for a secret that is kept, and none is known under this mark; want its value`,
    })
  }
  if (issues.length > 0) return { issues }
  return { targets: parameters === after.parameters ? after : { ...after, parameters: parameters as JsonObject } }
}

/** `after` with what `before` has at the pattern, wherever `after` has nothing or the mark. */
function refilled(after: Json | undefined, before: Json | undefined, [step, ...rest]: Path): Json {
  if (step === undefined) return marksKept(after, before) as Json
  if (before === undefined || typeof before !== 'object' || before === null) return after as Json
  if (Array.isArray(after)) {
    // An entry of a list is known by its place only.
    return after.map((one: Json, i) => (fits(step, i) ? refilled(one, memberOf(before, i), rest) : one))
  }
  if (after !== undefined && (typeof after !== 'object' || after === null)) return after
  const found: Record<string, Json> = { ...(after as JsonObject | undefined) }
  const names = step === '*' ? Object.keys(found) : Object.hasOwn(before, step) ? [String(step)] : []
  for (const name of names) {
    const value = refilled(memberOf(found, name), memberOf(before, name), rest)
    if (value !== undefined) found[name] = value
  }
  return found
}

/** At the secret itself: what was there before, if nothing was entered; below it, mark by mark. */
function marksKept(after: Json | undefined, before: Json | undefined): Json | undefined {
  if (after === undefined || after === secretMark) return before ?? after
  if (Array.isArray(after)) return after.map((one: Json, i) => marksKept(one, memberOf(before, i)) as Json)
  if (typeof after !== 'object' || after === null) return after
  return Object.fromEntries(
    Object.entries(after).map(([name, one]) => [name, marksKept(one, memberOf(before, name)) as Json]),
  )
}

function fits(step: string | number, index: number): boolean {
  return step === '*' || String(step) === String(index)
}

function memberOf(value: Json | undefined, name: string | number): Json | undefined {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  return (value as Readonly<Record<string | number, Json>>)[name]
}

function placesOf(value: Json, is: (value: Json) => boolean, path: Path = []): Path[] {
  if (is(value)) return [path]
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, one]) => placesOf(one as Json, is, [...path, name]))
}
