/** Topics on a real broker for tests of the source: written to, compacted, cut short. */
import { Buffer } from 'node:buffer'
import { setTimeout as sleep } from 'node:timers/promises'
import { Admin, Producer, type KafkaRecord } from '@platformatic/kafka'
import { Cluster } from '../src/sources/kafka/cluster.ts'
import { serverOf } from '../src/sources/kafka/server.ts'
import type { Broker } from './kafka-broker.ts'

/** As much as compaction can do: soon, and tombstones too. */
const soonCompacted = { 'delete.retention.ms': '0', 'min.cleanable.dirty.ratio': '0', 'segment.ms': '50' }

/** Whoever writes and changes topics on one broker. Goes on when the broker was away. */
export class Hand {
  readonly #broker: Broker
  readonly admin: Admin
  readonly #producer: Producer
  #topics = 0

  constructor(broker: Broker, retries = 200) {
    this.#broker = broker
    const options = {
      ...{ clientId: 'test', bootstrapBrokers: [broker.bootstrap] },
      ...{ retries, retryDelay: 50, metadataMaxAge: 100 },
    }
    this.admin = new Admin(options)
    this.#producer = new Producer(options)
  }

  /** A new one, compacted, with the given settings besides. */
  async topic(settings: Readonly<Record<string, string>> = {}, partitions = 1): Promise<string> {
    const name = `config-${++this.#topics}`
    await this.create(name, settings, partitions)
    return name
  }

  async create(name: string, settings: Readonly<Record<string, string>> = {}, partitions = 1): Promise<void> {
    const configs = Object.entries({ 'cleanup.policy': 'compact', ...settings }).map(([key, value]) => {
      return { name: key, value }
    })
    await this.admin.createTopics({ topics: [name], partitions, replicas: 1, configs })
    // A broker knows a little later that it leads them.
    for (let tries = 1; ; tries++) {
      const cluster = await this.#cluster(name)
      try {
        await cluster.layout(name)
        return
      } catch (error) {
        if (tries === 200) throw error
        await sleep(50)
      } finally {
        cluster.end()
      }
    }
  }

  #cluster(topic: string): Promise<Cluster> {
    return Cluster.open(serverOf('Hand', { brokers: this.#broker.bootstrap, topic }))
  }

  /** @param value undefined: a tombstone */
  async put(
    topic: string,
    key: string | Uint8Array | undefined,
    value?: string | Uint8Array,
    partition = 0,
  ): Promise<void> {
    const bytes = value === undefined ? {} : { value: Buffer.from(value) }
    await this.#producer.send({
      acks: -1,
      messages: [{ topic, partition, ...(key !== undefined && { key: Buffer.from(key) }), ...bytes }],
    })
  }

  /** All that is there goes, without tombstones. The topic's policy must have `delete`, too. */
  async deleteAll(topic: string): Promise<void> {
    const partitions = [{ partitionIndex: 0, timestamp: -1n }]
    const [found] = await this.admin.listOffsets({ topics: [{ name: topic, partitions }] })
    await this.deleteBefore(topic, found?.partitions[0]?.offset ?? 0n)
  }

  async deleteBefore(topic: string, offset: bigint): Promise<void> {
    await this.admin.deleteRecords({ topics: [{ name: topic, partitions: [{ partition: 0, offset }] }] })
  }

  /** What is there, by a look of its own. */
  async get(topic: string, key: string): Promise<Uint8Array | undefined> {
    const cluster = await this.#cluster(topic)
    try {
      const records = await recordsOf(cluster, topic)
      return records.findLast((record) => record.key?.toString() === key)?.value ?? undefined
    } finally {
      cluster.end()
    }
  }

  /** Until each key is there at most once, and no tombstone. Writes to a key of its own: the last record stays. */
  async compact(topic: string): Promise<void> {
    const configs = Object.entries(soonCompacted).map(([name, value]) => ({ name, value, configOperation: 0 as const }))
    await this.admin.incrementalAlterConfigs({ resources: [{ resourceType: 2, resourceName: topic, configs }] })
    const cluster = await this.#cluster(topic)
    try {
      for (let i = 0; !isCompact(await recordsOf(cluster, topic)); i++) {
        await this.put(topic, 'filler', String(i))
        // Compaction comes by itself; there is nothing to wait for but a look.
        await sleep(60)
      }
    } finally {
      cluster.end()
    }
  }

  async close(): Promise<void> {
    await this.#producer.close()
    await this.admin.close()
  }
}

/** Without what tests write to make segments end. */
async function recordsOf(cluster: Cluster, topic: string): Promise<readonly KafkaRecord[]> {
  const { id, partitions } = await cluster.layout(topic)
  const [partition] = partitions
  if (!partition) throw new Error(`${topic} has no partition`)
  const records: KafkaRecord[] = []
  for (let next = partition.start; next < partition.end;) {
    const fetched = await cluster.fetch(id, partition.leader, [{ ...partition, next }])
    for (const batch of fetched.partitions.flatMap((one) => one.records ?? [])) {
      records.push(...batch.records)
      next = batch.firstOffset + BigInt(batch.lastOffsetDelta) + 1n
    }
  }
  return records.filter(({ key }) => key?.toString() !== 'filler')
}

function isCompact(records: readonly KafkaRecord[]): boolean {
  const keys = records.map(({ key }) => key?.toString())
  return new Set(keys).size === keys.length && records.every(({ value }) => value !== null)
}
