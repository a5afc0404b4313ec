/**
 * One HTTP request as sources make them: with a time limit for the whole of it, a limit to the answer, TLS, a token
 * that is asked for each time, and no redirect that leads elsewhere. What an answer means is left to the source.
 */
import { Agent as HttpAgent, request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { errorText } from '../../deadline.ts'
import { FollowError } from './feed.ts'

/** PEM texts. For mutual TLS both `cert` and `key`. */
export interface TlsOptions {
  /** Certificate authorities to trust instead of the system's. */
  readonly ca?: string | readonly string[]
  readonly cert?: string
  readonly key?: string
  readonly passphrase?: string
  /** The name to expect in the server's certificate, where it is not the host of the URL. */
  readonly servername?: string
}

/** A function is asked before each request. */
export type Token = string | (() => string | Promise<string>)

export interface Peer {
  readonly agent: HttpAgent
  /** Sent as `Authorization: Bearer`. */
  readonly token?: Token | undefined
}

export interface Ask {
  readonly url: URL
  /** Default GET. */
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  readonly signal: AbortSignal
  /** For all of it, to the last byte of the answer; for a stream, to the first. Milliseconds. */
  readonly limitMs: number
}

export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** Where it came from, after redirects. */
  readonly url: URL
}

const maxRedirects = 5

/** Connections of a source. `destroy()` it when the source closes. */
export function agentFor(url: URL, tls: TlsOptions | undefined): HttpAgent {
  const shared = { keepAlive: true, maxSockets: 8 }
  if (url.protocol !== 'https:') return new HttpAgent(shared)
  const { ca, ...rest } = tls ?? {}
  return new HttpsAgent({ ...shared, ...rest, ...(ca && { ca: ca as string | string[] }) })
}

/** @throws TypeError at the call, if it is not http or https, or holds a user name. */
export function httpUrl(what: string, text: string | URL): URL {
  const url = URL.canParse(String(text)) ? new URL(text) : undefined
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new TypeError(`${what}: the URL is ${JSON.stringify(String(text))}; want http:// or https://`)
  }
  if (url.username !== '' || url.password !== '') {
    throw new TypeError(`${what}: the URL holds a user name or a password; want them in an option`)
  }
  return url
}

/**
 * The whole answer, whatever its status; redirects within the same origin are followed for GET.
 * @param maxBytes of the body; a longer one is cut off and told by `body.length > maxBytes`.
 * @throws FollowError if there is none in time, or the redirect leads elsewhere.
 */
export async function ask(peer: Peer, options: Ask, maxBytes: number): Promise<Answer> {
  const limit = limited(options)
  try {
    const { response, url } = await redirected(peer, { ...options, signal: limit.signal })
    const chunks: Buffer[] = []
    let sizeBytes = 0
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk)
      sizeBytes += chunk.length
      // Leaving the loop destroys the connection: what else comes is not read.
      if (sizeBytes > maxBytes) break
    }
    if (!response.complete && sizeBytes <= maxBytes) throw new Error('the answer was cut off')
    return { status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks), url }
  } catch (error) {
    throw limit.explained(error, options)
  } finally {
    limit.clear()
    limit.release()
  }
}

/** The answer's head, and its body as it comes, until `signal` aborts or the server ends it. Read it, or destroy it. */
export async function open(peer: Peer, options: Ask): Promise<IncomingMessage> {
  const limit = limited(options)
  try {
    const { response } = await redirected(peer, { ...options, signal: limit.signal })
    limit.clear()
    response.once('close', limit.release)
    return response
  } catch (error) {
    limit.clear()
    limit.release()
    throw limit.explained(error, options)
  }
}

/** Seconds or a date, as RFC 9110 has it; at most an hour. */
export function retryAfterMs(headers: IncomingHttpHeaders): number | undefined {
  const header = headers['retry-after']
  if (header === undefined) return undefined
  const ms = /^\d{1,9}$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isFinite(ms) && ms >= 0 ? Math.min(ms, 3_600_000) : undefined
}

/** An answer other than what was hoped for. Only those that say "later" are worth another try soon. */
export function refusal({ url, status, headers }: Pick<Answer, 'url' | 'status' | 'headers'>): FollowError {
  const what =
    status === 401 || status === 403 ? `refuses the token or the lack of one (${status})` : `answers ${status}`
  const transient = status === 408 || status === 425 || status === 429 || status >= 500
  return new FollowError(`${url.origin}${url.pathname} ${what}`, { transient, retryAfterMs: retryAfterMs(headers) })
}

function limited({ signal, limitMs }: Ask) {
  const over = new AbortController()
  const abort = () => over.abort()
  const timer = setTimeout(abort, limitMs)
  // Not AbortSignal.any with a timeout: the body of a stream outlives the limit of its head.
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort, { once: true })
  return {
    signal: over.signal,
    clear: () => clearTimeout(timer),
    release: () => signal.removeEventListener('abort', abort),
    explained(error: unknown, { url }: Ask): FollowError {
      if (error instanceof FollowError) return error
      const isLate = over.signal.aborted && !signal.aborted
      const why = isLate ? `no whole answer within ${limitMs} ms` : whyOf(error)
      return new FollowError(`${url.origin}: ${why}`, { transient: !isAboutTls(error), cause: error })
    },
  }
}

/** Node's codes for a certificate that is not trusted, and of OpenSSL for what is no TLS. */
function isAboutTls(error: unknown): boolean {
  return /CERT|SSL|TLS|ISSUER|SIGNED|EPROTO/.test(codeOf(error))
}

function whyOf(error: unknown): string {
  const text = errorText(error) || codeOf(error)
  // OpenSSL's own text has lines of its own, and where in its code it was.
  const reason = /:SSL routines:[^:]*:([^:]+):/.exec(text)?.[1]
  return reason === undefined ? text : `speaks no TLS that fits (${reason})`
}

function codeOf(error: unknown): string {
  return String((error as NodeJS.ErrnoException | undefined)?.code ?? '')
}

async function redirected(peer: Peer, options: Ask): Promise<{ response: IncomingMessage; url: URL }> {
  let { url } = options
  for (let hops = 0; ; hops++) {
    const response = await head(peer, { ...options, url })
    const to = response.headers.location
    const isRedirect = [301, 302, 303, 307, 308].includes(response.statusCode ?? 0) && to !== undefined
    if (!isRedirect || (options.method ?? 'GET') !== 'GET') return { response, url }
    response.destroy()
    const next = URL.canParse(to, url.href) ? new URL(to, url) : undefined
    if (next?.origin !== url.origin) {
      const where = next ? next.origin : 'what is no URL'
      throw new FollowError(`${url.origin}${url.pathname} redirects to ${where}; want the same origin`, {
        transient: false,
      })
    }
    if (hops === maxRedirects) {
      throw new FollowError(`${url.origin} redirects more than ${maxRedirects} times`, { transient: false })
    }
    url = next
  }
}

async function head(peer: Peer, { url, method, headers, body, signal }: Ask): Promise<IncomingMessage> {
  const token = await tokenText(peer.token)
  const start = url.protocol === 'https:' ? httpsRequest : httpRequest
  return new Promise((resolve, reject) => {
    const request = start(
      url,
      {
        method: method ?? 'GET',
        agent: peer.agent,
        signal,
        headers: {
          ...headers,
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
          ...(body !== undefined && { 'content-length': Buffer.byteLength(body) }),
        },
      },
      resolve,
    )
    request.on('error', reject)
    request.end(body)
  })
}

/** @throws FollowError, which does not show it, if it cannot be sent. */
export async function tokenText(token: Token | undefined): Promise<string | undefined> {
  const text = typeof token === 'function' ? await token() : token
  if (text === undefined || /^[\x21-\x7e]{1,8192}$/.test(text)) return text
  throw new FollowError('the token is empty, too long, or holds other than visible ASCII characters', {
    transient: false,
  })
}
