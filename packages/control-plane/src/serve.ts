/**
 * Puts a control plane together, and takes it apart in order: store, keys, hub, HTTP. What each part does is its own
 * file; here is only what the first start makes, and what closes before what.
 */
import { isIPv6, type AddressInfo, type Socket } from 'node:net'
import { join } from 'node:path'
import type { Json } from 'midflight'
import { pino, type Logger } from 'pino'
import type { Principal } from './access.ts'
import { Batches, defaultBatchLimits } from './batches.ts'
import { Coordinator } from './coordinator.ts'
import { prepareDirectory } from './directory.ts'
import { domainOf } from './domain.ts'
import { gateSources } from './gates/sources.ts'
import { defaultBodyOptions } from './http/body.ts'
import { namesOf, type Names } from './http/caller.ts'
import { createGate } from './http/gate.ts'
import { agentOfCertificate, identification, type Identify } from './http/identity.ts'
import { defaultEventLimits, Live } from './http/live.ts'
import { oidc } from './http/oidc.ts'
import { announce, announceWayBack } from './http/released.ts'
import type { App } from './http/route.ts'
import { createServer, defaultHttpLimits } from './http/server.ts'
import { deploymentView } from './http/routes/targets.ts'
import { newsOf } from './http/strategies.ts'
import { takeUpgrades } from './http/upgrade.ts'
import { KeyRing } from './key-ring.ts'
import { metricsOf } from './metrics.ts'
import { orderOf } from './order.ts'
import type { BusOptions } from './push/bus.ts'
import type { Hub } from './push/delivery.ts'
import { createHub } from './push/hub.ts'
import { defaultHubLimits } from './push/limits.ts'
import { defaultRetention, pruning } from './retention.ts'
import { Roster } from './roster.ts'
import { requireSafe, ServeError, type ServeOptions, type TlsOptions } from './serve-options.ts'
import type { Store } from './store.ts'
import { openSqlite } from './stores/sqlite.ts'
import { startDeployer } from './targets/start.ts'
import { authenticate, controlPlane, createToken, sharedNames } from './tokens.ts'

/** How deep a content may stand in a body: `changes[0].content`, and some to spare. */
const wrapped = 4

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
    const { leaseMs } = { ...defaultHubLimits, ...limits.hub }
    const roster = await Roster.open(domain, {
      monotonicMs: () => performance.now(),
      leaseMs,
      onPresence: (change, { uid, config, labels, runs }) =>
        live.add(`node-${change}`, config, { uid, config, labels, runs }),
    })
    const metrics = metricsOf(store, () => roster.byStatus())
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
