/** A bus over Redis: plain publish and subscribe. What is said while nobody listens is gone. */
import type { Redis } from 'ioredis'
import { settingsOf } from '../sources/redis/client.ts'
import type { Server } from '../sources/redis/server.ts'
import type { TlsOptions, Token } from '../credentials.ts'
import { busOver, busUrl, checkedPrefix, checkedTimeoutMs, defaultPrefix, imported } from './bus.ts'
import type { Bus, BusConnection } from './bus.ts'

export interface RedisBusOptions {
  /** `redis://host:6379`, or `rediss://` with TLS. */
  readonly url: string
  readonly username?: string
  /** A function is asked at each connection. */
  readonly password?: Token
  readonly tls?: TlsOptions
  /** Before each channel, default `midflight`. */
  readonly prefix?: string
  /** Larger messages are not sent, default 4 MiB: the server cuts off who does not read 8 MiB in time. */
  readonly maxBytes?: number
  /** How often the server is asked whether it is there, milliseconds, default 10,000. */
  readonly pingMs?: number
  /** How long a connection and each message may take, milliseconds, default 5,000. */
  readonly timeoutMs?: number
}

/** @throws TypeError, RangeError at the call, if an option cannot be meant */
export function redisBus(options: RedisBusOptions): Bus {
  const url = busUrl('redisBus()', options.url, ['redis', 'rediss'])
  const prefix = checkedPrefix('redisBus()', options.prefix ?? defaultPrefix)
  const timeoutMs = checkedTimeoutMs('redisBus()', options.timeoutMs ?? 5_000)
  const { username, password, tls, maxBytes = 4 * 1024 * 1024, pingMs = 10_000 } = options
  const server: Server = { url, username, password, tls, timeoutMs }
  return busOver({
    name: `${url.protocol}//${url.host}`,
    timeoutMs,
    connect: (signal) => connected(server, { prefix, maxBytes, pingMs }, signal),
  })
}

interface Place {
  readonly prefix: string
  readonly maxBytes: number
  readonly pingMs: number
}

/** Two connections: one that listens can say nothing else. */
async function connected(server: Server, place: Place, signal: AbortSignal): Promise<BusConnection> {
  const { prefix, maxBytes, pingMs } = place
  const ioredis = await imported('ioredis', () => import('ioredis'))
  const settings = await settingsOf(server)
  const speaking = new ioredis.Redis(settings)
  const listening = new ioredis.Redis(settings)
  const both = [speaking, listening]
  let failure: Error | undefined
  for (const one of both) one.on('error', (error: Error) => (failure ??= error))
  const over = both.map((one) => new Promise<void>((resolve) => one.once('end', resolve)))
  const end = () => {
    clearInterval(asking)
    for (const one of both) one.disconnect()
  }
  const asking = setInterval(() => both.forEach((one) => void asked(one)), pingMs)
  const asked = (one: Redis) =>
    one.ping().catch((error: Error) => {
      failure ??= error
      end()
    })
  const topics = new Map<string, (bytes: Uint8Array) => void>()
  listening.on('messageBuffer', (channel: Buffer, bytes: Buffer) => topics.get(channel.toString())?.(bytes))
  signal.addEventListener('abort', end, { once: true })
  try {
    signal.throwIfAborted()
    await Promise.all(both.map((one) => one.connect()))
    // A password that is wrong is only told beside the rest, and then each command says that there was none.
    await Promise.all(both.map((one) => one.ping()))
    if (failure) throw failure
  } catch (error) {
    end()
    throw failure ?? error
  } finally {
    signal.removeEventListener('abort', end)
  }
  return {
    maxBytes,
    publish: (topic, bytes) =>
      speaking.publish(`${prefix}.${topic}`, Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)),
    async subscribe(topic, message) {
      topics.set(`${prefix}.${topic}`, message)
      await listening.subscribe(`${prefix}.${topic}`)
    },
    async unsubscribe(topic) {
      topics.delete(`${prefix}.${topic}`)
      await listening.unsubscribe(`${prefix}.${topic}`)
    },
    ended: Promise.race(over).then(() => {
      end()
      return failure
    }),
    async end() {
      end()
      await Promise.all(over)
    },
  }
}
