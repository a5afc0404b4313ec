/**
 * Configuration in a bucket of S3, or of a store that speaks as S3 does: one object, or the objects below a prefix,
 * asked for at intervals; only what changed is read. How a bucket is spoken to is `s3/bucket.ts`, what a list says
 * `s3/listing.ts`; trying again and comparing is `watching.ts`.
 */
import type { Buffer } from 'node:buffer'
import { backoffMs, pause } from '../deadline.ts'
import type { IssueCode } from '../issue.ts'
import { inRange } from '../range.ts'
import { asked, codeOf, locationOf, refused, unspeakable, type Bucket, type S3Place } from './s3/bucket.ts'
import { bareEtag, list, type Listed } from './s3/listing.ts'
import { FollowError, watching, type News, type Place, type WatchingOptions, type WatchingSource } from './watching.ts'
import type { TlsOptions } from '../credentials.ts'
import { agentFor } from '../http-request.ts'
import type { Answer } from './watching/request.ts'

export type { S3Credentials } from './s3/bucket.ts'
export type { TlsOptions } from '../credentials.ts'

/** With one of `key` and `prefix`. */
export interface S3Options extends S3Place, WatchingOptions {
  /** The object that is the document. The end of its name says how it is read, as in `app.yaml`. */
  readonly key?: string
  /** The objects below it are the document's tree, parted at `/`: `shop/gateway/`. */
  readonly prefix?: string
  readonly tls?: TlsOptions
  /** How often it is asked for, milliseconds, ±10 %, 100 to 86,400,000, default 30,000. */
  readonly pollMs?: number
  /** How long each answer may take as a whole, milliseconds, default 10,000. */
  readonly timeoutMs?: number
}

/** Objects that are asked for at the same time. */
const atOnce = 8
/** How often it looks again where the objects are others by then than those of the list. */
const mostLooks = 5

/**
 * Reads and follows the object or the objects. What is not there is refused, and what is live stays live; in a bucket
 * with versions, a delete marker where an object was is a removal.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function s3(options: S3Options): WatchingSource {
  const { key, prefix, pollMs = 30_000, timeoutMs = 10_000, maxBytes = 16 * 1024 * 1024 } = options
  const name = key ?? prefix
  if (name === undefined || (key !== undefined && prefix !== undefined)) {
    throw new TypeError('s3(): want one of key and prefix')
  }
  const wrong = unspeakable(name)
  if (wrong !== undefined) throw new TypeError(`s3(): ${JSON.stringify(name)} ${wrong}; want a key that a URL can hold`)
  inRange('s3()', 'pollMs', pollMs, 100, 86_400_000)
  inRange('s3()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  const { base, region } = locationOf(options)
  const agent = agentFor(base, options.tls)
  const { credentials } = options
  const bucket: Bucket = { peer: { agent }, base, region, credentials, timeoutMs, derived: new Map() }
  const held: Held = { objects: new Map(), isEmptied: false }
  const look = (signal: AbortSignal) =>
    key === undefined ? lookBelow(bucket, name, held, maxBytes, signal) : lookAt(bucket, key, held, maxBytes, signal)
  const place: Place = key === undefined ? { prefix: name, separator: '/' } : { key }
  return watching(`s3:${options.bucket}/${name}`, place, options, {
    async *follow(signal) {
      while (!signal.aborted) {
        yield await look(signal)
        await pause(pollMs * (0.9 + 0.2 * Math.random()), signal)
      }
    },
    server: base.origin,
    async close() {
      agent.destroy()
    },
  })
}

/** What was read last. News are always told whole, and so it does no harm where nobody took those before. */
interface Held {
  readonly objects: Map<string, Body>
  /** All of `objects` were seen to be removed. */
  isEmptied: boolean
}

interface Body {
  readonly etag: string
  readonly bytes: Buffer
}

async function lookAt(
  bucket: Bucket,
  key: string,
  { objects }: Held,
  maxBytes: number,
  signal: AbortSignal,
): Promise<News> {
  const before = objects.get(key)
  const condition = before && { headers: { 'if-none-match': before.etag } }
  const answer = await asked(bucket, { key, ...condition, signal }, maxBytes)
  if (answer.status === 304 && before) return whole([[key, before]])
  if (isAbsent(answer)) return { kind: 'whole', entries: new Map(), emptied: before !== undefined && isMarked(answer) }
  if (answer.status !== 200) throw refused(answer)
  const wrong = unusable(key, answer, maxBytes)
  if (wrong) return wrong
  const body: Body = { etag: answer.headers.etag ?? '', bytes: answer.body }
  objects.set(key, body)
  return whole([[key, body]])
}

async function lookBelow(
  bucket: Bucket,
  prefix: string,
  held: Held,
  maxBytes: number,
  signal: AbortSignal,
): Promise<News> {
  for (let looks = 0; looks < mostLooks; looks++) {
    if (looks > 0) await pause(backoffMs(looks, 20, 1_000), signal)
    const listed = await list(bucket, prefix, maxBytes, signal)
    if ('kind' in listed) return listed
    if (listed.size === 0) {
      held.isEmptied ||= held.objects.size > 0 && (await areRemoved(bucket, held.objects, signal))
      return { kind: 'whole', entries: new Map(), emptied: held.isEmptied }
    }
    held.isEmptied = false
    for (const key of held.objects.keys()) if (!listed.has(key)) held.objects.delete(key)
    const wrong = await readChanged(bucket, listed, held.objects, maxBytes, signal)
    if (wrong === 'moved') continue
    return wrong ?? whole(held.objects)
  }
  throw new FollowError(`below ${prefix}, objects were others than those of the list ${mostLooks} times in a row`)
}

/** @returns `moved` where an object is gone or another by now than the one of the list; else what is wrong, if anything */
async function readChanged(
  bucket: Bucket,
  listed: ReadonlyMap<string, Listed>,
  objects: Map<string, Body>,
  maxBytes: number,
  signal: AbortSignal,
): Promise<'moved' | News | undefined> {
  let isMoved = false
  const found: News[] = []
  const changed = [...listed].filter(([key, { etag }]) => objects.get(key)?.etag !== etag)
  await eachOf(changed, async ([key, { etag }]) => {
    const wrong = unspeakable(key)
    if (wrong !== undefined) {
      found.push({ kind: 'unusable', key, code: 'unreadable', message: `${wrong}; want a key that a URL can hold` })
      return
    }
    const answer = await asked(bucket, { key, signal }, maxBytes)
    if (isAbsent(answer)) {
      isMoved = true
      return
    }
    if (answer.status !== 200) throw refused(answer)
    const refusal = unusable(key, answer, maxBytes)
    if (refusal) {
      found.push(refusal)
      return
    }
    const is = bareEtag(answer.headers.etag ?? '')
    isMoved ||= is !== etag
    objects.set(key, { etag: is, bytes: answer.body })
  })
  return isMoved ? 'moved' : found[0]
}

/** Whether each of them has a delete marker now. In a bucket without versions nothing has. */
async function areRemoved(bucket: Bucket, objects: ReadonlyMap<string, Body>, signal: AbortSignal): Promise<boolean> {
  let areAll = true
  await eachOf([...objects.keys()], async (key) => {
    if (!areAll) return
    const answer = await asked(bucket, { key, method: 'HEAD', signal }, 0)
    if (answer.status !== 200 && answer.status !== 404) throw refused(answer)
    areAll &&= isMarked(answer)
  })
  return areAll
}

/** A few at a time; begins no more of them after one has failed, and ends when those that were begun have ended. */
async function eachOf<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
  const rest = all.values()
  let hasFailed = false
  const worker = async () => {
    for (const one of rest) {
      if (hasFailed) return
      await work(one).catch((error: unknown) => {
        hasFailed = true
        throw error
      })
    }
  }
  const ended = await Promise.allSettled(Array.from({ length: Math.min(atOnce, all.length) }, worker))
  for (const one of ended) if (one.status === 'rejected') throw one.reason
}

function whole(objects: Iterable<readonly [string, Body]>): News {
  return { kind: 'whole', entries: new Map([...objects].map(([key, { bytes }]) => [key, bytes])) }
}

/** The object is not there; the bucket is, as far as is told. */
function isAbsent(answer: Answer): boolean {
  return answer.status === 404 && (isMarked(answer) || ['NoSuchKey', undefined].includes(codeOf(answer)))
}

function isMarked({ status, headers }: Answer): boolean {
  return status === 404 && headers['x-amz-delete-marker'] === 'true'
}

/** @returns what keeps the answer with status 200 from being the object, if anything */
function unusable(key: string, { headers, body }: Answer, maxBytes: number): News | undefined {
  const because = (code: IssueCode, message: string): News => ({ kind: 'unusable', key, code, message })
  if (body.length > maxBytes) {
    return because('limit', `is ${headers['content-length'] ?? 'more'} bytes; want at most ${maxBytes}`)
  }
  // Some servers leave it where an upload came in pieces.
  const encoding = (headers['content-encoding'] ?? '').replace(/^aws-chunked(,|$)/, '').trim()
  if (encoding !== '' && encoding !== 'identity')
    return because('unreadable', `is encoded as ${encoding}; want it as it is`)
  const start = body.subarray(0, 1_024).toString('latin1')
  const isPage = /^text\/html\b/i.test(headers['content-type'] ?? '') || /^\s*<(!doctype\s+html|html)\b/i.test(start)
  if (isPage) return because('unreadable', 'is a page; want an object')
  if (/^\s*(<\?xml[^>]*>\s*)?<Error\b/.test(start)) {
    return because('unreadable', `is an error (${codeOf({ body, headers }) ?? 'without a code'}); want an object`)
  }
  if (headers.etag === undefined) return because('unreadable', 'has no ETag; want an answer of S3')
  return undefined
}
