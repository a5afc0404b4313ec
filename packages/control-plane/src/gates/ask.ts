/** One request to somebody else's server, such as a source of health: a connection of its own, no redirects, an answer of bounded size. */
import { request as httpRequest, validateHeaderName, validateHeaderValue } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { NotificationError } from 'midflight'

export interface Question {
  /** Default POST. */
  readonly method?: 'GET' | 'PUT' | 'DELETE'
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly type: 'application/json' | 'application/x-www-form-urlencoded'
  readonly body: string
  readonly lookup?: LookupFunction
  /** A longer answer is none. Default 1 MiB. */
  readonly maxAnswerBytes?: number
  /** Ends it, with the connection. */
  readonly signal: AbortSignal
}

export interface Answer {
  readonly status: number
  /** What was parsed; `undefined` for what is not JSON. */
  readonly json: unknown
}

const ownHeaders = ['host', 'content-length', 'content-type', 'transfer-encoding', 'connection', 'expect', 'upgrade']

/** @throws TypeError naming `what`, and never the value. */
export function checkHeaders(headers: Readonly<Record<string, string>>, what: string): void {
  for (const [name, value] of Object.entries(headers)) {
    if (ownHeaders.includes(name.toLowerCase())) throw new TypeError(`${what} has ${name}, which cannot be set`)
    try {
      validateHeaderName(name)
      validateHeaderValue(name, value)
    } catch {
      throw new TypeError(`${what} has ${JSON.stringify(name)}, which is no header or has a value that none can have`)
    }
  }
}

/** Any whole answer is one, whatever its status. @throws Error that says why there is none; never what is secret. */
export function ask(question: Question): Promise<Answer> {
  const { url, method = 'POST', headers, type, body, lookup, maxAnswerBytes = 2 ** 20, signal } = question
  return new Promise((resolve, reject) => {
    const start = url.protocol === 'https:' ? httpsRequest : httpRequest
    const request = start(url, {
      method,
      // Not one from a pool: a server that has died must not look alive, and an address is checked for one connection.
      agent: false,
      signal,
      ...(lookup && { lookup }),
      headers: {
        'user-agent': 'midflight',
        accept: 'application/json',
        ...headers,
        'content-type': type,
        'content-length': Buffer.byteLength(body),
      },
    })
    const failed = (error: NodeJS.ErrnoException): void => {
      if (error instanceof NotificationError || error instanceof AnswerError) return reject(error)
      // Only the code: a message of TLS or of the parser may quote what went over the wire.
      reject(new Error(`cannot be asked: ${error.code ?? 'the connection was closed'}`, { cause: error }))
    }
    request.on('error', failed)
    request.on('response', (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        bytes += chunk.length
        if (bytes <= maxAnswerBytes) chunks.push(chunk)
        else response.destroy(new AnswerError(`the answer is larger than ${maxAnswerBytes} bytes`))
      })
      response.on('error', failed)
      response.on('close', () => {
        if (!response.complete) return failed(new AnswerError('the answer was cut off'))
        resolve({ status: response.statusCode ?? 0, json: parsed(Buffer.concat(chunks)) })
      })
    })
    request.end(body)
  })
}

class AnswerError extends Error {
  override readonly name = 'AnswerError'
}

function parsed(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString()) as unknown
  } catch {
    return undefined
  }
}

/** A field of what may be anything. */
export function fieldOf(value: unknown, name: string): unknown {
  return typeof value === 'object' && value !== null && Object.hasOwn(value, name)
    ? (value as Record<string, unknown>)[name]
    : undefined
}

/** What is wrong with a status, in words that go after it, or `undefined` for a 2xx. */
export function statusProblem(status: number): string | undefined {
  if (status >= 200 && status < 300) return undefined
  return status >= 300 && status < 400 ? `answers ${status}; redirects are not followed` : `answers ${status}`
}
