/** etcd, and beside the source a watch by gRPC alone. */
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { ChannelCredentials, ClientDuplexStream } from '@grpc/grpc-js'
import { serverOf } from '../server.ts'
import { answered, nameOf, type Callback, type Store } from './store.ts'

const protoFolder = fileURLToPath(new URL('../../../packages/engine/proto/', import.meta.url))

interface EtcdPair {
  readonly key: Buffer
  readonly value: Buffer
}

interface EtcdRange {
  readonly header: { readonly revision: string }
  readonly kvs: readonly EtcdPair[]
}

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

export async function etcd(): Promise<Store> {
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
