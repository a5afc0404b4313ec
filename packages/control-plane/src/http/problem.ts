/**
 * What is said when something is refused or fails: problem+json (RFC 9457) with a stable `code`. Every error that may
 * reach a caller is made a problem here, and nowhere else.
 */
import { pathText, pointerText } from 'midflight'
import type { PlacedIssue } from '../marks.ts'
import { ConflictError, RefusedError, type Head, type RefusalCode } from '../release.ts'
import { StoreError } from '../store.ts'

/** A closed set: clients may rely on them. Titles are for people. */
export const problems = {
  'bad-request': [400, 'The request is not well formed'],
  'bad-path': [400, 'The path is not allowed'],
  'bad-json': [400, 'The body is not the JSON it must be'],
  unauthenticated: [401, 'Who asks is not known'],
  'foreign-host': [403, 'This is not a name of this server'],
  'foreign-origin': [403, 'Pages of other origins may not ask'],
  denied: [403, 'Not allowed'],
  'not-found': [404, 'Not found'],
  'method-not-allowed': [405, 'The method does not fit'],
  timeout: [408, 'The request took too long to come'],
  exists: [409, 'It exists already'],
  'not-applied': [409, 'The release was never applied'],
  review: [409, 'A review is missing'],
  conflict: [412, 'The head is another one'],
  'too-large': [413, 'Too large'],
  'unsupported-media-type': [415, 'The content type does not fit'],
  invalid: [422, 'The content is not valid'],
  idempotency: [422, 'The idempotency key was used for something else'],
  signature: [422, 'The signature is not good'],
  'precondition-required': [428, 'A precondition is required'],
  'rate-limited': [429, 'Too many requests'],
  'headers-too-large': [431, 'The headers are too large'],
  internal: [500, 'Something went wrong here'],
  'store-damaged': [500, 'The store is damaged'],
  busy: [503, 'Busy'],
  state: [409, 'Not in this state'],
  frozen: [409, 'Nothing is to be changed now'],
  unavailable: [503, 'Not available now'],
  unknown: [503, 'Whether it happened is not known'],
  full: [507, 'No room on the disk'],
} as const satisfies Record<string, readonly [number, string]>

export type ProblemCode = keyof typeof problems

export interface ProblemBody {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly code: ProblemCode
  /** Where, what was found, and what was wanted. */
  readonly detail: string
  /** What holds now. */
  readonly holds?: string
  readonly requestId: string
  readonly issues?: readonly {
    readonly code: string
    /** As diffs and blame write it; an entry of a list with keys goes by its key. */
    readonly path: string
    /** A JSON pointer into the content (RFC 6901). */
    readonly pointer: string
    readonly message: string
    readonly line?: number
    readonly column?: number
    readonly hint?: string
  }[]
  readonly head?: Head
}

interface Extras {
  readonly holds?: string
  readonly issues?: readonly PlacedIssue[]
  readonly head?: Head
  readonly headers?: Readonly<Record<string, string>>
  /** For the log. */
  readonly cause?: unknown
}

/** Thrown to answer with a problem. */
export class Problem extends Error {
  override readonly name = 'Problem'
  readonly code: ProblemCode
  readonly extras: Extras

  constructor(code: ProblemCode, detail: string, extras: Extras = {}) {
    super(detail, extras.cause === undefined ? undefined : { cause: extras.cause })
    this.code = code
    this.extras = extras
  }

  get status(): number {
    return problems[this.code][0]
  }

  /** @param method of the request: that a mere question changed nothing need not be said. */
  body(requestId: string, method?: string): ProblemBody {
    const { issues, head } = this.extras
    const holds = method === 'GET' && this.extras.holds === nothingChanged ? undefined : this.extras.holds
    const [status, title] = problems[this.code]
    return {
      type: `urn:midflight:problem:${this.code}`,
      title,
      status,
      code: this.code,
      detail: this.message,
      ...(holds === undefined ? {} : { holds }),
      requestId,
      ...(issues === undefined || issues.length === 0 ? {} : { issues: issues.slice(0, 100).map(issueOf) }),
      ...(head === undefined ? {} : { head }),
    }
  }
}

/** As it travels. */
export function issueOf(issue: PlacedIssue): NonNullable<ProblemBody['issues']>[number] {
  const { line, column } = issue.origin ?? {}
  return {
    code: issue.code,
    path: pathText(issue.path),
    pointer: pointerText(issue.exact ?? issue.path),
    message: issue.message,
    ...(line === undefined ? {} : { line }),
    ...(column === undefined ? {} : { column }),
    ...(issue.hint === undefined ? {} : { hint: issue.hint }),
  }
}

/** The same words whether it is not there or may not be seen. */
export function noConfig(name: string): Problem {
  return new Problem('not-found', `there is no config ${JSON.stringify(name)}`)
}

const nothingChanged = 'nothing was changed'

/** @returns `undefined` for what nobody foresaw: a bug. */
export function problemOf(error: unknown): Problem | undefined {
  if (error instanceof Problem) return error
  if (error instanceof ConflictError) return conflict(error)
  if (error instanceof RefusedError) {
    const headers: Record<string, string> = error.code === 'busy' ? { 'retry-after': '1' } : {}
    return new Problem(codeOf(error.code), error.message, { holds: nothingChanged, issues: error.issues, headers })
  }
  if (error instanceof StoreError) return ofStore(error)
  return ofFramework(error)
}

function codeOf(code: RefusalCode): ProblemCode {
  return code
}

function conflict({ message, head }: ConflictError): Problem {
  const holds = head.number === 0 ? 'it has no release yet' : `release ${head.number} is the head`
  const headers: Record<string, string> = head.digest === null ? {} : { etag: `"${head.digest}"` }
  return new Problem('conflict', message, { holds: `${holds}; ${nothingChanged}`, head, headers })
}

/** Rows and files of the store are for those who run it: they are in the log, under the request's id. */
function ofStore(error: StoreError): Problem {
  switch (error.code) {
    case 'full':
      return new Problem('full', 'there is no room left where the store is', { holds: nothingChanged })
    case 'io':
      return new Problem('unknown', 'the disk failed while it was written', {
        holds: 'it may have happened or not; the same request with the same Idempotency-Key tells',
      })
    case 'closed':
    case 'read-only':
    case 'locked':
    case 'exists':
      return new Problem('unavailable', `the store takes nothing now (${error.code})`, { holds: nothingChanged })
    default:
      return new Problem('store-damaged', `the store is damaged (${error.code}); its log says where and what to do`)
  }
}

/** Errors of fastify and node:http, by their codes. */
function ofFramework(error: unknown): Problem | undefined {
  const code = (error as { code?: unknown } | undefined)?.code
  switch (code) {
    case 'FST_ERR_CTP_BODY_TOO_LARGE':
      return tooLarge()
    case 'FST_ERR_CTP_INVALID_MEDIA_TYPE':
      return new Problem('unsupported-media-type', 'the content type of the body is not one that is taken here')
    case 'FST_ERR_CTP_INVALID_CONTENT_LENGTH':
      return new Problem('bad-request', 'the body does not have the length that Content-Length says')
    case 'FST_ERR_BAD_URL':
      return new Problem('bad-path', 'the path is not well formed; want percent-encoded UTF-8')
    case 'HPE_HEADER_OVERFLOW':
      return new Problem('headers-too-large', 'the headers have more than 16384 bytes')
    case 'ERR_HTTP_REQUEST_TIMEOUT':
      return new Problem('timeout', 'the request did not come in time')
    default:
      return typeof code === 'string' && code.startsWith('HPE_')
        ? new Problem('bad-request', 'this is not HTTP/1.1 as it must be')
        : undefined
  }
}

export function tooLarge(limit?: number): Problem {
  const wanted = limit === undefined ? '' : `; want at most ${limit} bytes`
  return new Problem('too-large', `the body is too large${wanted}`, { holds: nothingChanged })
}
