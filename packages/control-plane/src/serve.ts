/**
 * Puts a control plane together, and takes it apart in order: store, keys, hub, HTTP. What each part does is its own
 * file; here is only what the first start makes, where it may listen, and what closes before what.
 */
import { isIPv6, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import type { PeerCertificate } from 'node:tls'
import type { Json } from 'midflight'
import { pino, type Logger } from 'pino'
import type { Principal } from './access.ts'
import { Batches, defaultBatchLimits, type BatchLimits } from './batches.ts'
import { Coordinator } from './coordinator.ts'
import { prepareDirectory } from './directory.ts'
import { domainOf } from './domain.ts'
import { gateSources, type GateSourceOptions } from './gates/sources.ts'
import { defaultBodyOptions, type BodyOptions } from './http/body.ts'
import { namesOf, type Names } from './http/caller.ts'
import { createGate } from './http/gate.ts'
import { agentOfCertificate, identification, type Identify } from './http/identity.ts'
import { defaultEventLimits, Live, type EventLimits } from './http/live.ts'
import { oidc, type OidcOptions } from './http/oidc.ts'
import { announce, announceWayBack } from './http/released.ts'
import type { App } from './http/route.ts'
import { createServer, defaultHttpLimits, type HttpLimits } from './http/server.ts'
import { deploymentView } from './http/routes/targets.ts'
import { newsOf } from './http/strategies.ts'
import { takeUpgrades } from './http/upgrade.ts'
import { KeyRing } from './key-ring.ts'
import { isLoopback } from './loopback.ts'
import { metricsOf } from './metrics.ts'
import { orderOf } from './order.ts'
import type { BusOptions } from './push/bus.ts'
import type { Hub } from './push/delivery.ts'
import { createHub } from './push/hub.ts'
import { defaultHubLimits, type HubLimits } from './push/limits.ts'
import { defaultRetention, pruning, type Retention } from './retention.ts'
import { Roster } from './roster.ts'
import type { Store } from './store.ts'
import { openSqlite } from './stores/sqlite.ts'
import type { StrategySpec } from './strategies/spec.ts'
import { startDeployer, type DeployOptions } from './targets/start.ts'
import { authenticate, controlPlane, createToken, sharedNames } from './tokens.ts'
import type { ContentLimits } from './validation.ts'

/** How deep a content may stand in a body: `changes[0].content`, and some to spare. */
const wrapped = 4

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

export interface ControlPlane {
  /** `http://127.0.0.1:7700` */
  readonly url: string
  readonly store: Store
  readonly keys: KeyRing
  readonly hub: Hub
  /** Takes a renewed certificate; connections that are open keep the old one. @throws if there was no TLS. */
  useCertificate(tls: Pick<TlsOptions, 'cert' | 'key' | 'clientCa' | 'clientCrl'>): void
  /** Not ready → no new connections → batches are written → agents and readers are sent away → requests end → what nodes said is stored → the store. */
  close(): Promise<void>
}

/** What cannot be served as asked. */
export class ServeError extends Error {
  override readonly name = 'ServeError'
}

/** @throws ServeError for options that would be unsafe, or an address that cannot be had; StoreError; KeyRingError. */
export async function serve(options: ServeOptions): Promise<ControlPlane> {
  const { dataDir, host = '127.0.0.1', port = 7700, tls, closeMs = 10_000, limits = {} } = options
  requireSafe(options, host, port)
  const logger = options.logger ?? pino({ name: 'midflight', level: 'info' })
  const problem = await prepareDirectory(dataDir)
  if (problem !== undefined) throw new ServeError(`serve: ${problem}`)
  const store = options.store ?? (await openSqlite({ directory: dataDir }))
  try {
    return await started()
  } catch (error) {
    await store.close()
    throw error
  }

  async function started(): Promise<ControlPlane> {
    const keys = KeyRing.open(join(dataDir, 'keys.json'))
    const bare = domainOf({ store, keys, ...(options.now && { now: options.now }) })
    const domain = { ...bare, limits: { ...bare.limits, ...limits.content } }
    const live = new Live()
    const metrics = metricsOf(store)
    const { leaseMs } = { ...defaultHubLimits, ...limits.hub }
    const roster = await Roster.open(domain, {
      monotonicMs: () => performance.now(),
      leaseMs,
      onPresence: (change, { uid, config, labels, runs }) =>
        live.add(`node-${change}`, config, { uid, config, labels, runs }),
    })
    const hub = createHub({
      store,
      roster,
      ...(limits.hub === undefined ? {} : { limits: limits.hub }),
      ...(options.bus && { bus: spokenOver(options.bus, keys, logger) }),
      onReport: ({ uid, config, labels, status, runs, seen }) =>
        live.add('node', config, { uid, labels, status, runs, seen } as unknown as Json),
      onProblem: (error) => logger.error({ err: error }, 'delivery failed'),
    })
    metrics.observe(hub)
    const gates = gateSources(options.gates ?? {})
    const coordinator = await Coordinator.start({
      domain,
      roster,
      monotonicMs: () => performance.now(),
      gateOf: (spec) => gates.gate(spec),
      moved: (config) => hub.announce(config),
      onMoved(rollout, event) {
        live.add('rollout', rollout.config, newsOf(rollout, event) as Json)
        metrics.rollout(rollout)
        const made = event.kind === 'rollback-made' ? event.release.number : undefined
        if (made !== undefined) announceWayBack({ live, domain, log: logger }, rollout.config, made)
      },
      onProblem: (error) => logger.error({ err: error }, 'a rollout is held up'),
    })
    const deployer = await startDeployer(
      {
        domain,
        roster,
        coordinator,
        published: (result) => announce({ live, hub, coordinator, log: logger }, result),
        onMoved: (record) => live.add('deployment', record.config, deploymentView(record) as unknown as Json),
        onProblem: (error) => logger.error({ err: error }, 'a deployment is held up'),
      },
      options.deploy ?? {},
    )
    const batches = new Batches(domain, {
      orderOf: (config, content) =>
        orderOf({ domain, roster, gates }, { config, spec: undefined, edit: { content }, author: 'batch' }),
      limits: { ...defaultBatchLimits, ...limits.batch },
      onPublished(result, seconds) {
        metrics.publish('batch', result.published.some(({ created }) => created) ? 'released' : 'unchanged', seconds)
        announce({ live, hub, coordinator, log: logger }, result)
      },
      onTrouble: (error) => logger.error({ err: error }, 'a batch was not written; it is tried again'),
    })
    metrics.observeWaiting(() => batches.waiting)
    const identify = identifier(options, (secret) => authenticate(domain, secret))
    let state: 'starting' | 'ready' | 'closing' = 'starting'
    let names: Names = namesOf(tls ? 'https' : 'http', host, port, options.allowedHosts ?? [])
    const gate = createGate({
      rates: { ...defaultHttpLimits, ...limits.http },
      metrics,
      identify,
      names: () => names,
    })
    const app = await createServer({
      parts: {
        domain,
        live,
        metrics,
        hub,
        coordinator,
        deployer,
        gates,
        defaultStrategy: options.strategy,
        batches,
        roster,
        log: logger,
        identify,
        contentLimit: domain.limits.maxContentBytes,
        limits: {
          events: { ...defaultEventLimits, ...limits.events },
          batchAnswerMs: limits.http?.batchAnswerMs ?? defaultHttpLimits.batchAnswerMs,
        },
        isClosing: () => state === 'closing',
        readiness: async () => {
          if (state !== 'ready') return `it is ${state}`
          try {
            await store.read((read) => read.auditHead())
            return undefined
          } catch (error) {
            logger.error({ err: error }, 'the store does not answer')
            return 'the store does not answer'
          }
        },
      },
      logger,
      http: { ...defaultHttpLimits, ...limits.http },
      body: { ...defaultBodyOptions, ...limits.body, maxDepth: domain.limits.maxDepth + wrapped },
      tls: tls && tlsOf(tls),
      gate,
      ...(options.proxies === undefined ? {} : { proxies: options.proxies }),
      ...(options.checkAnswers === undefined ? {} : { checkAnswers: options.checkAnswers }),
    })
    takeUpgrades(app, hub, gate)
    // Node does not count a connection that never said anything as idle; clients and browsers open some in advance.
    const connections = new Set<Socket>()
    app.server.on('connection', (socket: Socket) => {
      connections.add(socket)
      socket.once('close', () => connections.delete(socket))
    })
    try {
      await firstToken()
      for (const name of await sharedNames(domain)) {
        logger.warn({ name }, 'several tokens that are good have this name; revoke all but one, and make others anew')
      }
      await listen(app, host, port)
    } catch (error) {
      await deployer.close()
      await coordinator.close()
      await hub.close(0)
      await app.close()
      throw error
    }
    const bound = (app.server.address() as AddressInfo).port
    names = namesOf(tls ? 'https' : 'http', host, bound, options.allowedHosts ?? [])
    const url = `${tls ? 'https' : 'http'}://${isIPv6(host) ? `[${host}]` : host}:${bound}`
    state = 'ready'
    const retention = { ...defaultRetention, ...options.retention }
    const stopPruning = pruning(domain, retention, {
      settle: () => hub.flush(),
      onPruned: (pruned) => logger.debug({ pruned }, 'pruned'),
      onProblem: (error) => logger.error({ err: error }, 'pruning failed'),
    })
    logger.info({ url, dataDir }, 'serving')
    let closing: Promise<void> | undefined
    return {
      url,
      store,
      keys,
      hub,
      useCertificate(renewed) {
        if (tls === undefined) throw new ServeError('serve: it was started without TLS')
        ;(app.server as unknown as { setSecureContext(to: object): void }).setSecureContext(tlsOf(renewed))
      },
      close: () => (closing ??= closed()),
    }

    async function closed(): Promise<void> {
      state = 'closing'
      stopPruning()
      logger.info('closing')
      const ended = app.close()
      for (const socket of connections) if (socket.bytesRead === 0) socket.destroy()
      // A connection whose last request has ended since is idle only now, and its client would keep it.
      const idle = setInterval(() => app.server.closeIdleConnections(), 50)
      const late = setTimeout(() => app.server.closeAllConnections(), closeMs)
      await batches.close()
      await deployer.close()
      await coordinator.close()
      await hub.close(closeMs)
      await ended
      clearInterval(idle)
      clearTimeout(late)
      await store.close()
      logger.info('closed')
    }

    async function firstToken(): Promise<void> {
      const isFirst = await store.read((read) => read.tokens(undefined, 1).length === 0)
      if (!isFirst && options.newAdminToken !== true) return
      // The lost one is good still: only who holds the new one can revoke it.
      const name = isFirst ? 'admin' : `admin ${domain.now().toISOString()}`
      const request = { name, role: 'admin', prefix: '', expiresAt: null } as const
      const { secret } = await createToken(domain, request, controlPlane)
      const show = options.onAdminToken ?? toTerminal
      show(secret)
    }
  }
}

function toTerminal(secret: string): void {
  process.stderr.write(`\nAdmin token, shown this once:\n\n    ${secret}\n\n`)
}

function requireSafe(options: ServeOptions, host: string, port: number): void {
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

function identifier(options: ServeOptions, token: (secret: string) => Promise<Principal | undefined>): Identify {
  const { authentication = 'required', tls } = options
  return identification({
    token,
    oidc: options.oidc && oidc(options.oidc, options.now),
    certificate: tls?.clientCa === undefined ? undefined : (tls.principalOf ?? agentOfCertificate),
    anyone: authentication === 'none' ? { name: 'anyone', role: 'admin', prefix: '' } : undefined,
  })
}

function spokenOver(bus: NonNullable<ServeOptions['bus']>, keys: KeyRing, logger: Logger): BusOptions {
  return {
    ...bus,
    sign: (bytes) => keys.signBytes(bytes),
    publicKey: () => keys.publicKey(),
    onChange(name, away) {
      if (away === undefined) logger.info({ bus: name }, 'the bus is reached again')
      else
        logger.warn({ bus: name, why: away }, 'the bus is away: releases go by WebSocket and polls; it is tried again')
    },
    onHeard(name, unheard) {
      if (unheard === undefined) logger.info({ bus: name }, 'what nodes report over the bus is heard again')
      else logger.warn({ bus: name, why: unheard }, 'what nodes report over the bus is not heard: they do so by HTTP')
    },
  }
}

function tlsOf({ cert, key, clientCa, clientCrl }: TlsOptions): object {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2',
    // Who brings none may still bring a token; one that is not good counts as none, see identity.ts.
    ...(clientCa === undefined ? {} : { ca: clientCa, requestCert: true, rejectUnauthorized: false }),
    ...(clientCrl === undefined ? {} : { crl: clientCrl }),
  }
}

async function listen(app: App, host: string, port: number): Promise<void> {
  try {
    await app.listen({ host, port })
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why =
      code === 'EADDRINUSE' ? 'something else listens there already' : code === 'EACCES' ? 'permission denied' : message
    throw new ServeError(`serve: cannot listen on ${host}:${port}: ${why}`, { cause: error })
  }
}
