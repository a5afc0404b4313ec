/**
 * Connections to the brokers of a cluster and the three requests that reading a topic takes: where its partitions are,
 * where they begin and end, and what is in them. In no group: nothing is assigned, rebalanced or committed. The
 * library's own consumer is not used; it passes over what has to be seen here, and tries again by itself.
 */
import { Buffer } from 'node:buffer'
import type { Connection, fetchV13 } from '@platformatic/kafka'
import { FollowError } from '../watching.ts'
import { explained, library, Link, type Library } from './link.ts'
import { textOf, type Address, type Server } from './server.ts'
import type { Layout, Partition, Position } from './topic-log.ts'

type Described = Omit<Partition, 'start' | 'end'>

/** What a broker gave of the partitions that it leads. */
export interface Fetched {
  readonly leader: number
  readonly partitions: readonly fetchV13.FetchResponsePartition[]
  /** Nothing was left out: where nothing came, there is nothing. */
  readonly isAll: boolean
  /** How long it wants to be left alone. */
  readonly throttleMs: number
}

/** Of one partition, and of all in one answer. A record that is larger comes all the same. */
const partitionMaxBytes = 256 * 1024
const answerMaxBytes = 1024 * 1024

const committedOnly = 1
const allReplicas = -1
const earliest = -2n
const latest = -1n

export class Cluster {
  readonly #library: Library
  readonly #options: Server
  readonly #brokers = new Map<number, Address>()
  readonly #links = new Map<string, Link>()
  #isOver = false

  private constructor(library: Library, options: Server) {
    this.#library = library
    this.#options = options
  }

  static async open(options: Server): Promise<Cluster> {
    return new Cluster(await library(), options)
  }

  /** Where the partitions are, and how far they go now. */
  async layout(topic: string): Promise<Layout> {
    const { id, partitions } = await this.#described(topic)
    const leaders = [...new Set(partitions.map(({ leader }) => leader))]
    const [starts, ends] = await Promise.all(
      [earliest, latest].map(async (which) => {
        const offsets = leaders.map((leader) => this.#offsets(topic, leader, partitions, which))
        return new Map((await Promise.all(offsets)).flat())
      }),
    )
    return {
      id,
      partitions: partitions.map((one) => ({
        ...one,
        start: starts?.get(one.index) ?? 0n,
        end: ends?.get(one.index) ?? 0n,
      })),
    }
  }

  /** Whether partitions were added, or are led by others. */
  async hasChanged(topic: string, { id, partitions }: Layout): Promise<boolean> {
    const now = await this.#described(topic)
    const isThere = (one: Described) =>
      partitions.some(({ index, leader, leaderEpoch }) => {
        return index === one.index && leader === one.leader && leaderEpoch === one.leaderEpoch
      })
    return now.id !== id || now.partitions.length !== partitions.length || !now.partitions.every(isThere)
  }

  /** What is at the positions, which `leader` leads; waits for it up to half the time of a request. */
  async fetch(topicId: string, leader: number, positions: readonly Position[]): Promise<Fetched> {
    const partitions = positions.map(({ index, leaderEpoch, next }) => ({
      ...{ partition: index, currentLeaderEpoch: leaderEpoch, fetchOffset: next },
      ...{ lastFetchedEpoch: -1, partitionMaxBytes },
    }))
    const waitMs = Math.ceil(this.#options.timeoutMs / 2)
    const { throttleTimeMs, responses } = await this.#asked(this.#brokers.get(leader), (connection) =>
      this.#fetched(connection, waitMs, [{ topicId, partitions }]),
    )
    const fetched = responses.flatMap((response) => response.partitions)
    const isAll = throttleTimeMs === 0 && fetched.every(({ records = [] }) => records.length === 0)
    return { leader, partitions: fetched, isAll, throttleMs: throttleTimeMs }
  }

  #fetched(connection: Connection, waitMs: number, topics: fetchV13.FetchRequestTopic[]) {
    const { async } = this.#library.fetchV13.api
    // Of no session: each request says where it is.
    const [sessionId, sessionEpoch] = [0, -1]
    return async(connection, waitMs, 1, answerMaxBytes, committedOnly, sessionId, sessionEpoch, topics, [], '')
  }

  /**
   * Writes one record to where other writers of Kafka put its key; without a value a tombstone. Resolves when all
   * replicas that keep up have it.
   * @param asked called right before it is sent
   * @returns its partition and offset
   */
  async produce(
    topic: string,
    { partitions }: Layout,
    key: Buffer,
    value: Uint8Array | undefined,
    asked: () => void,
  ): Promise<{ readonly partition: number; readonly offset: bigint }> {
    const { murmur2, produceV9 } = this.#library
    const partition = (murmur2(key) & 0x7fffffff) % partitions.length
    const leader = partitions.find(({ index }) => index === partition)?.leader
    // Its type has no tombstones.
    const record = { topic, partition, key, value: (value && Buffer.from(value)) as Buffer }
    const answer = await this.#asked(this.#brokers.get(leader ?? -1), (connection) => {
      asked()
      return produceV9.api.async(connection, allReplicas, this.#options.timeoutMs, [record])
    })
    const written = typeof answer === 'boolean' ? undefined : answer.responses[0]?.partitionResponses[0]
    if (!written) throw new FollowError('the broker did not say what it has written')
    return { partition, offset: written.baseOffset }
  }

  /** Ends all connections; what is being asked fails. */
  end(): void {
    this.#isOver = true
    for (const link of this.#links.values()) link.end()
    this.#links.clear()
  }

  async #described(topic: string): Promise<{ id: string; partitions: readonly Described[] }> {
    const { brokers, topics } = await this.#askedAny(async (connection) => {
      return this.#library.metadataV12.api.async(connection, [topic], false, false)
    })
    for (const { nodeId, host, port } of brokers) this.#brokers.set(nodeId, { host, port })
    const found = topics[0]
    if (!found || found.partitions.length === 0) throw new FollowError(`there is no topic ${topic}`)
    const partitions = found.partitions.map(({ partitionIndex, leaderId, leaderEpoch }) => {
      return { index: partitionIndex, leader: leaderId, leaderEpoch }
    })
    return { id: found.topicId, partitions }
  }

  async #offsets(topic: string, leader: number, all: readonly Described[], which: bigint): Promise<[number, bigint][]> {
    const partitions = all
      .filter((one) => one.leader === leader)
      .map(({ index, leaderEpoch }) => ({ partitionIndex: index, currentLeaderEpoch: leaderEpoch, timestamp: which }))
    const { topics } = await this.#asked(this.#brokers.get(leader), (connection) =>
      this.#library.listOffsetsV7.api.async(connection, -1, committedOnly, [{ name: topic, partitions }]),
    )
    return topics.flatMap((one) => one.partitions).map(({ partitionIndex, offset }) => [partitionIndex, offset])
  }

  /** By a broker that is connected, or else by the first that can be. */
  async #askedAny<T>(request: (connection: Connection) => Promise<T>): Promise<T> {
    const open = [...this.#brokers.values()].find((address) => this.#links.get(textOf(address))?.isOpen)
    if (open) return this.#asked(open, request)
    const reasons: FollowError[] = []
    // Not always the same one first: many processes begin at once.
    for (const address of [...this.#options.brokers].sort(() => Math.random() - 0.5)) {
      try {
        return await this.#asked(address, request)
      } catch (error) {
        reasons.push(error as FollowError)
        this.#links.get(textOf(address))?.end()
        this.#links.delete(textOf(address))
        if (this.#isOver) break
      }
    }
    const [first] = reasons
    if (first && reasons.length === 1) throw first
    const transient = reasons.some((reason) => reason.transient)
    throw new FollowError(reasons.map(({ message }) => message).join('; '), { transient })
  }

  /** @throws FollowError, which names the broker. */
  async #asked<T>(address: Address | undefined, request: (connection: Connection) => Promise<T>): Promise<T> {
    if (!address) throw new FollowError('a partition has no leader')
    const name = textOf(address)
    try {
      if (this.#isOver) throw new FollowError('stopped')
      let link = this.#links.get(name)
      if (!link) this.#links.set(name, (link = new Link(this.#library, address, this.#options)))
      return await request(await link.connection)
    } catch (error) {
      throw explained(error, name)
    }
  }
}
