/** Turns ajv's errors into issues: one for each value that is wrong, in the words of the house, secrets masked. */
import type { ErrorObject } from 'ajv'
import { shown, type Issue } from '../issue.ts'
import { covers, isArray, isObject, parsePointer, type Json, type JsonObject, type Path } from '../json.ts'
import { didYouMean } from './hint.ts'
import { isSecret, resolveLocal } from './marks.ts'
import { wanted } from './wanted.ts'

export interface IssueContext {
  /** The schema that references point into. */
  readonly root: Json
  readonly secrets: readonly Path[]
}

/** `errors` must come from a validator with `verbose`. `value` is what was validated, `base` where it stands. */
export function issuesOf(errors: readonly ErrorObject[], value: Json, base: Path, context: IssueContext): Issue[] {
  const issues = new Map<string, Issue>()
  for (const error of told(errors, context.root)) {
    const issue = issueOf(error, value, base, context)
    const key = JSON.stringify([issue.code, issue.path])
    if (!issues.has(key)) issues.set(key, issue)
  }
  return [...issues.values()]
}

/** What was found, in words that never give a secret away: containers are only named. */
export function found(value: Json | undefined, path: Path, node: Json | undefined, context: IssueContext): string {
  if (isArray(value)) return value.length === 0 ? 'an empty list' : 'a list'
  if (isObject(value)) return Object.keys(value).length === 0 ? 'an empty object' : 'an object'
  if (isSecret(node) || context.secrets.some((secret) => covers(secret, path))) return '‹secret›'
  return shown(value)
}

function issueOf(error: ErrorObject, value: Json, base: Path, context: IssueContext): Issue {
  const [below, data] = follow(value, error.instancePath)
  const path = [...base, ...below]
  const node = (error.parentSchema ?? {}) as JsonObject
  const params = error.params as Record<string, Json>
  const name = String(params['missingProperty'] ?? params['additionalProperty'] ?? params['unevaluatedProperty'] ?? '')
  switch (error.keyword) {
    case 'required': {
      const want = isObject(node['properties']) ? node['properties'][name] : undefined
      return { code: 'schema', path: [...path, name], message: `is missing; want ${wanted(want, context.root)}` }
    }
    case 'dependentRequired':
    case 'dependencies':
      return {
        code: 'schema',
        path: [...path, name],
        message: `is missing; wanted wherever ${JSON.stringify(params['property'])} is`,
      }
    case 'additionalProperties':
    case 'unevaluatedProperties': {
      const known = Object.keys(isObject(node['properties']) ? node['properties'] : {})
      const present = isObject(data) ? data : {}
      // A member that has a default may have been filled in a moment ago: it can still have been meant.
      const meant = known.filter((key) => !Object.hasOwn(present, key) || hasDefault(node, key))
      return unknownKey([...path, name], meant, known)
    }
    case 'propertyNames': {
      const key = String(params['propertyName'])
      return {
        code: 'schema',
        path: [...path, key],
        message: `is not an allowed name; want ${wanted(node['propertyNames'], context.root)}`,
      }
    }
    case 'false schema':
      return { code: 'schema', path, message: 'is not allowed here' }
    case 'contains':
      return {
        code: 'schema',
        path,
        message: `is ${found(data, path, node, context)}; want ${containsText(params)} ${wanted(node['contains'], context.root)}`,
      }
    case 'uniqueItems':
      return {
        code: 'schema',
        path,
        message: `has equal entries at ${String(params['j'])} and ${String(params['i'])}; want a list without duplicates`,
      }
    case 'not':
      return {
        code: 'schema',
        path,
        message: `is ${found(data, path, node, context)}; want anything but ${wanted(node['not'], context.root)}`,
      }
    default:
      return {
        code: 'schema',
        path,
        message: `is ${counted(error.keyword, data) ?? found(data, path, node, context)}; want ${wanted(node, context.root)}`,
      }
  }
}

function hasDefault(node: JsonObject, key: string): boolean {
  const member = isObject(node['properties']) ? node['properties'][key] : undefined
  return isObject(member) && member['default'] !== undefined
}

/** `available` are the known names that are not there yet: only one of them can have been meant. */
export function unknownKey(path: Path, available: Iterable<string>, known: readonly string[]): Issue {
  const hint = didYouMean(String(path.at(-1)), available)
  const few = known.length > 0 && known.length <= 8
  const message = few ? `is not a known key; want ${known.join(', ')}` : 'is not a known key'
  return { code: 'unknown-key', path, message, ...(hint === undefined ? {} : { hint }) }
}

function counted(keyword: string, data: Json | undefined): string | undefined {
  if (isArray(data) && (keyword === 'minItems' || keyword === 'maxItems')) return `a list of ${data.length}`
  if (isObject(data) && (keyword === 'minProperties' || keyword === 'maxProperties')) {
    return `an object of ${Object.keys(data).length}`
  }
  return undefined
}

function containsText(params: Record<string, Json>): string {
  const [least, most] = [params['minContains'] ?? 1, params['maxContains']]
  return most === undefined
    ? `at least ${String(least)} entry that is`
    : `${String(least)} to ${String(most)} entries that are`
}

/** The path below `value` with numbers for indexes, and what stands there. */
function follow(value: Json, pointer: string): [Path, Json | undefined] {
  let data: Json | undefined = value
  const path: (string | number)[] = []
  for (const step of parsePointer(pointer)) {
    if (isArray(data)) {
      path.push(Number(step))
      data = data[Number(step)]
    } else {
      path.push(step)
      data = isObject(data) && Object.hasOwn(data, step) ? data[step] : undefined
    }
  }
  return [path, data]
}

/**
 * Leaves out what explains nothing. Of `anyOf` and `oneOf`: where exactly one branch can have been meant (its type
 * and its constants fit), what that one found wrong; otherwise only that none fits.
 */
function told(errors: readonly ErrorObject[], root: Json): ErrorObject[] {
  let kept: ErrorObject[] = []
  for (const error of errors) {
    if (error.keyword === 'if') continue // the errors of `then` or `else` came before
    if (error.keyword === 'propertyNames') kept = kept.filter((one) => one.propertyName === undefined)
    if ((error.keyword !== 'anyOf' && error.keyword !== 'oneOf') || !isArray(error.schema as Json)) {
      kept.push(error)
      continue
    }
    const branches = error.schema as readonly Json[]
    const parts = branches.map((branch) => partsOf(branch, root))
    const ofBranches = new Set(parts.flatMap((part) => [...part]))
    const inside = kept.filter((one) => within(one, error) && ofBranches.has(one.parentSchema as Json))
    kept = kept.filter((one) => !inside.includes(one))
    const meant = branches.flatMap((branch, i) => (mayMean(branch, error.data as Json, root) ? [parts[i]!] : []))
    const its = meant.length === 1 ? inside.filter((one) => meant[0]!.has(one.parentSchema as Json)) : []
    if (its.length > 0) kept.push(...its)
    else kept.push(error)
  }
  return kept
}

function within(inner: ErrorObject, outer: ErrorObject): boolean {
  return inner.instancePath === outer.instancePath || inner.instancePath.startsWith(`${outer.instancePath}/`)
}

function mayMean(branch: Json, data: Json, root: Json): boolean {
  const node = target(branch, root)
  if (!isObject(node)) return false
  const type = node['type']
  if (type !== undefined && !(isArray(type) ? type : [type]).some((one) => hasType(data, one))) return false
  if (node['const'] !== undefined || node['enum'] !== undefined) return false
  if (!isObject(data) || !isObject(node['properties'])) return true
  return Object.entries(node['properties']).every(([name, property]) => {
    const value = Object.hasOwn(data, name) ? data[name] : undefined
    const allowed = isObject(property)
      ? property['const'] === undefined
        ? property['enum']
        : [property['const']]
      : undefined
    return value === undefined || !isArray(allowed) || allowed.includes(value)
  })
}

function hasType(data: Json, type: Json): boolean {
  if (type === 'null') return data === null
  if (type === 'array') return isArray(data)
  if (type === 'object') return isObject(data)
  if (type === 'integer') return Number.isInteger(data)
  return typeof data === type
}

function target(node: Json | undefined, root: Json): Json | undefined {
  for (let i = 0; i < 8 && isObject(node) && typeof node['$ref'] === 'string'; i++)
    node = resolveLocal(root, node['$ref'])
  return node
}

/** Every node of the schema that can report about a value of `branch`. */
function partsOf(branch: Json, root: Json): Set<Json> {
  const parts = new Set<Json>()
  const open: Json[] = [branch]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (typeof node !== 'object' || node === null || parts.has(node)) continue
    parts.add(node)
    if (isArray(node)) open.push(...node)
    else if (isObject(node)) {
      open.push(...Object.values(node))
      const further = typeof node['$ref'] === 'string' ? resolveLocal(root, node['$ref']) : undefined
      if (further !== undefined) open.push(further)
    }
  }
  return parts
}
