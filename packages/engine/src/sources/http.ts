/**
 * Configuration from a URL: asked for at intervals, by long poll, or when an event stream hints that it changed. What
 * is asked for is always the whole. How one request is made is `watching/request.ts`, trying again and comparing is
 * `watching.ts`, reading event streams is `http/hints.ts`.
 */
import { shown, type IssueCode } from '../issue.ts'
import { inRange } from '../range.ts'
import { formatOf, type Format } from '../text/parse.ts'
import { nextTurn, pause } from '../deadline.ts'
import { Hints } from './http/hints.ts'
import { watching, type Feed, type News, type WatchingOptions, type WatchingSource } from './watching.ts'
import type { TlsOptions, Token } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import { ask, httpUrl, refusal, type Answer, type Peer } from './watching/request.ts'

export type { TlsOptions, Token } from '../credentials.ts'

export interface HttpOptions extends Omit<WatchingOptions, 'format'> {
  /** Default: by the end of the URL's path, else by the answer's content type. */
  readonly format?: Format
  /** Sent with each request, besides those that this source sets itself. */
  readonly headers?: Readonly<Record<string, string>>
  /** Sent as `Authorization: Bearer`. A function is asked before each request. */
  readonly token?: Token
  readonly tls?: TlsOptions
  /** How often it is asked for, milliseconds, ±10 %, 100 to 86,400,000, default 30,000. */
  readonly pollMs?: number
  /** How long the whole answer may take, milliseconds, default 10,000. */
  readonly timeoutMs?: number
  /**
   * Asks with `Prefer: wait=…` (RFC 7240) and `If-None-Match`, so that a server that can answers when it changes, at
   * the latest after so long, milliseconds, 1,000 to 3,600,000. One that cannot is asked every `pollMs`.
   */
  readonly waitMs?: number
  /** A stream of server-sent events (`text/event-stream`): at each event, whatever it says, the URL is asked for. */
  readonly events?: string | URL
}

/** An answer that comes sooner to a long poll and says that nothing changed, shows that the server does not wait. */
const waitedMs = 500

/**
 * Reads the document at `url` and follows it. An answer that is not 200 with the right content type, whole, in time
 * and of allowed size is refused, and what is live stays live; so is another content under the same strong ETag.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function http(url: string | URL, options: HttpOptions = {}): WatchingSource {
  const target = httpUrl('http()', url)
  const { pollMs = 30_000, timeoutMs = 10_000, waitMs, maxBytes = 16 * 1024 * 1024 } = options
  inRange('http()', 'pollMs', pollMs, 100, 86_400_000)
  inRange('http()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  if (waitMs !== undefined) inRange('http()', 'waitMs', waitMs, 1_000, 3_600_000)
  const events = options.events === undefined ? undefined : httpUrl('http(): events', options.events)
  const key = `${target.pathname}${target.search}`
  const peer: Peer = { agent: agentFor(target, options.tls), token: options.token }
  const eventsPeer = events && { agent: agentFor(events, options.tls), token: options.token }
  const format = options.format ?? formatOf(target.pathname)
  const settings = { target, key, format, headers: options.headers ?? {}, pollMs, timeoutMs, waitMs, maxBytes }
  const held: Held = { answer: undefined, isCurrent: false }
  const feed: Feed = {
    async *follow(signal, warn) {
      const over = new AbortController()
      const hintSignal = AbortSignal.any([signal, over.signal])
      const hints = events && eventsPeer && new Hints(eventsPeer, events, settings.headers, hintSignal, warn)
      try {
        yield* follow(peer, settings, held, hints, signal)
      } finally {
        over.abort()
        await hints?.ended
      }
    },
    async close() {
      peer.agent.destroy()
      eventsPeer?.agent.destroy()
    },
  }
  return watching(`http:${target.host}`, { key }, { ...options, ...(format && { format }) }, feed)
}

/** The last answer that was a document, and whether nothing else was told since. */
interface Held {
  answer: Answer | undefined
  isCurrent: boolean
}

interface Settings {
  readonly target: URL
  readonly key: string
  readonly format: Format | undefined
  readonly headers: Readonly<Record<string, string>>
  readonly pollMs: number
  readonly timeoutMs: number
  readonly waitMs: number | undefined
  readonly maxBytes: number
}

async function* follow(
  peer: Peer,
  settings: Settings,
  held: Held,
  hints: Hints | undefined,
  signal: AbortSignal,
): AsyncGenerator<News> {
  const { target, pollMs, waitMs } = settings
  let canWait = false
  while (!signal.aborted) {
    // Before the request: what it hints at later may not be in the answer.
    const hint = hints?.next()
    // What was refused is asked for without conditions: 304 would say nothing about it.
    const last = held.isCurrent ? held.answer : undefined
    const longMs = canWait && last?.headers.etag !== undefined ? (waitMs ?? 0) : 0
    const headers = { ...settings.headers, accept: accepted(settings.format), ...conditions(last, longMs) }
    const began = performance.now()
    const limitMs = settings.timeoutMs + longMs
    const answer = await ask(peer, { url: target, headers, signal, limitMs }, settings.maxBytes)
    const news = newsOf(answer, held.answer, settings)
    held.isCurrent = answer.status === 304 || (news.kind === 'whole' && news.entries.size > 0)
    if (held.isCurrent && answer.status === 200) held.answer = answer
    yield news
    // What is new is applied first: to ask again takes as long.
    if (news.kind === 'whole') await nextTurn()
    const wasHeld = longMs > 0 && (news.kind === 'whole' || performance.now() - began >= waitedMs)
    // The first look is never a long one: whoever asks is to be answered at once.
    const isFirst = !canWait
    canWait = waitMs !== undefined
    if (canWait && held.isCurrent && (wasHeld || isFirst)) continue
    const over = new AbortController()
    await Promise.race([pause(pollMs * (0.9 + 0.2 * Math.random()), signal, over.signal), ...(hint ? [hint] : [])])
    over.abort()
  }
}

function conditions(last: Answer | undefined, longMs: number): Record<string, string> {
  const { etag, 'last-modified': modified } = last?.headers ?? {}
  if (etag === undefined) return modified === undefined ? {} : { 'if-modified-since': modified }
  return { 'if-none-match': etag, ...(longMs > 0 && { prefer: `wait=${Math.floor(longMs / 1000)}` }) }
}

function newsOf(answer: Answer, last: Answer | undefined, settings: Settings): News {
  const { status, headers, body } = answer
  const { key, format, maxBytes } = settings
  const unusable = (code: IssueCode, message: string): News => ({ kind: 'unusable', key, code, message })
  if (status === 304 && last) return { kind: 'same' }
  // Not there, which is not the same as removed.
  if (status === 404 || status === 410 || status === 204) return { kind: 'whole', entries: new Map() }
  if (status !== 200) throw refusal(answer)
  if (body.length > maxBytes) {
    return unusable('limit', `is ${headers['content-length'] ?? 'more'} bytes; want at most ${maxBytes}`)
  }
  const wrong = wrongType(headers['content-type'], headers['content-encoding'], format)
  if (wrong !== undefined) return unusable('unreadable', wrong)
  const { etag } = headers
  if (last && etag !== undefined && etag === last.headers.etag && !etag.startsWith('W/') && !body.equals(last.body)) {
    return unusable('unreadable', `has another content under the same ETag ${etag}; want one ETag for one content`)
  }
  return { kind: 'whole', entries: new Map([[key, body]]) }
}

const typesOf: Readonly<Record<Format, RegExp>> = {
  json: /^(application|text)\/(json|[\w.-]+\+json)$/,
  jsonc: /^(application|text)\/(json|jsonc|[\w.-]+\+json)$/,
  yaml: /^(application|text)\/(x-)?(yaml|[\w.-]+\+yaml)$/,
  toml: /^(application|text)\/(x-)?toml$/,
  env: /^$/,
}
/** What servers say of a file whose kind they do not know. */
const anyType = /^(text\/plain|application\/octet-stream|binary\/octet-stream)?$/

/** @returns what is wrong with it */
function wrongType(type: string | undefined, encoding: string | undefined, format: Format | undefined) {
  if (encoding !== undefined && encoding !== 'identity') return `is encoded as ${encoding}; want it as it is`
  const essence = (type ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? ''
  const formats: readonly Format[] = format === undefined ? ['json', 'yaml'] : [format]
  if (anyType.test(essence) || formats.some((one) => typesOf[one].test(essence))) return undefined
  return `is ${shown(essence)}; want ${formats.map((one) => `application/${one}`).join(' or ')}`
}

function accepted(format: Format | undefined): string {
  if (format === undefined) return 'application/json, application/yaml, text/plain;q=0.5'
  return `application/${format}, text/plain;q=0.5, */*;q=0.1`
}
