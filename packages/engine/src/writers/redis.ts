/**
 * Writes to keys of Redis that hold strings. Redis keeps no revisions, so the digest of a value stands for one, and a
 * script on the server compares it. It needs the peer `ioredis`. A key that had a time to live has none after it was
 * written.
 */
import { createHash } from 'node:crypto'
import { errorText } from '../deadline.ts'
import { connected, type Client } from '../sources/redis/client.ts'
import { serverOf, type RedisConnection } from '../sources/redis/server.ts'
import { keysBelow } from '../sources/redis/keys.ts'
import { calling, Kept, type Call } from './calling.ts'
import { WriteError, type Stored, type Writer } from './writer.ts'

export type { RedisConnection } from '../sources/redis/server.ts'

const mostKeys = 1_000_000
const keysAtOnce = 500

/** SHA-1 is what a script can compute; it tells values apart, and keeps nobody out. */
const ifSame = `local now = redis.call('GET', KEYS[1])
if not now or redis.sha1hex(now) ~= ARGV[1] then return 0 end`
const writeIfSame = `${ifSame}
redis.call('SET', KEYS[1], ARGV[2])
return 1`
const removeIfSame = `${ifSame}
redis.call('DEL', KEYS[1])
return 1`

/** @throws TypeError, RangeError at the call, if an option cannot be meant. */
export function redisWriter(options: RedisConnection): Writer {
  const server = serverOf(options)
  const name = `redis:${server.url.host}${/^\/?0?$/.test(server.url.pathname) ? '' : server.url.pathname}`
  const kept = new Kept<Client>(
    async (signal) => {
      const client = await connected(server, signal)
      void client.ended.then(() => kept.drop(client))
      return client
    },
    async (client) => {
      client.end()
      await client.ended
    },
  )
  const call = <T>(signal: AbortSignal, work: (redis: Client['redis'], call: Call) => Promise<T>) =>
    // To connect, and to ask.
    calling(name, server.timeoutMs * 2, signal, async (made) => {
      const client = await kept.get()
      try {
        return await work(client.redis, made)
      } catch (error) {
        const refused = refusal(name, error)
        if (refused) throw refused
        // What it did not answer in time it may answer later, to somebody else's question.
        await kept.drop(client)
        throw client.explained(error)
      }
    })

  return {
    name,
    lacks: { revisions: 'Redis keeps none: a value that came back to what it was is taken for the same' },
    read: (key, signal) =>
      call(signal, async (redis) => {
        const value = await redis.getBuffer(key)
        return value === null ? undefined : storedOf(value)
      }),
    async *list(prefix, signal) {
      const keys = await call(signal, (redis) => keysBelow(redis, prefix, mostKeys))
      if (keys.length > mostKeys) {
        throw new WriteError('refused', `${name}: has more than ${mostKeys} keys below ${prefix}; want a longer prefix`)
      }
      for (let i = 0; i < keys.length; i += keysAtOnce) {
        const some = keys.slice(i, i + keysAtOnce)
        const values = await call(signal, (redis) => redis.mgetBuffer(some))
        // Without a value: it was removed meanwhile, or is no string.
        for (const [j, value] of values.entries()) if (value) yield { key: some[j] as string, ...storedOf(value) }
      }
    },
    write: (key, value, expected, signal) =>
      call(signal, async (redis, { sent }) => {
        const bytes = Buffer.from(value)
        sent()
        const isWritten =
          expected === 'any'
            ? await redis.set(key, bytes)
            : expected === 'absent'
              ? await redis.set(key, bytes, 'NX')
              : await redis.eval(writeIfSame, 1, key, expected.revision, bytes)
        return isWritten ? { kind: 'written', revision: revisionOf(bytes) } : { kind: 'conflict' }
      }),
    remove: (key, expected, signal) =>
      call(signal, async (redis, { sent }) => {
        if (expected === 'absent') return { kind: (await redis.exists(key)) ? 'conflict' : 'absent' }
        sent()
        if (expected === 'any') return { kind: (await redis.del(key)) ? 'removed' : 'absent' }
        return { kind: (await redis.eval(removeIfSame, 1, key, expected.revision)) ? 'removed' : 'conflict' }
      }),
    close: () => kept.close(),
  }
}

function storedOf(value: Buffer): Stored {
  return { value, revision: revisionOf(value) }
}

function revisionOf(value: Buffer): string {
  return createHash('sha1').update(value).digest('hex')
}

/** What the server says of a command that it took and refused: nothing was written. */
function refusal(name: string, error: unknown): WriteError | undefined {
  const text = errorText(error)
  if (/^(NOPERM|NOAUTH|WRONGPASS)/.test(text)) return new WriteError('denied', `${name}: ${text}`)
  if (/^(WRONGTYPE|OOM|READONLY|MISCONF|CROSSSLOT|ERR)\b/.test(text))
    return new WriteError('refused', `${name}: ${text}`)
  return undefined
}
