/** Which servers of NATS, and who asks them: what may be said of that, apart from the library. */
import type { TlsOptions, Token } from '../../credentials.ts'
import { inRange } from '../../range.ts'

export interface NatsConnectionOptions {
  /** `nats://host:4222`, or `tls://` where the server must be one with TLS. */
  readonly servers: string | readonly string[]
  readonly user?: string
  /** A function is asked at each connection. */
  readonly password?: Token
  readonly token?: Token
  /** The text of a credentials file. */
  readonly creds?: Token
  readonly tls?: TlsOptions
  /** Of JetStream, where it is another than the server's. */
  readonly domain?: string
  /** How often the server is asked whether it is there; the second time without an answer it is not. Default 10,000. */
  readonly pingMs?: number
  /** How long a connection and each request may take, milliseconds, default 5,000. */
  readonly timeoutMs?: number
}

export interface Server {
  readonly options: NatsConnectionOptions
  readonly servers: readonly string[]
  readonly pingMs: number
  readonly timeoutMs: number
}

/** @throws TypeError, RangeError if an option cannot be meant. `what` begins the message. */
export function serverOf(what: string, options: NatsConnectionOptions): Server {
  const { pingMs = 10_000, timeoutMs = 5_000 } = options
  inRange(what, 'pingMs', pingMs, 10, 3_600_000)
  inRange(what, 'timeoutMs', timeoutMs, 1, 3_600_000)
  return { options, servers: serversOf(what, options.servers), pingMs, timeoutMs }
}

/** @throws TypeError */
export function checkBucket(bucket: string): void {
  if (/^[-\w]+$/.test(bucket)) return
  throw new TypeError(`nats(): the bucket is ${JSON.stringify(bucket)}; want letters, digits, - and _`)
}

function serversOf(what: string, servers: string | readonly string[]): readonly string[] {
  const all = typeof servers === 'string' ? [servers] : servers
  // Without the text itself: it may hold a password.
  if (all.length === 0 || !all.every((server) => /^((nats|tls):\/\/)?[-\w.[\]:]+$/.test(server))) {
    throw new TypeError(`${what}: want servers as nats://host:port or tls://host:port, and credentials in options`)
  }
  return all
}
