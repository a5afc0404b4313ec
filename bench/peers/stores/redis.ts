/** Redis, and beside the source a subscription to its notifications by ioredis. */
import { serverOf } from '../server.ts'
import { nameOf, type Store } from './store.ts'

export async function redis(): Promise<Store> {
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
