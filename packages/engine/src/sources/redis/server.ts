/** Which server of Redis, and who asks it: what may be said of that, apart from the library. */
import type { TlsOptions, Token } from '../../credentials.ts'
import { inRange } from '../../range.ts'

export interface RedisConnection {
  /** `redis://host:6379/0`, or `rediss://` for TLS. The number is that of the database. */
  readonly url: string | URL
  readonly username?: string
  /** A function is asked at each connection. Default: that of the URL. */
  readonly password?: Token
  readonly tls?: TlsOptions
  /** How long a connection and each command may take, milliseconds, default 10,000. */
  readonly timeoutMs?: number
}

export interface Server {
  readonly url: URL
  readonly username: string | undefined
  readonly password: Token | undefined
  readonly tls: TlsOptions | undefined
  readonly timeoutMs: number
}

/** @throws TypeError, RangeError if an option cannot be meant. */
export function serverOf(options: RedisConnection): Server {
  const { tls, timeoutMs = 10_000 } = options
  const url = redisUrl(options.url)
  if (tls && url.protocol !== 'rediss:') throw new TypeError('redis(): tls is given; want a rediss:// URL')
  inRange('redis()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  return {
    url,
    username: options.username ?? decoded(url.username),
    password: options.password ?? decoded(url.password),
    tls,
    timeoutMs,
  }
}

function decoded(text: string): string | undefined {
  return text === '' ? undefined : decodeURIComponent(text)
}

function redisUrl(text: string | URL): URL {
  const url = URL.canParse(String(text)) ? new URL(text) : undefined
  // Without the text itself: it may hold a password.
  if (!url || !/^rediss?:$/.test(url.protocol) || url.hostname === '') {
    throw new TypeError('redis(): the URL is none of Redis; want redis://host:port/database or rediss://')
  }
  if (!/^\/?\d{0,9}$/.test(url.pathname)) {
    throw new TypeError(`redis(): the database is ${JSON.stringify(url.pathname)}; want a number`)
  }
  return url
}
