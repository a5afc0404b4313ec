/**
 * Configuration from Redis: a key, the keys below a prefix, or the fields of a hash. Notifications and messages only
 * hint that something changed, as Redis loses them; what they name is read, and by a clock behind them the whole.
 * Connecting is `redis/client.ts`, how keys went is `redis/seen.ts`.
 */
import type { Redis } from 'ioredis'
import { errorText } from '../deadline.ts'
import { inRange } from '../range.ts'
import { connected } from './redis/client.ts'
import { escaped, keysBelow } from './redis/keys.ts'
import { Seen, type Evictions } from './redis/seen.ts'
import { serverOf, type RedisConnection } from './redis/server.ts'
import { watching, type News, type Place, type WatchingOptions, type WatchingSource } from './watching.ts'

export type { RedisConnection } from './redis/server.ts'
export type { TlsOptions, Token } from '../credentials.ts'

/** With one of `key`, `prefix` and `hash`. */
export interface RedisOptions extends RedisConnection, WatchingOptions {
  /** Its value is the document. */
  readonly key?: string
  /** The keys below it are the document's tree, parted at `separator`: `app:`. */
  readonly prefix?: string
  /** Its fields are the document's tree, parted at `separator`. */
  readonly hash?: string
  /** Default `:`. */
  readonly separator?: string
  /** Listens to keyspace notifications, which the server sends if `notify-keyspace-events` says so. Default true. */
  readonly notifications?: boolean
  /** A pub/sub channel: at each message, whatever it says, all is read again. */
  readonly channel?: string
  /** How often all is read in any case, milliseconds, ±10 %, 100 to 86,400,000, default 30,000. */
  readonly pollMs?: number
}

const mostKeys = 100_000

/**
 * Reads and follows what is at `key`, `prefix` or `hash`. A key that was seen to be removed or to expire is a removal;
 * one that was evicted is refused, and what is live stays live.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function redis(options: RedisOptions): WatchingSource {
  const { key, prefix, hash, separator = ':', notifications = true, channel } = options
  const { pollMs = 30_000, maxBytes = 16 * 1024 * 1024 } = options
  const server = serverOf(options)
  const { url } = server
  const [name, ...others] = [key, prefix, hash].filter((one) => one !== undefined)
  if (name === undefined || others.length > 0) throw new TypeError('redis(): want one of key, prefix and hash')
  if (hash === '') throw new TypeError('redis(): the hash has no name')
  inRange('redis()', 'pollMs', pollMs, 100, 86_400_000)
  const kind = prefix !== undefined ? 'prefix' : key !== undefined ? 'key' : 'hash'
  const database = url.pathname.slice(1) || '0'
  const reading: Reading = { kind, name, database, notifications, channel, maxBytes }
  const place: Place = key === undefined ? { prefix: prefix ?? '', separator } : { key }
  const seen = new Seen()
  const said = new Set<string>()
  return watching(`redis:${url.host}${url.pathname === '/0' ? '' : url.pathname}`, place, options, {
    async *follow(signal, warn) {
      const client = await connected(server, signal)
      const warnOnce = (message: string) => {
        if (!said.has(message)) warn(message)
        said.add(message)
      }
      try {
        let isOver = false
        void client.ended.then(() => {
          isOver = true
          seen.hint()
        })
        await listen(client.redis, reading, seen, warnOnce)
        for (seen.lookAtAll(); !signal.aborted;) {
          // Before the look: what is said later may not be in it.
          const hint = seen.next()
          const news = await look(client.redis, reading, seen)
          // It was not looked to the end.
          if (news.kind === 'unusable') seen.lookAtAll()
          yield news
          const timer = setTimeout(() => seen.hint(), pollMs * (0.9 + 0.2 * Math.random()))
          await hint
          clearTimeout(timer)
          if (isOver) throw client.explained()
        }
      } catch (error) {
        throw client.explained(error)
      } finally {
        client.end()
        await client.ended
      }
    },
  })
}

interface Reading {
  readonly kind: 'key' | 'prefix' | 'hash'
  readonly name: string
  readonly database: string
  readonly notifications: boolean
  readonly channel: string | undefined
  readonly maxBytes: number
}

/** Listens to whatever hints at changes. Without it there is the clock. */
async function listen(redis: Redis, reading: Reading, seen: Seen, warn: (message: string) => void): Promise<void> {
  const { kind, name, notifications, channel, database } = reading
  const keyspace = `__keyspace@${database}__:`
  redis.on('message', () => seen.hint())
  redis.on('pmessage', (_, from: string, event: string) => seen.event(from.slice(keyspace.length), event))
  try {
    if (channel !== undefined) await redis.subscribe(channel)
    if (!notifications) return
    await redis.psubscribe(`${keyspace}${escaped(name)}${kind === 'prefix' ? '*' : ''}`)
  } catch (error) {
    if (!isNotPermitted(error)) throw error
    warn(`may not listen to hints, and is asked now and then: ${errorText(error)}`)
    return
  }
  const flags = await setting(redis, 'notify-keyspace-events', warn)
  const wanted = ['K', 'g', '$', ...(kind === 'hash' ? ['h'] : []), 'x', 'e']
  const isSent = (one: string) => flags?.includes(one) || (one !== 'K' && flags?.includes('A'))
  if (flags === undefined || wanted.every(isSent)) return
  warn(
    `is asked now and then, and does not see that the last key is removed: notify-keyspace-events is ` +
      `${JSON.stringify(flags)}; want ${wanted.join('')}, or the option notifications: false`,
  )
}

async function setting(redis: Redis, name: string, warn: (message: string) => void): Promise<string | undefined> {
  try {
    const [, value] = (await redis.config('GET', name)) as string[]
    return value
  } catch (error) {
    if (!/^(NOPERM|ERR unknown)/.test(errorText(error))) throw error
    warn(`does not say whether it sends keyspace notifications: ${errorText(error)}`)
    return undefined
  }
}

async function look(redis: Redis, reading: Reading, seen: Seen): Promise<News> {
  const touched = seen.take()
  if (touched && reading.kind !== 'hash') return lookAt(redis, reading, seen, touched)
  const evictions = touched === undefined ? await evictionsOf(redis) : undefined
  const found = reading.kind === 'hash' ? await fields(redis, reading) : await all(redis, reading)
  if ('kind' in found) return found
  const { entries } = found
  const present = new Set(reading.kind === 'hash' ? (entries.size > 0 ? [reading.name] : []) : entries.keys())
  const gone = seen.gone(present)
  const refused = await refusedFor(redis, seen, gone, evictions)
  return refused ?? { kind: 'whole', entries, emptied: seen.told(present, gone) }
}

/** How often keys are read again that were touched while others were read. */
const mostReads = 3

/** Only what was touched: what a change costs is not to depend on how many keys there are. */
async function lookAt(redis: Redis, reading: Reading, seen: Seen, first: readonly string[]): Promise<News> {
  let touched = first
  let found = await fewValues(redis, reading, touched)
  // The server tells of a change before it answers what is asked after it. So what was touched by now may have been
  // read as it was before, beside what was written together with it: it is read once more.
  for (let reads = 1; seen.isDue && !('kind' in found); reads++) {
    const more = seen.take()
    if (more === undefined) {
      seen.lookAtAll()
      return look(redis, reading, seen)
    }
    touched = [...new Set([...touched, ...more])]
    if (reads < mostReads) found = await fewValues(redis, reading, touched)
    else {
      found = await values(redis, reading, [...new Set([...seen.known, ...touched])], touched)
      break
    }
  }
  if ('kind' in found) return found
  const { entries } = found
  const gone = seen.gone(entries, touched)
  const refused = await refusedFor(redis, seen, gone, undefined)
  if (refused) return refused
  const isLast = gone.length === seen.known.size && entries.size === 0
  const emptied = seen.told(entries.keys(), gone)
  if (isLast) return { kind: 'whole', entries, emptied }
  const keys = new Set([...touched, ...entries.keys()])
  return { kind: 'changes', changes: [...keys].map((key) => ({ key, value: entries.get(key) })) }
}

/** Why what is gone is not taken for removed. Counted again after the look: what went during it is among them. */
async function refusedFor(
  redis: Redis,
  seen: Seen,
  gone: readonly string[],
  evictions: Evictions | undefined,
): Promise<Extract<News, { kind: 'unusable' }> | undefined> {
  const key = seen.evicted(gone, seen.isUnexplained(gone) ? await evictionsOf(redis) : evictions)
  if (key === undefined) return undefined
  const message = 'is gone, and nobody was seen to remove it, while the server evicts keys (maxmemory); want it back'
  return { kind: 'unusable', key, code: 'empty', message }
}

type Found = { readonly entries: Map<string, Uint8Array> } | Extract<News, { kind: 'unusable' }>

async function all(redis: Redis, reading: Reading): Promise<Found> {
  return values(
    redis,
    reading,
    reading.kind === 'key' ? [reading.name] : await keysBelow(redis, reading.name, mostKeys),
  )
}

/**
 * In one round trip where that tells all there is to know: each value is sent up to its share of `maxBytes`, and what is
 * empty may be missing. The keys are read one after the other, so whoever asks has to see what was touched meanwhile.
 */
async function fewValues(redis: Redis, reading: Reading, keys: readonly string[]): Promise<Found> {
  const known = withoutAsking(reading.name, keys)
  if (known) return known
  const shareBytes = Math.floor(reading.maxBytes / keys.length)
  const entries = new Map<string, Uint8Array>()
  for (const [i, value] of (await beginnings(redis, keys, shareBytes + 1)).entries()) {
    if (!value || value.length === 0 || value.length > shareBytes) return values(redis, reading, keys)
    entries.set(keys[i] as string, value)
  }
  return { entries }
}

/** @returns undefined for what cannot be read. Why, and which key it is, is told when it is read with all others. */
async function beginnings(redis: Redis, keys: readonly string[], sizeBytes: number) {
  const [only = ''] = keys
  // A pipeline costs the client as much as all else of a small change.
  if (keys.length === 1) return [await redis.getrangeBuffer(only, 0, sizeBytes - 1).catch(() => undefined)]
  const asking = redis.pipeline()
  for (const key of keys) asking.getrangeBuffer(key, 0, sizeBytes - 1)
  return ((await asking.exec()) ?? []).map(([error, value]) => (error ? undefined : (value as Buffer)))
}

/** @param asked for their sizes; the others are as they were when they were asked for. */
async function values(
  redis: Redis,
  { name, maxBytes }: Reading,
  keys: readonly string[],
  asked: readonly string[] = keys,
): Promise<Found> {
  const known = withoutAsking(name, keys)
  if (known) return known
  const asking = redis.pipeline()
  for (const key of asked) asking.strlen(key)
  let sizeBytes = 0
  for (const [i, [error, size]] of ((await asking.exec()) ?? []).entries()) {
    const key = asked[i] as string
    if (error?.message.startsWith('WRONGTYPE')) return unusable(key, 'unreadable', 'is no string; want a string')
    if (error) throw error
    sizeBytes += size as number
    // Before any of it is sent.
    if (sizeBytes > maxBytes) return unusable(key, 'limit', `makes ${sizeBytes} bytes; want at most ${maxBytes}`)
  }
  const entries = new Map<string, Uint8Array>()
  for (const [i, value] of (await redis.mgetBuffer([...keys])).entries())
    if (value) entries.set(keys[i] as string, value)
  return { entries }
}

function withoutAsking(name: string, keys: readonly string[]): Found | undefined {
  if (keys.length > mostKeys) return unusable(name, 'limit', `has more than ${mostKeys} keys below it; want less`)
  const unreadable = keys.find((key) => key.includes('\ufffd'))
  if (unreadable !== undefined) return unusable(unreadable, 'unreadable', 'is a key that is not UTF-8')
  return keys.length === 0 ? { entries: new Map() } : undefined
}

async function fields(redis: Redis, { name }: Reading): Promise<Found> {
  let flat: Buffer[]
  try {
    // In capitals the library leaves the answer as it is; else fields that are not UTF-8 would fall together.
    flat = (await redis.callBuffer('HGETALL', name)) as Buffer[]
  } catch (error) {
    if (errorText(error).startsWith('WRONGTYPE')) return unusable(name, 'unreadable', 'is no hash; want a hash')
    throw error
  }
  const entries = new Map<string, Uint8Array>()
  for (let i = 0; i + 1 < flat.length; i += 2) {
    const field = String(flat[i])
    if (field.includes('\ufffd')) return unusable(name, 'unreadable', `has a field that is not UTF-8`)
    entries.set(field, flat[i + 1] as Buffer)
  }
  return { entries }
}

/** Undefined where it may not be asked. */
async function evictionsOf(redis: Redis): Promise<Evictions | undefined> {
  try {
    const info = await redis.info()
    const count = /^evicted_keys:(\d+)/m.exec(info)?.[1]
    return count === undefined ? undefined : { runId: /^run_id:(\w+)/m.exec(info)?.[1] ?? '', count: Number(count) }
  } catch (error) {
    if (isNotPermitted(error)) return undefined
    throw error
  }
}

function unusable(key: string, code: 'limit' | 'unreadable', message: string): Extract<News, { kind: 'unusable' }> {
  return { kind: 'unusable', key, code, message }
}

function isNotPermitted(error: unknown): boolean {
  return errorText(error).startsWith('NOPERM')
}
