/**
 * Lists what is there at one revision, and watches from the next one on. Where history is gone in between, it lists
 * again. Calls over the wire are `client.ts`, to whom `members.ts`; what becomes of the keys, and when to try again, is `../watching.ts`.
 */
import { Buffer, isUtf8 } from 'node:buffer'
import { pause } from '../../deadline.ts'
import type { IssueCode } from '../../issue.ts'
import { FollowError, type Feed, type KeyChange, type News, type Place } from '../watching.ts'
import {
  isCompacted,
  isTooLarge,
  type Cluster,
  type Connection,
  type Page,
  type Range,
  type WatchResponse,
} from './client.ts'
import { Members } from './members.ts'

/** Keys in one answer, so that one of many keys does not hold up the server. */
const pageKeys = 1_000
/** Between lists while what is there is no configuration. */
const unusableMs = 1_000

type Warn = (message: string) => void

export function etcdFeed(place: Place, cluster: Cluster, maxBytes: number): Feed {
  const members = new Members(cluster)
  const range = rangeOf(place)
  const look = (connection: Connection, signal: AbortSignal) => listed(connection, range, maxBytes, signal)
  /** What was told last. */
  let held: Held | undefined

  async function* follow(signal: AbortSignal, warn: Warn): AsyncGenerator<News> {
    const { connection, answer } = await members.ask((one) => look(one, signal), signal, warn)
    let before = 0
    for (let list = answer; !signal.aborted; list = await look(connection, signal)) {
      const { entries, revision, clusterId, unusable } = list
      // History that is gone has gone on. Without a wait, a server that says otherwise would be asked without end.
      if (revision === before) throw new FollowError('ends watches as if history were gone, and nothing has changed')
      before = revision
      if (held?.clusterId === clusterId && revision < held.revision) {
        warn(`has gone back from revision ${held.revision} to ${revision}: it was restored, or replaced`)
      }
      if (unusable) {
        yield { kind: 'unusable', key: textOf(place), ...unusable }
        await untilChanged(after(connection, range, revision, signal))
        await pause(unusableMs, signal)
        continue
      }
      const emptied =
        entries.size === 0 && (await sawRemovals(connection, range, held, list, cluster.timeoutMs, signal))
      held = { keys: new Set(entries.keys()), revision, clusterId }
      yield { kind: 'whole', entries, emptied }
      yield* changes(after(connection, range, revision, signal), held)
    }
  }

  return {
    server: cluster.endpoints.map(({ host }) => host).join(', '),
    async *follow(signal, warn) {
      try {
        yield* follow(signal, warn)
      } catch (error) {
        if (signal.aborted) return
        members.drop()
        throw error
      }
    },
    async close() {
      members.drop()
    },
  }
}

/** What was told: enough to find out later how it went. */
interface Held {
  readonly keys: Set<string>
  revision: number
  readonly clusterId: string
}

interface List {
  readonly entries: ReadonlyMap<string, Uint8Array>
  /** At which all of it was so. */
  readonly revision: number
  readonly clusterId: string
  /** Why it is no configuration, and not all there is. */
  readonly unusable?: { readonly key?: string; readonly code: IssueCode; readonly message: string }
}

/** All keys at one revision, page by page; from the beginning if that is compacted meanwhile. */
export async function listed(
  connection: Connection,
  range: Range,
  maxBytes: number,
  signal: AbortSignal,
): Promise<List> {
  const entries = new Map<string, Uint8Array>()
  let sizeBytes = 0
  let revision = 0
  let from = range.key
  for (;;) {
    let page: Page
    try {
      page = await connection.range({ key: from, end: range.end }, { limit: pageKeys, revision }, signal)
    } catch (error) {
      if (isCompacted(error)) return listed(connection, range, maxBytes, signal)
      if (!isTooLarge(error)) throw error
      const { header } = await connection.range(range, { limit: 1, keys_only: true }, signal)
      // Too large at a revision that is known, or the change that mends it could be missed.
      if (revision !== Number(header.revision)) {
        revision = Number(header.revision)
        continue
      }
      return { entries, revision, clusterId: header.cluster_id, unusable: tooLarge(maxBytes) }
    }
    revision ||= Number(page.header.revision)
    const at = { revision, clusterId: page.header.cluster_id }
    for (const { key, value } of page.kvs) {
      if (!isUtf8(key)) return { entries, ...at, unusable: notText(key) }
      entries.set(key.toString(), Buffer.from(value)) // a copy: the message that it lies in is let go
      sizeBytes += value.length
    }
    const last = page.kvs.at(-1)
    if (!page.more || !last) return { entries, ...at }
    if (sizeBytes > maxBytes) return { entries, ...at, unusable: tooLarge(maxBytes) }
    from = Buffer.concat([last.key, Buffer.of(0)])
  }
}

function tooLarge(maxBytes: number): List['unusable'] {
  return { code: 'limit', message: `is more than ${maxBytes} bytes; want at most that` }
}

function notText(key: Buffer): List['unusable'] {
  const shown = `${key.toString()} (${key.toString('hex')})`
  return { key: shown, code: 'encoding', message: 'is a key that is not UTF-8; want names that are' }
}

/**
 * What comes after `revision`. Asked for with `revision` itself, for where the next one is a removal and history is
 * compacted up to just there, etcd forgets the removal and lets a watch begin behind it as if nothing had been.
 */
async function* after(
  connection: Connection,
  range: Range,
  revision: number,
  signal: AbortSignal,
): AsyncGenerator<WatchResponse> {
  for await (const response of connection.watch(range, revision, signal)) {
    const events = response.events.filter(({ kv }) => Number(kv.mod_revision) > revision)
    const isOld = events.length === 0 && response.events.length > 0 && !response.fragment
    if (!isOld) yield { ...response, events }
  }
}

/** What changes, until history is gone, or what came has to be listed. */
async function* changes(responses: AsyncIterable<WatchResponse>, held: Held): AsyncGenerator<News> {
  let changes: KeyChange[] = []
  for await (const response of responses) {
    if (hasNoHistory(response)) return
    if (response.created) continue
    for (const { type, kv } of response.events) {
      if (!isUtf8(kv.key)) return
      const key = kv.key.toString()
      const value = type === 'PUT' ? Buffer.from(kv.value) : undefined
      changes.push({ key, value })
      if (value) held.keys.add(key)
      else held.keys.delete(key)
      held.revision = Number(kv.mod_revision)
    }
    // One revision is one change.
    if (response.fragment) continue
    if (changes.length === 0) held.revision = Math.max(held.revision, Number(response.header.revision))
    yield changes.length === 0 ? { kind: 'same' } : { kind: 'changes', changes }
    changes = []
  }
}

async function untilChanged(responses: AsyncIterable<WatchResponse>): Promise<void> {
  for await (const response of responses) if (hasNoHistory(response) || response.events.length > 0) return
}

/**
 * Whether the keys that are gone were removed, as far as history tells. Without it they might have been lost, with a
 * backup that was too old.
 */
async function sawRemovals(
  connection: Connection,
  range: Range,
  held: Held | undefined,
  { clusterId, revision }: List,
  limitMs: number,
  signal: AbortSignal,
): Promise<boolean> {
  if (!held || held.keys.size === 0 || held.clusterId !== clusterId || held.revision >= revision) return false
  const left = new Set(held.keys)
  const over = new AbortController()
  const timer = setTimeout(() => over.abort(), limitMs)
  try {
    for await (const response of after(connection, range, held.revision, AbortSignal.any([signal, over.signal]))) {
      if (hasNoHistory(response)) return false
      for (const { type, kv } of response.events) {
        if (type === 'PUT') left.add(kv.key.toString())
        else left.delete(kv.key.toString())
      }
      if (left.size === 0) return true
    }
    return false
  } catch (error) {
    if (over.signal.aborted) return false
    throw error
  } finally {
    clearTimeout(timer)
  }
}

/** @throws FollowError if the server has ended the watch for another reason. */
function hasNoHistory({ canceled, compact_revision, cancel_reason }: WatchResponse): boolean {
  if (compact_revision !== '0') return true
  if (!canceled) return false
  const isDenied = /permission|auth|token/.test(cancel_reason)
  throw new FollowError(`the server has ended the watch: ${cancel_reason || 'no reason given'}`, {
    transient: !isDenied,
  })
}

function textOf(place: Place): string {
  return 'key' in place ? place.key : place.prefix
}

export function rangeOf(place: Place): Range {
  const key = Buffer.from(textOf(place))
  if ('key' in place) return { key, end: undefined }
  // By etcd's convention the byte 0 at both ends means all keys.
  if (key.length === 0) return { key: Buffer.of(0), end: Buffer.of(0) }
  // UTF-8 never ends in 0xff, so the last byte has a next one.
  const end = Buffer.from(key)
  end[end.length - 1] = (end.at(-1) as number) + 1
  return { key, end }
}
