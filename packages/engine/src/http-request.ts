/**
 * One HTTP request to a server, in parts: its connections, the head of an answer, its body up to a limit, and when to
 * come again. Time limits, redirects, what an answer means and how errors are told are left to who asks.
 */
import {
  Agent,
  request as httpRequest,
  type AgentOptions,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { nodeTls, type FreshTls, type TlsOptions } from './credentials.ts'

export interface HttpQuestion {
  readonly url: URL
  readonly method: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array | undefined
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string | undefined
  /** `false`: a connection of its own, which says whether others would be accepted. */
  readonly agent: Agent | false
  /** Ends it and its body, with the connection. */
  readonly signal: AbortSignal
}

/** Connections that are kept; `destroy()` them in the end. */
export function agentFor(url: URL, tls: FreshTls | undefined, maxSockets = 8): Agent {
  const kept = { keepAlive: true, maxSockets }
  if (url.protocol === 'https:' && typeof tls === 'function') return new FreshAgent(kept, tls)
  return url.protocol === 'https:' ? new HttpsAgent({ ...kept, ...nodeTls(tls) }) : new Agent(kept)
}

/** Asks for each connection. What it throws is the error of the request that wanted one. */
class FreshAgent extends HttpsAgent {
  readonly #tls: () => TlsOptions

  constructor(options: AgentOptions, tls: () => TlsOptions) {
    // A session that is taken up again would bring the certificate of before.
    super({ ...options, maxCachedSessions: 0 })
    this.#tls = tls
  }

  override createConnection(...[options, done]: Parameters<HttpsAgent['createConnection']>) {
    try {
      return super.createConnection({ ...options, ...nodeTls(this.#tls()) }, done)
    } catch (error) {
      done?.(error as Error, undefined as never)
      return undefined
    }
  }
}

/** Whatever its status; redirects are not followed. Read its body, or destroy it. */
export function headOf({ url, method, headers, body, token, agent, signal }: HttpQuestion): Promise<IncomingMessage> {
  const start = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolve, reject) => {
    const all = {
      ...headers,
      ...(token !== undefined && { authorization: `Bearer ${token}` }),
      ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }),
    }
    const request = start(url, { method, agent, signal, headers: all }, resolve)
    request.on('error', reject)
    request.end(body)
  })
}

/** More than `maxBytes` is cut off, with the connection, and told by the length. @throws Error if it is not whole. */
export function bodyOf(response: IncomingMessage, maxBytes: number): Promise<Buffer> {
  // By events: to iterate over a stream costs as much as all else of a small answer.
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let sizeBytes = 0
    const cutOff = () => reject(new Error('the answer was cut off'))
    response.on('error', reject)
    response.on('close', cutOff)
    response.on('end', () => (response.complete ? resolve(Buffer.concat(chunks)) : cutOff()))
    response.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      sizeBytes += chunk.length
      if (sizeBytes <= maxBytes) return
      resolve(Buffer.concat(chunks))
      // What else comes is not read.
      response.destroy()
    })
    // It has said so already, to nobody.
    if (response.destroyed) cutOff()
  })
}

const longestRetryAfterMs = 3_600_000

/** Of `Retry-After`: seconds or a date, as RFC 9110 has it; at most an hour. */
export function retryAfterMs(headers: IncomingHttpHeaders): number | undefined {
  const header = headers['retry-after']
  if (header === undefined) return undefined
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, longestRetryAfterMs) : undefined
}
