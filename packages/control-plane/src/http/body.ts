/**
 * Bodies: which content types a route takes, how large they may be, and JSON that is read strictly: no key twice, no
 * number that loses digits, nothing too deep. Nothing is decompressed unless that was asked for, and then within limits.
 */
import { promisify } from 'node:util'
import { gunzip } from 'node:zlib'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { parseText, pathText, SourceError, type Json } from 'midflight'
import { Problem, tooLarge } from './problem.ts'

export const json = 'application/json'
export const jsonPatch = 'application/json-patch+json'
export const mergePatch = 'application/merge-patch+json'

export interface BodyOptions {
  /** Takes `Content-Encoding: gzip`; what it unfolds to is held to the same limit. */
  readonly gzip: boolean
  /** Containers inside each other. */
  readonly maxDepth: number
}

export const defaultBodyOptions: BodyOptions = { gzip: false, maxDepth: 100 }

const inflate = promisify(gunzip)

export function takeBodies(app: FastifyInstance, options: BodyOptions): void {
  app.removeAllContentTypeParsers()
  app.addHook('preParsing', async (request, _reply, payload) => {
    if (!request.is404) requireType(request, options)
    return payload
  })
  app.addContentTypeParser(
    [json, jsonPatch, mergePatch],
    { parseAs: 'buffer' },
    async (request: FastifyRequest, body: Buffer) => {
      const limit = request.routeOptions.bodyLimit ?? 1024 * 1024
      const bytes = encodingOf(request) === 'gzip' ? await unfolded(body, limit) : body
      return await readJson(bytes, options.maxDepth)
    },
  )
}

/** The media type of the body, without parameters. */
export function mediaTypeOf(request: FastifyRequest): string {
  return (request.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
}

function encodingOf(request: FastifyRequest): string {
  return (request.headers['content-encoding'] ?? 'identity').trim().toLowerCase()
}

function hasBody({ headers }: FastifyRequest): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

function requireType(request: FastifyRequest, { gzip }: BodyOptions): void {
  const { consumes } = request.routeOptions.config
  if (consumes === undefined) {
    if (hasBody(request)) throw new Problem('bad-request', 'there is a body; want none here')
    return
  }
  const found = mediaTypeOf(request)
  if (!hasBody(request) && found === '') return // the schema says what is missing
  const header = request.method === 'PATCH' ? 'accept-patch' : 'accept-post'
  if (!consumes.includes(found)) {
    const shown = found === '' ? 'is missing' : `is ${JSON.stringify(found.slice(0, 100))}`
    throw new Problem('unsupported-media-type', `Content-Type ${shown}; want ${consumes.join(' or ')}`, {
      headers: { [header]: consumes.join(', ') },
    })
  }
  const charset = /;\s*charset\s*=\s*"?([^";]*)/i.exec(request.headers['content-type'] ?? '')?.[1]
  if (charset !== undefined && !/^utf-?8$/i.test(charset.trim())) {
    throw new Problem('unsupported-media-type', `the charset is ${JSON.stringify(charset.slice(0, 40))}; want utf-8`)
  }
  const encoding = encodingOf(request)
  if (encoding === 'identity' || (gzip && encoding === 'gzip')) return
  const taken = gzip ? 'gzip or identity' : 'identity'
  throw new Problem(
    'unsupported-media-type',
    `Content-Encoding is ${JSON.stringify(encoding.slice(0, 40))}; want ${taken}`,
    { headers: { 'accept-encoding': gzip ? 'gzip, identity' : 'identity' } },
  )
}

async function unfolded(body: Buffer, limit: number): Promise<Buffer> {
  try {
    return await inflate(body, { maxOutputLength: limit })
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge(limit)
    throw new Problem('bad-request', 'the body is not gzip as Content-Encoding says')
  }
}

/** The words of the parser are used, since those of JSON.parse show pieces of the text, which may hold secrets. */
async function readJson(bytes: Buffer, maxDepth: number): Promise<Json> {
  try {
    const { config } = await parseText(bytes, { file: 'body', format: 'json', limits: { ...limits, maxDepth } })
    return config
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    const issues = error.issues.map((issue) => ({ ...issue, message: covered(issue.message) }))
    const [issue] = issues
    const { line, column } = issue?.origin ?? {}
    const place = line === undefined ? 'the body' : `the body, line ${line}, column ${column},`
    const what = issue === undefined ? 'is not JSON' : `${pathText(issue.path)} ${issue.message}`.trim()
    throw new Problem('bad-json', `${place} ${what}`, { issues })
  }
}

/** What stands at the wrong place may be a secret whose quotes were forgotten. */
function covered(message: string): string {
  return message
    .replace(/^found "(?:[^"\\]|\\.){2,}"/, 'found something without quotes')
    .replace(/^is -?[\d.eE+-]+,? which/, 'is a number which')
}

/** Sizes are limited before; aliases and merges are YAML's. */
const limits = { maxBytes: 1024 * 1024 * 1024, maxAliases: 0, maxAliasedValues: 0, maxMergedKeys: 0 }
