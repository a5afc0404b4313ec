/** Puts the gateway together: its components, its configuration file, and the doors through which it is reloaded. */
import { basename, dirname, resolve } from 'node:path'
import { start, type ConfigOf, type Engine, type Source } from 'midflight'
import { file } from 'midflight/sources/file'
import { adminHttp } from 'midflight/triggers/admin-http'
import { onSignal } from 'midflight/triggers/signal'
import type { RequestListener } from 'node:http'
import { schema } from './config.ts'
import { logTo } from './logging.ts'
import { plugIns } from './plugins.ts'
import { proxy } from './proxy.ts'
import { router } from './routes.ts'
import { rateLimits } from './rules.ts'
import { listenWith } from './server.ts'
import { trafficUnder, type Traffic } from './traffic.ts'
import { upstreamPools } from './upstreams.ts'

export interface GatewayOptions {
  readonly configFile: string
  /** Where the last good configuration and the journal are kept. */
  readonly stateDir: string
  /** Of the admin endpoint on loopback; 0 takes a free one. */
  readonly adminPort: number
  /** The time by which rules expire, in milliseconds since 1970. */
  readonly now?: () => number
  /** What `${VAR}` in the file stands for. Default: the environment. */
  readonly variables?: Readonly<Record<string, string>>
}

export interface Gateway {
  readonly engine: Engine<ConfigOf<typeof schema>>
  /** `http://127.0.0.1:8080` */
  readonly address: string
  readonly adminAddress: string
  readonly traffic: Traffic
  /** Lets running requests end, for at most 5 s. */
  close(): Promise<void>
}

/** What a gateway runs on that does not read one file: `node.ts`. */
export interface SourcedOptions extends Pick<GatewayOptions, 'stateDir' | 'adminPort' | 'now'> {
  /** Later ones over earlier. */
  readonly sources: readonly Source[]
  /** Where the log's destination counts from. */
  readonly directory: string
  /** The number of the release that is live, for a node of a fleet. */
  release?(): number | undefined
}

/** @throws StartError if there is no usable configuration, the port is taken or the log cannot be opened. */
export async function startGateway(options: GatewayOptions): Promise<Gateway> {
  const { configFile, variables } = options
  const directory = dirname(resolve(configFile))
  const source = file(basename(configFile), { cwd: directory, ...(variables && { variables }) })
  return startSourced({ ...options, sources: [source], directory })
}

/** @throws StartError as `startGateway` does. */
export async function startSourced(options: SourcedOptions): Promise<Gateway> {
  const log = logTo(options.directory)
  const upstreams = upstreamPools()
  const rules = rateLimits(options.now ?? Date.now)
  const routes = router()
  const plugins = plugIns()
  let listener: RequestListener = (_request, response) => void response.writeHead(503, { 'retry-after': '1' }).end()
  const server = listenWith(
    (request, response) => listener(request, response),
    ['log', 'upstreams', 'rules', 'routes', 'plugins'],
  )

  const engine = await start({
    schema,
    sources: options.sources,
    triggers: [onSignal()],
    endpoints: [adminHttp({ port: options.adminPort, lifecycle: true })],
    components: [log.component, upstreams.component, rules.component, routes.component, plugins, server.component],
    stateDir: options.stateDir,
    logger: {
      info: (message) => log.write('info', message),
      warn: (message) => log.write('warn', message),
      error: (message) => log.write('error', message),
    },
  })
  const live = () => engine.live
  const traffic = trafficUnder(live)
  listener = proxy({
    live,
    router: routes,
    rules,
    upstreams: upstreams.component.running,
    plugins: plugins.running,
    traffic,
    ...(options.release && { release: options.release }),
    log,
  })
  return {
    engine,
    address: server.address,
    adminAddress: engine.addresses['admin HTTP'] ?? '',
    traffic,
    async close() {
      await engine.close()
      await upstreams.drained()
    },
  }
}
