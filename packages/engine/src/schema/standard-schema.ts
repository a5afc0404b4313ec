/**
 * Validation by any library that speaks Standard Schema (zod, valibot, arktype …). What the library says is passed
 * on in its own words; added are "did you mean" and the refusal of keys that it would drop without a word.
 */
import { at, isArray, isObject, parsePath, type Json, type Path } from '../json.ts'
import type { Issue } from '../issue.ts'
import { found, unknownKey, type IssueContext } from './ajv-issues.ts'
import { didYouMean } from './hint.ts'
import { marksOf, resolveLocal } from './marks.ts'
import { droppedKeys, plainOutput } from './plain-output.ts'
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
      const { json, issues } = plainOutput(result.value, maxIssues)
      if (issues.length > 0) return { issues }
      if (json === undefined) {
        return { issues: [{ code: 'schema', path: [], message: 'is turned into nothing by the schema' }] }
      }
      const dropped = unknownKeys === 'refuse' ? droppedFrom(config, json, described) : []
      return dropped.length > 0 ? { issues: dropped } : { config: json }
    },
  }
}

/** Standard JSON Schema, where the library offers it; `true`, which says nothing, where it does not. */
export function jsonSchemaOf(schema: StandardSchemaV1): Json {
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

/** Keys that are gone from the output. Those that the description knows were dropped on purpose. */
function droppedFrom(input: Json, output: Json, described: Json): Issue[] {
  const paths = droppedKeys(input, output, maxIssues)
  const unknown = paths.filter((path) => !namesOf(nodesAt(described, path.slice(0, -1))).includes(String(path.at(-1))))
  return unknown.map((path) => {
    const issue = unknownAt(path, input, described)
    if (issue.hint !== undefined) return issue
    const kept = at(output, path.slice(0, -1))
    const before = at(input, path.slice(0, -1))
    const filled = Object.keys(isObject(kept) ? kept : {}).filter(
      (name) => isObject(before) && !Object.hasOwn(before, name),
    )
    const hint = didYouMean(String(path.at(-1)), filled)
    return hint === undefined ? issue : { ...issue, hint }
  })
}
