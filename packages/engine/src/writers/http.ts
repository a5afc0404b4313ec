/**
 * Writes to URLs: PUT and DELETE with `If-Match` or `If-None-Match` (RFC 9110). How far a server heeds them is its own:
 * one that tells no strong ETag is written to by force only. How one request is made is `../sources/watching/request.ts`.
 */
import type { HttpOptions } from '../sources/http.ts'
import { agentFor } from '../http-request.ts'
import { ask, httpUrl, type Answer, type Peer } from '../sources/watching/request.ts'
import { calling, refused, unlisted, type Call } from './calling.ts'
import { WriteError, type Expected, type Stored, type Writer } from './writer.ts'

export interface HttpWriterOptions extends Pick<HttpOptions, 'headers' | 'token' | 'tls' | 'timeoutMs'> {
  /** Of what is written, default `application/json`. */
  readonly contentType?: string
}

const noList = 'HTTP has no lists of what is below a URL'
const maxBytes = 16 * 1024 * 1024
/** What a server has that tells no ETag, or a weak one, with which nothing can be compared. */
const none = 'none'

/**
 * Keys are paths with their query, as in a URL: `/config/app.json?v=2`.
 * @throws TypeError at the call, if an option cannot be meant.
 */
export function httpWriter(origin: string | URL, options: HttpWriterOptions = {}): Writer {
  const { timeoutMs = 10_000, contentType = 'application/json' } = options
  const base = httpUrl('httpWriter()', origin)
  const name = `http:${base.host}`
  const peer: Peer = { agent: agentFor(base, options.tls), token: options.token }
  const call = <T>(signal: AbortSignal, work: (call: Call) => Promise<T>) => calling(name, timeoutMs, signal, work)
  const urlOf = (key: string): URL => {
    if (key.startsWith('/') && !key.startsWith('//') && URL.canParse(key, base.href)) return new URL(key, base)
    throw new WriteError('refused', `${name}: ${JSON.stringify(key)} is no path; want one that begins with a slash`)
  }
  const request = (
    { signal }: Call,
    key: string,
    method: string,
    { headers, body }: { readonly headers?: Record<string, string>; readonly body?: Uint8Array } = {},
  ): Promise<Answer> => {
    const all = { ...options.headers, ...headers }
    const asked = { url: urlOf(key), method, headers: all, signal, limitMs: timeoutMs }
    return ask(peer, { ...asked, ...(body && { body }) }, maxBytes)
  }
  const read = async (current: Call, key: string): Promise<Stored | undefined> => {
    const answer = await request(current, key, 'GET')
    const { status, body, headers } = answer
    if (status === 404 || status === 410 || status === 204) return undefined
    if (status !== 200) throw refused(name, answer)
    if (body.length > maxBytes) throw new WriteError('refused', `${name}: ${key} is more than ${maxBytes} bytes`)
    return { value: body, revision: strong(headers.etag) ?? none }
  }
  const conditions = (key: string, expected: Expected): Record<string, string> => {
    if (expected === 'any') return {}
    if (expected === 'absent') return { 'if-none-match': '*' }
    if (expected.revision !== none) return { 'if-match': expected.revision }
    throw new WriteError(
      'refused',
      `${name}: ${key} has no strong ETag, so it cannot be written only where it is as expected; it can be by force`,
    )
  }

  return {
    name,
    lacks: { list: noList },
    read: (key, signal) => call(signal, (current) => read(current, key)),
    list: unlisted(name, noList),
    write: (key, value, expected, signal) =>
      call(signal, async (current) => {
        const headers = { 'content-type': contentType, ...conditions(key, expected) }
        current.sent()
        const answer = await request(current, key, 'PUT', { headers, body: value })
        if (answer.status === 412) return { kind: 'conflict' }
        if (answer.status < 200 || answer.status > 299) throw refused(name, answer)
        const told = strong(answer.headers.etag)
        if (told !== undefined) return { kind: 'written', revision: told }
        const now = await read(current, key)
        // Somebody else may have written since; then this revision is that of nothing.
        const isMine = now !== undefined && Buffer.compare(now.value, value) === 0
        return { kind: 'written', revision: isMine ? now.revision : none }
      }),
    remove: (key, expected, signal) =>
      call(signal, async (current) => {
        if (expected === 'absent') return { kind: (await read(current, key)) ? 'conflict' : 'absent' }
        const headers = conditions(key, expected)
        current.sent()
        const answer = await request(current, key, 'DELETE', { headers })
        if (answer.status === 412) return { kind: 'conflict' }
        if (answer.status === 404 || answer.status === 410) return { kind: expected === 'any' ? 'absent' : 'conflict' }
        if (answer.status < 200 || answer.status > 299) throw refused(name, answer)
        return { kind: 'removed' }
      }),
    async close() {
      peer.agent.destroy()
    },
  }
}

/** RFC 9110: a weak one matches nothing. */
function strong(etag: string | undefined): string | undefined {
  return etag?.startsWith('"') ? etag : undefined
}
