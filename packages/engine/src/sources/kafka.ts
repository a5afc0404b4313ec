/**
 * Configuration from a topic of Kafka that is compacted: the last value of each key, read from the beginning of all its
 * partitions to their end, and then what comes. Every process reads all of it by itself, in no group.
 */
import { nextTurn, pause } from '../deadline.ts'
import { inRange } from '../range.ts'
import { Cluster, type Fetched } from './kafka/cluster.ts'
import { serverOf, type KafkaConnection } from './kafka/server.ts'
import { TopicLog, type Layout, type Position } from './kafka/topic-log.ts'
import { watching, type News, type Place, type WatchingOptions, type WatchingSource } from './watching.ts'

export type { KafkaConnection } from './kafka/server.ts'
export type { TlsOptions, Token } from '../credentials.ts'

/** With one of `key` and `prefix`. */
export interface KafkaOptions extends WatchingOptions, KafkaConnection {
  /** Its value is the document. */
  readonly key?: string
  /** The keys below it are the document's tree, parted at `separator`: `/app/`, or empty for all. */
  readonly prefix?: string
  /** Default `/`. */
  readonly separator?: string
  /** How often it looks for partitions that were added, milliseconds, ±10 %, 100 to 86,400,000, default 60,000. */
  readonly lookMs?: number
}

/**
 * Reads and follows what the topic holds at `key` or `prefix`. A tombstone is a removal; nothing at all is refused, and
 * what is live stays live.
 * @throws TypeError, RangeError at the call, if an option cannot be meant
 */
export function kafka(options: KafkaOptions): WatchingSource {
  const { topic, key, prefix, separator = '/', lookMs = 60_000, maxBytes = 16 * 1024 * 1024 } = options
  const server = serverOf('kafka()', options)
  const name = key ?? prefix
  if (name === undefined || (key !== undefined && prefix !== undefined)) {
    throw new TypeError('kafka(): want one of key and prefix')
  }
  inRange('kafka()', 'lookMs', lookMs, 100, 86_400_000)
  const place: Place = key === undefined ? { prefix: name, separator } : { key }
  const log = new TopicLog(place, maxBytes)
  return watching(server.name, place, options, {
    async *follow(signal, warn) {
      const cluster = await Cluster.open(server)
      const end = () => cluster.end()
      signal.addEventListener('abort', end)
      if (signal.aborted) end()
      try {
        while (!signal.aborted) yield* reading(cluster, topic, log, lookMs, signal, warn)
      } finally {
        signal.removeEventListener('abort', end)
        end()
      }
    },
  })
}

/** All, and then what changes, until the partitions are others or all has to be read anew. */
async function* reading(
  cluster: Cluster,
  topic: string,
  log: TopicLog,
  lookMs: number,
  signal: AbortSignal,
  warn: (message: string) => void,
): AsyncGenerator<News> {
  const layout = await cluster.layout(topic)
  log.begin(layout)
  const strays = log.strays
  let looksAt = nextLook(lookMs)
  let isTold = false
  const asked = new Map<number, Promise<Fetched>>()
  for (;;) {
    if (!isTold && log.isAtEnd) {
      isTold = true
      if (log.strays > strays) warn(`holds ${log.strays - strays} records whose keys are no text; they are passed over`)
      yield log.whole()
    }
    for (const [leader, positions] of byLeader(log.positions)) {
      if (!asked.has(leader)) asked.set(leader, ask(cluster, layout, leader, positions))
    }
    const { leader, partitions, isAll, throttleMs } = await Promise.race(asked.values())
    asked.delete(leader)
    const changes = log.take(partitions, isAll)
    if (changes === undefined) return
    if (isTold && changes.length > 0) {
      yield { kind: 'changes', changes }
      // What is new is applied first: to ask again takes as long.
      await nextTurn()
    }
    if (throttleMs > 0) await pause(throttleMs, signal)
    if (performance.now() < looksAt) continue
    if (await cluster.hasChanged(topic, layout)) return
    looksAt = nextLook(lookMs)
  }
}

function ask(cluster: Cluster, layout: Layout, leader: number, positions: readonly Position[]): Promise<Fetched> {
  const asking = cluster.fetch(layout.id, leader, positions)
  // Where another one fails first, nobody waits for it any more.
  asking.catch(() => {})
  return asking
}

function byLeader(positions: readonly Position[]): ReadonlyMap<number, readonly Position[]> {
  const leaders = new Set(positions.map(({ leader }) => leader))
  return new Map([...leaders].map((leader) => [leader, positions.filter((one) => one.leader === leader)]))
}

function nextLook(lookMs: number): number {
  return performance.now() + lookMs * (0.9 + 0.2 * Math.random())
}
