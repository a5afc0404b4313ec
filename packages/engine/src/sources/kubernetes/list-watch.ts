/**
 * One ConfigMap or Secret, listed and then watched from the version of the list, as the API's documentation has it. What
 * is told is always the whole object. Where a watch has ended, the next goes on from the newest version that is known;
 * where that is too old (410), the object is listed again.
 */
import type { Buffer } from 'node:buffer'
import { errorText, pause } from '../../deadline.ts'
import type { Json } from '../../json.ts'
import { FollowError, type News } from '../watching.ts'
import { Pace } from '../watching/pace.ts'
import { ask, open, refusal, type Answer, type Peer } from '../watching/request.ts'
import { notAllowed, type Access } from './access.ts'
import { jsonLines, mostBytes } from './lines.ts'
import { entriesOf, isFields, newer, resourceOf, versionOf, type Fields, type ObjectName } from './object.ts'

export interface Wanted extends ObjectName {
  /** A data key; without it all. */
  readonly key: string | undefined
  readonly watchMs: number
  readonly timeoutMs: number
  readonly paceMs: number
}

/** What the server was last heard to hold, from one call to the next. */
export interface Held {
  object: { readonly uid: Json | undefined; readonly version: string; readonly isEmpty: boolean } | undefined
  /** The newest at which that was so. */
  version: string | undefined
}

/** Watches that may follow each other at once. */
const burst = 3

export async function* listAndWatch(
  access: () => Promise<Access>,
  wanted: Wanted,
  held: Held,
  signal: AbortSignal,
): AsyncGenerator<News> {
  const { url, namespace, peer } = await access()
  const api = new Api(url, namespace, peer, wanted, signal)
  try {
    const pace = new Pace(burst, wanted.paceMs)
    while (!signal.aborted) {
      const { version, object } = await api.list()
      const isGone = object === undefined && held.object !== undefined && held.version !== undefined
      const isDeleted = isGone && (await api.wasDeleted(held.version as string))
      held.version = version
      yield object ? newsOf(object, wanted, held) : gone(held, isDeleted)
      for (let isKnown = true; isKnown && !signal.aborted;) {
        await pause(pace.nextMs(), signal)
        isKnown = yield* watched(api, wanted, held)
      }
    }
  } finally {
    peer.agent.destroy()
  }
}

/**
 * @returns whether another watch can go on from where this one ended. Else the object has to be listed: the version is
 *   too old, or is of another history, of which a watch would say nothing (F42).
 */
async function* watched(api: Api, wanted: Wanted, held: Held): AsyncGenerator<News, boolean> {
  let isKnown = false
  for await (const { type, object } of api.watch(held.version as string, wanted.watchMs)) {
    const version = versionOf(object)
    if (type === 'EXPIRED' || version === undefined || newer(held.version as string, version)) return false
    isKnown = true
    held.version = version
    if (type === 'BOOKMARK') yield { kind: 'same' }
    else if (type === 'DELETED') yield gone(held, true)
    else yield newsOf(object, wanted, held)
  }
  return isKnown
}

function gone(held: Held, isDeleted: boolean): News {
  held.object = undefined
  return { kind: 'whole', entries: new Map(), emptied: isDeleted }
}

function newsOf(object: Fields, wanted: Wanted, held: Held): News {
  const read = entriesOf(object, wanted)
  if ('kind' in read) return read
  const { entries, uid, version } = read
  const before = held.object
  // The same object, later: who wrote it has taken its keys out.
  const emptied =
    entries.size === 0 &&
    before !== undefined &&
    !before.isEmpty &&
    before.uid === uid &&
    newer(version, before.version)
  held.object = { uid, version, isEmpty: entries.size === 0 }
  return { kind: 'whole', entries, emptied }
}

interface WatchEvent {
  /** `EXPIRED`: the version to begin with is too old. */
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK' | 'EXPIRED'
  readonly object: Fields
}

/** The two requests, and what is wrong with their answers. */
class Api {
  readonly #url: URL
  readonly #namespace: string
  readonly #peer: Peer
  readonly #wanted: Wanted
  readonly #signal: AbortSignal

  constructor(base: URL, namespace: string, peer: Peer, wanted: Wanted, signal: AbortSignal) {
    this.#url = new URL(base)
    this.#url.pathname = `${base.pathname.replace(/\/$/, '')}/api/v1/namespaces/${namespace}/${resourceOf(wanted)}`
    // Also what permissions for one name ask for.
    this.#url.searchParams.set('fieldSelector', `metadata.name=${wanted.name}`)
    this.#namespace = namespace
    this.#peer = peer
    this.#wanted = wanted
    this.#signal = signal
  }

  /** What is there now, and the version to watch from. */
  async list(): Promise<{ readonly version: string; readonly object: Fields | undefined }> {
    const { name, kind, timeoutMs: limitMs } = this.#wanted
    const options = { url: this.#url, headers: { accept: 'application/json' }, signal: this.#signal, limitMs }
    const answer = await ask(this.#peer, options, mostBytes)
    const list = parsed(answer.body)
    if (answer.status !== 200) throw this.#refused('list', answer, list)
    const version = versionOf(list)
    if (!isFields(list) || list['kind'] !== `${kind}List` || version === undefined) {
      throw this.#wrong(answer.body.length > mostBytes ? `more than ${mostBytes} bytes` : `no ${kind}List`)
    }
    // An empty list may be left out.
    const items = list['items'] ?? []
    if (!Array.isArray(items) || !items.every(isFields)) throw this.#wrong(`a ${kind}List without items`)
    return { version, object: items.find((item) => isNamed(item, name)) }
  }

  /** Ends when the server ends it. @throws FollowError when it is cut off or has gone silent. */
  async *watch(version: string, watchMs: number): AsyncGenerator<WatchEvent> {
    const seconds = Math.max(1, Math.round(watchMs / 1000))
    const url = new URL(this.#url)
    for (const [name, value] of Object.entries({ watch: '1', allowWatchBookmarks: 'true', resourceVersion: version })) {
      url.searchParams.set(name, value)
    }
    url.searchParams.set('timeoutSeconds', String(seconds))
    const { timeoutMs: limitMs } = this.#wanted
    const silent = new AbortController()
    const timer = setTimeout(() => silent.abort(), seconds * 1000 + limitMs)
    const signal = AbortSignal.any([this.#signal, silent.signal])
    try {
      const response = await open(this.#peer, { url, headers: { accept: 'application/json' }, signal, limitMs })
      try {
        const status = response.statusCode ?? 0
        for await (const line of jsonLines(response)) {
          const value = parsed(line)
          if (status !== 200) throw this.#refused('watch', { url, status, headers: response.headers }, value)
          const event = this.#eventOf(value)
          if (event) yield event
        }
        if (status !== 200) throw this.#refused('watch', { url, status, headers: response.headers }, undefined)
      } finally {
        response.destroy()
      }
    } catch (error) {
      if (error === expired) yield { type: 'EXPIRED', object: {} }
      else if (silent.signal.aborted) throw new FollowError(`${url.origin} has gone silent in a watch`)
      else if (error instanceof FollowError) throw error
      else throw new FollowError(`${url.origin}: a watch was cut off (${errorText(error)})`, { cause: error })
    } finally {
      clearTimeout(timer)
    }
  }

  /** Whether the history after `version` has the object's end. Asked where it is not there any more. */
  async wasDeleted(version: string): Promise<boolean> {
    for await (const { type } of this.watch(version, 1_000)) {
      if (type === 'EXPIRED') return false
      if (type === 'DELETED') return true
    }
    return false
  }

  /** @throws FollowError, expired */
  #eventOf(value: Json | undefined): WatchEvent | undefined {
    const object = isFields(value) ? value['object'] : undefined
    const type = isFields(value) ? value['type'] : undefined
    if (!isFields(object)) throw this.#wrong('what is no watch event')
    if (type === 'ERROR') {
      const status = typeof object['code'] === 'number' ? object['code'] : 500
      throw this.#refused('watch', { url: this.#url, status, headers: {} }, object)
    }
    if (type === 'BOOKMARK') return { type, object }
    if (type !== 'ADDED' && type !== 'MODIFIED' && type !== 'DELETED') throw this.#wrong('an unknown watch event')
    return isNamed(object, this.#wanted.name) ? { type, object } : undefined
  }

  /** @param body the API's own account of it, of which only what is known is shown. */
  #refused(verb: 'list' | 'watch', answer: Pick<Answer, 'url' | 'status' | 'headers'>, body: Json | undefined): Error {
    const { status } = answer
    if (status === 410) return expired
    const asked = { ...this.#wanted, namespace: this.#namespace, url: this.#url, verb, verbs: 'list and watch' }
    const why = notAllowed(status, body, asked)
    if (why !== undefined) return new FollowError(why, { transient: false })
    return refusal(answer)
  }

  #wrong(what: string): FollowError {
    const message = `${this.#url.origin}${this.#url.pathname} answers with ${what}; want the URL of a Kubernetes API`
    return new FollowError(message, { transient: false })
  }
}

/** 410 Gone. */
const expired = new Error('the version is too old')

/** Selected by the server; one that does not know how gives all. */
function isNamed(object: Fields, name: string): boolean {
  const { metadata } = object
  return isFields(metadata) && metadata['name'] === name
}

function parsed(text: Buffer): Json | undefined {
  try {
    return JSON.parse(text.toString()) as Json
  } catch {
    return undefined // told by the caller, with the place, and without the text
  }
}
