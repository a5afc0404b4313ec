/**
 * A key-value store that answers as Consul's public documentation says (HTTP API: KV store, blocking queries, ACLs):
 * what the tests of `consul()` talk to. Values are kept in memory.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { WebServer } from './source-http-rig.ts'

interface Entry {
  readonly value: Buffer
  readonly createIndex: number
  readonly modifyIndex: number
}

type Transaction = readonly {
  readonly KV: { readonly Verb: string; readonly Key: string; readonly Value?: string; readonly Index?: number }
}[]

export class ConsulPeer {
  readonly web: WebServer
  /** What a client has to bring, where ACLs are on. */
  token: string | undefined
  /** Keys that its token may not read: they are left out. `told`: as newer versions do, with a header. */
  hidden: { readonly keys: RegExp; readonly told: boolean } | undefined
  /** Queries are held for so long at most, whatever they ask for. */
  mostWaitMs = Infinity
  /** Was just started, and has not read its log: only consistent reads see what is there. */
  isBehind = false
  /** Answers with index 0, as some versions do. */
  zeroIndex = false
  /** Raised with each write; starts over with `restore`. */
  #index = 10
  #entries = new Map<string, Entry>()
  /** Of removed keys. */
  #tombstones = new Map<string, number>()
  readonly #waiting = new Set<() => void>()

  private constructor(web: WebServer) {
    this.web = web
    web.answering = (request, response) => this.#answer(request, response)
  }

  static async listen(): Promise<ConsulPeer> {
    return new ConsulPeer(await WebServer.listen())
  }

  get url(): string {
    return this.web.proxy.url
  }

  put(key: string, value: Uint8Array): void {
    const before = this.#entries.get(key)
    const index = ++this.#index
    const entry = { value: Buffer.from(value), createIndex: before?.createIndex ?? index, modifyIndex: index }
    this.#entries.set(key, entry)
    this.#wake()
  }

  remove(key: string): void {
    if (!this.#entries.delete(key)) return
    this.#tombstones.set(key, ++this.#index)
    this.#wake()
  }

  /** A snapshot of an older time is restored: indexes start over (F42). `empty`: nothing was in it. */
  restore({ empty = false } = {}): void {
    this.#index = 5
    this.#tombstones.clear()
    const entries = empty ? [] : [...this.#entries]
    this.#entries = new Map(entries.map(([key, { value }]) => [key, { value, createIndex: 5, modifyIndex: 5 }]))
    this.#wake()
  }

  #wake(): void {
    for (const wake of this.#waiting) wake()
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://peer')
    const isTransaction = url.pathname === '/v1/txn' && request.method === 'PUT'
    if (!isTransaction && !url.pathname.startsWith('/v1/kv/')) {
      response.writeHead(404).end()
      return
    }
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      response.writeHead(403).end('Permission denied')
      return
    }
    if (isTransaction) {
      const chunks: Buffer[] = []
      request.on('data', (chunk: Buffer) => chunks.push(chunk))
      request.on('end', () => this.#transact(response, JSON.parse(String(Buffer.concat(chunks))) as Transaction))
      return
    }
    const key = decodeURIComponent(url.pathname.slice('/v1/kv/'.length))
    const recurse = url.searchParams.has('recurse')
    const after = Number(url.searchParams.get('index') ?? 0)
    const [, seconds] = /^(\d+)s$/.exec(url.searchParams.get('wait') ?? '300s') ?? []
    const isSure = url.searchParams.has('consistent')
    const give = () => {
      if (!this.isBehind || isSure) this.#give(response, key, recurse)
      else response.writeHead(404, { 'x-consul-index': '1' }).end()
    }
    if (after === 0 || this.#indexOf(key, recurse) !== after) {
      give()
      return
    }
    const waitMs = Math.min(Number(seconds) * 1000, this.mostWaitMs)
    const end = () => {
      clearTimeout(timer)
      this.#waiting.delete(look)
    }
    const look = () => {
      if (this.#indexOf(key, recurse) === after) return
      end()
      give()
    }
    const timer = setTimeout(
      () => {
        end()
        give()
      },
      waitMs * (1 + Math.random() / 16),
    )
    this.#waiting.add(look)
    response.on('close', end)
  }

  /** All of it, or nothing. */
  #transact(response: ServerResponse, operations: Transaction): void {
    const failed = operations.flatMap(({ KV: { Verb, Key, Index } }, OpIndex) => {
      const at = this.#entries.get(Key)?.modifyIndex
      if ((Verb === 'get' || Verb === 'check-index') && at === undefined) {
        return [{ OpIndex, What: `key "${Key}" doesn't exist` }]
      }
      const isStale = (Verb === 'cas' && (at ?? 0) !== Index) || (Verb === 'check-index' && at !== Index)
      return isStale ? [{ OpIndex, What: `failed to set key "${Key}", index is stale` }] : []
    })
    const answer = (status: number, body: object) => {
      if (!response.destroyed)
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    if (failed.length > 0) return answer(409, { Results: null, Errors: failed })
    const results = operations.flatMap(({ KV: { Verb, Key, Value } }) => {
      if (Verb === 'set' || Verb === 'cas') this.put(Key, Buffer.from(Value ?? '', 'base64'))
      if (Verb === 'delete') this.remove(Key)
      const entry = this.#entries.get(Key)
      return entry
        ? [
            {
              KV: {
                LockIndex: 0,
                Key,
                Flags: 0,
                Value: null,
                CreateIndex: entry.createIndex,
                ModifyIndex: entry.modifyIndex,
              },
            },
          ]
        : []
    })
    answer(200, { Results: results, Errors: null })
  }

  get(key: string): Uint8Array | undefined {
    return this.#entries.get(key)?.value
  }

  /** Of the newest change or removal below the key, else of the store. */
  #indexOf(key: string, recurse: boolean): number {
    const isMeant = (one: string) => (recurse ? one.startsWith(key) : one === key)
    const indexes = [
      ...[...this.#entries].filter(([one]) => isMeant(one)).map(([, { modifyIndex }]) => modifyIndex),
      ...[...this.#tombstones].filter(([one]) => isMeant(one)).map(([, index]) => index),
    ]
    return indexes.length > 0 ? Math.max(...indexes) : this.#index
  }

  #give(response: ServerResponse, key: string, recurse: boolean): void {
    if (response.destroyed) return
    const isMeant = (one: string) => (recurse ? one.startsWith(key) : one === key)
    const all = [...this.#entries].filter(([one]) => isMeant(one))
    const shown = all.filter(([one]) => !this.hidden?.keys.test(one))
    const headers = {
      'content-type': 'application/json',
      'x-consul-index': String(this.zeroIndex ? 0 : this.#indexOf(key, recurse)),
      'x-consul-knownleader': 'true',
      'x-consul-lastcontact': '0',
      ...(this.hidden?.told && shown.length < all.length && { 'x-consul-results-filtered-by-acls': 'true' }),
    }
    if (shown.length === 0) {
      response.writeHead(404, headers).end()
      return
    }
    const list = shown.map(([Key, { value, createIndex, modifyIndex }]) => ({
      LockIndex: 0,
      Key,
      Flags: 0,
      Value: value.length === 0 ? null : value.toString('base64'),
      CreateIndex: createIndex,
      ModifyIndex: modifyIndex,
    }))
    response.writeHead(200, headers).end(JSON.stringify(list))
  }
}
