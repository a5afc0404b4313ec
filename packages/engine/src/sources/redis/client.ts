/** One connection to a server of Redis, which ends for good when it is cut off, and errors that hold no password. */
import type { Redis, RedisOptions } from 'ioredis'
import { nodeTls, secretText } from '../../credentials.ts'
import { errorText } from '../../deadline.ts'
import { optional } from '../../optional.ts'
import { FollowError } from '../watching.ts'
import type { Server } from './server.ts'

export interface Client {
  readonly redis: Redis
  /** Settles when the connection is over. Never rejects. */
  readonly ended: Promise<void>
  /** What to throw for `error`, which a command threw, or for the end of the connection. */
  explained(error?: unknown): FollowError
  end(): void
}

export async function connected(server: Server, signal: AbortSignal): Promise<Client> {
  const { Redis } = await library()
  const { url } = server
  const redis = new Redis(await settingsOf(server))
  let failure: unknown
  redis.on('error', (error) => (failure ??= error))
  const ended = new Promise<void>((resolve) => redis.once('end', resolve))
  const end = () => {
    signal.removeEventListener('abort', end)
    redis.disconnect()
  }
  const explained = (error?: unknown): FollowError => {
    if (error instanceof FollowError) return error
    const why = failure ?? error
    const text = why === undefined ? 'the server has ended the connection' : whatCame(errorText(why))
    // Not as the cause: the library's errors hold the command, and that may hold the password.
    return new FollowError(`${url.host}: ${text}`, { transient: !isLasting(why) })
  }
  signal.addEventListener('abort', end, { once: true })
  try {
    if (signal.aborted) throw new Error('stopped')
    await redis.connect()
    // A database that is not there is only told; the library would read another one.
    if (failure !== undefined) throw explained()
  } catch (error) {
    end()
    await ended
    throw explained(error)
  }
  return { redis, ended, explained, end }
}

/** For a connection that ends for good when it is cut off. The password is asked for. */
export async function settingsOf({ url, username, password, tls, timeoutMs }: Server): Promise<RedisOptions> {
  const secret = await secretText(password)
  return {
    host: url.hostname.replace(/^\[|\]$/g, ''),
    port: Number(url.port || 6379),
    db: Number(url.pathname.slice(1) || 0),
    ...(username !== undefined && { username }),
    ...(secret !== undefined && { password: secret }),
    ...(url.protocol === 'rediss:' && { tls: nodeTls(tls) }),
    lazyConnect: true,
    connectTimeout: timeoutMs,
    commandTimeout: timeoutMs,
    disconnectTimeout: 100,
    // Whoever listens is to know that it missed something, and begins anew; and the pauses between tries are ours.
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    enableReadyCheck: false,
    disableClientInfo: true,
  }
}

function library() {
  const message = 'reading Redis needs the package ioredis: npm install ioredis'
  return optional(
    () => import('ioredis'),
    (cause) => new FollowError(message, { transient: false, cause }),
  )
}

/** Its parser wants what it does not know to be reported to its authors. */
function whatCame(text: string): string {
  return /Unknown RESP type/.test(text) ? 'does not answer as Redis does; want the address of a Redis server' : text
}

/** What another try soon does not mend: credentials, permissions, certificates. */
function isLasting(error: unknown): boolean {
  if (/^(WRONGPASS|NOAUTH|NOPERM|ERR AUTH|ERR DB index|ERR invalid password)/.test(errorText(error))) return true
  return /CERT|SSL|TLS|ISSUER|SIGNED/.test(String((error as NodeJS.ErrnoException | undefined)?.code ?? ''))
}
