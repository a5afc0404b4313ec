import { inspect } from 'node:util'
import { Consumer, Producer } from '@platformatic/kafka'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { kafka, type KafkaOptions } from '../src/sources/kafka.ts'
import { startBroker, withoutKafka, type Broker, type BrokerOptions } from './kafka-broker.ts'
import { engineOn } from './source-engine-rig.ts'
import { Hand } from './source-kafka-rig.ts'

const soon = () => AbortSignal.timeout(10_000)

/** For all tests that do not end it. */
let shared: Serving

beforeAll(async () => {
  if (withoutKafka === undefined) shared = await serving()
})

afterAll(async () => {
  await shared?.close()
})

type Serving = Awaited<ReturnType<typeof serving>>

async function serving(options: BrokerOptions = {}) {
  const broker = await startBroker(options)
  const hand = new Hand(broker)
  return {
    broker,
    hand,
    source: (own: Own) => sourceOn(broker, own),
    engine: (own: Own) => engineWith(broker, own),
    async close() {
      await hand.close()
      await broker.close()
    },
  }
}

async function alone(options: BrokerOptions = {}): Promise<Serving> {
  const own = await serving(options)
  onTestFinished(() => own.close())
  return own
}

type Own = Partial<KafkaOptions> & Pick<KafkaOptions, 'topic'>

function sourceOn(broker: Broker, own: Own) {
  const made = kafka({ brokers: broker.proxied, timeoutMs: 2_000, retry: { firstMs: 20, maxMs: 100 }, ...own })
  onTestFinished(() => made.close())
  return made
}

async function engineWith(broker: Broker, own: Own) {
  const source = sourceOn(broker, own)
  return { ...(await engineOn(source)), source }
}

/** The way between source and broker is cut, and what is done meanwhile is missed. */
async function missed({ proxy }: Broker, work: () => Promise<void>): Promise<void> {
  proxy.refuse = true
  proxy.reset()
  await work()
  proxy.refuse = false
}

/** By writers that know of no leader, until one finds the new one: theirs stays with the old. */
async function putAnew(broker: Broker, topic: string, key: string, value: string): Promise<void> {
  for (let tries = 1; ; tries++) {
    const hand = new Hand(broker, 5)
    try {
      await hand.put(topic, key, value)
      return
    } catch (error) {
      if (tries === 40) throw error
    } finally {
      await hand.close()
    }
  }
}

/** Of one transaction after the other. */
function transactional(broker: Broker, id: string) {
  const producer = new Producer({
    ...{ clientId: 'test', bootstrapBrokers: [broker.bootstrap], retries: 200, retryDelay: 50 },
    ...{ idempotent: true, transactionalId: id, acks: -1 },
  })
  onTestFinished(() => producer.close())
  return producer
}

const skipped = withoutKafka ? ` (skipped: ${withoutKafka})` : ''
describe.skipIf(withoutKafka !== undefined)(`kafka()${skipped}`, () => {
  test('what is written, at several partitions, is seen; keys of others are not', async () => {
    const { hand, engine, broker } = shared
    const topic = await hand.topic({}, 3)
    await hand.put(topic, 'app/a', '1', 0)
    await hand.put(topic, 'app/b/c', '1', 1)
    await hand.put(topic, 'other/a', '1', 2)
    const { lives } = await engine({ topic, prefix: 'app/' })
    await hand.put(topic, 'app/a', '2', 0)
    await hand.put(topic, 'app/d', 'x', 2)
    await hand.put(topic, 'ap', 'x', 2)
    await lives({ a: 2, b: { c: 1 }, d: 'x' })
    await hand.put(topic, 'app/b/c', undefined, 1)
    await lives({ a: 2, d: 'x' })
    await missed(broker, async () => {
      await hand.put(topic, 'app/a', undefined, 0)
      await hand.put(topic, 'app/d', undefined, 2)
    })
    await lives({})
    await hand.put(topic, 'app/a', '3', 0)
    await lives({ a: 3 })
  })

  test('a removal is known also where its tombstone was compacted away before it was read (F41)', async () => {
    const { hand, engine, broker } = shared
    const topic = await hand.topic()
    for (const key of ['app/a', 'app/b', 'app/c']) await hand.put(topic, key, '1')
    const { lives } = await engine({ topic, prefix: 'app/' })
    await missed(broker, async () => {
      await hand.put(topic, 'app/b')
      await hand.put(topic, 'app/c', '2')
      await hand.compact(topic)
    })
    await lives({ a: 1, c: 2 })
    await hand.put(topic, 'app/a', '3')
    await lives({ a: 3, c: 2 })
  })

  test('where all keys are gone and no tombstone is left to tell of it, what is live stays (I11, F41)', async () => {
    const { hand, engine, broker } = shared
    const topic = await hand.topic()
    await hand.put(topic, 'app/a', '1')
    const { running, lives, says } = await engine({ topic, prefix: 'app/' })
    await missed(broker, async () => {
      await hand.put(topic, 'app/a')
      await hand.compact(topic)
    })
    await says('app/ has no keys below it; what was never seen to be removed is not taken for removed')
    expect(running.live).toEqual({ a: 1 })
    await hand.put(topic, 'app/b', '1')
    await lives({ b: 1 })
  })

  test('where tombstones are all there is at a start, it is refused: nobody saw what was removed', async () => {
    const { hand, source } = shared
    const topic = await hand.topic()
    await hand.put(topic, 'doc', '{"a":1}')
    await hand.put(topic, 'doc')
    await expect(source({ topic, key: 'doc' }).load(soon())).rejects.toThrow(
      'doc is not there; put it there, or is the key wrong? (nobody saw it removed, so nothing is taken away)',
    )
  })

  test('records that are deleted, read or not, leave exactly the rest (F41)', async () => {
    const { hand, engine, broker } = shared
    const topic = await hand.topic({ 'cleanup.policy': 'compact,delete', 'retention.ms': '-1' })
    await hand.put(topic, 'app/a', '1')
    await hand.put(topic, 'app/b', '1')
    const { lives } = await engine({ topic, prefix: 'app/' })
    await hand.deleteBefore(topic, 1n)
    await lives({ b: 1 })
    await missed(broker, async () => {
      for (let i = 2; i <= 10; i++) await hand.put(topic, 'app/c', String(i))
      await hand.deleteBefore(topic, 8n)
    })
    await lives({ c: 10 })
  })

  test('a topic that was deleted and made again is another: what is live stays until something is there', async () => {
    const { hand, engine, broker } = shared
    const topic = await hand.topic()
    for (const key of ['app/a', 'app/b', 'app/c']) await hand.put(topic, key, '1')
    const { running, lives, says } = await engine({ topic, prefix: 'app/' })
    await hand.admin.deleteTopics({ topics: [topic] })
    await says('UNKNOWN_TOPIC')
    await hand.create(topic)
    await says('app/ has no keys below it')
    expect(running.live).toEqual({ a: 1, b: 1, c: 1 })
    await hand.put(topic, 'app/a', '2')
    await lives({ a: 2 })
    // Also where nobody sees it happen, and its offsets are the same.
    await missed(broker, async () => {
      await hand.admin.deleteTopics({ topics: [topic] })
      await hand.create(topic)
      await hand.put(topic, 'app/b', '3')
    })
    await lives({ b: 3 })
  })

  test('a topic that is not there is named', async () => {
    const { source } = shared
    await expect(source({ topic: 'none', key: 'doc' }).load(soon())).rejects.toThrow('UNKNOWN_TOPIC_OR_PARTITION')
  })

  test('only what a transaction committed is seen, and its markers hold up nobody', async () => {
    const { hand, engine, source, broker } = shared
    const topic = await hand.topic()
    const producer = transactional(broker, topic)
    const write = async (key: string, value: string) => {
      const transaction = await producer.beginTransaction()
      const messages = [{ topic, partition: 0, key: Buffer.from(key), value: Buffer.from(value) }]
      await transaction.send({ messages })
      return transaction
    }
    await (await write('app/a', '1')).commit()
    // Two in a row of one producer: what the broker says of them begins at two places.
    await (await write('app/a', '2')).abort()
    await (await write('app/b', '2')).commit()
    await (await write('app/a', '3')).abort()
    const { running, lives } = await engine({ topic, prefix: 'app/' })
    expect(running.live).toEqual({ a: 1, b: 2 })
    const open = await write('app/a', '4')
    expect((await source({ topic, prefix: 'app/' }).load(soon())).config).toEqual({ a: 1, b: 2 })
    expect((await running.reload()).kind).toBe('unchanged')
    await open.commit()
    await lives({ a: 4, b: 2 })
    await (await write('app/a', '5')).abort()
    await hand.put(topic, 'app/b', '3')
    await lives({ a: 4, b: 3 })
  })

  test('consumers that come and go, and are rebalanced, take nothing from it (F40)', async () => {
    const { hand, engine, broker } = shared
    const topic = await hand.topic({}, 2)
    await hand.put(topic, 'app/a', '0', 0)
    const engines = [await engine({ topic, prefix: 'app/' }), await engine({ topic, prefix: 'app/' })]
    const options = {
      clientId: 'test',
      bootstrapBrokers: [broker.bootstrap],
      groupId: topic,
      retries: 100,
      retryDelay: 50,
    }
    for (let i = 1; i <= 4; i++) {
      const consumer = new Consumer(options)
      const stream = await consumer.consume({ topics: [topic], mode: 'earliest' })
      stream.on('data', () => {})
      await hand.put(topic, 'app/a', String(i), 0)
      await hand.put(topic, 'app/b', String(i), 1)
      await stream.close()
      await consumer.close()
    }
    for (const { lives } of engines) await lives({ a: 4, b: 4 })
  })

  test('partitions that are added are read, and a key that moves there has its newest value', async () => {
    const { hand, engine, source } = shared
    const topic = await hand.topic()
    await hand.put(topic, 'app/a', '1')
    await hand.put(topic, 'app/b', '1')
    const { lives } = await engine({ topic, prefix: 'app/', lookMs: 200 })
    await hand.admin.createPartitions({ topics: [{ name: topic, count: 3 }] })
    await hand.put(topic, 'app/c', '1', 2)
    await hand.put(topic, 'app/a', '2', 1)
    await hand.put(topic, 'app/b', undefined, 2)
    await hand.put(topic, 'app/d', '1', 2)
    await hand.put(topic, 'app/d', '2', 0)
    await lives({ a: 2, c: 1, d: 2 })
    // Whoever begins now has the same.
    expect((await source({ topic, prefix: 'app/' }).load(soon())).config).toEqual({ a: 2, c: 1, d: 2 })
  })

  test('a broker that loses power while values are written ends at the last (F39)', async () => {
    const { broker, hand, engine } = await alone()
    const topic = await hand.topic({ 'flush.messages': '1' })
    await hand.put(topic, 'app/a', '0')
    await hand.put(topic, 'app/b', '7')
    const { lives } = await engine({ topic, prefix: 'app/' })
    for (let i = 1; i <= 20; i++) await hand.put(topic, 'app/a', String(i))
    await broker.kill()
    await broker.restart()
    await hand.put(topic, 'app/a', '21')
    await lives({ a: 21, b: 7 })
  })

  test('when its leader has lost power, it goes on where another broker leads (F35)', async () => {
    const { broker, hand, engine } = await alone()
    const second = await startBroker({ joins: broker })
    onTestFinished(() => second.close())
    const topic = 'led'
    const configs = [{ name: 'cleanup.policy', value: 'compact' }]
    await hand.admin.createTopics({ topics: [topic], configs, assignments: [{ partition: 0, brokers: [2, 1] }] })
    await hand.put(topic, 'app/a', '1')
    await hand.put(topic, 'app/b', '1')
    const { lives, says } = await engine({ topic, prefix: 'app/', brokers: [broker.proxied, second.proxied] })
    await second.kill()
    await says('cannot be followed')
    await putAnew(broker, topic, 'app/a', '2')
    await lives({ a: 2, b: 1 })
  })

  test('it may read the topic, and needs no more; without that right what is live stays', async () => {
    const settings = {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'super.users': 'User:ANONYMOUS',
    }
    const { hand, engine, source } = await alone({ proxied: 'sasl', settings })
    const topic = await hand.topic()
    await hand.put(topic, 'doc', '{"a":1}')
    const own = { topic, key: 'doc', user: 'app', password: 'right', mechanism: 'PLAIN' } as const
    await expect(source(own).load(soon())).rejects.toThrow('TOPIC_AUTHORIZATION_FAILED')
    const topicOnly = { resourceType: 2, resourceName: topic, resourcePatternType: 3 } as const
    const mayRead = { principal: 'User:app', host: '*', operation: 3, permissionType: 3 } as const
    await hand.admin.createAcls({ creations: [{ ...topicOnly, ...mayRead }] })
    const { running, lives, says } = await engine(own)
    await lives({ a: 1 })
    await hand.admin.deleteAcls({ filters: [{ ...topicOnly, ...mayRead }] })
    await says('TOPIC_AUTHORIZATION_FAILED')
    expect(running.live).toEqual({ a: 1 })
    await hand.admin.createAcls({ creations: [{ ...topicOnly, ...mayRead }] })
    await hand.put(topic, 'doc', '{"a":2}')
    await lives({ a: 2 })
  })

  test('by user and password, as SCRAM or PLAIN: wrong ones are refused in words, and shown nowhere', async () => {
    const { broker, hand, source } = await alone({ proxied: 'sasl' })
    const topic = await hand.topic()
    await hand.put(topic, 'doc', '{"a":1}')
    let password = 'wrong-secret'
    const login = { topic, key: 'doc', user: 'app', password: () => password, mechanism: 'PLAIN' } as const
    const refused = await source(login)
      .load(soon())
      .catch((error: unknown) => error)
    expect(String(refused)).toContain(`${broker.proxied}: Authentication failed: Invalid username or password`)
    expect(inspect(refused, { depth: 10, showHidden: true })).not.toContain('wrong-secret')
    password = 'right'
    expect((await source(login).load(soon())).config).toEqual({ a: 1 })
    const scram = { topic, key: 'doc', user: 'app' } as const
    expect((await source({ ...scram, password: 'right' }).load(soon())).config).toEqual({ a: 1 })
    const other = await source({ ...scram, password: 'wrong-secret' })
      .load(soon())
      .catch((error: unknown) => error)
    expect(String(other)).toContain('SASL_AUTHENTICATION_FAILED')
    expect(inspect(other, { depth: 10, showHidden: true })).not.toContain('wrong-secret')
    await expect(source({ ...login, mechanism: 'SCRAM-SHA-256' }).load(soon())).rejects.toThrow(
      'UNSUPPORTED_SASL_MECHANISM',
    )
    await expect(source({ topic, key: 'doc' }).load(soon())).rejects.toThrow('it may want TLS or a login')
  })

  test('over TLS a certificate must be trusted, and who does not speak it is told', async () => {
    const { broker, hand, source } = await alone({ proxied: 'tls' })
    const topic = await hand.topic()
    await hand.put(topic, 'doc', '{"a":1}')
    const tls = { ca: broker.ca ?? '' }
    expect((await source({ topic, key: 'doc', tls }).load(soon())).config).toEqual({ a: 1 })
    await expect(source({ topic, key: 'doc', tls: {} }).load(soon())).rejects.toThrow('self-signed certificate')
    await expect(source({ topic, key: 'doc' }).load(soon())).rejects.toThrow('it may want TLS or a login')
    const plain = source({ topic, key: 'doc', brokers: broker.bootstrap, tls })
    await expect(plain.load(soon())).rejects.toThrow(broker.bootstrap)
  })

  test('values of every compression are read', async () => {
    const { hand, source, broker } = shared
    const topic = await hand.topic()
    const compressions = ['none', 'gzip', 'snappy', 'lz4', 'zstd'] as const
    for (const compression of compressions) {
      const producer = new Producer({ clientId: 'test', bootstrapBrokers: [broker.bootstrap], compression, acks: -1 })
      const value = Buffer.from(compression.repeat(100))
      await producer.send({ messages: [{ topic, partition: 0, key: Buffer.from(`app/${compression}`), value }] })
      await producer.close()
    }
    const { config } = await source({ topic, prefix: 'app/' }).load(soon())
    expect(config).toEqual(Object.fromEntries(compressions.map((one) => [one, one.repeat(100)])))
  })

  test('many keys come in many answers; what was replaced does not count against the limit', async () => {
    const { hand, source } = shared
    const topic = await hand.topic()
    const [small, large] = ['x'.repeat(1_000), 'x'.repeat(100_000)]
    for (let i = 0; i < 30; i++) await hand.put(topic, `app/${i}`, large)
    for (let i = 0; i < 30; i++) await hand.put(topic, `app/${i}`, small)
    const { config } = await source({ topic, prefix: 'app/', maxBytes: 1_000_000 }).load(soon())
    expect(config).toEqual(Object.fromEntries(Array.from({ length: 30 }, (_, i) => [i, small])))
    const tight = source({ topic, prefix: 'app/', maxBytes: 20_000 })
    await expect(tight.load(soon())).rejects.toThrow('more than 4 times 20000 bytes')
  })

  test('records without a key, or with one that is no text, are passed over and told', async () => {
    const { hand, engine } = shared
    const topic = await hand.topic({ 'cleanup.policy': 'delete' })
    await hand.put(topic, undefined, '1')
    await hand.put(topic, Buffer.from([0x61, 0xff]), '1')
    await hand.put(topic, 'a', '1')
    const { running, says } = await engine({ topic, prefix: '' })
    expect(running.live).toEqual({ a: 1 })
    await says('holds 2 records whose keys are no text')
  })

  test('of several brokers one that answers is enough', async () => {
    const { hand, source, broker } = shared
    const topic = await hand.topic()
    await hand.put(topic, 'doc', '{"a":1}')
    const brokers = ['127.0.0.1:1', broker.proxied, '127.0.0.1:2']
    for (let i = 0; i < 5; i++) {
      expect((await source({ topic, key: 'doc', brokers }).load(soon())).config).toEqual({ a: 1 })
    }
    const none = source({ topic, key: 'doc', brokers: ['127.0.0.1:1', '127.0.0.1:2'] })
    await expect(none.load(soon())).rejects.toThrow(
      /127\.0\.0\.1:[12]: .*ECONNREFUSED.*127\.0\.0\.1:[12]: .*ECONNREFUSED/,
    )
  })
})

test.each([
  [{ brokers: [] }, 'brokers is empty'],
  [{ brokers: 'kafka://user:secret@host:9092' }, 'want brokers as kafka://host:9092'],
  [{ brokers: 'host:99999' }, 'want brokers as kafka://host:9092'],
  [{ topic: 'a b' }, 'the topic is "a b"'],
  [{ prefix: 'app/' }, 'want one of key and prefix'],
  [{ key: '' }, 'want a key that is not empty'],
  [{ key: undefined, prefix: 'app' }, 'want it to end in /'],
  [{ user: 'app' }, 'want user and password, or none'],
  [{ timeoutMs: 1 }, 'timeoutMs is 1; want 100 to 600000'],
  [{ lookMs: Number.NaN }, 'lookMs is NaN; want 100 to 86400000'],
])('kafka() refuses %j at the call', (own, message) => {
  const options = { brokers: 'kafka://host', topic: 't', key: 'doc', ...own } as KafkaOptions
  expect(() => kafka(options)).toThrow(message)
  expect(() => kafka(options)).not.toThrow('secret')
})
