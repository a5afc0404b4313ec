/** Requests against their schemas: what is wrong is said as where, found and wanted. Nothing is coerced but numbers in queries. */
import { Ajv2020, type ErrorObject } from 'ajv/dist/2020.js'
import type { FastifySchemaCompiler } from 'fastify'
import { parsePointer, type Issue } from 'midflight'
import type { TSchema } from 'typebox'
import { Problem } from './problem.ts'

const ajv = new Ajv2020({ strict: false, verbose: true, addUsedSchema: false })

const places: Readonly<Record<string, string>> = {
  querystring: 'the query',
  params: 'the path',
  headers: 'the headers',
  strategy: 'the strategy',
}

export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const valid = ajv.compile(schema)
  return (data: unknown) => {
    const value = httpPart === 'querystring' ? withNumbers(schema, data) : data
    if (valid(value)) return { value }
    return { error: problem(valid.errors?.[0], httpPart ?? 'body') }
  }
}

/** For tests: answers are what the document says they are. */
export function compileAnswerCheck(schema: object): (answer: unknown) => string | undefined {
  const valid = ajv.compile(schema)
  return (answer) => (valid(JSON.parse(JSON.stringify(answer ?? null))) ? undefined : ajv.errorsText(valid.errors))
}

/** A query is text; what must be an integer is one only if it is written as one. */
function withNumbers(schema: TSchema, data: unknown): unknown {
  const properties = (schema as { properties?: Record<string, { type?: string }> }).properties ?? {}
  return Object.fromEntries(
    Object.entries(data as Record<string, unknown>).map(([name, value]) => {
      const integer = properties[name]?.type === 'integer'
      return [name, integer && typeof value === 'string' && /^(?:0|[1-9]\d{0,15})$/.test(value) ? Number(value) : value]
    }),
  )
}

function problem(error: ErrorObject | undefined, part: string): Problem {
  if (error === undefined) return new Problem('bad-request', 'the request is not valid')
  const extra = error.params as { missingProperty?: string; additionalProperty?: string }
  const name = extra.missingProperty ?? extra.additionalProperty
  const path = [...parsePointer(error.instancePath), ...(name === undefined ? [] : [name])]
  const message = `${found(error, part)}; want ${wanted(error)}`
  const issue: Issue = { code: extra.additionalProperty === undefined ? 'schema' : 'unknown-key', path, message }
  const where = path.length === 0 ? '' : ` ${path.join('.')}`
  return new Problem('bad-request', `${places[part] ?? 'the body'}:${where} ${message}`, { issues: [issue] })
}

/** Values of bodies are not shown: a content in the wrong place may hold secrets. */
function found({ keyword, data }: ErrorObject, part: string): string {
  if (keyword === 'required') return 'is missing'
  if (keyword === 'additionalProperties') return 'is not known'
  if (part !== 'body' && (typeof data === 'string' || typeof data === 'number')) {
    return `is ${JSON.stringify(data).slice(0, 80)}`
  }
  if (data === null) return 'is null'
  return Array.isArray(data) ? 'is a list' : `is ${typeof data === 'object' ? 'an object' : `a ${typeof data}`}`
}

function wanted({ keyword, message, parentSchema, params }: ErrorObject): string {
  const described = (parentSchema as { description?: string } | undefined)?.description
  if (keyword === 'required') return 'it there'
  if (keyword === 'additionalProperties') {
    return `one of ${Object.keys((parentSchema as { properties?: object })?.properties ?? {}).join(', ') || 'none'}`
  }
  if (keyword === 'enum') return `one of ${(params as { allowedValues: unknown[] }).allowedValues.join(', ')}`
  if (keyword === 'const') return String((params as { allowedValue: unknown }).allowedValue)
  if (keyword === 'pattern' && described !== undefined) return described
  return (message ?? 'something else').replace(/^must (?:be|match|have|NOT have) ?/, (start) => {
    if (start.startsWith('must NOT have')) return 'not '
    return ''
  })
}
