/**
 * Configuration in Apollo: one namespace, read without the server's cache and followed by long polls for
 * notifications. How one request is made is `watching/request.ts`; trying again, comparing and joining is `watching.ts`.
 */
import { Buffer } from 'node:buffer'
import { createHmac } from 'node:crypto'
import { pause } from '../deadline.ts'
import type { IssueCode } from '../issue.ts'
import { isObject } from '../json.ts'
import { inRange } from '../range.ts'
import { namespaceOf, placeOf, textsIn } from './apollo/namespace.ts'
import { FollowError, watching, type News, type Place, type WatchingOptions, type WatchingSource } from './watching.ts'
import { Pace } from './watching/pace.ts'
import type { TlsOptions } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import { ask, httpUrl, jsonIn, refusal, type Answer, type Ask, type Peer } from './watching/request.ts'

export type { TlsOptions } from '../credentials.ts'

export interface ApolloOptions extends WatchingOptions {
  /** Of a config service, such as `http://config.example:8080`. */
  readonly url: string | URL
  readonly appId: string
  /** Default `default`. */
  readonly cluster?: string
  /**
   * Default `application`. Without a suffix it is one of properties, whose items are the tree (`server.port` is
   * `port` in `server`); with `.json`, `.yaml`, `.yml` or another one its content is the document.
   */
  readonly namespace?: string
  /** Items of a namespace of properties stay as they are called: `{ 'server.port': … }`. */
  readonly flat?: boolean
  /** The access key, where the app has one. Requests are signed with it; it is not sent. */
  readonly secret?: string
  /** For gray releases by address. */
  readonly ip?: string
  /** For gray releases by label. */
  readonly label?: string
  readonly tls?: TlsOptions
  /** How long the server holds a long poll, milliseconds, 1,000 to 600,000, default 60,000 as Apollo does. */
  readonly waitMs?: number
  /** How long an answer may take beyond that, milliseconds, default 10,000. */
  readonly timeoutMs?: number
  /** While there is news all the time: how often it is read, milliseconds, 10 to 600,000, default 1,000. */
  readonly paceMs?: number
}

/** Long polls that may follow each other at once. */
const burst = 3
/** No notification was received yet. */
const noNotification = -1

/**
 * Reads and follows one namespace.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function apollo(options: ApolloOptions): WatchingSource {
  const { appId, cluster = 'default', waitMs = 60_000, timeoutMs = 10_000, paceMs = 1_000 } = options
  const url = httpUrl('apollo()', options.url)
  const namespace = namespaceOf(options.namespace ?? 'application')
  for (const [name, value] of Object.entries({ appId, cluster, namespace })) {
    if (typeof value !== 'string' || value === '') throw new TypeError(`apollo(): want a ${name} that is not empty`)
  }
  inRange('apollo()', 'waitMs', waitMs, 1_000, 600_000)
  inRange('apollo()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  inRange('apollo()', 'paceMs', paceMs, 10, 600_000)
  const place = placeOf(namespace, options.flat ?? false)
  const settings: Settings = {
    ...{ url, appId, cluster, namespace, place, waitMs, timeoutMs, paceMs },
    secret: options.secret,
    gray: {
      ...(options.ip !== undefined && { ip: options.ip }),
      ...(options.label !== undefined && { label: options.label }),
    },
    bodyBytes: (options.maxBytes ?? 16 * 1024 * 1024) * 2 + 1024 * 1024,
  }
  const peer: Peer = { agent: agentFor(url, options.tls) }
  const held: Held = { releaseKey: undefined }
  return watching(`apollo:${appId}/${cluster}/${namespace}`, place, options, {
    follow: (signal) => follow(peer, settings, held, signal),
    server: url.origin,
    async close() {
      peer.agent.destroy()
    },
  })
}

interface Settings {
  readonly url: URL
  readonly appId: string
  readonly cluster: string
  readonly namespace: string
  readonly place: Place
  readonly secret: string | undefined
  /** By what a gray release knows who asks. */
  readonly gray: Readonly<Record<string, string>>
  readonly waitMs: number
  readonly timeoutMs: number
  readonly paceMs: number
  readonly bodyBytes: number
}

interface Held {
  /** Of the release that is known, if nothing else was told since. */
  releaseKey: string | undefined
}

async function* follow(peer: Peer, settings: Settings, held: Held, signal: AbortSignal): AsyncGenerator<News> {
  const pace = new Pace(burst, settings.paceMs)
  let notificationId = noNotification
  while (!signal.aborted) {
    // Also when a long poll ended without news: a notification may be lost, and ids start over with the server's tables.
    const answer = await ask(peer, release(settings, held, notificationId, signal), settings.bodyBytes)
    const news = newsOf(answer, held, settings)
    if (news.kind === 'unusable' || (news.kind === 'whole' && answer.status !== 200)) held.releaseKey = undefined
    yield news
    await pause(pace.nextMs(), signal)
    if (signal.aborted) return
    const notice = await ask(peer, notifications(settings, notificationId, signal), settings.bodyBytes)
    notificationId = idOf(notice, notificationId, settings)
  }
}

/** The request for the release; it is held back from nobody. */
function release(settings: Settings, { releaseKey }: Held, notificationId: number, signal: AbortSignal): Ask {
  const { appId, cluster, namespace, gray } = settings
  const query = {
    ...(releaseKey !== undefined && { releaseKey }),
    // A server with a cache looks whether that is new enough.
    ...(notificationId !== noNotification && {
      messages: JSON.stringify({ details: { [`${appId}+${cluster}+${namespace}`]: notificationId } }),
    }),
    ...gray,
  }
  return signed(settings, ['configs', appId, cluster, namespace], query, signal, settings.timeoutMs)
}

/** The request that is answered when there is another release than the one of the id. */
function notifications(settings: Settings, notificationId: number, signal: AbortSignal): Ask {
  const { appId, cluster, namespace, waitMs, timeoutMs } = settings
  const known = JSON.stringify([{ namespaceName: namespace, notificationId }])
  return signed(settings, ['notifications', 'v2'], { appId, cluster, notifications: known }, signal, waitMs + timeoutMs)
}

function signed(
  { url: base, appId, secret }: Settings,
  path: readonly string[],
  query: Readonly<Record<string, string>>,
  signal: AbortSignal,
  limitMs: number,
): Ask {
  const url = new URL(base)
  url.pathname = `${base.pathname.replace(/\/$/, '')}/${path.map(encodeURIComponent).join('/')}`
  url.search = new URLSearchParams(query).toString()
  if (secret === undefined) return { url, signal, limitMs }
  const timestamp = String(Date.now())
  const text = `${timestamp}\n${url.pathname}${url.search}`
  const signature = createHmac('sha1', secret).update(text).digest('base64')
  return { url, signal, limitMs, headers: { authorization: `Apollo ${appId}:${signature}`, timestamp } }
}

function newsOf(answer: Answer, held: Held, { namespace, place, bodyBytes }: Settings): News {
  const { status, headers, body } = answer
  const unusable = (code: IssueCode, message: string): News => ({ kind: 'unusable', key: namespace, code, message })
  if (status === 304 && held.releaseKey !== undefined) return { kind: 'same' }
  // Not there, or never released: nobody has removed its items.
  if (status === 404) return { kind: 'whole', entries: new Map() }
  if (status !== 200) throw refusal(answer)
  if (body.length > bodyBytes)
    return unusable('limit', `is ${headers['content-length'] ?? 'more'} bytes as JSON; want less`)
  const told = jsonIn(answer)
  const { configurations, releaseKey } = isObject(told) ? told : {}
  const texts = textsIn(configurations)
  const items = texts && new Map([...texts].map(([key, value]) => [key, Buffer.from(value)]))
  if (!items || typeof releaseKey !== 'string') {
    return unusable('unreadable', 'is answered with what is no release; want the URL of a config service of Apollo')
  }
  held.releaseKey = releaseKey
  // A release without items: whoever made it has removed them.
  if ('prefix' in place) return { kind: 'whole', entries: items, emptied: true }
  const content = items.get('content')
  return { kind: 'whole', entries: content === undefined ? new Map() : new Map([[namespace, content]]) }
}

/** @returns the id to ask with from now on */
function idOf(answer: Answer, before: number, { namespace }: Settings): number {
  if (answer.status === 304) return before
  if (answer.status !== 200) throw refusal(answer)
  const list = jsonIn(answer)
  for (const one of Array.isArray(list) ? list : []) {
    const { namespaceName, notificationId } = isObject(one) ? one : {}
    const isMeant = typeof namespaceName === 'string' && namespaceName.toLowerCase() === namespace.toLowerCase()
    if (isMeant && Number.isSafeInteger(notificationId)) return notificationId as number
  }
  const where = `${answer.url.origin}${answer.url.pathname}`
  throw new FollowError(`${where} answers with what is no notification of ${namespace}`, { transient: false })
}
