import { afterAll, describe, test } from 'vitest'
import { kafka } from '../src/sources/kafka.ts'
import { testSource, type SourceRig } from '../src/testing/index.ts'
import { startBroker, withoutKafka, type Broker } from './kafka-broker.ts'
import { Hand } from './source-kafka-rig.ts'
import { faultsOf } from './source-peer-rig.ts'

const quick = { timeoutMs: 1_000, answerMs: 400, lookMs: 1_000, retry: { firstMs: 20, maxMs: 200 } } as const

/** One for all cases, each with a topic of its own: a broker takes seconds to start. */
let shared: Promise<{ broker: Broker; hand: Hand }> | undefined

afterAll(async () => {
  const started = await shared
  await started?.hand.close()
  await started?.broker.close()
})

async function started() {
  const broker = await startBroker()
  return { broker, hand: new Hand(broker) }
}

async function open(): Promise<SourceRig> {
  const { broker, hand } = await (shared ??= started())
  // With `delete` besides, so that records can be deleted; none is for its age.
  const topic = await hand.topic({ 'cleanup.policy': 'compact,delete', 'retention.ms': '-1' })
  const faults = faultsOf(broker.proxy)
  const closing = [faults.letBack]
  const nameOf = (key: string) => (key === 'doc' ? key : `app/${key}`)
  const refused = async (proxied: 'tls' | 'sasl') => {
    const other = await startBroker({ proxied })
    closing.push(() => other.close())
    const login = { user: 'app', password: () => 'wrong', mechanism: 'PLAIN' } as const
    // The system's authorities are trusted, not the broker's own.
    const own = proxied === 'tls' ? { tls: {} } : login
    const source = kafka({ ...quick, ...own, brokers: other.proxied, topic, key: 'doc' })
    return { source, attempts: () => other.proxy.accepted }
  }
  return {
    newSource({ mode, maxBytes }) {
      const place = mode === 'key' ? { key: 'doc' } : { prefix: 'app/' }
      return kafka({ ...quick, brokers: broker.proxied, topic, ...place, ...(maxBytes !== undefined && { maxBytes }) })
    },
    write: (key, value) => hand.put(topic, nameOf(key), value),
    remove: (key) => hand.put(topic, nameOf(key)),
    loseAll: () => hand.deleteAll(topic),
    ...faults,
    stopServer: () => broker.stop(),
    startServer: () => broker.restart(),
    compact: () => hand.compact(topic),
    wrongAuth: () => refused('sasl'),
    wrongTls: () => refused('tls'),
    async close() {
      for (const end of closing) await end()
    },
  }
}

describe('kafka()', () => {
  for (const { name, skip: lack, run } of testSource({ open })) {
    const skip = withoutKafka ?? lack
    test.skipIf(skip !== undefined)(`${name}${skip === undefined ? '' : ` (skipped: ${skip})`}`, run)
  }
})
