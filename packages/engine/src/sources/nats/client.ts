/** One connection to a server of NATS, which ends for good when it is cut off, and errors that hold no password. */
import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node'
import { secretText } from '../../credentials.ts'
import { errorText } from '../../deadline.ts'
import { optional } from '../../optional.ts'
import { FollowError } from '../watching.ts'
import { Sockets } from '../watching/sockets.ts'
import type { Server } from './server.ts'

/** Of a removal, or of a server that took a key away at its age. */
export function isMarker(headers: { has(name: string): boolean } | undefined): boolean {
  return headers !== undefined && (headers.has('KV-Operation') || headers.has('Nats-Marker-Reason'))
}

type Transport = Pick<typeof import('@nats-io/transport-node'), 'connect' | 'credsAuthenticator'>

/**
 * Ends for good when it is cut off.
 * @param load for whoever needs less of the library
 * @throws FollowError, and what `load` throws
 */
export async function connected(
  server: Server,
  signal: AbortSignal,
  load: () => Promise<Transport> = library,
): Promise<NatsConnection> {
  const { options, servers, pingMs, timeoutMs } = server
  const { connect, credsAuthenticator } = await load()
  const [password, token, creds] = await Promise.all([options.password, options.token, options.creds].map(secretText))
  const isSecure = options.tls !== undefined || servers.some((server) => server.startsWith('tls:'))
  const sockets = new Sockets()
  const settings: ConnectionOptions = {
    servers: servers.map((server) => server.replace(/^\w+:\/\//, '')),
    ...(options.user !== undefined && { user: options.user }),
    ...(password !== undefined && { pass: password }),
    ...(token !== undefined && { token }),
    ...(creds !== undefined && { authenticator: credsAuthenticator(new TextEncoder().encode(creds)) }),
    // Its type lacks what it hands on to Node.
    ...(isSecure && { tls: { ...options.tls } as NonNullable<ConnectionOptions['tls']> }),
    name: 'midflight',
    timeout: timeoutMs,
    pingInterval: pingMs,
    maxPingOut: 1,
    // Whoever listens is to know that it missed something, and begins anew; and the pauses between tries are ours.
    reconnect: false,
    ignoreClusterUpdates: true,
  }
  const connecting = sockets.of(() => connect(settings))
  let stop = () => {}
  const stopped = new Promise<undefined>((resolve) => {
    stop = () => resolve(undefined)
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
  })
  try {
    const connection = await Promise.race([connecting, stopped])
    if (connection) return connection
    // It cannot be stopped; without its socket it soon ends.
    connecting.then(
      (late) => late.close(),
      () => {},
    )
    throw new FollowError('stopped')
  } catch (error) {
    sockets.destroy()
    throw explained(error, server)
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

export function library() {
  const message = 'NATS needs two packages: npm install @nats-io/transport-node @nats-io/jetstream'
  return optional(
    async () => {
      const [{ connect, credsAuthenticator, headers }, { jetstream, jetstreamManager }] = await Promise.all([
        import('@nats-io/transport-node'),
        import('@nats-io/jetstream'),
      ])
      return { connect, credsAuthenticator, headers, jetstream, jetstreamManager }
    },
    (cause) => new FollowError(message, { transient: false, cause }),
  )
}

/** Without the library's error as its cause: it may hold what was sent. */
export function explained(error: unknown, { servers }: Server, bucket = ''): FollowError {
  if (error instanceof FollowError) return error
  const text = errorText(error)
  const what = text === 'stream not found' ? `there is no bucket ${bucket}` : text
  const code = String((error as NodeJS.ErrnoException | undefined)?.code ?? '')
  const isLasting = /authoriz|authentic|permission|creds|tls/i.test(text) || /CERT|SSL|TLS|ISSUER|SIGNED/.test(code)
  return new FollowError(`${servers.join(', ')}: ${what}`, { transient: !isLasting })
}
