/** What a control plane can be told when it is started, and what of that is refused because it would be unsafe. */
import type { PeerCertificate } from 'node:tls'
import type { Logger } from 'pino'
import type { Principal } from './access.ts'
import type { BatchLimits } from './batches.ts'
import type { GateSourceOptions } from './gates/sources.ts'
import type { BodyOptions } from './http/body.ts'
import type { EventLimits } from './http/live.ts'
import type { OidcOptions } from './http/oidc.ts'
import type { HttpLimits } from './http/server.ts'
import { isLoopback } from './loopback.ts'
import type { BusOptions } from './push/bus.ts'
import type { HubLimits } from './push/limits.ts'
import type { Retention } from './retention.ts'
import type { Store } from './store.ts'
import type { StrategySpec } from './strategies/spec.ts'
import type { DeployOptions } from './targets/start.ts'
import type { ContentLimits } from './validation.ts'

export interface TlsOptions {
  /** PEM. */
  readonly cert: string | Buffer
  readonly key: string | Buffer
  /** PEM: certificates of agents are verified against it. Without it none are asked for. */
  readonly clientCa?: string | Buffer
  /** PEM: lists of certificates that the authority has taken back. Each authority of `clientCa` must have one then. */
  readonly clientCrl?: string | Buffer
  /** Who the owner of a verified certificate is. By default an agent for the config in its name `urn:midflight:agent:…`. */
  readonly principalOf?: (certificate: PeerCertificate) => Principal | undefined
}

export interface ServeOptions {
  /** Store and keys; made with mode 0700 if it is not there. */
  readonly dataDir: string
  readonly host?: string
  /** 0 to 65535; 0: any free one. */
  readonly port?: number
  readonly tls?: TlsOptions
  /** A proxy that speaks TLS is the only one who can reach this address: then a public bind without `tls` is taken. */
  readonly tlsElsewhere?: boolean
  /** Addresses of proxies, or their networks (`10.0.0.0/8`), whose X-Forwarded-For is believed. */
  readonly proxies?: readonly string[]
  /** Names by which it is reached besides loopback and `host`: `config.example.com`, with or without a port. */
  readonly allowedHosts?: readonly string[]
  /** `none`: whoever can reach it is an administrator. Taken on loopback only. */
  readonly authentication?: 'required' | 'none'
  readonly oidc?: OidcOptions
  readonly logger?: Logger
  /** Called with the secret of the first admin token, once, at the first start. By default it goes to the terminal. */
  readonly onAdminToken?: (secret: string) => void
  /** Makes another admin token, as at the first start: the way back in if the first is lost. */
  readonly newAdminToken?: boolean
  readonly limits?: {
    readonly content?: Partial<ContentLimits>
    readonly http?: Partial<HttpLimits>
    readonly body?: Partial<BodyOptions>
    readonly events?: Partial<EventLimits>
    readonly batch?: Partial<BatchLimits>
    readonly hub?: Partial<HubLimits>
  }
  readonly retention?: Partial<Retention>
  /** Where health gates ask. A gate that is not configured here fails. */
  readonly gates?: GateSourceOptions
  /** Of publishes where neither they nor the config say it (batches excepted). Without it: to all at once, unwatched. */
  readonly strategy?: StrategySpec
  /** Releases are announced over these besides. `takesReports`: what nodes report over them counts. Closed with it. */
  readonly bus?: Pick<BusOptions, 'buses' | 'maxWholeBytes'> & { readonly takesReports?: boolean }
  /** Who brings packages to the targets of configs, besides Midflight's own agents. */
  readonly deploy?: DeployOptions
  /** How long `close` waits for requests and agents, in milliseconds. Default 10,000. */
  readonly closeMs?: number
  /** Instead of SQLite in `dataDir`. */
  readonly store?: Store
  /** For tests: every answer is checked against its schema. */
  readonly checkAnswers?: boolean
  /** For tests: the clock on the wall. */
  readonly now?: () => Date
}

/** What cannot be served as asked. */
export class ServeError extends Error {
  override readonly name = 'ServeError'
}

/** @throws ServeError if others could reach it who are to be kept out. */
export function requireSafe(options: ServeOptions, host: string, port: number): void {
  const { tls, tlsElsewhere = false, authentication = 'required', allowedHosts = [] } = options
  if (!Number.isInteger(port) || port < 0 || port > 65_535) {
    throw new ServeError(`serve: port is ${port}; want an integer from 0 (any free one) to 65535`)
  }
  if (isLoopback(host)) return
  if (authentication === 'none') {
    throw new ServeError(`serve: refuses to listen on ${host} without authentication, because others can reach it`)
  }
  if (tls === undefined && !tlsElsewhere) {
    throw new ServeError(
      `serve: refuses to listen on ${host} without TLS, because tokens and contents would be readable on the way; ` +
        'pass tls, or tlsElsewhere if a proxy before it speaks TLS, or listen on 127.0.0.1',
    )
  }
  if ((host === '0.0.0.0' || host === '::') && allowedHosts.length === 0) {
    throw new ServeError(`serve: listens on ${host}, so it must be told its names; pass allowedHosts`)
  }
}
