/**
 * What has been read of a topic: the newest value of each key, and where each partition goes on. Tells where going on
 * would not be enough, so that all has to be read anew. Knows of no connection.
 */
import { Buffer, isUtf8 } from 'node:buffer'
import type { fetchV13, KafkaRecord, RecordsBatch } from '@platformatic/kafka'
import { FollowError, type KeyChange, type News, type Place } from '../watching.ts'

type FetchedPartition = fetchV13.FetchResponsePartition

/** A topic as its brokers describe it. */
export interface Layout {
  readonly id: string
  readonly partitions: readonly Partition[]
}

export interface Partition {
  readonly index: number
  /** Number of a broker. */
  readonly leader: number
  /** Counts the leaders. */
  readonly leaderEpoch: number
  /** Offsets of the first record, and of the one that will come after all that are committed. */
  readonly start: bigint
  readonly end: bigint
}

export interface Position extends Partition {
  /** Offset of what is to be read next. */
  readonly next: bigint
}

interface Reading extends Position {
  next: bigint
  /** It was read to its end: from here on there are no gaps. */
  isWhole: boolean
}

interface Held {
  readonly partition: number
  readonly timestamp: bigint
  readonly offset: bigint
  readonly value: Uint8Array | undefined
}

/** A key that is there, and the record that says so. */
export interface Entry {
  readonly key: string
  readonly value: Uint8Array
  readonly partition: number
  readonly offset: bigint
}

const logAppendTime = 1 << 3
const transactional = 1 << 4
const control = 1 << 5

/**
 * Values that were replaced later pass through memory too. Where it has this many times the limit, reading on would
 * only fill it.
 */
const passingTimes = 4

export class TopicLog {
  readonly #place: Place
  readonly #wanted: Buffer
  readonly #maxBytes: number
  #topicId = ''
  readonly #readings = new Map<number, Reading>()
  readonly #held = new Map<string, Held>()
  #sizeBytes = 0
  /** Keys whose removal was read and not told yet. */
  readonly #removed = new Set<string>()
  /** Keys that were there when they were last told. */
  #known: ReadonlySet<string> = new Set()
  /** `whole` was called since `begin`. */
  #isGiven = false
  /** What is held is what was told, so what is missing later has gone since. */
  #isTold = false
  #strays = 0

  /** @param maxBytes of all values together */
  constructor(place: Place, maxBytes: number) {
    this.#place = place
    this.#wanted = Buffer.from('key' in place ? place.key : place.prefix)
    this.#maxBytes = maxBytes
  }

  /** Goes on where it was, if that is the same topic with the same history; else it is read from its beginning. */
  begin(layout: Layout): void {
    if (this.#isTold) this.#known = new Set(this.#held.keys())
    this.#isTold = this.#isGiven = false
    if (layout.id !== this.#topicId || ![...this.#readings.values()].every((one) => goesOn(one, layout))) this.#forget()
    this.#topicId = layout.id
    for (const partition of layout.partitions) {
      const before = this.#readings.get(partition.index)
      const next = before?.next ?? partition.start
      const isWhole = before !== undefined || next >= partition.end
      this.#readings.set(partition.index, { ...partition, next, isWhole })
    }
  }

  get positions(): readonly Position[] {
    return [...this.#readings.values()]
  }

  /** Everything up to the end that `begin` was told of has been read. */
  get isAtEnd(): boolean {
    return this.positions.every(({ next, end }) => next >= end)
  }

  /** Records at keys that are no text, or without a key: there is no place for them. */
  get strays(): number {
    return this.#strays
  }

  /**
   * @param isAll where nothing came, there is nothing
   * @returns what it changes; undefined if something went unseen, and all has to be read anew
   */
  take(partitions: readonly FetchedPartition[], isAll: boolean): readonly KeyChange[] | undefined {
    const changes: KeyChange[] = []
    for (const partition of partitions) {
      const reading = this.#readings.get(partition.partitionIndex)
      if (reading && !this.#takeFrom(reading, partition, isAll, changes)) {
        this.#forget()
        return undefined
      }
    }
    if (this.#isGiven) this.#tell()
    return changes
  }

  /** Once `isAtEnd`. What `take` gives from now on are changes to it. */
  whole(): News {
    const entries = new Map<string, Uint8Array>()
    for (const [key, { value }] of this.#held) if (value) entries.set(key, value)
    // A tombstone is a removal only of what was there: alone, it says nothing about what is live.
    const emptied =
      entries.size === 0 && this.#known.size > 0 && [...this.#known].every((key) => this.#removed.has(key))
    this.#isGiven = true
    this.#isTold = emptied
    this.#tell()
    return { kind: 'whole', entries, emptied }
  }

  /** All keys that are there. */
  *entries(): Generator<Entry> {
    for (const [key, { value, partition, offset }] of this.#held) if (value) yield { key, value, partition, offset }
  }

  #tell(): void {
    for (const key of this.#removed) this.#held.delete(key)
    this.#removed.clear()
    this.#isTold ||= this.#held.size > 0
  }

  #forget(): void {
    this.#readings.clear()
    this.#held.clear()
    this.#removed.clear()
    this.#sizeBytes = 0
  }

  /** @returns false where what was read before no longer tells what is there */
  #takeFrom(reading: Reading, fetched: FetchedPartition, isAll: boolean, changes: KeyChange[]): boolean {
    // Records were deleted: keys may be gone that nobody will tell of.
    if (fetched.logStartOffset > reading.start) return false
    const isAborted = abortedOf(fetched)
    for (const batch of fetched.records ?? []) {
      const last = batch.firstOffset + BigInt(batch.lastOffsetDelta)
      const isSkipped = isAborted(batch, last)
      if (last < reading.next) continue
      // Something was compacted away before it was read here. It may have been a tombstone.
      if (reading.isWhole && hasGap(batch, reading.next)) return false
      if (!isSkipped) this.#takeBatch(reading, batch, changes)
      reading.next = last + 1n
    }
    if (isAll && reading.next < fetched.lastStableOffset) {
      if (reading.isWhole) return false
      reading.next = fetched.lastStableOffset
    }
    reading.isWhole ||= reading.next >= reading.end
    return true
  }

  #takeBatch(reading: Reading, batch: RecordsBatch, changes: KeyChange[]): void {
    const isAppendTime = (batch.attributes & logAppendTime) !== 0
    for (const record of batch.records) {
      const offset = batch.firstOffset + BigInt(record.offsetDelta)
      if (offset < reading.next) continue
      const timestamp = isAppendTime ? batch.maxTimestamp : batch.firstTimestamp + record.timestampDelta
      const change = this.#put(reading.index, offset, record, timestamp)
      if (change) changes.push(change)
    }
  }

  #put(partition: number, offset: bigint, record: KafkaRecord, timestamp: bigint): KeyChange | undefined {
    if (record.key !== null && !this.#isWanted(record.key)) return undefined
    if (record.key === null || !isUtf8(record.key)) {
      this.#strays++
      return undefined
    }
    const key = record.key.toString()
    const before = this.#held.get(key)
    // A key is at two partitions where their number has changed, or writers disagree about it.
    if (before && before.partition !== partition && before.timestamp > timestamp) return undefined
    // A copy: what was fetched with it need not stay in memory.
    const value = record.value === null ? undefined : new Uint8Array(record.value)
    this.#held.set(key, { partition, timestamp, offset, value })
    if (value) this.#removed.delete(key)
    else this.#removed.add(key)
    this.#sizeBytes += (value?.length ?? 0) - (before?.value?.length ?? 0)
    if (this.#sizeBytes > this.#maxBytes * passingTimes) {
      const limit = `${passingTimes} times ${this.#maxBytes} bytes`
      const message = `${key} and the keys before it are more than ${limit}; want less`
      throw new FollowError(message, { code: 'limit', transient: false })
    }
    return { key, value }
  }

  #isWanted(key: Buffer): boolean {
    if ('key' in this.#place) return key.equals(this.#wanted)
    return key.length >= this.#wanted.length && key.subarray(0, this.#wanted.length).equals(this.#wanted)
  }
}

function goesOn(reading: Reading, layout: Layout): boolean {
  const now = layout.partitions.find(({ index }) => index === reading.index)
  return (
    reading.isWhole &&
    now !== undefined &&
    // Another leader may have lost what the one before it had acknowledged, and have gone on at the same offsets.
    now.leaderEpoch === reading.leaderEpoch &&
    now.start === reading.start &&
    now.end >= reading.next
  )
}

function hasGap(batch: RecordsBatch, next: bigint): boolean {
  return batch.firstOffset > next || batch.records.length <= batch.lastOffsetDelta
}

/** Of batches in the order of their offsets: whether its records are to be passed over. */
function abortedOf({ abortedTransactions }: FetchedPartition): (batch: RecordsBatch, last: bigint) => boolean {
  const begins = [...abortedTransactions].sort((a, b) => (a.firstOffset < b.firstOffset ? -1 : 1))
  const open = new Set<bigint>()
  return (batch, last) => {
    for (let first = begins[0]; first && first.firstOffset <= last; first = begins[0]) {
      open.add(first.producerId)
      begins.shift()
    }
    if ((batch.attributes & control) === 0)
      return (batch.attributes & transactional) !== 0 && open.has(batch.producerId)
    // Its key: a version, then 0 where the transaction was aborted.
    if (batch.records[0]?.key?.readInt16BE(2) === 0) open.delete(batch.producerId)
    return true
  }
}
