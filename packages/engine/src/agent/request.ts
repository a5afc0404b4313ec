/** One plain HTTP request to the control plane with a deadline and a limit to its answer. */
import type { IncomingHttpHeaders } from 'node:http'
import { tokenText } from '../credentials.ts'
import { bodyOf, headOf, retryAfterMs } from '../http-request.ts'
import type { Remote } from './remote.ts'

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface RequestOptions {
  readonly method: 'GET' | 'POST'
  readonly url: URL
  readonly body?: string
  /** For all of it, from the connection to the last byte. */
  readonly limitMs: number
  readonly maxBytes: number
  readonly signal: AbortSignal
}

/** The control plane did not do what was asked. What is live stays live. */
export class RemoteError extends Error {
  override readonly name = 'RemoteError'
  readonly status: number | undefined
  readonly retryAfterMs: number | undefined

  constructor(message: string, options: { status?: number; retryAfterMs?: number | undefined; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause })
    this.status = options.status
    this.retryAfterMs = options.retryAfterMs
  }
}

/** It was reached, and has nothing for this node under the name of this config. */
export class NotTakenError extends RemoteError {
  constructor(config: string) {
    super(
      `it was reached, but the token of this node (or its certificate) does not reach the config ${config}, or there is ` +
        'none of that name: the two are told alike, so that nobody can guess names. ' +
        'For an administrator midflight config list and midflight token list show which it is',
      { status: 404 },
    )
  }
}

/** @throws RemoteError if there is no answer in time, or it is too large. Any status is an answer. */
export async function ask(remote: Remote, options: RequestOptions): Promise<Answer> {
  const token = await tokenText(remote.token)
  const { url, method, body, limitMs, maxBytes } = options
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(limitMs)])
  const headers = { accept: 'application/json', ...(body !== undefined && { 'content-type': 'application/json' }) }
  try {
    const response = await headOf({ url, method, headers, body, token, agent: remote.agent, signal })
    const { statusCode: status = 0, socket } = response
    const whole = await bodyOf(response, maxBytes)
    if (whole.length > maxBytes) throw new Error(`the answer is larger than ${maxBytes} bytes`)
    // A connection is known by the certificate that it began with: a renewed one needs another.
    if (status === 401 || status === 404) socket.destroy()
    return { status, headers: response.headers, body: whole }
  } catch (error) {
    const cause = error as NodeJS.ErrnoException
    const why = signal.aborted && !options.signal.aborted ? `no answer within ${limitMs} ms` : cause.message
    throw new RemoteError(`${url.origin}: ${why || cause.code}`, { cause })
  }
}

/** An answer other than what was hoped for, as an error. */
export function refusal(url: URL, config: string, { status, headers, body }: Answer): RemoteError {
  // By what it says: a proxy, or a control plane at another path, answers 404 too.
  if (status === 404 && /"there is no config /.test(body.toString())) return new NotTakenError(config)
  const why = status === 401 ? ': it takes neither the token nor the certificate of this node, or was given none' : ''
  return new RemoteError(`${url.origin} answers ${status} to ${url.pathname}${why}`, {
    status,
    retryAfterMs: retryAfterMs(headers),
  })
}
