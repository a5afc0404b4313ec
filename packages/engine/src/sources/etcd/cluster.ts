/** How a cluster is reached: what users say of it, checked. */
import { createSecureContext } from 'node:tls'
import type { TlsOptions, Token } from '../../credentials.ts'
import { inRange } from '../../range.ts'
import type { Cluster, Endpoint } from './client.ts'

export interface EtcdConnection {
  /** `https://host:2379`, `http://host:2379`, or `host:2379`, which is https if `tls` is given. */
  readonly endpoints: string | readonly string[]
  readonly tls?: TlsOptions
  readonly username?: string
  readonly password?: string
  /** A token of etcd's, such as a JWT, instead of a password. A function is asked for each connection. */
  readonly token?: Token
  /** How long one answer may take, milliseconds, default 5,000. */
  readonly timeoutMs?: number
  /** How often a silent connection is tried, milliseconds, at least 6,000, default 10,000. etcd cuts off who asks more. */
  readonly keepAliveMs?: number
}

/** Room for keys and framing around the values of one answer. */
const aroundValuesBytes = 4 * 1024 * 1024

/** @throws TypeError, RangeError if an option cannot be meant; an Error if `tls` holds what is no PEM. */
export function clusterOf(options: EtcdConnection, maxBytes: number): Cluster {
  const { timeoutMs = 5_000, keepAliveMs = 10_000 } = options
  inRange('etcd()', 'timeoutMs', timeoutMs, 1, 3_600_000)
  inRange('etcd()', 'keepAliveMs', keepAliveMs, 6_000, 3_600_000)
  return {
    endpoints: endpointsOf(options),
    tls: options.tls && { context: contextOf(options.tls), servername: options.tls.servername },
    login: loginOf(options),
    token: options.token,
    timeoutMs,
    keepAliveMs,
    maxMessageBytes: Math.min(maxBytes + aroundValuesBytes, 2 ** 31 - 1),
  }
}

function endpointsOf({ endpoints, tls }: EtcdConnection): readonly Endpoint[] {
  const all = (typeof endpoints === 'string' ? [endpoints] : endpoints).map((text) =>
    endpointOf(text, tls !== undefined),
  )
  if (all.length === 0) throw new TypeError('etcd(): endpoints is empty; want at least one')
  return all
}

function endpointOf(text: string, hasTls: boolean): Endpoint {
  const full = /^\w+:\/\//.test(text) ? text : `${hasTls ? 'https' : 'http'}://${text}`
  const url = URL.canParse(full) ? new URL(full) : undefined
  if (url && (url.username !== '' || url.password !== '')) {
    throw new TypeError('etcd(): an endpoint holds a user name or a password; want them in options')
  }
  if (!url || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '' || url.hostname === '') {
    throw new TypeError(`etcd(): an endpoint is ${JSON.stringify(text)}; want http:// or https://, a host and a port`)
  }
  const isTls = url.protocol === 'https:'
  if (hasTls && !isTls) throw new TypeError(`etcd(): tls is given, and the endpoint ${JSON.stringify(text)} has none`)
  return { host: `${url.hostname}:${portOf(full, url)}`, isTls }
}

/** URLs leave out the ports 80 and 443, which are not those of etcd. */
function portOf(text: string, url: URL): string {
  return url.port || (/:0*(80|443)\/?$/.exec(text)?.[1] ?? '2379')
}

function contextOf({ ca, cert, key, passphrase }: TlsOptions) {
  return createSecureContext({
    ...(ca !== undefined && { ca: ca as string | string[] }),
    ...(cert !== undefined && { cert }),
    ...(key !== undefined && { key }),
    ...(passphrase !== undefined && { passphrase }),
  })
}

function loginOf({ username, password, token }: EtcdConnection): Cluster['login'] {
  if ((username === undefined) !== (password === undefined)) {
    throw new TypeError('etcd(): want username and password, or neither')
  }
  if (username === undefined || password === undefined) return undefined
  if (token !== undefined) throw new TypeError('etcd(): want a token or a password, not both')
  return { username, password }
}
