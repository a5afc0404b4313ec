/**
 * Configuration from a key-value bucket of NATS JetStream: a consumer brings the last value of each key and goes on with
 * what changes. It begins anew after each loss, so that nothing depends on what the server still remembers.
 */
import type { JsMsg, PushConsumer } from '@nats-io/jetstream'
import type { NatsConnection } from '@nats-io/transport-node'
import { pause } from '../deadline.ts'
import { inRange } from '../range.ts'
import { connected, explained, isMarker, library } from './nats/client.ts'
import { checkBucket, serverOf, type NatsConnectionOptions } from './nats/server.ts'
import { FollowError, watching, type KeyChange, type News } from './watching.ts'
import type { Place, WatchingOptions, WatchingSource } from './watching.ts'

export type { NatsConnectionOptions } from './nats/server.ts'
export type { TlsOptions, Token } from '../credentials.ts'

/** With one of `key` and `prefix`. */
export interface NatsOptions extends NatsConnectionOptions, WatchingOptions {
  readonly bucket: string
  /** Its value is the document. */
  readonly key?: string
  /** The keys below it are the document's tree, parted at `separator`: `app.`, or empty for all. */
  readonly prefix?: string
  /** Default `.`. */
  readonly separator?: string
  /** How often all is read anew in any case, milliseconds, ±10 %, 100 to 86,400,000, default 300,000. */
  readonly pollMs?: number
}

/**
 * Reads and follows what is in the bucket at `key` or `prefix`. A key with a marker (DEL, PURGE) is a removal; nothing
 * at all is refused, and what is live stays live.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function nats(options: NatsOptions): WatchingSource {
  const { bucket, key, prefix, separator = '.', pollMs = 300_000 } = options
  const { maxBytes = 16 * 1024 * 1024 } = options
  const server = serverOf('nats()', options)
  const { servers, timeoutMs } = server
  checkBucket(bucket)
  const name = key ?? prefix
  if (name === undefined || (key !== undefined && prefix !== undefined)) {
    throw new TypeError('nats(): want one of key and prefix')
  }
  if (!/^([-/=\w]+(\.[-/=\w]+)*\.?)?$/.test(name) || key?.endsWith('.')) {
    throw new TypeError(
      `nats(): ${JSON.stringify(name)} is no key of NATS; want letters, digits and -/=_ parted by dots`,
    )
  }
  inRange('nats()', 'pollMs', pollMs, 100, 86_400_000)
  const subject = `$KV.${bucket}.${key ?? (name === '' || name.endsWith('.') ? `${name}>` : '>')}`
  const reading: Reading = {
    bucket,
    subject,
    prefix: prefix ?? '',
    domain: options.domain,
    pollMs,
    timeoutMs,
    maxBytes,
  }
  const place: Place = key === undefined ? { prefix: name, separator } : { key }
  /** Keys that were there when they were last told. */
  const known = new Set<string>()
  return watching(`nats:${servers[0]?.replace(/^\w+:\/\//, '')}/${bucket}`, place, options, {
    async *follow(signal) {
      const connection = await connected(server, signal)
      try {
        while (!signal.aborted) yield* fromTheStart(connection, reading, known, signal)
      } catch (error) {
        throw explained(error, server, bucket)
      } finally {
        await connection.close()
      }
    },
  })
}

interface Reading {
  readonly bucket: string
  readonly subject: string
  /** Of the keys to be told; the subject may hold others. */
  readonly prefix: string
  readonly domain: string | undefined
  readonly pollMs: number
  readonly timeoutMs: number
  readonly maxBytes: number
}

/** All, and then what changes, until it is time to read all anew. */
async function* fromTheStart(
  connection: NatsConnection,
  reading: Reading,
  known: Set<string>,
  signal: AbortSignal,
): AsyncGenerator<News> {
  const { bucket, subject, domain, pollMs, timeoutMs, maxBytes } = reading
  const { jetstream } = await library()
  const client = jetstream(connection, { timeout: timeoutMs, ...(domain !== undefined && { domain }) })
  const consumer = await client.consumers.getPushConsumer(`KV_${bucket}`, {
    deliver_policy: 'last_per_subject',
    filter_subjects: subject,
  })
  const inbox = new Inbox(connection, signal)
  const waitMs = pollMs * (0.9 + 0.2 * Math.random())
  const again = setTimeout(() => inbox.end(), waitMs)
  try {
    let { num_pending: pending } = await consumer.info(true)
    const messages = await consumer.consume({ callback: (message) => inbox.push(message) })
    void inbox.listen(messages.status())
    void messages.closed().then(() => inbox.fail(new FollowError('the server has ended the consumer')))
    const last = new Map<string, Uint8Array | undefined>()
    let sizeBytes = 0
    while (pending > 0) {
      const some = await inbox.take(timeoutMs)
      if (some === undefined) throw new FollowError(`gave not all keys, and then nothing for ${timeoutMs} ms`)
      if (some.length === 0) return
      for (const message of some) {
        const { key, value } = changeOf(message, reading)
        last.set(key, value)
        sizeBytes += value && isBelow(key, reading) ? value.length : 0
        // Those that come are not kept: a bucket may be larger than memory.
        if (sizeBytes > maxBytes) {
          const message = `${key} and the keys before it are more than ${maxBytes} bytes; want less`
          throw new FollowError(message, { code: 'limit', transient: false })
        }
        pending = message.info.pending
      }
    }
    yield whole(last, reading, known)
    for (;;) {
      const some = await inbox.take()
      if (!some || some.length === 0) return
      const changes = some.map((message) => changeOf(message, reading)).filter(({ key }) => isBelow(key, reading))
      for (const { key, value } of changes) {
        if (value) known.add(key)
        else known.delete(key)
      }
      if (changes.length > 0) yield { kind: 'changes', changes }
    }
  } finally {
    clearTimeout(again)
    inbox.end()
    await forget(consumer, connection)
  }
}

function whole(last: ReadonlyMap<string, Uint8Array | undefined>, reading: Reading, known: Set<string>): News {
  const entries = new Map<string, Uint8Array>()
  for (const [key, value] of last) if (value && isBelow(key, reading)) entries.set(key, value)
  // A marker is a removal only of what was there: alone, it says nothing about what is live.
  const emptied = known.size > 0 && entries.size === 0 && [...known].every((key) => last.has(key))
  if (entries.size > 0 || emptied) known.clear()
  for (const key of entries.keys()) known.add(key)
  return { kind: 'whole', entries, emptied }
}

/** @returns without a value where it is a marker. */
function changeOf(message: JsMsg, { bucket }: Reading): KeyChange {
  const key = message.subject.slice(`$KV.${bucket}.`.length)
  return { key, value: isMarker(message.headers) ? undefined : message.data }
}

function isBelow(key: string, { prefix }: Reading): boolean {
  return key.startsWith(prefix)
}

/** What has come and was not taken yet. */
class Inbox {
  #messages: JsMsg[] = []
  #isOver = false
  #failure: unknown
  #wake: () => void = () => {}
  readonly #signal: AbortSignal
  readonly #onAbort = () => this.end()

  constructor(connection: NatsConnection, signal: AbortSignal) {
    this.#signal = signal
    signal.addEventListener('abort', this.#onAbort)
    void connection.closed().then((error) => {
      this.fail(error ?? new FollowError('the server has ended the connection'))
    })
  }

  push(message: JsMsg): void {
    this.#messages.push(message)
    this.#wake()
  }

  end(): void {
    this.#isOver = true
    this.#signal.removeEventListener('abort', this.#onAbort)
    this.#wake()
  }

  fail(error: unknown): void {
    if (this.#isOver) return
    this.#failure = error
    this.end()
  }

  /** The library goes on after a gap by what it saw last; where the server lost something, that is not enough. */
  async listen(status: AsyncIterable<{ readonly type: string }>): Promise<void> {
    for await (const { type } of status) {
      if (!['heartbeat', 'flow_control', 'debug'].includes(type)) {
        this.fail(new FollowError(`the consumer was interrupted: ${type.replaceAll('_', ' ')}`))
      }
    }
  }

  /** @returns at least one message; none when it is over; undefined if there is none in time. */
  async take(limitMs?: number): Promise<readonly JsMsg[] | undefined> {
    if (this.#messages.length === 0 && !this.#isOver) {
      const over = new AbortController()
      const woken = new Promise<void>((resolve) => (this.#wake = resolve))
      await (limitMs === undefined ? woken : Promise.race([woken, pause(limitMs, over.signal)]))
      over.abort()
    }
    if (this.#failure !== undefined) throw this.#failure
    if (this.#isOver) return []
    const messages = this.#messages
    this.#messages = []
    return messages.length === 0 ? undefined : messages
  }
}

const forgetMs = 250

/** Else the server keeps it for five minutes, as where the connection is gone or it may not be deleted. */
async function forget(consumer: PushConsumer, connection: NatsConnection): Promise<void> {
  if (connection.isClosed()) return
  const over = new AbortController()
  const asked = consumer.delete().catch(() => false)
  await Promise.race([asked, pause(forgetMs, over.signal)])
  over.abort()
}
