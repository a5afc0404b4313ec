/**
 * Configuration in Consul's key-value store, followed by blocking queries. How one request is made is
 * `watching/request.ts`; trying again, comparing and joining keys is `watching.ts`.
 */
import { Buffer } from 'node:buffer'
import { pause } from '../deadline.ts'
import type { IssueCode } from '../issue.ts'
import type { Json } from '../json.ts'
import { inRange } from '../range.ts'
import { apiUrl, kvPath } from './consul/url.ts'
import { FollowError, watching, type News, type Place, type WatchingOptions, type WatchingSource } from './watching.ts'
import { Pace } from './watching/pace.ts'
import type { TlsOptions, Token } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import { ask, httpUrl, refusal, type Answer, type Peer } from './watching/request.ts'

export type { TlsOptions, Token } from '../credentials.ts'

export type ConsulOptions = ConsulPlace & ConsulConnection & WatchingOptions

/** One key that holds the document, or a prefix that ends in `/`, or is empty, whose keys are its tree. */
export type ConsulPlace = { readonly key: string } | { readonly prefix: string }

export interface ConsulConnection {
  /** Of an agent or server. Default `http://127.0.0.1:8500`. */
  readonly url?: string | URL
  /** The ACL token; it needs `key:read` or `key_prefix:read`. A function is asked before each request. */
  readonly token?: Token
  readonly tls?: TlsOptions
  /** Default: that of the agent. */
  readonly datacenter?: string
  /**
   * `stale` may be told by any server, `consistent` only by a leader that has made sure that it is. Default: the look
   * that following begins with is consistent, what comes after it is as Consul's default.
   */
  readonly consistency?: 'default' | 'consistent' | 'stale'
  /** How long a query is held while nothing changes, milliseconds, 1,000 to 600,000, default 60,000. */
  readonly waitMs?: number
  /** How long an answer may take beyond `waitMs`, milliseconds, default 10,000. */
  readonly timeoutMs?: number
  /** While values change all the time: how often they are read, milliseconds, 10 to 600,000, default 1,000. */
  readonly paceMs?: number
}

/** Answers that may follow each other at once, as Consul's documentation advises. */
const burst = 2

/**
 * Reads and follows one key, or the keys below a prefix.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function consul(options: ConsulOptions): WatchingSource {
  const { waitMs = 60_000, timeoutMs = 10_000, paceMs = 1_000, maxBytes = 16 * 1024 * 1024 } = options
  const url = httpUrl('consul()', options.url ?? 'http://127.0.0.1:8500')
  const place = placeOf(options)
  inRange('consul()', 'waitMs', waitMs, 1_000, 600_000)
  inRange('consul()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  inRange('consul()', 'paceMs', paceMs, 10, 600_000)
  const peer: Peer = { agent: agentFor(url, options.tls), token: options.token }
  const held: Held = { index: 0, keys: new Set() }
  const settings = { url: queryUrl(url, place, options), place, waitMs, timeoutMs, paceMs, maxBytes }
  return watching(`consul:${'key' in place ? place.key : place.prefix}`, place, options, {
    follow: (signal) => follow(peer, settings, held, signal),
    server: url.origin,
    async close() {
      peer.agent.destroy()
    },
  })
}

interface Settings {
  readonly url: URL
  readonly place: Place
  readonly waitMs: number
  readonly timeoutMs: number
  readonly paceMs: number
  readonly maxBytes: number
}

/** What the server was last heard to hold. */
interface Held {
  index: number
  keys: ReadonlySet<string>
}

async function* follow(peer: Peer, settings: Settings, held: Held, signal: AbortSignal): AsyncGenerator<News> {
  const { waitMs, timeoutMs, paceMs } = settings
  const pace = new Pace(burst, paceMs)
  /** 0: look at once. */
  let after = 0
  while (!signal.aborted) {
    const url = new URL(settings.url)
    // A server that was just started answers from what it has read of its log so far, unless it has to be sure.
    if (after === 0 && !url.searchParams.has('stale')) url.searchParams.set('consistent', '')
    if (after > 0) {
      url.searchParams.set('index', String(after))
      url.searchParams.set('wait', `${Math.round(waitMs / 1000)}s`)
    }
    // The server adds up to a sixteenth, so that not all who wait come back at once.
    const limitMs = timeoutMs + (after > 0 ? waitMs * (1 + 1 / 16) : 0)
    const answer = await ask(peer, { url, signal, limitMs }, bodyBytes(settings.maxBytes))
    const index = indexOf(answer)
    // An index that goes down means another history (F42), or a server that has not caught up: another look tells.
    if (index >= after) yield newsOf(answer, index, held, settings)
    // 0 is a fault of some versions; with 1 the query is held.
    after = index < after ? 0 : Math.max(index, 1)
    await pause(pace.nextMs(), signal)
  }
}

function newsOf(answer: Answer, index: number, held: Held, { place, maxBytes }: Settings): News {
  const { status, headers, body } = answer
  const name = 'key' in place ? place.key : place.prefix
  const unusable = (code: IssueCode, message: string): News => ({ kind: 'unusable', key: name, code, message })
  if (status !== 200 && status !== 404) throw refusal(answer)
  if (body.length > bodyBytes(maxBytes)) {
    return unusable('limit', `is ${headers['content-length'] ?? 'more'} bytes as JSON; want at most ${maxBytes}`)
  }
  if (headers['x-consul-results-filtered-by-acls'] === 'true') {
    return unusable('unreadable', 'has keys that the token may not read; want key_prefix:read for all of it')
  }
  const entries = status === 404 ? new Map<string, Uint8Array>() : entriesOf(body, place)
  if (!entries)
    return unusable('unreadable', 'is answered with what is no list of keys and values; want a Consul agent')
  const gone = [...held.keys].find((key) => !entries.has(key))
  if (gone !== undefined && index === held.index) {
    // A removal counts up. Older versions leave out in silence what a token may no longer read.
    return unusable(
      'unreadable',
      `lacks ${gone}, and the index says that nothing changed; want a token that may read it`,
    )
  }
  const emptied = entries.size === 0 && held.keys.size > 0 && index > held.index
  held.index = index
  // Also where all is gone and it is no removal: what comes later at a higher index would not be one either.
  held.keys = new Set(entries.keys())
  return { kind: 'whole', entries, emptied }
}

/** @throws FollowError where it is not Consul that answers */
function indexOf(answer: Answer): number {
  const { status, url, headers } = answer
  if (status !== 200 && status !== 404) throw refusal(answer)
  const index = headers['x-consul-index']
  if (typeof index === 'string' && /^\d{1,15}$/.test(index)) return Number(index)
  const what = `${url.origin}${url.pathname} answers ${status} without X-Consul-Index`
  throw new FollowError(`${what}; want the URL of a Consul agent`, { transient: false })
}

/** @returns undefined where that is no answer of Consul */
function entriesOf(body: Buffer, place: Place): Map<string, Uint8Array> | undefined {
  const entries = new Map<string, Uint8Array>()
  const list = parsed(body)
  if (!Array.isArray(list)) return undefined
  for (const entry of list) {
    if (entry === null || typeof entry !== 'object' || Array.isArray(entry)) return undefined
    const { Key: key, Value: value } = entry
    if (typeof key !== 'string' || !(typeof value === 'string' || value === null)) return undefined
    if ('key' in place ? key !== place.key : !key.startsWith(place.prefix)) return undefined
    // A folder as Consul's browser makes it: what is left of one is nothing.
    if ('prefix' in place && value === null && (key === place.prefix || key.endsWith('/'))) continue
    entries.set(key, Buffer.from(value ?? '', 'base64'))
  }
  return entries
}

function parsed(body: Buffer): Json | undefined {
  try {
    return JSON.parse(body.toString()) as Json
  } catch {
    return undefined // told by the caller, with the place
  }
}

/** Values come as base64, and each with its key and a few numbers. */
function bodyBytes(maxBytes: number): number {
  return maxBytes * 2 + 8 * 1024 * 1024
}

function placeOf(options: ConsulPlace): Place {
  if ('key' in options === 'prefix' in options) throw new TypeError('consul(): want either a key or a prefix')
  const name = 'key' in options ? options.key : options.prefix
  if (name.startsWith('/')) {
    throw new TypeError(`consul(): ${JSON.stringify(name)} begins with a slash; keys of Consul do not`)
  }
  return 'key' in options ? { key: name } : { prefix: name, separator: '/' }
}

function queryUrl(base: URL, place: Place, { datacenter, consistency = 'default' }: ConsulConnection): URL {
  if (!['default', 'consistent', 'stale'].includes(consistency)) {
    throw new TypeError(`consul(): consistency is ${JSON.stringify(consistency)}; want default, consistent or stale`)
  }
  const name = 'key' in place ? place.key : place.prefix
  const url = apiUrl(base, kvPath(name))
  if ('prefix' in place) url.searchParams.set('recurse', '')
  if (consistency !== 'default') url.searchParams.set(consistency, '')
  if (datacenter !== undefined) url.searchParams.set('dc', datacenter)
  return url
}
