/**
 * Whether a content may become a release of its config: its size and shape, the JSON Schema of the config, and its
 * semantic rules, in that order. Nothing is filled in and nothing coerced: what is published is what was given. What is
 * said against it holds no secret, whoever reads it.
 */
import {
  check,
  digest,
  examine,
  issueText,
  jsonSchema,
  parsePath,
  SchemaError,
  SourceError,
  type Comparison,
  type Examined,
  type Issue,
  type Json,
  type JsonSchema,
  type Keys,
  type Source,
} from 'midflight'
import { jsonBytes } from './json-size.ts'
import { covered, exactPath, showing, type Marks, type PlacedIssue } from './marks.ts'
import { RefusedError } from './release.ts'
import { applyRules } from './rules.ts'
import type { ConfigRecord } from './store.ts'

export interface ContentLimits {
  /** Of the content as JSON text in UTF-8; a `release` message must hold it. */
  readonly maxContentBytes: number
  /** Containers inside each other, 1 to 1,000. */
  readonly maxDepth: number
  /** Values altogether, containers included. */
  readonly maxNodes: number
}

export const defaultContentLimits: ContentLimits = {
  maxContentBytes: 64 * 1024 * 1024,
  maxDepth: 100,
  maxNodes: 10_000_000,
}

/** What a config demands of its contents. */
export type Demands = Pick<ConfigRecord, 'name' | 'schema' | 'rules'>

/**
 * That it is JSON data within the limits, with an object at its root.
 * @param live parts of it that are the very same objects are not looked at again.
 * @throws RefusedError `invalid` or `too-large`.
 */
export function requireJson(content: unknown, live: Json | undefined, limits: ContentLimits): asserts content is Json {
  if (typeof content !== 'object' || content === null || Array.isArray(content)) {
    // Absent, empty or null never means "delete everything" (I11).
    const found = content === undefined ? 'nothing' : content === null ? 'null' : kindOf(content)
    throw invalid([{ code: 'empty', path: [], message: `is ${found}; want an object` }])
  }
  // First, as it knows what it has measured before: a patch can make more of a value than can be looked at.
  if (jsonBytes(content as Json, limits.maxContentBytes) > limits.maxContentBytes) {
    throw new RefusedError('too-large', `has more than ${limits.maxContentBytes} bytes as JSON; want at most that many`)
  }
  const issues = check(content as Json, live, limits)
  if (issues.length > 0) throw invalid(issues)
}

/** Its value is not shown: it may be a secret in the wrong place. */
function kindOf(content: unknown): string {
  return Array.isArray(content) ? 'a list' : typeof content === 'string' ? 'a text' : `a ${typeof content}`
}

/** What keeps the content from being a release; empty if nothing. It has passed `requireJson`. */
export async function issuesIn(demands: Demands, content: Json): Promise<readonly PlacedIssue[]> {
  const { schema, rules } = demands
  const examined = schema === null ? undefined : await looked(demands, content)
  if (examined?.kind !== 'rejected' && rules.length === 0) return []
  const marks = await marksOf(schema)
  const issues =
    examined?.kind === 'rejected'
      ? examined.issues.map((issue) => placed(issue, content, marks))
      : applyRules(rules, content, showing(marks))
  return issues.map((issue) => covered(marks, issue))
}

/** What the schema marks in contents. */
export async function marksOf(schema: Json | null): Promise<Marks> {
  if (schema === null) return { secret: [], keys: {} }
  // Nothing is validated: what is refused comes with the places.
  const nothing: Source = {
    name: 'nothing',
    load: () => Promise.reject(new SourceError([{ code: 'empty', path: [], message: 'is empty' }])),
  }
  const examined = await examine({ schema: schemaOf(schema), sources: [nothing] })
  if (examined.kind !== 'rejected') throw new Error('nothing at all was valid')
  return { secret: examined.secretPaths.map((path) => parsePath(path)), keys: examined.keys }
}

/** @throws RefusedError `invalid` with all of `issuesIn`. */
export async function requireValid(demands: Demands, content: Json): Promise<void> {
  const issues = await issuesIn(demands, content)
  if (issues.length > 0) throw invalid(issues)
}

/** @throws RefusedError `invalid`, if the schema itself is wrong. */
export async function requireSchema(schema: Json | null): Promise<void> {
  if (schema === null) return
  try {
    await examine({ schema: schemaOf(schema), sources: [holding('schema', Object.freeze({}))] })
  } catch (error) {
    if (!(error instanceof SchemaError)) throw error
    throw invalid([{ code: 'schema', path: [], message: error.message }])
  }
}

/**
 * What makes `after` of `before` (`undefined`: there was nothing), as it may be shown: entries by their keys, secrets
 * covered. Of what does not fit the demands it cannot be told what is secret: then only by what entries are known.
 */
export async function comparison(
  demands: Demands,
  before: Json | undefined,
  after: Json,
): Promise<Comparison | { readonly keys: Keys }> {
  const next = await looked(demands, after)
  if (next.kind === 'rejected') return { keys: next.keys }
  if (before === undefined) return { changes: [{ kind: 'added', path: '', after: next.shown }], restartPaths: [] }
  const old = await looked(demands, before)
  return old.kind === 'valid' ? old.compare(next) : { keys: old.keys }
}

async function looked(demands: Demands, content: Json): Promise<Examined> {
  return await examine({
    schema: schemaOf(demands.schema ?? true),
    sources: [holding(demands.name, content)],
  })
}

/** The newest schemas, by digest: one object for one schema, so that it is compiled once. */
const schemas = new Map<string, JsonSchema<Json>>()
const maxSchemas = 256

function schemaOf(content: Json): JsonSchema<Json> {
  const key = digest(content)
  const schema = schemas.get(key) ?? jsonSchema<Json>(content)
  schemas.delete(key)
  schemas.set(key, schema)
  const [oldest] = schemas.keys()
  if (schemas.size > maxSchemas && oldest !== undefined) schemas.delete(oldest)
  return schema
}

/** `content` is frozen, so nobody fills defaults into it. */
function holding(name: string, content: Json): Source {
  return { name, load: async () => ({ config: content }) }
}

/** A release is no file: places in it are paths. */
function placed(issue: Issue, content: Json, marks: Marks): PlacedIssue {
  const { origin: _, related: __, ...rest } = issue
  const exact = exactPath(marks, content, issue.path)
  return exact === undefined ? rest : { ...rest, exact }
}

export function invalid(issues: readonly PlacedIssue[]): RefusedError {
  return new RefusedError('invalid', issues.map(issueText).join('\n'), issues)
}
