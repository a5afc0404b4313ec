/** Kafka, and beside the source a consumer. */
import { startBroker } from '../../../packages/engine/test/kafka-broker.ts'
import { nameOf, type Store } from './store.ts'

/** One partition, so that there is one order. */
export async function kafka(): Promise<Store> {
  const [{ kafka: source }, { Admin, Consumer, Producer }] = await Promise.all([
    import('midflight/sources/kafka'),
    import('@platformatic/kafka'),
  ])
  const broker = await startBroker()
  const topic = 'bench'
  const common = { clientId: 'bench', bootstrapBrokers: [broker.bootstrap] }
  const admin = new Admin(common)
  const configs = [{ name: 'cleanup.policy', value: 'compact' }]
  await admin.createTopics({ topics: [topic], partitions: 1, replicas: 1, configs })
  const producer = new Producer(common)
  let marks = 0
  const putAll = (keys: readonly string[], value: string) =>
    producer.send({
      acks: -1,
      messages: keys.map((key) => ({ topic, key: Buffer.from(key), value: Buffer.from(value) })),
    })
  const put = (key: string, value: string) => putAll([key], value)
  return {
    separator: '/',
    put,
    putAll,
    source: (place) => source({ brokers: `kafka://${broker.bootstrap}`, topic, ...place }),
    async watch(place, onValue) {
      const consumer = new Consumer({ ...common, groupId: `bench-${++marks}` })
      const stream = await consumer.consume({ topics: [topic], mode: 'earliest', autocommit: false })
      const [mark, name] = [`mark-${marks}`, nameOf(place)]
      const following = new Promise<void>((resolve) => {
        stream.on('data', (message) => {
          const key = String(message.key)
          if (key === mark) resolve()
          else if ('key' in place ? key === name : key.startsWith(name)) onValue(key, message.value as Buffer)
        })
      })
      await put(mark, '')
      await following
      return async () => {
        await stream.close()
        await consumer.close()
      }
    },
    async close() {
      await producer.close()
      await admin.close()
      await broker.close()
    },
  }
}
