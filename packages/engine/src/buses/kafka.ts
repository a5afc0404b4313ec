/**
 * A bus over Kafka. Whoever listens is in no group: each process reads all partitions of its topic by itself, from what
 * is newest when it begins, so that nothing is rebalanced and nothing is committed. What is said while it is away is lost.
 */
import type { BaseOptions, Consumer } from '@platformatic/kafka'
import { nodeTls, secretText, type TlsOptions, type Token } from '../credentials.ts'
import { BusError, busOver, busUrl, checkedPrefix, checkedTimeoutMs, defaultPrefix, imported } from './bus.ts'
import type { Bus, BusConnection } from './bus.ts'

export interface KafkaBusOptions {
  /** `kafka://host:9092`, one or more of the cluster. */
  readonly brokers: string | readonly string[]
  readonly user?: string
  /** A function is asked at each connection. */
  readonly password?: Token
  /** How the password is shown, default `SCRAM-SHA-512`. */
  readonly mechanism?: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512'
  /** Given, the brokers must be ones with TLS. */
  readonly tls?: TlsOptions
  /** Before each topic, default `midflight`. */
  readonly prefix?: string
  /** Larger messages are not sent, default 1,000,000; no more than the topic's `max.message.bytes`, less 1 KB. */
  readonly maxBytes?: number
  /** How long a connection and each message may take, milliseconds, default 10,000. */
  readonly timeoutMs?: number
}

/** How long a broker holds a request back while there is nothing: a fleet of thousands is to cost it next to nothing. */
const maxFetchMs = 5_000
/** Of Kafka, for the name of a topic. */
const maxTopicLength = 249
const controlBatch = 1 << 5

/** @throws TypeError, RangeError at the call, if an option cannot be meant */
export function kafkaBus(options: KafkaBusOptions): Bus {
  const brokers = typeof options.brokers === 'string' ? [options.brokers] : options.brokers
  const urls = brokers.map((broker) => busUrl('kafkaBus()', broker, ['kafka']))
  const [first] = urls
  if (first === undefined) throw new TypeError('kafkaBus(): brokers is empty; want at least one')
  const prefix = checkedPrefix('kafkaBus()', options.prefix ?? defaultPrefix)
  const timeoutMs = checkedTimeoutMs('kafkaBus()', options.timeoutMs ?? 10_000)
  return busOver({
    name: `kafka://${first.host}`,
    timeoutMs,
    connect: (signal) => connected(options, urls, { prefix, timeoutMs }, signal),
  })
}

interface Place {
  readonly prefix: string
  readonly timeoutMs: number
}

async function connected(
  options: KafkaBusOptions,
  urls: readonly URL[],
  { prefix, timeoutMs }: Place,
  signal: AbortSignal,
): Promise<BusConnection> {
  const library = await imported('@platformatic/kafka', () => import('@platformatic/kafka'))
  const settings = await settingsOf(options, urls, timeoutMs)
  const { maxBytes = 1_000_000 } = options
  const waitMs = Math.min(maxFetchMs, Math.floor(timeoutMs / 2))
  const producer = new library.Producer({ ...settings, acks: -1 })
  const reading = new Map<string, { readonly consumer: Consumer; readonly stopped: AbortController }>()
  let over: (why: unknown) => void = () => {}
  const ended = new Promise<unknown>((resolve) => (over = resolve))
  let ending: Promise<void> | undefined
  const leave = async (name: string) => {
    const one = reading.get(name)
    reading.delete(name)
    one?.stopped.abort()
    if (one) await closed(one.consumer)
  }
  const end = () =>
    (ending ??= (async () => {
      await Promise.all([...[...reading.keys()].map(leave), closed(producer)])
      over(undefined)
    })())
  const onAbort = () => void end()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await producer.metadata({ topics: [] })
  } catch (error) {
    await end()
    throw plain(error)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
  return {
    maxBytes,
    async publish(topic, bytes) {
      const name = named(prefix, topic)
      // One key, so one partition: what was said first is heard first.
      const messages = [{ topic: name, key: Buffer.from(name), value: Buffer.from(bytes) }]
      await producer.send({ messages }).catch((error: unknown) => {
        throw plain(error)
      })
    },
    async subscribe(topic, message) {
      const name = named(prefix, topic)
      const consumer: Consumer = new library.Consumer({ ...settings, groupId: 'none' })
      const stopped = new AbortController()
      reading.set(name, { consumer, stopped })
      try {
        const from = await placesOf(consumer, name)
        for (const one of from) {
          follow(consumer, one, { maxBytes, waitMs }, stopped.signal, message).catch((error: unknown) => {
            if (!stopped.signal.aborted) over(plain(error))
          })
        }
      } catch (error) {
        await leave(name)
        throw plain(error)
      }
    },
    unsubscribe: (topic) => leave(named(prefix, topic)),
    ended,
    end,
  }
}

/** What it was doing fails, and nobody waits for it. */
async function closed(client: { close(force: boolean): Promise<void> }): Promise<void> {
  await client.close(true).catch(() => {})
}

async function settingsOf(options: KafkaBusOptions, urls: readonly URL[], timeoutMs: number): Promise<BaseOptions> {
  const { user, mechanism = 'SCRAM-SHA-512', tls } = options
  const password = await secretText(options.password)
  return {
    clientId: 'midflight',
    bootstrapBrokers: urls.map((url) => ({
      host: url.hostname.replace(/^\[|\]$/g, ''),
      port: Number(url.port || 9092),
    })),
    // The pauses between tries are ours.
    retries: 0,
    timeout: timeoutMs,
    connectTimeout: timeoutMs,
    requestTimeout: timeoutMs,
    // Where the broker allows it.
    autocreateTopics: true,
    ...(user !== undefined && { sasl: { mechanism, username: user, password: password ?? '' } }),
    ...(tls && { tls: nodeTls(tls) }),
  }
}

/** Where to begin at one of the brokers, for all partitions of a topic that it leads. */
interface From {
  readonly node: number
  readonly topicId: string
  readonly offsets: Map<number, bigint>
}

async function placesOf(consumer: Consumer, name: string): Promise<readonly From[]> {
  const { topics } = await consumer.metadata({ topics: [name], forceUpdate: true })
  const found = topics.get(name)
  const newest = (await consumer.listOffsets({ topics: [name] })).get(name)
  if (!found || !newest || newest.length === 0) throw new BusError(`there is no topic ${name}`)
  const byNode = new Map<number, From>()
  for (const [partition, { leader }] of found.partitions.entries()) {
    const from = byNode.get(leader) ?? { node: leader, topicId: found.id, offsets: new Map() }
    byNode.set(leader, from)
    from.offsets.set(partition, newest[partition] ?? 0n)
  }
  return [...byNode.values()]
}

async function follow(
  consumer: Consumer,
  { node, topicId, offsets }: From,
  { maxBytes, waitMs }: { readonly maxBytes: number; readonly waitMs: number },
  stop: AbortSignal,
  message: (bytes: Uint8Array) => void,
): Promise<void> {
  // Larger than any message that this bus sends; a broker gives the first one whole in any case.
  const partitionMaxBytes = maxBytes + 65_536
  while (!stop.aborted) {
    const partitions = [...offsets].map(([partition, fetchOffset]) => ({
      ...{ partition, fetchOffset, partitionMaxBytes },
      ...{ currentLeaderEpoch: -1, lastFetchedEpoch: -1 },
    }))
    const { responses } = await consumer.fetch({
      node,
      topics: [{ topicId, partitions }],
      minBytes: 1,
      maxBytes: partitionMaxBytes,
      maxWaitTime: waitMs,
      isolationLevel: 0,
    })
    for (const { partitionIndex, records = [] } of responses.flatMap((response) => response.partitions)) {
      for (const batch of records) {
        for (const { offsetDelta, value } of batch.records) {
          const offset = batch.firstOffset + BigInt(offsetDelta)
          // A batch may begin before what was asked for.
          if (offset < (offsets.get(partitionIndex) ?? 0n)) continue
          offsets.set(partitionIndex, offset + 1n)
          if (stop.aborted) return
          if (value && (batch.attributes & controlBatch) === 0) message(value)
        }
        const next = batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n
        if (next > (offsets.get(partitionIndex) ?? 0n)) offsets.set(partitionIndex, next)
      }
    }
  }
}

function named(prefix: string, topic: string): string {
  const name = `${prefix}.${topic}`
  if (name.length <= maxTopicLength) return name
  throw new BusError(`the topic ${name} has ${name.length} characters; Kafka takes ${maxTopicLength}`)
}

/** The innermost reason: the library wraps it in "failed 1 times". Without the error itself, which holds the request. */
function plain(error: unknown): Error {
  let found = error
  for (let depth = 0; depth < 8; depth++) {
    const inner: unknown = found instanceof AggregateError ? found.errors[0] : (found as Error | undefined)?.cause
    if (!(inner instanceof Error)) break
    found = inner
  }
  const outer = error instanceof Error ? error.message : String(error)
  const inner = found instanceof Error ? found.message : ''
  return new BusError(inner && inner !== outer ? `${outer} ${inner}` : outer)
}
