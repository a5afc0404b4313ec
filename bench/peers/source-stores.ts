/**
 * The stores of the benchmark of sources: a real server of each, its source, and beside that the least that following
 * costs there: the client library's own watch, or a loop of fetch where the protocol is HTTP.
 */
import { fork, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import type { ChannelCredentials, ClientDuplexStream } from '@grpc/grpc-js'
import type { Source, Trigger } from 'midflight'
import { startBroker, withoutKafka } from '../../packages/engine/test/kafka-broker.ts'
import { withoutZookeeper, Zookeeper } from '../../packages/engine/test/source-zookeeper-rig.ts'
import { ended } from '../../test/rig/ended.ts'
import { freePort } from '../../test/rig/free-ports.ts'

/** One key, or all below a prefix. */
export type Place = { readonly key: string } | { readonly prefix: string }
export type OnValue = (key: string, value: Uint8Array) => void

export interface Store {
  readonly separator: string
  put(key: string, value: string): Promise<unknown>
  /** At most 64 keys at once, where one by one takes long. */
  putAll?(keys: readonly string[], value: string): Promise<unknown>
  source(place: Place): Source & Trigger
  /** The client's own watch: what is there, and then each change. Settles once it follows. */
  watch(place: Place, onValue: OnValue): Promise<() => Promise<void> | void>
  close(): Promise<void>
}

export interface Contender {
  readonly name: string
  /** What its own watch is. */
  readonly bare: string
  /** Why it cannot be measured here. */
  readonly lacking: string | undefined
  /** Holds many keys, not only one document. */
  readonly hasPrefixes: boolean
  open(): Promise<Store>
}

const protoFolder = fileURLToPath(new URL('../../packages/engine/proto/', import.meta.url))

/** A server that is killed by its own id, and its folder. */
interface Server {
  readonly folder: string
  readonly port: number
  stop(): Promise<void>
}

/** With a folder of its own and two free ports; ready when `isReady` says so. */
export async function serverOf(
  program: string,
  argsOf: (folder: string, port: number, other: number) => readonly string[],
  isReady: (port: number, said: readonly string[]) => boolean | Promise<boolean>,
): Promise<Server> {
  const folder = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
  const [port, other] = [await freePort(), await freePort()]
  const child = spawn(program, argsOf(folder, port, other), { stdio: ['ignore', 'pipe', 'pipe'] })
  const said: string[] = []
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      said.push(line)
      if (said.length > 100) said.shift()
    })
  }
  const stop = async () => {
    await ended(child)
    rmSync(folder, { recursive: true, force: true })
  }
  const lastAt = performance.now() + 30_000
  while (!(await isReady(port, said))) {
    if (child.exitCode === null && performance.now() < lastAt) await sleep(20)
    else {
      await stop()
      throw new Error(`${program} does not start:\n${said.join('\n')}`)
    }
  }
  return { folder, port, stop }
}

export function isThere(program: string, option: string): boolean {
  return spawnSync(program, [option]).status === 0
}

function nameOf(place: Place): string {
  return 'key' in place ? place.key : place.prefix
}

interface EtcdPair {
  readonly key: Buffer
  readonly value: Buffer
}

interface EtcdRange {
  readonly header: { readonly revision: string }
  readonly kvs: readonly EtcdPair[]
}

type Callback<Answer> = (error: unknown, answer: Answer) => void

/** What the library makes of the protocol's definition, as far as it is used here. */
interface EtcdPackages {
  readonly etcdserverpb: {
    readonly KV: new (
      address: string,
      credentials: ChannelCredentials,
    ) => {
      Range(range: object, done: Callback<EtcdRange>): void
      close(): void
    }
    readonly Watch: new (
      address: string,
      credentials: ChannelCredentials,
    ) => {
      Watch(): ClientDuplexStream<object, { events: { kv: EtcdPair }[] }>
      close(): void
    }
  }
}

async function etcd(): Promise<Store> {
  const [{ etcd: source }, grpc, loader] = await Promise.all([
    import('midflight/sources/etcd'),
    import('@grpc/grpc-js'),
    import('@grpc/proto-loader'),
  ])
  const url = (port: number) => `http://127.0.0.1:${port}`
  const server = await serverOf(
    'etcd',
    (folder, port, peer) => [
      ...['--name', 'one', '--data-dir', join(folder, 'data'), '--logger', 'zap', '--log-level', 'warn'],
      ...['--listen-client-urls', url(port), '--advertise-client-urls', url(port)],
      ...['--listen-peer-urls', url(peer), '--initial-advertise-peer-urls', url(peer)],
      ...['--initial-cluster', `one=${url(peer)}`],
    ],
    async (port) => {
      try {
        return (await fetch(`${url(port)}/health`)).ok
      } catch {
        return false // told by `serverOf`, if it stays so
      }
    },
  )
  const definition = await loader.load('etcd/v3.proto', {
    ...{ includeDirs: [protoFolder], keepCase: true, enums: String, longs: String, defaults: true },
  })
  const services = (grpc.loadPackageDefinition(definition) as unknown as EtcdPackages).etcdserverpb
  const address = `127.0.0.1:${server.port}`
  const credentials = grpc.credentials.createInsecure()
  const [kv, watches] = [new services.KV(address, credentials), new services.Watch(address, credentials)]
  const writer = new grpc.Client(address, credentials)
  return {
    separator: '/',
    put: (key, value) =>
      answered((done) =>
        writer.makeUnaryRequest(
          '/etcdserverpb.KV/Put',
          (pair: readonly string[]) => Buffer.concat(pair.flatMap((text, i) => field(i + 1, Buffer.from(text)))),
          (bytes) => bytes,
          [key, value],
          done,
        ),
      ),
    source: (place) => source({ endpoints: url(server.port), ...place }),
    async watch(place, onValue) {
      const from = Buffer.from(nameOf(place))
      const end = Buffer.from(from)
      end[end.length - 1] = (end.at(-1) as number) + 1
      const range = { key: from, ...('prefix' in place && { range_end: end }) }
      const all = await answered<EtcdRange>((done) => kv.Range(range, done))
      for (const { key, value } of all.kvs) onValue(String(key), value)
      const stream = watches.Watch()
      stream.on('error', () => {}) // its own cancelling
      stream.write({ create_request: { ...range, start_revision: Number(all.header.revision) + 1 } })
      stream.on('data', ({ events }: { events: { kv: EtcdPair }[] }) => {
        for (const { kv: pair } of events) onValue(String(pair.key), pair.value)
      })
      await once(stream, 'data')
      return () => stream.cancel()
    },
    async close() {
      for (const client of [kv, watches, writer]) client.close()
      await server.stop()
    },
  }
}

/** Bytes, as protocol buffers have them. */
function field(number: number, bytes: Buffer): Buffer[] {
  const length: number[] = []
  let left = bytes.length
  for (; left > 127; left >>= 7) length.push((left & 127) | 128)
  return [Buffer.from([(number << 3) | 2, ...length, left]), bytes]
}

async function redis(): Promise<Store> {
  const [{ redis: source }, { Redis }] = await Promise.all([import('midflight/sources/redis'), import('ioredis')])
  const server = await serverOf(
    'redis-server',
    (folder, port) => [
      ...['--bind', '127.0.0.1', '--port', String(port), '--dir', folder, '--save', ''],
      ...['--notify-keyspace-events', 'KEA'],
    ],
    (_, said) => said.some((line) => line.includes('Ready to accept connections')),
  )
  const writer = new Redis(server.port, '127.0.0.1')
  return {
    separator: ':',
    put: (key, value) => writer.set(key, value),
    source: (place) => source({ url: `redis://127.0.0.1:${server.port}`, ...place }),
    async watch(place, onValue) {
      const [listener, reader] = [new Redis(server.port, '127.0.0.1'), new Redis(server.port, '127.0.0.1')]
      const look = async (key: string) => {
        const value = await reader.getBuffer(key)
        if (value) onValue(key, value)
      }
      const channel = '__keyspace@0__:'
      listener.on('pmessage', (_, from: string) => void look(from.slice(channel.length)))
      await listener.psubscribe(`${channel}${nameOf(place)}${'prefix' in place ? '*' : ''}`)
      const keys = 'key' in place ? [place.key] : await reader.keys(`${place.prefix}*`)
      const values = keys.length > 0 ? await reader.mgetBuffer(keys) : []
      for (const [i, value] of values.entries()) if (value) onValue(keys[i] as string, value)
      return () => {
        listener.disconnect()
        reader.disconnect()
      }
    },
    async close() {
      writer.disconnect()
      await server.stop()
    },
  }
}

async function nats(): Promise<Store> {
  const [{ nats: source }, { connect }, { Kvm }] = await Promise.all([
    import('midflight/sources/nats'),
    import('@nats-io/transport-node'),
    import('@nats-io/kv'),
  ])
  const server = await serverOf(
    'nats-server',
    (folder, port) => ['-js', '-sd', folder, '-a', '127.0.0.1', '-p', String(port)],
    (_, said) => said.some((line) => line.includes('Server is ready')),
  )
  const servers = `127.0.0.1:${server.port}`
  const connection = await connect({ servers })
  const kv = await new Kvm(connection).create('bench')
  return {
    separator: '.',
    put: (key, value) => kv.put(key, value),
    source: (place) => source({ servers, bucket: 'bench', ...place }),
    async watch(place, onValue) {
      const own = await connect({ servers })
      const bucket = await new Kvm(own).open('bench')
      const following = new Promise<void>((resolve, reject) => {
        const follow = async () => {
          const watch = await bucket.watch({ key: 'key' in place ? place.key : `${place.prefix}>` })
          for await (const entry of watch) {
            onValue(entry.key, entry.value)
            if (entry.delta === 0) resolve()
          }
        }
        follow().catch(reject)
      })
      await following
      return () => own.close()
    },
    async close() {
      await connection.close()
      await server.stop()
    },
  }
}

const ownConsul = fileURLToPath(new URL('../../.cache/consul/usr/bin/consul', import.meta.url))
const consulProgram = existsSync(ownConsul) ? ownConsul : 'consul'

async function consul(): Promise<Store> {
  const { consul: source } = await import('midflight/sources/consul')
  const server = await serverOf(
    consulProgram,
    (folder, port, other) => {
      const ports = { dns: -1, http: port, https: -1, grpc: -1, server: other, serf_lan: other + 1, serf_wan: -1 }
      const file = join(folder, 'consul.json')
      const limits = { http_max_conns_per_client: 5_000 }
      writeFileSync(file, JSON.stringify({ ports, limits, performance: { raft_multiplier: 1 } }))
      const address = ['-bind', '127.0.0.1', '-client', '127.0.0.1']
      return ['agent', '-server', '-bootstrap-expect', '1', '-data-dir', folder, '-config-file', file, ...address]
    },
    async (port) => {
      try {
        return (await fetch(`http://127.0.0.1:${port}/v1/status/leader`).then((answer) => answer.text())).length > 2
      } catch {
        return false // told by `serverOf`, if it stays so
      }
    },
  )
  return consulAt(`http://127.0.0.1:${server.port}`, source, () => server.stop())
}

function consulAt(
  url: string,
  source: typeof import('midflight/sources/consul').consul,
  close: () => Promise<void>,
): Store {
  return {
    separator: '/',
    async put(key, value) {
      const { ok, status } = await fetch(`${url}/v1/kv/${key}`, { method: 'PUT', body: value })
      if (!ok) throw new Error(`Consul answers ${status}`)
    },
    async putAll(keys, value) {
      const set = { Verb: 'set', Value: Buffer.from(value).toString('base64') }
      const body = JSON.stringify(keys.map((Key) => ({ KV: { ...set, Key } })))
      const { ok, status } = await fetch(`${url}/v1/txn`, { method: 'PUT', body })
      if (!ok) throw new Error(`Consul answers ${status}`)
    },
    // Changes come faster here than anyone should change what others read by blocking queries.
    source: (place) => source({ url, ...place, paceMs: 10 }),
    async watch(place, onValue) {
      const over = new AbortController()
      const known = new Map<string, number>()
      let index = '0'
      const look = async () => {
        const query = `${'prefix' in place ? 'recurse&' : ''}index=${index}&wait=60s`
        const answer = await fetch(`${url}/v1/kv/${nameOf(place)}?${query}`, { signal: over.signal })
        index = answer.headers.get('x-consul-index') ?? '0'
        const pairs = answer.ok ? ((await answer.json()) as { Key: string; Value: string; ModifyIndex: number }[]) : []
        for (const { Key, Value, ModifyIndex } of pairs) {
          if (known.get(Key) === ModifyIndex) continue
          known.set(Key, ModifyIndex)
          onValue(Key, Buffer.from(Value ?? '', 'base64'))
        }
      }
      await look()
      return looping(look, over)
    },
    close,
  }
}

/** @returns ends it */
function looping(look: () => Promise<void>, over: AbortController): () => Promise<void> {
  const run = (async () => {
    while (!over.signal.aborted) await look()
  })().catch((error: unknown) => {
    if (!over.signal.aborted) throw error
  })
  return () => {
    over.abort()
    return run
  }
}

async function http(how: 'long poll' | 'events'): Promise<Store> {
  const { http: source } = await import('midflight/sources/http')
  const child = fork(join(import.meta.dirname, 'source-http-server.ts'))
  const [port] = (await once(child, 'message')) as [number]
  const url = `http://127.0.0.1:${port}`
  return {
    separator: '/',
    put: (key, value) => fetch(`${url}/${key}`, { method: 'PUT', body: value }).then((answer) => answer.text()),
    source(place) {
      const options = how === 'events' ? { events: `${url}/events` } : { waitMs: 60_000 }
      return source(`${url}/${nameOf(place)}`, options)
    },
    async watch(place, onValue) {
      const over = new AbortController()
      const { signal } = over
      const key = nameOf(place)
      let etag = ''
      const look = async () => {
        const headers = { 'if-none-match': etag, ...(how === 'long poll' && etag !== '' && { prefer: 'wait=60' }) }
        const answer = await fetch(`${url}/${key}`, { headers, signal })
        const body = new Uint8Array(await answer.arrayBuffer())
        if (!answer.ok) return
        etag = answer.headers.get('etag') ?? ''
        onValue(key, body)
      }
      await look()
      if (how === 'long poll') return looping(look, over)
      const events = await fetch(`${url}/events`, { signal })
      const reader = events.body?.getReader()
      return looping(async () => {
        await reader?.read()
        await look()
      }, over)
    },
    close: () => ended(child),
  }
}

/** The rigs of the tests know how to start it. Its keys are paths. */
async function zookeeper(): Promise<Store> {
  const [{ zookeeper: source }, { default: library }] = await Promise.all([
    import('midflight/sources/zookeeper'),
    import('node-zookeeper-client'),
  ])
  const server = await Zookeeper.start()
  const address = `127.0.0.1:${server.servers[0]?.port}`
  const client = async () => {
    const one = library.createClient(address)
    const connected = once(one, 'connected')
    one.connect()
    await connected
    return one
  }
  const writer = await client()
  const known = new Set<string>()
  return {
    separator: '/',
    async put(key, value) {
      const data = Buffer.from(value)
      const isNew = !known.has(key)
      known.add(key)
      if (isNew) {
        const above = key.slice(0, Math.max(0, key.lastIndexOf('/')))
        if (above !== '') await answered<unknown>((done) => writer.mkdirp(`/${above}`, done))
        await answered<unknown>((done) => writer.create(`/${key}`, data, done))
      } else await answered<unknown>((done) => writer.setData(`/${key}`, data, done))
    },
    source: (place) =>
      source({ servers: address, ...('key' in place ? { key: `/${place.key}` } : { prefix: `/${place.prefix}` }) }),
    async watch(place, onValue) {
      const own = await client()
      const look = async (path: string): Promise<void> => {
        const data = await answered<Buffer | undefined>((done) => own.getData(path, () => void look(path), done))
        if (data) onValue(path.slice(1), data)
      }
      const lookBelow = async (path: string): Promise<void> => {
        const children = await answered<string[]>((done) => own.getChildren(path, done))
        if (children.length === 0) await look(path)
        else await Promise.all(children.map((child) => lookBelow(`${path}/${child}`)))
      }
      await lookBelow(`/${nameOf(place).replace(/\/$/, '')}`)
      return () => own.close()
    },
    async close() {
      writer.close()
      await server.close()
    },
  }
}

function answered<Answer>(start: (done: Callback<Answer>) => void): Promise<Answer> {
  return new Promise((resolve, reject) => {
    start((error, answer) =>
      error ? reject(error instanceof Error ? error : new Error(String(error))) : resolve(answer),
    )
  })
}

/** One partition, so that there is one order. */
async function kafka(): Promise<Store> {
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

const without = (there: boolean, what: string) => (there ? undefined : what)

export const contenders: readonly Contender[] = [
  {
    name: 'etcd',
    bare: 'grpc watch',
    lacking: without(isThere('etcd', '--version'), 'there is no etcd (Debian package etcd-server)'),
    hasPrefixes: true,
    open: etcd,
  },
  {
    name: 'redis',
    bare: 'ioredis psubscribe + GET',
    lacking: without(isThere('redis-server', '--version'), 'there is no redis-server'),
    hasPrefixes: true,
    open: redis,
  },
  {
    name: 'nats',
    bare: 'kv.watch',
    lacking: without(isThere('nats-server', '--version'), 'there is no nats-server'),
    hasPrefixes: true,
    open: nats,
  },
  {
    name: 'consul',
    bare: 'fetch, blocking query',
    lacking: without(isThere(consulProgram, 'version'), 'there is no consul on the PATH or in .cache/consul'),
    hasPrefixes: true,
    open: consul,
  },
  {
    name: 'zookeeper',
    bare: 'getData, watched again',
    lacking: withoutZookeeper,
    hasPrefixes: true,
    open: zookeeper,
  },
  {
    name: 'kafka',
    bare: 'a consumer',
    lacking: withoutKafka,
    hasPrefixes: true,
    open: kafka,
  },
  {
    name: 'http long poll',
    bare: 'fetch, Prefer: wait',
    lacking: undefined,
    hasPrefixes: false,
    open: () => http('long poll'),
  },
  {
    name: 'http events',
    bare: 'fetch, event stream',
    lacking: undefined,
    hasPrefixes: false,
    open: () => http('events'),
  },
]
