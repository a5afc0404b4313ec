/** One plain HTTP request with a deadline and a limit to its answer. With node:https, as it takes certificates. */
import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'
import { request as httpsRequest } from 'node:https'
import { tokenText, type Remote } from './remote.ts'

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

/** @throws RemoteError if there is no answer in time, or it is too large. Any status is an answer. */
export async function ask(remote: Remote, options: RequestOptions): Promise<Answer> {
  const token = await tokenText(remote.token)
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(options.limitMs)])
  const { url, method, body } = options
  const start = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolve, reject) => {
    const failed = (cause: Error) => {
      const why = signal.aborted && !options.signal.aborted ? `no answer within ${options.limitMs} ms` : cause.message
      reject(new RemoteError(`${url.origin}: ${why || (cause as NodeJS.ErrnoException).code}`, { cause }))
    }
    const request = start(
      url,
      {
        method,
        agent: remote.agent,
        signal,
        headers: {
          accept: 'application/json',
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && {
            'content-type': 'application/json',
            'content-length': Buffer.byteLength(body),
          }),
        },
      },
      (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > options.maxBytes) {
            request.destroy(new Error(`the answer is larger than ${options.maxBytes} bytes`))
          } else chunks.push(chunk)
        })
        response.on('error', failed)
        response.on('close', () => {
          // Cut off in the middle is not an answer; after `end` this changes nothing any more.
          if (!response.complete) failed(new Error('the answer was cut off'))
        })
        response.on('end', () => {
          if (!response.complete) return
          resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) })
        })
      },
    )
    request.on('error', failed)
    request.end(body)
  })
}

/** An answer other than what was hoped for, as an error. */
export function refusal(url: URL, { status, headers }: Answer): RemoteError {
  return new RemoteError(`${url.origin} answers ${status} to ${url.pathname}`, {
    status,
    retryAfterMs: retryAfterMs(headers['retry-after']),
  })
}

const longestRetryAfterMs = 3_600_000

/** Seconds or a date, as RFC 9110 has it; at most an hour. */
export function retryAfterMs(header: string | undefined): number | undefined {
  if (header === undefined) return undefined
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, longestRetryAfterMs) : undefined
}
