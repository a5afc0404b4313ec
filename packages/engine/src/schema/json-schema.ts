/**
 * Validation by JSON Schema, draft 2020-12 and draft-07. Says what ajv says of the whole configuration, but beside a
 * live one it looks only at what is new. Values are never coerced; defaults are filled in.
 */
import { isObject, parsePath, type Json } from '../json.ts'
import type { Issue } from '../issue.ts'
import { checksFor } from './ajv-checks.ts'
import { issuesOf, type IssueContext } from './ajv-issues.ts'
import { marksOf } from './marks.ts'
import { SchemaError } from './schema-error.ts'
import { refuseSelfReference } from './self-reference.ts'
import { split } from './split.ts'
import type { Validator } from './validator.ts'
import { Walk } from './walk.ts'

/** The stack ran out: ajv has no limit of its own for either. */
const endless: Issue = {
  code: 'limit',
  path: [],
  message: 'is nested too deeply for its recursive schema, or the defaults of the schema never end',
}

/** The schema `true` asks nothing, and so does not ask for ajv either. */
const anything: Validator = {
  secretPaths: [],
  keys: {},
  restartPaths: [],
  async validate(config) {
    return { config }
  },
}

/** @throws SchemaError with what is wrong in the schema. */
export async function compileJsonSchema(schema: Json): Promise<Validator> {
  if (schema === true) return anything
  refuseUnsupported(schema)
  const parts = split(schema)
  const checks = await checksFor(parts.schema)
  refuseSelfReference(schema) // the compiler would not come to an end
  const whole = checks.fast('#')
  const marks = marksOf(schema)
  const context: IssueContext = { root: schema, secrets: marks.secretPaths.map(parsePath) }

  const walked = (config: Json, live: Json | undefined): { config: Json } | { issues: readonly Issue[] } => {
    const walk = new Walk(checks, context)
    const valid = walk.value(parts.root, config, live)
    return walk.issues.length > 0 ? { issues: walk.issues } : { config: valid }
  }
  const decided = (config: Json, live: Json | undefined): ReturnType<typeof walked> => {
    // ajv writes defaults into what it is given, which may be live, or stand in two places at once.
    if (live !== undefined || parts.fills) return walked(config, live)
    if (whole(config)) return { config }
    const first = issuesOf(whole.errors ?? [], config, [], context)
    const all = walked(config, live)
    return 'issues' in all ? all : { issues: first }
  }
  return {
    ...marks,
    async validate(config, live) {
      try {
        return decided(config, live)
      } catch (error) {
        if (!(error instanceof RangeError)) throw error
        return { issues: [endless] }
      }
    },
  }
}

/** `$dynamicRef`: ajv decides some of it wrongly, and does not come to an end on some. Refused beats mistaken. */
function refuseUnsupported(schema: Json): void {
  const open: Json[] = [schema]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (typeof node !== 'object' || node === null) continue
    for (const word of ['$dynamicRef', '$recursiveRef', '$async']) {
      if (isObject(node) && typeof node[word] === (word === '$async' ? 'boolean' : 'string')) {
        throw new SchemaError(`JSON Schema: ${word} is not supported`)
      }
    }
    for (const child of Object.values(node) as Json[]) open.push(child)
  }
}
