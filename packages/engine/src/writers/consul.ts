/**
 * Writes to Consul's key-value store, by transactions that check a key's index: unlike a plain PUT they tell the index
 * that the key has afterwards. How one request is made is `../sources/watching/request.ts`.
 */
import { Buffer } from 'node:buffer'
import type { ConsulConnection } from '../sources/consul.ts'
import { apiUrl, kvPath } from '../sources/consul/url.ts'
import { agentFor } from '../http-request.ts'
import { ask, httpUrl, jsonIn, type Peer } from '../sources/watching/request.ts'
import { calling, refused, saidIn, type Call } from './calling.ts'
import { WriteError, type Expected, type StoredEntry, type Writer } from './writer.ts'

/** The token needs `key_prefix:write` and `key_prefix:read`, to list also `key_prefix:list`. */
export type ConsulWriterOptions = Pick<ConsulConnection, 'url' | 'token' | 'tls' | 'datacenter' | 'timeoutMs'>

/** Of an answer. One value of Consul is at most 512 KiB. */
const maxBytes = 256 * 1024 * 1024

interface Operation {
  readonly Verb: 'set' | 'cas' | 'check-index' | 'get' | 'delete'
  readonly Key: string
  readonly Value?: string
  readonly Index?: number
}

/** @throws TypeError at the call, if an option cannot be meant. */
export function consulWriter(options: ConsulWriterOptions = {}): Writer {
  const { timeoutMs = 10_000, datacenter } = options
  const url = httpUrl('consulWriter()', options.url ?? 'http://127.0.0.1:8500')
  const name = `consul:${url.host}`
  const peer: Peer = { agent: agentFor(url, options.tls), token: options.token }
  const call = <T>(signal: AbortSignal, work: (call: Call) => Promise<T>) => calling(name, timeoutMs, signal, work)
  const at = (path: string): URL => {
    const asked = apiUrl(url, path)
    if (datacenter !== undefined) asked.searchParams.set('dc', datacenter)
    return asked
  }
  const check = (key: string) => {
    if (key !== '' && !key.startsWith('/')) return
    throw new WriteError(
      'refused',
      `${name}: ${JSON.stringify(key)} is empty or begins with a slash; keys of Consul do not`,
    )
  }

  async function entries(key: string, recurse: boolean, { signal }: Call): Promise<StoredEntry[]> {
    const asked = at(kvPath(key))
    // What was written before the call is seen, whichever server answers.
    asked.searchParams.set('consistent', '')
    if (recurse) asked.searchParams.set('recurse', '')
    const answer = await ask(peer, { url: asked, signal, limitMs: timeoutMs }, maxBytes)
    if (answer.status === 404) return []
    if (answer.status !== 200) throw refused(name, answer, saidIn(answer))
    const list = jsonIn(answer)
    if (!Array.isArray(list)) {
      throw new WriteError('refused', `${name}: answers with what is no list of keys; want a Consul agent`)
    }
    // What Consul's browser writes for a folder is no value.
    return (list as unknown as readonly Pair[])
      .filter(({ Key, Value }) => Value !== null || !Key.endsWith('/'))
      .map(entryOf)
  }

  /** @returns undefined if a check has failed, and so nothing was done. */
  async function transaction(operations: readonly Operation[], { signal, sent }: Call): Promise<Pair | undefined> {
    const body = JSON.stringify(operations.map((operation) => ({ KV: operation })))
    const headers = { 'content-type': 'application/json' }
    sent()
    const asked = { url: at('txn'), method: 'PUT', headers, body, signal, limitMs: timeoutMs }
    const answer = await ask(peer, asked, maxBytes)
    if (answer.status === 409) {
      const text = answer.body.toString()
      if (/permission denied|acl/i.test(text))
        throw new WriteError('denied', `${name}: may not be written with this token`)
      return undefined
    }
    if (answer.status !== 200) throw refused(name, answer, saidIn(answer))
    const { Results } = Object(jsonIn(answer)) as { Results?: { KV: Pair }[] | null }
    return Results?.at(-1)?.KV ?? { Key: '', Value: null, ModifyIndex: 0 }
  }

  return {
    name,
    lacks: {},
    read: async (key, signal) => {
      check(key)
      return (await call(signal, (current) => entries(key, false, current)))[0]
    },
    async *list(prefix, signal) {
      if (prefix !== '') check(prefix)
      yield* await call(signal, (current) => entries(prefix, true, current))
    },
    write: async (key, value, expected, signal) => {
      check(key)
      const Value = Buffer.from(value).toString('base64')
      const set: Operation =
        expected === 'any'
          ? { Verb: 'set', Key: key, Value }
          : { Verb: 'cas', Key: key, Value, Index: indexOf(expected) }
      const done = await call(signal, (current) => transaction([set], current))
      return done ? { kind: 'written', revision: String(done.ModifyIndex) } : { kind: 'conflict' }
    },
    remove: async (key, expected, signal) => {
      check(key)
      if (expected === 'absent') {
        const there = await call(signal, (current) => entries(key, false, current))
        return { kind: there.length > 0 ? 'conflict' : 'absent' }
      }
      // Both fail where the key is not there, which a removal by itself does not.
      const first: Operation =
        expected === 'any' ? { Verb: 'get', Key: key } : { Verb: 'check-index', Key: key, Index: indexOf(expected) }
      const done = await call(signal, (current) => transaction([first, { Verb: 'delete', Key: key }], current))
      return { kind: done ? 'removed' : expected === 'any' ? 'absent' : 'conflict' }
    },
    async close() {
      peer.agent.destroy()
    },
  }
}

interface Pair {
  readonly Key: string
  readonly Value: string | null
  readonly ModifyIndex: number
}

function entryOf({ Key, Value, ModifyIndex }: Pair): StoredEntry {
  return { key: Key, value: Buffer.from(Value ?? '', 'base64'), revision: String(ModifyIndex) }
}

/** 0 is a key that is not there. */
function indexOf(expected: Exclude<Expected, 'any'>): number {
  if (expected === 'absent') return 0
  return /^[1-9]\d{0,14}$/.test(expected.revision) ? Number(expected.revision) : Number.MAX_SAFE_INTEGER
}
