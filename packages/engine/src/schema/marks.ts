/**
 * What a JSON Schema says about a configuration beside what is valid: which values are secret, by which field the
 * entries of an array are known, and what can change only with a restart.
 */
import { isArray, isObject, pathText, type Json, type JsonObject } from '../json.ts'
import { SchemaError } from './schema-error.ts'

export interface Marks {
  readonly secretPaths: readonly string[]
  readonly keys: Readonly<Record<string, string>>
  readonly restartPaths: readonly string[]
}

/** Secret: `x-midflight-secret: true`, `writeOnly: true` or `format: 'password'`. */
export function isSecret(node: Json | undefined): boolean {
  return (
    isObject(node) &&
    (node['x-midflight-secret'] === true || node['writeOnly'] === true || node['format'] === 'password')
  )
}

const sameValue = ['allOf', 'anyOf', 'oneOf'] as const
const sameValueSingle = ['not', 'if', 'then', 'else'] as const
const everyEntry = [
  'items',
  'additionalItems',
  'additionalProperties',
  'contains',
  'unevaluatedItems',
  'unevaluatedProperties',
] as const

/**
 * @throws SchemaError if a marked value stands inside a recursive definition, or there are references by `$id`: no list
 * of paths could name it, and a secret that is only sometimes hidden is worse than a schema that is refused.
 */
export function marksOf(root: Json): Marks {
  const secretPaths = new Set<string>()
  const restartPaths = new Set<string>()
  const keys: Record<string, string> = {}
  const stack: JsonObject[] = []
  const recursive = new Set<JsonObject>()

  const marked = (node: JsonObject): boolean =>
    isSecret(node) || node['x-midflight-restart'] === true || typeof node['x-midflight-key'] === 'string'

  const visit = (node: Json | undefined, path: readonly string[]): void => {
    if (!isObject(node)) return
    if (stack.includes(node)) {
      recursive.add(node)
      return
    }
    stack.push(node)
    if (isSecret(node)) secretPaths.add(pathText(path))
    if (node['x-midflight-restart'] === true) restartPaths.add(pathText(path))
    const key = node['x-midflight-key']
    if (key !== undefined) {
      if (typeof key !== 'string' || key === '') {
        throw new SchemaError(`x-midflight-key at ${place(path)} is ${JSON.stringify(key)}; want the name of a field`)
      }
      keys[pathText(path)] = key
    }
    if (typeof node['$ref'] === 'string') visit(resolveLocal(root, node['$ref']), path)
    for (const word of sameValue) for (const part of list(node[word])) visit(part, path)
    for (const word of sameValueSingle) visit(node[word], path)
    for (const part of Object.values(isObject(node['dependentSchemas']) ? node['dependentSchemas'] : {}))
      visit(part, path)
    for (const [name, part] of members(node['properties'])) visit(part, [...path, name])
    for (const [, part] of members(node['patternProperties'])) visit(part, [...path, '*'])
    for (const word of everyEntry) visit(node[word], [...path, '*'])
    for (const [i, part] of [...list(node['prefixItems']), ...list(node['items'])].entries())
      visit(part, [...path, String(i)])
    stack.pop()
  }
  visit(root, [])

  const elsewhere = referenceById(root)
  if (elsewhere !== undefined && isObject(root) && anyWithin(root, root, marked)) {
    throw new SchemaError(
      `JSON Schema: with values marked secret, restart-only or keyed, ${elsewhere} cannot be followed; want references such as #/$defs/name`,
    )
  }
  for (const node of recursive) {
    if (anyWithin(root, node, marked)) {
      throw new SchemaError(
        'a value marked secret, restart-only or keyed stands inside a recursive definition, where no path can name it',
      )
    }
  }
  return { secretPaths: [...secretPaths], keys, restartPaths: [...restartPaths] }
}

/** The part of the schema that a `$ref` within the same document names, if it is there. */
export function resolveLocal(root: Json, ref: string): Json | undefined {
  if (ref === '#') return root
  if (!ref.startsWith('#/')) return ref.startsWith('#') ? anchored(root, ref) : undefined
  let node: Json | undefined = root
  for (const step of ref.slice(2).split('/')) {
    let key: string
    try {
      key = decodeURIComponent(step).replaceAll('~1', '/').replaceAll('~0', '~')
    } catch {
      return undefined // not a pointer; the compiler of the schema says so
    }
    if (isArray(node)) node = node[Number(key)]
    else if (isObject(node) && Object.hasOwn(node, key)) node = node[key]
    else return undefined
  }
  return node
}

/** The part whose anchor it is: `$anchor: 'a'`, in draft 7 `$id: '#a'`. */
function anchored(root: Json, ref: string): Json | undefined {
  for (const node of partsOf(root)) if (`#${String(node['$anchor'])}` === ref || node['$id'] === ref) return node
  return undefined
}

/** What makes references lead elsewhere than they say, if there is any: a `$ref` to no part of this, a `$id` inside. */
function referenceById(root: Json): string | undefined {
  for (const node of partsOf(root)) {
    const { $ref: ref, $id: id } = node
    if (typeof ref === 'string' && resolveLocal(root, ref) === undefined) return `the $ref ${ref}`
    if (typeof id === 'string' && node !== root && !id.startsWith('#')) return `the $id ${id}`
  }
  return undefined
}

/** Every object in it that may be a schema. */
function* partsOf(root: Json): Iterable<JsonObject> {
  const open: Json[] = [root]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (isArray(node)) open.push(...node)
    if (!isObject(node)) continue
    yield node
    open.push(...Object.values(node))
  }
}

function anyWithin(root: Json, start: JsonObject, test: (node: JsonObject) => boolean): boolean {
  const seen = new Set<Json>()
  const open: Json[] = [start]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (typeof node !== 'object' || node === null || seen.has(node)) continue
    seen.add(node)
    if (isArray(node)) open.push(...node)
    else if (isObject(node)) {
      if (test(node)) return true
      open.push(...Object.values(node))
      const target = typeof node['$ref'] === 'string' ? resolveLocal(root, node['$ref']) : undefined
      if (target !== undefined) open.push(target)
    }
  }
  return false
}

function list(value: Json | undefined): readonly Json[] {
  return isArray(value) ? value : []
}

function members(value: Json | undefined): [string, Json][] {
  return isObject(value) ? Object.entries(value) : []
}

function place(path: readonly string[]): string {
  return path.length === 0 ? 'the root' : pathText(path)
}
