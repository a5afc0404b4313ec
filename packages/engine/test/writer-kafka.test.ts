import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { kafka } from '../src/sources/kafka.ts'
import type { WriterRig } from '../src/testing/index.ts'
import { kafkaWriter } from '../src/writers/kafka.ts'
import { startBroker, withoutKafka, type Broker } from './kafka-broker.ts'
import { Hand } from './source-kafka-rig.ts'
import { faultsOf } from './source-peer-rig.ts'
import { writerTests } from './writer-rig.ts'

let broker: Broker
let hand: Hand

beforeAll(async () => {
  if (withoutKafka !== undefined) return
  broker = await startBroker()
  hand = new Hand(broker)
}, 60_000)

afterAll(async () => {
  await hand?.close()
  await broker?.close()
})

const quick = { timeoutMs: 1_000 } as const

async function open(): Promise<WriterRig> {
  const topic = await hand.topic()
  const closing: (() => Promise<void>)[] = []
  const refusing = async (proxied: 'tls' | 'sasl') => {
    const other = await startBroker({ proxied })
    closing.push(() => other.close())
    const own = proxied === 'tls' ? { tls: {} } : ({ user: 'app', password: 'of-nobody' } as const)
    return kafkaWriter({ ...quick, ...own, brokers: other.proxied, topic })
  }
  return {
    newWriter: () => kafkaWriter({ ...quick, brokers: broker.proxied, topic }),
    key: (name) => `place/${name}`,
    put: (key, value) => hand.put(topic, key, value),
    get: (key) => hand.get(topic, key),
    remove: (key) => hand.put(topic, key),
    newSource: (key) => kafka({ ...quick, brokers: broker.proxied, topic, key }),
    ...faultsOf(broker.proxy),
    wrongAuth: () => refusing('sasl'),
    wrongTls: () => refusing('tls'),
    async close() {
      for (const end of closing) await end()
    },
  }
}

const without = { compare: 'Kafka has no compare-and-set' }

describe('kafkaWriter(), on a real broker', () => {
  // Each is a record of its own, which the broker has to have on disk.
  writerTests({ open, without, manyKeys: 200 }, withoutKafka)

  test.skipIf(withoutKafka !== undefined)(
    `a key goes to the partition where Kafka's own clients put it${withoutKafka ? ` (skipped: ${withoutKafka})` : ''}`,
    async () => {
      const topic = await hand.topic({}, 7)
      const writer = kafkaWriter({ ...quick, brokers: broker.proxied, topic })
      onTestFinished(() => writer.close())
      const partitionOf = async (key: string) => {
        const written = await writer.write(key, new Uint8Array([0x31]), 'any', AbortSignal.timeout(10_000))
        return written.kind === 'written' ? Number(written.revision.split(':')[0]) : undefined
      }
      // By org.apache.kafka.common.utils.Utils: toPositive(murmur2(bytes)) % 7.
      const known = { 'app/a': 1, 'app/b': 2, 'place/c/d': 0, doc: 5, über: 5 }
      for (const [key, partition] of Object.entries(known)) expect(await partitionOf(key)).toBe(partition)
    },
  )
})
