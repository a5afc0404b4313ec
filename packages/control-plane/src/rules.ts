/**
 * What a JSON Schema cannot say about a config: that values are unique, that one is less than another, that a name is
 * the name of something. Declarative, so that they can be stored, shown and shipped; there are three, and no more are
 * meant to come: what is peculiar to a program is checked by its components. Pure.
 *
 * Paths are dotted (`jobs.*.timeout`, `*` for one step). A rule says nothing about what is not there: that something
 * must be there is for the schema to say.
 */
import { parsePath, pathText, type Issue, type Json, type JsonObject, type Path } from 'midflight'
import type { Show } from './marks.ts'

export type Rule =
  /** No two entries of the list or object at `path` have the same `field`; without `field`, no two are equal scalars. */
  | { readonly rule: 'unique'; readonly path: string; readonly field?: string }
  /**
   * The number at `path` is less than the one at `than`, or at most that with `orEqual`. The same `*` in both stands
   * for the same step: `jobs.*.timeout` is compared with `jobs.*.interval` of the same job.
   */
  | { readonly rule: 'less'; readonly path: string; readonly than: string; readonly orEqual?: boolean }
  /**
   * The text at `path` (or each text in the list there) is a key of the object at `to`, or the `field` of an entry of
   * the list at `to`, or with no `field` an entry of it.
   */
  | { readonly rule: 'references'; readonly path: string; readonly to: string; readonly field?: string }

/** More rules than this are refused. */
export const maxRules = 100
/** Issues beyond these are not looked for. */
const maxIssues = 100

/** What is wrong with the rules themselves; empty if nothing is. */
export function checkRules(rules: unknown): Issue[] {
  if (!Array.isArray(rules)) return [wrong([], 'is no list of rules; want []')]
  if (rules.length > maxRules) return [wrong([], `has ${rules.length} rules; want at most ${maxRules}`)]
  return rules.flatMap((rule: unknown, index) => checkRule(rule, index))
}

const fields: Readonly<Record<Rule['rule'], Readonly<Record<string, 'path' | 'text?' | 'boolean?'>>>> = {
  unique: { path: 'path', field: 'text?' },
  less: { path: 'path', than: 'path', orEqual: 'boolean?' },
  references: { path: 'path', to: 'path', field: 'text?' },
}

function checkRule(rule: unknown, index: number): Issue[] {
  if (typeof rule !== 'object' || rule === null) return [wrong([index], 'is no rule; want {"rule": …}')]
  const given = rule as Record<string, unknown>
  const kind = given['rule']
  if (typeof kind !== 'string' || !Object.hasOwn(fields, kind)) {
    return [wrong([index, 'rule'], `is ${JSON.stringify(kind)}; want unique, less or references`)]
  }
  const wanted = fields[kind as Rule['rule']]
  const issues = Object.keys(given)
    .filter((key) => key !== 'rule' && !Object.hasOwn(wanted, key))
    .map((key) => wrong([index, key], `is no part of a rule "${kind}"; want ${Object.keys(wanted).join(', ')}`))
  for (const [key, type] of Object.entries(wanted)) {
    const value = given[key]
    if (value === undefined && type.endsWith('?')) continue
    const found = value === undefined ? 'is missing' : `is ${JSON.stringify(value)}`
    if (type === 'boolean?' ? typeof value !== 'boolean' : typeof value !== 'string') {
      issues.push(wrong([index, key], `${found}; want ${type === 'boolean?' ? 'true or false' : 'text'}`))
    } else if (type === 'path' && !isPath(value as string)) {
      issues.push(wrong([index, key], `${found}; want a path such as jobs.*.timeout`))
    }
  }
  if (issues.length === 0 && kind === 'less' && stars(given['than'] as string) > stars(given['path'] as string)) {
    issues.push(wrong([index, 'than'], 'has more "*" than path; want each to stand for a step of path'))
  }
  return issues
}

function isPath(text: string): boolean {
  try {
    return parsePath(text).length > 0
  } catch (error) {
    if (error instanceof SyntaxError) return false
    throw error
  }
}

function stars(path: string): number {
  return parsePath(path).filter((step) => step === '*').length
}

function wrong(path: Path, message: string): Issue {
  return { code: 'schema', path, message }
}

/**
 * What the rules have against `config`, in the order of the rules; empty if nothing. The rules have passed `checkRules`.
 * @param show says the values, so that no secret is in what is said.
 */
export function applyRules(rules: readonly Rule[], config: Json, show: Show): Issue[] {
  const issues: Issue[] = []
  for (const rule of rules) {
    for (const issue of broken(rule, config, show)) {
      issues.push(issue)
      if (issues.length >= maxIssues) return issues
    }
  }
  return issues
}

function broken(rule: Rule, config: Json, show: Show): Iterable<Issue> {
  switch (rule.rule) {
    case 'unique':
      return notUnique(rule, config, show)
    case 'less':
      return notLess(rule, config, show)
    case 'references':
      return dangling(rule, config, show)
  }
}

function* notUnique(rule: Rule & { rule: 'unique' }, config: Json, show: Show): Iterable<Issue> {
  for (const { path, value } of found(config, parsePath(rule.path))) {
    const first = new Map<string, Path>()
    for (const [step, entry] of entriesOf(value)) {
      const place = rule.field === undefined ? [...path, step] : [...path, step, rule.field]
      const key = rule.field === undefined ? entry : fieldOf(entry, rule.field)
      if (key === undefined || (typeof key === 'object' && key !== null)) continue
      const text = JSON.stringify(key)
      const before = first.get(text)
      if (before === undefined) first.set(text, place)
      else yield against(place, `is ${show(key, place)}, which is taken by ${pathText(before)}; want each once`)
    }
  }
}

function* notLess(rule: Rule & { rule: 'less' }, config: Json, show: Show): Iterable<Issue> {
  const than = parsePath(rule.than)
  for (const { path, value, bound } of found(config, parsePath(rule.path))) {
    let next = 0
    const [other] = found(
      config,
      than.map((step) => (step === '*' ? (bound[next++] as string) : step)),
    )
    if (other === undefined || typeof value !== 'number' || typeof other.value !== 'number') continue
    if (value < other.value || (rule.orEqual === true && value === other.value)) continue
    const wanted = rule.orEqual === true ? 'at most' : 'less than'
    const [is, limit] = [value, other.value].map((number) => show(number, path, other.path))
    yield against(path, `is ${is}; want ${wanted} ${pathText(other.path)}, which is ${limit}`)
  }
}

function* dangling(rule: Rule & { rule: 'references' }, config: Json, show: Show): Iterable<Issue> {
  const names = new Set<string>()
  for (const { value } of found(config, parsePath(rule.to))) {
    for (const [step, entry] of entriesOf(value)) {
      const name = Array.isArray(value) ? (rule.field === undefined ? entry : fieldOf(entry, rule.field)) : step
      if (typeof name === 'string') names.add(name)
    }
  }
  for (const { path, value } of found(config, parsePath(rule.path))) {
    const texts: [Path, Json][] = Array.isArray(value)
      ? value.map((entry: Json, i) => [[...path, i], entry])
      : [[path, value]]
    for (const [place, text] of texts) {
      if (typeof text !== 'string' || names.has(text)) continue
      yield against(place, `is ${show(text, place)}; want one of those in ${rule.to}`)
    }
  }
}

function against(path: Path, message: string): Issue {
  return { code: 'component', path, message }
}

interface Found {
  readonly path: Path
  readonly value: Json
  /** What each `*` stood for. */
  readonly bound: readonly string[]
}

/** The values that a pattern names, in the order of the document. */
function* found(root: Json, pattern: readonly string[]): Iterable<Found> {
  yield* below({ path: [], value: root, bound: [] }, pattern, 0)
}

function* below(here: Found, pattern: readonly string[], depth: number): Iterable<Found> {
  const step = pattern[depth]
  if (step === undefined) {
    yield here
    return
  }
  for (const [name, value] of step === '*' ? entriesOf(here.value) : entryAt(here.value, step)) {
    const bound = step === '*' ? [...here.bound, String(name)] : here.bound
    yield* below({ path: [...here.path, name], value, bound }, pattern, depth + 1)
  }
}

function entryAt(value: Json, step: string): [string | number, Json][] {
  if (Array.isArray(value)) {
    const index = Number(step)
    return /^\d+$/.test(step) && index < value.length ? [[index, value[index] as Json]] : []
  }
  const field = fieldOf(value, step)
  return field === undefined ? [] : [[step, field]]
}

function entriesOf(value: Json): Iterable<[string | number, Json]> {
  if (Array.isArray(value)) return value.entries()
  return typeof value === 'object' && value !== null ? Object.entries(value as JsonObject) : []
}

function fieldOf(value: Json, field: string): Json | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return Object.hasOwn(value, field) ? (value as JsonObject)[field] : undefined
}
