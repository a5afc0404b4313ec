/** A bus over NATS: core subjects, no JetStream. What is said while nobody listens is gone. */
import type { ConnectionOptions, NatsConnection, Subscription } from '@nats-io/transport-node'
import { within } from '../deadline.ts'
import type { TlsOptions, Token } from '../sources/watching/request.ts'
import { busOver, busUrl, checkedPrefix, checkedTimeoutMs, defaultPrefix, imported } from './bus.ts'
import type { Bus, BusConnection } from './bus.ts'

export interface NatsBusOptions {
  /** `nats://host:4222`, or `tls://` where the server must be one with TLS. */
  readonly servers: string | readonly string[]
  readonly user?: string
  /** A function is asked at each connection. */
  readonly password?: Token
  readonly token?: Token
  /** The text of a credentials file. */
  readonly creds?: Token
  readonly tls?: TlsOptions
  /** Before each subject, default `midflight`. */
  readonly prefix?: string
  /** How often the server is asked whether it is there, milliseconds, default 10,000. */
  readonly pingMs?: number
  /** How long a connection and each message may take, milliseconds, default 5,000. */
  readonly timeoutMs?: number
}

/** @throws TypeError, RangeError at the call, if an option cannot be meant */
export function natsBus(options: NatsBusOptions): Bus {
  const servers = typeof options.servers === 'string' ? [options.servers] : options.servers
  const urls = servers.map((server) => busUrl('natsBus()', server, ['nats', 'tls']))
  const [first] = urls
  if (first === undefined) throw new TypeError('natsBus(): servers is empty; want at least one')
  const prefix = checkedPrefix('natsBus()', options.prefix ?? defaultPrefix)
  const timeoutMs = checkedTimeoutMs('natsBus()', options.timeoutMs ?? 5_000)
  return busOver({
    name: `${first.protocol}//${first.host}`,
    timeoutMs,
    connect: async (signal) => connectionOf(await connected(options, urls, timeoutMs, signal), prefix),
  })
}

function connectionOf(connection: NatsConnection, prefix: string): BusConnection {
  const subscriptions = new Map<string, Subscription>()
  const refused = permissionRefused(connection)
  return {
    maxBytes: connection.info?.max_payload ?? 0,
    async publish(topic, bytes) {
      connection.publish(`${prefix}.${topic}`, bytes)
      await connection.flush()
      await refused.check(`${prefix}.${topic}`)
    },
    async subscribe(topic, message) {
      subscriptions.get(topic)?.unsubscribe()
      const subscription = connection.subscribe(`${prefix}.${topic}`, {
        callback: (error, got) => {
          if (!error) message(got.data)
        },
      })
      subscriptions.set(topic, subscription)
      await connection.flush()
      await refused.check(`${prefix}.${topic}`)
    },
    async unsubscribe(topic) {
      subscriptions.get(topic)?.unsubscribe()
      subscriptions.delete(topic)
    },
    ended: connection.closed(),
    end: () => connection.close(),
  }
}

/** A permission that is missing is told beside everything else, before what was asked is answered. */
function permissionRefused(connection: NatsConnection) {
  const refused = new Map<string, string>()
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type !== 'error' || !('subject' in status.error)) continue
      refused.set(String(status.error.subject), status.error.message)
      if (refused.size > maxRefused) refused.delete(refused.keys().next().value as string)
    }
  })()
  return {
    async check(subject: string): Promise<void> {
      // The other loop has its turn first.
      await new Promise((resolve) => setImmediate(resolve))
      const why = refused.get(subject)
      refused.delete(subject)
      if (why !== undefined) throw new Error(why)
    },
  }
}

const maxRefused = 100

async function connected(
  options: NatsBusOptions,
  urls: readonly URL[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<NatsConnection> {
  const { connect, credsAuthenticator } = await imported(
    '@nats-io/transport-node',
    () => import('@nats-io/transport-node'),
  )
  const [password, token, creds] = await Promise.all([options.password, options.token, options.creds].map(textOf))
  const isSecure = options.tls !== undefined || urls.some(({ protocol }) => protocol === 'tls:')
  const settings: Parameters<typeof connect>[0] = {
    servers: urls.map(({ host }) => host),
    ...(options.user !== undefined && { user: options.user }),
    ...(password !== undefined && { pass: password }),
    ...(token !== undefined && { token }),
    ...(creds !== undefined && { authenticator: credsAuthenticator(new TextEncoder().encode(creds)) }),
    // Its type lacks what it hands on to Node.
    ...(isSecure && { tls: { ...options.tls } as NonNullable<ConnectionOptions['tls']> }),
    name: 'midflight',
    timeout: timeoutMs,
    pingInterval: options.pingMs ?? 10_000,
    maxPingOut: 1,
    // Whoever listens is to know that it missed something; and the pauses between tries are ours.
    reconnect: false,
    ignoreClusterUpdates: true,
  }
  // It cannot be stopped, and ends within its time.
  const late = (result: PromiseSettledResult<NatsConnection>) => {
    if (result.status === 'fulfilled') void result.value.close()
  }
  return await within(timeoutMs, signal, () => connect(settings), late)
}

async function textOf(token: Token | undefined): Promise<string | undefined> {
  return typeof token === 'function' ? token() : token
}
