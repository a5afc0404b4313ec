/**
 * Validation by any library that speaks Standard Schema (zod, valibot, arktype …). What the library says is passed
 * on in its own words; added are "did you mean" and the refusal of keys that it would drop without a word.
 */
import { at, isArray, isObject, parsePath, type Json, type JsonObject, type Path } from '../json.ts'
import type { Issue } from '../issue.ts'
import { found, unknownKey, type IssueContext } from './ajv-issues.ts'
import { marksOf, resolveLocal } from './marks.ts'
import type { StandardIssue, StandardSchemaV1 } from './types.ts'
import type { Validator } from './validator.ts'
import { wanted } from './wanted.ts'

const maxIssues = 50

export function compileStandard(schema: StandardSchemaV1, unknownKeys: 'refuse' | 'allow'): Validator {
  const described = jsonSchemaOf(schema)
  const marks = marksOf(described)
  const context: IssueContext = { root: described, secrets: marks.secretPaths.map(parsePath) }
  return {
    ...marks,
    async validate(config, live) {
      if (live !== undefined && config === live) return { config }
      const result = await schema['~standard'].validate(config)
      if (result.issues !== undefined) {
        const issues = result.issues.flatMap((issue) => issuesFrom(issue, config, context))
        return { issues: issues.slice(0, maxIssues) }
      }
      const issues: Issue[] = []
      const output = asJson(result.value, [], issues, new Set())
      if (output !== undefined && unknownKeys === 'refuse') findDropped(config, output, [], described, issues)
      if (issues.length > 0) return { issues: issues.slice(0, maxIssues) }
      if (output === undefined)
        return { issues: [{ code: 'schema', path: [], message: 'is turned into nothing by the schema' }] }
      return { config: output }
    },
  }
}

/** Standard JSON Schema, where the library offers it; `true`, which says nothing, where it does not. */
function jsonSchemaOf(schema: StandardSchemaV1): Json {
  const props = schema['~standard'] as { jsonSchema?: { input?: (options: { target: string }) => unknown } }
  if (typeof props.jsonSchema?.input !== 'function') return true
  try {
    const described = props.jsonSchema.input({ target: 'draft-2020-12' })
    return isObject(described) ? described : true
  } catch {
    // A transform or a custom check has no description. Validation does not need one; marks and hints go without.
    return true
  }
}

function issuesFrom(issue: StandardIssue, config: Json, context: IssueContext): Issue[] {
  const path = pathOf(issue, config)
  const extra = issue as { readonly code?: unknown; readonly keys?: unknown; readonly expected?: unknown }
  if (extra.code === 'unrecognized_keys' && Array.isArray(extra.keys)) {
    return extra.keys.map((key) => unknownAt([...path, String(key)], config, context.root))
  }
  const value = at(config, path)
  if (value !== undefined && forbids.test(issue.message)) return [unknownAt(path, config, context.root)]
  const [node] = nodesAt(context.root, path)
  const is = value === undefined ? 'is missing' : `is ${found(value, path, node, context)}`
  return [
    { code: 'schema', path, message: `${is}; ${complaint(issue.message, extra.expected, node, value, context, path)}` },
  ]
}

/** How valibot and arktype say that a key is one too many. */
const forbids = /expected never|must be removed/i
/** What zod and valibot say when the author of the schema gave no message. */
const stock = /^(Invalid |Too small|Too big)/

/** The author's own words if there are any; otherwise what the schema's description, or the library, wants. */
function complaint(
  message: string,
  expected: unknown,
  node: Json | undefined,
  value: Json | undefined,
  context: IssueContext,
  path: Path,
): string {
  if (node !== undefined && node !== true && stock.test(message)) return `want ${wanted(node, context.root)}`
  const said = /expected (.+?)(?: but received .*|, received .*)?$/is.exec(message)?.[1]
  if (stock.test(message) && said !== undefined) return `want ${said}`
  if (typeof expected === 'string' && !stock.test(message)) return `want ${expected}`
  const secret = value !== undefined && found(value, path, node, context) === '‹secret›'
  return secret ? message.replaceAll(String(value), '‹secret›') : message
}

function unknownAt(path: Path, config: Json, described: Json): Issue {
  const parent = at(config, path.slice(0, -1))
  const known = namesOf(nodesAt(described, path.slice(0, -1)))
  return unknownKey(
    path,
    known.filter((name) => !isObject(parent) || !Object.hasOwn(parent, name)),
    known,
  )
}

function pathOf(issue: StandardIssue, config: Json): Path {
  const path: (string | number)[] = []
  for (const segment of issue.path ?? []) {
    const key = typeof segment === 'object' ? segment.key : segment
    path.push(isArray(at(config, path)) ? Number(key) : String(key))
  }
  return path
}

/** The nodes of the description that apply at `path`. */
function nodesAt(root: Json, path: Path): Json[] {
  let nodes = spread([root], root)
  for (const step of path)
    nodes = spread(
      nodes.flatMap((node) => below(node, step)),
      root,
    )
  return nodes.filter((node) => node !== true)
}

function below(node: Json, step: string | number): Json[] {
  if (!isObject(node)) return []
  const { properties, prefixItems, items, additionalProperties } = node
  if (isObject(properties) && Object.hasOwn(properties, step)) return [properties[step]!]
  if (isArray(prefixItems) && prefixItems[Number(step)] !== undefined) return [prefixItems[Number(step)]!]
  return [items, additionalProperties].filter((next) => isObject(next))
}

/** References followed, alternatives laid open. */
function spread(nodes: readonly Json[], root: Json): Json[] {
  const all = new Set<Json>(nodes)
  for (const node of all) {
    if (!isObject(node)) continue
    const target = typeof node['$ref'] === 'string' ? resolveLocal(root, node['$ref']) : undefined
    if (target !== undefined) all.add(target)
    for (const word of ['anyOf', 'oneOf', 'allOf']) {
      const parts = node[word]
      if (isArray(parts)) for (const part of parts) all.add(part)
    }
  }
  return [...all]
}

function namesOf(nodes: readonly Json[]): string[] {
  return nodes.flatMap((node) =>
    isObject(node) && isObject(node['properties']) ? Object.keys(node['properties']) : [],
  )
}

/** The validated value as plain JSON: members that are undefined are left out, what JSON cannot hold is an issue. */
function asJson(value: unknown, path: Path, issues: Issue[], above: Set<object>): Json | undefined {
  const refuse = (what: string): null => {
    issues.push({ code: 'schema', path, message: `is turned into ${what} by the schema; want plain JSON data` })
    return null
  }
  if (value === undefined || value === null || typeof value === 'string' || typeof value === 'boolean') return value
  if (typeof value === 'number') return Number.isFinite(value) ? value : refuse(String(value))
  if (typeof value !== 'object') return refuse(`a ${typeof value}`)
  if (above.has(value)) return refuse('a cycle')
  above.add(value)
  const json = Array.isArray(value)
    ? arrayAsJson(value, path, issues, above)
    : objectAsJson(value, path, issues, above, refuse)
  above.delete(value)
  return json
}

function arrayAsJson(value: readonly unknown[], path: Path, issues: Issue[], above: Set<object>): Json {
  let copy: Json[] | undefined
  for (let i = 0; i < value.length; i++) {
    const entry = asJson(value[i], [...path, i], issues, above) ?? null
    if (entry !== value[i]) copy ??= value.slice(0, i) as Json[]
    copy?.push(entry)
  }
  return copy ?? (value as Json[])
}

function objectAsJson(
  value: object,
  path: Path,
  issues: Issue[],
  above: Set<object>,
  refuse: (what: string) => null,
): Json {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null)
    return refuse(`a ${value.constructor?.name ?? 'class instance'}`)
  const kept = Object.entries(value).map(
    ([key, member]) => [key, member, asJson(member, [...path, key], issues, above)] as const,
  )
  if (kept.every(([, member, json]) => member === json && json !== undefined)) return value as JsonObject
  return Object.fromEntries(kept.flatMap(([key, , json]) => (json === undefined ? [] : [[key, json]])))
}

/** Keys of the input that are gone from the output and that the description, if there is one, does not know. */
function findDropped(input: Json, output: Json, path: Path, described: Json, issues: Issue[]): void {
  if (input === output || issues.length >= maxIssues) return
  if (isArray(input) && isArray(output)) {
    if (input.length !== output.length) return // the schema rearranged it: entries no longer correspond
    for (let i = 0; i < input.length; i++) findDropped(input[i]!, output[i]!, [...path, i], described, issues)
  } else if (isObject(input) && isObject(output)) {
    for (const [key, member] of Object.entries(input)) {
      if (Object.hasOwn(output, key)) findDropped(member, output[key]!, [...path, key], described, issues)
      else {
        const known = namesOf(nodesAt(described, path))
        if (!known.includes(key)) {
          const available = [...known, ...Object.keys(output)].filter((name) => !Object.hasOwn(input, name))
          issues.push(unknownKey([...path, key], available, known))
        }
      }
    }
  }
}
