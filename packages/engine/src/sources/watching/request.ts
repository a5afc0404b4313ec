/**
 * One HTTP request as sources make them: with a time limit for the whole of it, a limit to the answer, TLS, a token
 * that is asked for each time, and no redirect that leads elsewhere. What an answer means is left to the source.
 */
import type { Agent, IncomingHttpHeaders, IncomingMessage } from 'node:http'
import { tokenText, type Token } from '../../credentials.ts'
import { errorText } from '../../deadline.ts'
import { bodyOf, headOf, retryAfterMs } from '../../http-request.ts'
import type { Json } from '../../json.ts'
import { FollowError } from './feed.ts'

export interface Peer {
  readonly agent: Agent
  /** Sent as `Authorization: Bearer`. */
  readonly token?: Token | undefined
}

export interface Ask {
  readonly url: URL
  /** Default GET. */
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string | Uint8Array
  /** A credential in the URL or a header. Told so that nothing is shown of an answer that repeats it. */
  readonly secret?: string | undefined
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
  /** Whether a text of it shows what was sent and nobody is to see: a credential, or some of the body. */
  repeats(text: string): boolean
}

const maxRedirects = 5

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
    const { response, url, token } = await redirected(peer, { ...options, signal: limit.signal })
    const body = await bodyOf(response, maxBytes)
    const repeats = (text: string) => shows(text, [token, options.secret], options.body)
    return { status: response.statusCode ?? 0, headers: response.headers, body, url, repeats }
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

/** What it holds as JSON; undefined if it is none, which is for the caller to tell. */
export function jsonIn({ body }: Pick<Answer, 'body'>): Json | undefined {
  try {
    return JSON.parse(body.toString()) as Json
  } catch {
    return undefined
  }
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

/** As many characters in a row are no accident. */
const runLength = 16

function shows(text: string, secrets: readonly (string | undefined)[], sent: string | Uint8Array = ''): boolean {
  const isIn = (secret: string) => text.includes(secret) || text.includes(encodeURIComponent(secret))
  if (secrets.some((secret) => secret !== undefined && secret !== '' && isIn(secret))) return true
  const body = typeof sent === 'string' ? sent : Buffer.from(sent).toString()
  // Quoted once more, as within JSON, it has a backslash before each quote; a form is told as it was read.
  const forms = [body, ...new URLSearchParams(body).values()].map((form) => form.replaceAll('\\', ''))
  const words = text.replaceAll('\\', '')
  for (let at = 0; at + runLength <= words.length; at++) {
    const run = words.slice(at, at + runLength)
    if (forms.some((form) => form.includes(run))) return true
  }
  return false
}

async function redirected(
  peer: Peer,
  options: Ask,
): Promise<{ response: IncomingMessage; url: URL; token: string | undefined }> {
  let { url } = options
  for (let hops = 0; ; hops++) {
    const token = await bearerOf(peer.token)
    const { method = 'GET', headers, body, signal } = options
    const response = await headOf({ url, method, ...(headers && { headers }), body, token, agent: peer.agent, signal })
    const to = response.headers.location
    const isRedirect = [301, 302, 303, 307, 308].includes(response.statusCode ?? 0) && to !== undefined
    if (!isRedirect || method !== 'GET') return { response, url, token }
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

/** @throws FollowError, which does not show it, if it cannot be sent. */
export function bearerOf(token: Token | undefined): Promise<string | undefined> {
  return tokenText(token, (why) => new FollowError(why, { transient: false }))
}
