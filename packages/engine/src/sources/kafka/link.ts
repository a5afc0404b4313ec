/** One connection to a broker, which can be ended at any time and leaves nothing behind, and what its errors mean. */
import { isIP } from 'node:net'
import type { Connection, ConnectionOptions } from '@platformatic/kafka'
import { nodeTls } from '../../credentials.ts'
import { errorText } from '../../deadline.ts'
import { optional } from '../../optional.ts'
import { FollowError } from '../watching.ts'
import type { Address, LinkOptions } from './server.ts'

export type Library = Pick<
  typeof import('@platformatic/kafka'),
  'Connection' | 'fetchV13' | 'listOffsetsV7' | 'metadataV12' | 'murmur2' | 'produceV9'
>

export class Link {
  /** Once it can be used. */
  readonly connection: Promise<Connection>
  readonly #connection: Connection

  constructor(library: Library, { host, port }: Address, options: LinkOptions) {
    const connection = new library.Connection('midflight', optionsOf(host, options))
    this.#connection = connection
    // Whoever waits for an answer is told, too.
    connection.on('error', () => {})
    this.connection = new Promise((resolve, reject) => {
      void connection.connect(host, port, (error) => (error ? reject(error) : resolve(connection)))
    })
    this.connection.catch(() => {})
  }

  get isOpen(): boolean {
    return this.#connection.isConnected()
  }

  end(): void {
    // It ends its timers by itself, but waits for a socket that may never be heard of again.
    this.#connection.close(() => {})
    this.#connection.socket?.destroy()
  }
}

function optionsOf(host: string, { tls, login, timeoutMs }: LinkOptions): ConnectionOptions {
  const servername = tls?.servername ?? (isIP(host) === 0 ? host : undefined)
  return {
    connectTimeout: timeoutMs,
    requestTimeout: timeoutMs,
    ...(tls && { tls: { ...nodeTls(tls), ...(servername && { servername }) } }),
    ...(login && { sasl: { mechanism: login.mechanism, username: login.user, password: login.password } }),
  }
}

/** The library, which is large and not everyone's. */
export function library(): Promise<Library> {
  const message = 'Kafka needs a package: npm install @platformatic/kafka'
  return optional(
    () => import('@platformatic/kafka'),
    (cause) => new FollowError(message, { transient: false, cause }),
  )
}

/** What trying again soon does not mend. */
const lasting = new Set([
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
  'TOPIC_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'INVALID_TOPIC_EXCEPTION',
  'PLT_KFK_AUTHENTICATION',
  'PLT_KFK_UNSUPPORTED_COMPRESSION',
])

/** Without the library's error as its cause: it may hold what was sent. */
export function explained(error: unknown, broker: string): FollowError {
  if (error instanceof FollowError) return error
  const reasons = reasonsOf(error)
  const codes = reasons.flatMap(({ apiId, code }) => [apiId, code]).filter((code) => code !== undefined)
  const isLasting = codes.some((code) => lasting.has(code) || /CERT|SSL|TLS|ISSUER|SIGNED/.test(code))
  const texts = new Set(reasons.map(({ text }) => text))
  return new FollowError(`${broker}: ${[...texts].join('; ')}`, { transient: !isLasting })
}

interface Reason {
  readonly text: string
  readonly code: string | undefined
  /** As Kafka calls it. */
  readonly apiId: string | undefined
}

/** The innermost: the library wraps them in ones that say where it was. */
function reasonsOf(error: unknown, depth = 0): readonly Reason[] {
  if (depth < 8 && error instanceof AggregateError && error.errors.length > 0) {
    return error.errors.flatMap((one) => reasonsOf(one, depth + 1))
  }
  if (depth < 8 && error instanceof Error && error.cause instanceof Error) return reasonsOf(error.cause, depth + 1)
  const { code, apiId, serverErrorMessage } = (error ?? {}) as Readonly<Record<string, unknown>>
  const said = typeof serverErrorMessage === 'string' ? serverErrorMessage : errorText(error)
  const text =
    said === 'Connection closed' ? 'has ended the connection; it may want TLS or a login, or be older than 3.1' : said
  return [
    {
      text: typeof apiId === 'string' ? `${text} (${apiId})` : text,
      code: typeof code === 'string' ? code : undefined,
      apiId: typeof apiId === 'string' ? apiId : undefined,
    },
  ]
}
