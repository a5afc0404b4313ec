/** NATS, and beside the source the client's own watch of a bucket. */
import { serverOf } from '../server.ts'
import type { Store } from './store.ts'

export async function nats(): Promise<Store> {
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
