/** What a broker gives seldom, and tests cannot make it give: records put together by hand. */
import { describe, expect, test } from 'vitest'
import { TopicLog, type Layout } from '../src/sources/kafka/topic-log.ts'

type Given = Parameters<TopicLog['take']>[0][number]
type Batch = NonNullable<Given['records']>[number]

const transactional = 1 << 4
const control = 1 << 5

function batch(firstOffset: bigint, entries: Readonly<Record<string, string | null>>, own: Partial<Batch> = {}): Batch {
  const records = Object.entries(entries).map(([key, value], offsetDelta) => ({
    ...{ length: 0, attributes: 0, timestampDelta: 0n, offsetDelta, headers: [] },
    ...{ key: Buffer.from(key), value: value === null ? null : Buffer.from(value) },
  }))
  return {
    ...{ firstOffset, length: 0, partitionLeaderEpoch: 0, magic: 2, crc: 0, attributes: 0 },
    ...{ lastOffsetDelta: Math.max(records.length - 1, 0), firstTimestamp: 0n, maxTimestamp: 0n },
    ...{ producerId: -1n, producerEpoch: 0, firstSequence: 0, records, ...own },
  }
}

/** Of an aborted or committed transaction. */
function marker(firstOffset: bigint, producerId: bigint, isCommit: boolean): Batch {
  const key = String.fromCharCode(0, 0, 0, isCommit ? 1 : 0)
  return batch(firstOffset, { [key]: '' }, { producerId, attributes: control | transactional })
}

function given(records: Batch[], own: Partial<Given> = {}): Given {
  return {
    ...{ partitionIndex: 0, errorCode: 0, highWatermark: 100n, lastStableOffset: 100n, logStartOffset: 0n },
    ...{ abortedTransactions: [], preferredReadReplica: -1, records, ...own },
  }
}

function layout(end: bigint): Layout {
  return { id: 'one', partitions: [{ index: 0, leader: 1, leaderEpoch: 0, start: 0n, end }] }
}

function begun(end: bigint): TopicLog {
  const log = new TopicLog({ prefix: '', separator: '/' }, 1_000)
  log.begin(layout(end))
  return log
}

function entriesOf(log: TopicLog): unknown {
  expect(log.isAtEnd).toBe(true)
  const news = log.whole()
  if (news.kind !== 'whole') throw new Error(news.kind)
  return Object.fromEntries([...news.entries].map(([key, value]) => [key, Buffer.from(value).toString()]))
}

describe('what is read of a topic of Kafka', () => {
  test('records of transactions are passed over from where each was begun to where it was aborted', () => {
    const log = begun(9n)
    const of = (producerId: bigint) => ({ producerId, attributes: transactional })
    const aborted = [5n, 1n].map((firstOffset) => ({ producerId: 7n, firstOffset }))
    const records = [
      batch(0n, { a: 'kept' }),
      batch(1n, { a: 'aborted' }, of(7n)),
      batch(2n, { b: 'committed' }, of(8n)),
      marker(3n, 7n, false),
      batch(4n, { c: 'not of the transaction' }, { producerId: 7n }),
      batch(5n, { c: 'aborted, too' }, of(7n)),
      // Nobody wrote in this one: the broker does not list it.
      marker(6n, 9n, false),
      marker(7n, 7n, false),
      marker(8n, 8n, true),
    ]
    log.take([given(records, { abortedTransactions: aborted })], false)
    expect(entriesOf(log)).toEqual({ a: 'kept', b: 'committed', c: 'not of the transaction' })
  })

  test('an end that was compacted away whole is the end all the same, and later a reason to begin anew', () => {
    const log = begun(9n)
    log.take([given([batch(0n, { a: '1' })])], false)
    log.take([given([], { lastStableOffset: 9n })], false)
    expect(log.isAtEnd).toBe(false)
    log.take([given([], { lastStableOffset: 9n })], true)
    expect(entriesOf(log)).toEqual({ a: '1' })
    expect(log.take([given([], { lastStableOffset: 9n })], true)).toEqual([])
    expect(log.take([given([], { lastStableOffset: 11n })], true)).toBeUndefined()
    log.begin(layout(11n))
    expect(log.positions[0]?.next).toBe(0n)
  })

  test('gaps are nothing while it begins; a batch that lost records, or offsets that are not there, are one later', () => {
    for (const next of [batch(11n, { a: '3' }), batch(10n, { a: '3' }, { lastOffsetDelta: 1 })]) {
      const log = begun(10n)
      log.take([given([batch(3n, { a: '1' }), batch(9n, { a: '2' })])], false)
      expect(entriesOf(log)).toEqual({ a: '2' })
      expect(log.take([given([next])], false)).toBeUndefined()
    }
  })

  test('a batch that begins before what was asked for is taken from there', () => {
    const log = begun(2n)
    log.take([given([batch(0n, { a: '1', b: '1' })])], false)
    expect(entriesOf(log)).toEqual({ a: '1', b: '1' })
    const changes = log.take([given([batch(0n, { a: '1', b: '1' }), batch(2n, { a: null })])], false)
    expect(changes).toEqual([{ key: 'a', value: undefined }])
  })

  test('where it was cut off while it read all, it begins anew', () => {
    const log = begun(10n)
    log.take([given([batch(0n, { a: '1' })])], false)
    log.begin(layout(10n))
    expect(log.positions[0]?.next).toBe(0n)
  })
})
