/**
 * Writes to a compacted topic of Kafka: a record for each key, a tombstone for what is removed. Kafka writes nothing on
 * a condition, so what somebody else writes at the same moment is not noticed. It needs the peer `@platformatic/kafka`.
 * Reading one key takes reading the topic.
 */
import { Buffer } from 'node:buffer'
import { Cluster } from '../sources/kafka/cluster.ts'
import { serverOf, type KafkaConnection } from '../sources/kafka/server.ts'
import { TopicLog, type Entry, type Layout } from '../sources/kafka/topic-log.ts'
import { FollowError, type Place } from '../sources/watching.ts'
import { calling, type Call } from './calling.ts'
import { WriteError, type Expected, type Stored, type Writer } from './writer.ts'

export type { KafkaConnection } from '../sources/kafka/server.ts'

/** Of all values that are listed. */
const mostBytes = 256 * 1024 * 1024

const noCompare = 'Kafka has no compare-and-set: what somebody else writes at the same moment is not noticed'

/** A revision is a partition and an offset. @throws TypeError, RangeError at the call, if an option cannot be meant. */
export function kafkaWriter(options: KafkaConnection): Writer {
  const { topic } = options
  const server = serverOf('kafkaWriter()', options)
  const { name } = server
  const closing = new AbortController()

  const call = <T>(signal: AbortSignal, work: (cluster: Cluster, layout: Layout, call: Call) => Promise<T>) => {
    if (closing.signal.aborted) return Promise.reject(new WriteError('refused', `${name}: the writer is closed`))
    // To connect, to ask where the topic is, and to ask.
    return calling(name, server.timeoutMs * 2, AbortSignal.any([signal, closing.signal]), async (made) => {
      const cluster = await Cluster.open(server)
      const end = () => cluster.end()
      made.signal.addEventListener('abort', end)
      if (made.signal.aborted) end()
      try {
        return await work(cluster, await cluster.layout(topic), made)
      } catch (error) {
        throw refusal(name, error) ?? error
      } finally {
        made.signal.removeEventListener('abort', end)
        end()
      }
    })
  }

  const blindly = (expected: Expected) => {
    if (expected !== 'any') throw new WriteError('refused', `${name}: ${noCompare}`)
  }

  return {
    name,
    lacks: { compare: noCompare },
    read: (key, signal) =>
      call(signal, async (cluster, layout) => {
        const [entry] = await entriesOf(cluster, topic, layout, { key })
        return entry && storedOf(entry)
      }),
    async *list(prefix, signal) {
      const entries = await call(signal, (cluster, layout) => {
        return entriesOf(cluster, topic, layout, { prefix, separator: '/' })
      })
      for (const entry of entries) yield { key: entry.key, ...storedOf(entry) }
    },
    write: (key, value, expected, signal) =>
      call(signal, async (cluster, layout, { sent }) => {
        blindly(expected)
        const at = await cluster.produce(topic, layout, Buffer.from(key), value, sent)
        return { kind: 'written', revision: revisionOf(at) }
      }),
    remove: (key, expected, signal) =>
      call(signal, async (cluster, layout, { sent }) => {
        blindly(expected)
        const [entry] = await entriesOf(cluster, topic, layout, { key })
        if (!entry) return { kind: 'absent' }
        await cluster.produce(topic, layout, Buffer.from(key), undefined, sent)
        return { kind: 'removed' }
      }),
    async close() {
      closing.abort()
    },
  }
}

/** Up to where the topic ends now. */
async function entriesOf(cluster: Cluster, topic: string, layout: Layout, place: Place): Promise<readonly Entry[]> {
  const log = new TopicLog(place, mostBytes)
  log.begin(layout)
  let now = layout
  while (!log.isAtEnd) {
    const unread = log.positions.filter(({ next, end }) => next < end)
    const [first] = unread
    if (!first) break
    const { partitions, isAll } = await cluster.fetch(
      now.id,
      first.leader,
      unread.filter(({ leader }) => leader === first.leader),
    )
    if (log.take(partitions, isAll)) continue
    now = await cluster.layout(topic)
    log.begin(now)
  }
  return [...log.entries()]
}

function storedOf(entry: Entry): Stored {
  return { value: entry.value, revision: revisionOf(entry) }
}

function revisionOf({ partition, offset }: { readonly partition: number; readonly offset: bigint }): string {
  return `${partition}:${offset}`
}

/** What a broker says of a record that it does not take. */
function refusal(name: string, error: unknown): WriteError | undefined {
  const isRefused =
    error instanceof FollowError &&
    /\((MESSAGE_TOO_LARGE|RECORD_LIST_TOO_LARGE|INVALID_RECORD|POLICY_VIOLATION|INVALID_TOPIC_EXCEPTION)\)/.test(
      error.message,
    )
  return isRefused ? new WriteError('refused', `${name}: ${error.message}`) : undefined
}
