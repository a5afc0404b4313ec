/** The forms in which the HTTP door answers, and which of them a caller asked for. */

export interface Reply {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

export function textReply(status: number, body: string, headers: Record<string, string> = {}): Reply {
  return { status, type: 'text/plain; charset=utf-8', body: body.endsWith('\n') ? body : `${body}\n`, headers }
}

export function jsonReply(status: number, value: unknown, headers: Record<string, string> = {}): Reply {
  return { status, type: 'application/json', body: `${JSON.stringify(value, null, 2)}\n`, headers }
}

/** Stable words for programs; `detail` is for people. */
export type ProblemCode =
  | 'bad-request'
  | 'unauthorized'
  | 'foreign-host-or-origin'
  | 'lifecycle-disabled'
  | 'not-found'
  | 'method-not-allowed'
  | 'too-large'
  | 'uri-too-long'
  | 'busy'
  | 'reload-failed'
  | 'plan-failed'
  | 'internal'

/** RFC 9457, with `code` and what else belongs to it as extension members. */
export function problemReply(
  status: number,
  code: ProblemCode,
  detail: string,
  more: { readonly headers?: Record<string, string>; readonly members?: Record<string, unknown> } = {},
): Reply {
  const value = { type: 'about:blank', title: titles[code], status, detail, code, ...more.members }
  return { ...jsonReply(status, value, more.headers ?? {}), type: 'application/problem+json' }
}

const titles: Record<ProblemCode, string> = {
  'bad-request': 'The request makes no sense here',
  unauthorized: 'A valid token is needed',
  'foreign-host-or-origin': 'Not for callers from elsewhere',
  'lifecycle-disabled': 'The lifecycle API is off',
  'not-found': 'No such resource',
  'method-not-allowed': 'Another method is wanted',
  'too-large': 'The body is too large',
  'uri-too-long': 'The URL is too long',
  busy: 'Too much at once',
  'reload-failed': 'The reload failed',
  'plan-failed': 'The reload would fail',
  internal: 'An error of the program',
}

/** Whether the caller would rather have JSON than text. Both alike, or nothing said, means text. */
export function wantsJson(accept: string | undefined): boolean {
  const json = Math.max(quality(accept, 'application/json'), quality(accept, 'application/problem+json'))
  return json > quality(accept, 'text/plain')
}

/** How much `type` is wanted, 0 to 1 (RFC 9110, 12.5.1): the most specific range that covers it counts. */
export function quality(accept: string | undefined, type: string): number {
  if (accept === undefined) return 1
  let best = { specific: -1, q: 0 }
  for (const entry of accept.toLowerCase().split(',')) {
    const [range = '', ...parameters] = entry.split(';').map((part) => part.trim())
    const specific = [`*/*`, `${type.split('/')[0]}/*`, type].indexOf(range)
    if (specific <= best.specific) continue
    const q = parameters.find((parameter) => parameter.startsWith('q='))
    const value = q === undefined ? 1 : Number(q.slice(2))
    best = { specific, q: value >= 0 && value <= 1 ? value : 0 }
  }
  return best.q
}
