/** A fleet that hears of releases over a real bus: the real control plane, real engines, and somebody who listens in. */
import { cpSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { serve, type ControlPlane, type ServeOptions } from '@midflight/control-plane'
import { Admin } from '@platformatic/kafka'
import { componentsFor, start, type Engine } from 'midflight'
import { controlPlane, type ControlPlaneOptions } from 'midflight/agent'
import type { Bus } from 'midflight/buses/bus'
import { kafkaBus } from 'midflight/buses/kafka'
import { natsBus } from 'midflight/buses/nats'
import { redisBus } from 'midflight/buses/redis'
import { busFormat, decodeFromBus, releaseTopic, reportTopic, unseal, type BusMessage } from 'midflight/protocol'
import { pino } from 'pino'
import * as z from 'zod'
import { startBroker, withoutKafka } from '../packages/engine/test/kafka-broker.ts'
import { NatsServer, withoutNats } from '../packages/engine/test/source-nats-rig.ts'
import { RedisServer, withoutRedis } from '../packages/engine/test/source-redis-rig.ts'
import { TcpProxy } from '../packages/engine/test/tcp-proxy.ts'
import { freePort } from './rig/free-ports.ts'

export const config = 'shop/gateway/prod'
/** So rarely that nothing in a test comes by it. */
export const rarely = { heartbeatMs: 600_000, leaseMs: 1_800_000, pollMs: 600_000 }
const schema = z.object({ limit: z.number().min(1), text: z.string().optional() })
const { value } = componentsFor(schema)

export interface BusServer {
  newBus(): Bus
  stop(): Promise<void>
  start(): Promise<void>
  close(): Promise<void>
}

export interface Kind {
  readonly name: string
  /** Why there is none here. */
  readonly missing: string | undefined
  open(): Promise<BusServer>
}

export const nats: Kind = {
  name: 'NATS',
  missing: withoutNats,
  async open() {
    const server = await NatsServer.start()
    return {
      newBus: () => natsBus({ servers: server.url, user: 'admin', password: 'right', timeoutMs: 2_000 }),
      stop: () => server.stop(),
      start: () => server.start(),
      close: () => server.close(),
    }
  },
}

const redis: Kind = {
  name: 'Redis',
  missing: withoutRedis,
  async open() {
    const server = await RedisServer.start()
    return {
      newBus: () => redisBus({ url: server.url, timeoutMs: 2_000 }),
      stop: () => server.stop(),
      start: () => server.start(),
      close: () => server.close(),
    }
  },
}

const kafka: Kind = {
  name: 'Kafka',
  missing: withoutKafka,
  async open() {
    const broker = await startBroker()
    const admin = new Admin({ clientId: 'tests', bootstrapBrokers: [broker.bootstrap], retries: 0 })
    const topics = [releaseTopic(config), reportTopic].map((topic) => `midflight.${topic}`)
    await admin.createTopics({ topics, partitions: 1, replicas: 1 })
    await admin.close()
    return {
      newBus: () => kafkaBus({ brokers: `kafka://${broker.proxied}`, timeoutMs: 5_000 }),
      stop: () => broker.kill(),
      start: () => broker.restart(),
      close: () => broker.close(),
    }
  },
}

export const kinds: readonly Kind[] = [nats, redis, kafka]

export class Rig {
  readonly #closing: (() => Promise<unknown>)[] = []

  add(close: () => Promise<unknown>): void {
    this.#closing.push(close)
  }

  async close(): Promise<void> {
    for (const close of this.#closing.splice(0).reverse()) await close()
  }

  async bus(kind: Kind): Promise<BusServer> {
    const server = await kind.open()
    this.add(() => server.close())
    return server
  }

  async directory(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'midflight-bus-'))
    this.add(() => rm(path, { recursive: true, force: true }))
    return path
  }

  /** A control plane with one config. */
  async plane(bus: OnBus, options: Partial<ServeOptions> = {}): Promise<Plane> {
    const port = await freePort()
    const proxy = await TcpProxy.listen(port)
    this.add(() => proxy.close())
    const names = { allowedHosts: [new URL(proxy.url).host] }
    const plane = new Plane(bus, proxy, { ...options, ...names, port, dataDir: join(await this.directory(), '0') })
    await plane.start()
    this.add(() => plane.close())
    await plane.call('POST', '/v1/configs', { name: config })
    return plane
  }

  /** A control plane that speaks on a bus of this kind and has release 1, and somebody who listens in. */
  async fleet(kind: Kind, { hub = rarely, ...more }: Partial<OnBus> & { readonly hub?: object } = {}) {
    const server = await this.bus(kind)
    const spy = await this.spy(server)
    const plane = await this.plane({ buses: [server.newBus()], ...more }, { limits: { hub } })
    await plane.publish({ limit: 1 })
    const options = { token: plane.token }
    return {
      ...{ server, spy, plane },
      /** On the bus, and by WebSocket through the proxy, which is open when this resolves. */
      connected: async (given: ProgramOptions = {}) => {
        const node = await this.program(plane.proxy.url, { ...options, bus: server.newBus(), ...given })
        await until(() => node.source.status().via === 'websocket')
        return node
      },
      /** Holds no connection, and hears the bus when this resolves. */
      listening: async (given: ProgramOptions = {}) => {
        const node = await this.program(plane.url, { ...options, bus: server.newBus(), websocket: false, ...given })
        await until(() => node.source.status().via === 'bus')
        return node
      },
    }
  }

  /** @param prepare of its component: may refuse by throwing, and take its time. */
  async program(url: string, { prepare, ...options }: ProgramOptions): Promise<Program> {
    const applied: number[] = []
    const warnings: string[] = []
    const source = controlPlane({ url, config, ...options })
    const limit = value({
      name: 'limit',
      path: 'limit',
      prepare: async (next: number) => prepare?.(next),
      apply: (next) => void applied.push(next),
    })
    const logger = { info() {}, warn: (message: string) => void warnings.push(message), error() {} }
    const engine = await start({ schema, sources: [source], components: [limit], logger, retries: { limit: 0 } })
    this.add(() => engine.close())
    return { engine, source, applied, warnings, runs: () => source.status().runs?.number ?? 0 }
  }

  /** Hears all that is said to the nodes of the config, and may say something itself. */
  async spy(server: BusServer): Promise<Spy> {
    const bus = server.newBus()
    this.add(() => bus.close())
    const heard: { readonly bytes: Uint8Array; readonly message: BusMessage }[] = []
    const reports: Uint8Array[] = []
    let listens = 0
    const listening = () => void listens++
    bus.subscribe(releaseTopic(config), {
      message(bytes) {
        try {
          heard.push({ bytes, message: decodeFromBus(unseal(bytes, busFormat).body) })
        } catch {
          // What the test itself has made up.
        }
      },
      listening,
      lost() {},
    })
    bus.subscribe(reportTopic, { message: (bytes) => void reports.push(bytes), listening, lost() {} })
    await until(() => listens >= 2)
    return {
      bus,
      heard,
      reports,
      whole: (number) =>
        heard.find(({ message }) => message.type === 'release' && message.release.number === number)?.bytes,
      say: (bytes) => bus.publish(releaseTopic(config), typeof bytes === 'string' ? Buffer.from(bytes) : bytes),
    }
  }
}

type OnBus = NonNullable<ServeOptions['bus']>
type ProgramOptions = Partial<ControlPlaneOptions> & { readonly prepare?: (limit: number) => unknown }

export interface Program {
  readonly engine: Engine<z.infer<typeof schema>>
  readonly source: ReturnType<typeof controlPlane>
  /** Every limit that was applied, in order. */
  readonly applied: number[]
  readonly warnings: string[]
  runs(): number
}

export interface Spy {
  readonly bus: Bus
  readonly heard: readonly { readonly bytes: Uint8Array; readonly message: BusMessage }[]
  readonly reports: readonly Uint8Array[]
  /** The release as it was put on the bus, if it was. */
  whole(number: number): Uint8Array | undefined
  /** To the nodes of the config. */
  say(bytes: Uint8Array | string): Promise<void>
}

interface Node {
  readonly uid: string
  readonly status: string
  readonly runs: { readonly number: number } | null
  readonly seen: number | null
}

export class Plane {
  readonly #options: ServeOptions
  #dataDir: string
  #kills = 0
  /** Before it; it can misbehave. */
  readonly proxy: TcpProxy
  #bus: OnBus
  #served: ControlPlane | undefined
  #admin = ''
  #log = ''

  constructor(bus: OnBus, proxy: TcpProxy, options: ServeOptions & { readonly dataDir: string }) {
    this.#bus = bus
    this.#dataDir = options.dataDir
    this.proxy = proxy
    const stream = { write: (line: string) => void (this.#log += line) }
    this.#options = {
      logger: pino({ level: 'info' }, stream),
      onAdminToken: (secret) => (this.#admin = secret),
      closeMs: 1_000,
      ...options,
    }
  }

  /** From whoever comes through the proxy; the bus is not in its way. */
  cutOff(): void {
    this.proxy.refuse = true
    this.proxy.reset()
  }

  async start(bus = this.#bus): Promise<void> {
    this.#bus = bus
    this.#served = await serve({ ...this.#options, dataDir: this.#dataDir, bus })
  }

  /**
   * Ends it as a kill does: in one moment nothing gets out of it any more, and what is on disk is what there is. It goes on
   * from a copy of that, as the process itself is that of the test.
   */
  async kill(): Promise<void> {
    this.cutOff()
    const dataDir = join(dirname(this.#dataDir), String(++this.#kills))
    for (const bus of this.#bus.buses) void bus.close()
    // Written anew by whoever opens it.
    cpSync(this.#dataDir, dataDir, { recursive: true, filter: (path) => !path.endsWith('-shm') })
    this.#dataDir = dataDir
    await this.close()
    this.proxy.refuse = false
  }

  async close(): Promise<void> {
    await this.#served?.close()
    this.#served = undefined
  }

  get served(): ControlPlane {
    if (!this.#served) throw new Error('the control plane does not run')
    return this.#served
  }

  get url(): string {
    return this.served.url
  }

  get log(): string {
    return this.#log
  }

  /** For agents. */
  readonly token = () => this.#admin

  async call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
    const answer = await this.ask(method, path, body, headers)
    const text = await answer.text()
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`)
    return { headers: answer.headers, text, body: text.startsWith('{') ? (JSON.parse(text) as never) : null }
  }

  ask(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> {
    return fetch(`${this.url}${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#admin}`, 'content-type': 'application/json', ...headers },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    })
  }

  async publish(content: unknown, strategy?: object): Promise<void> {
    const under = `/v1/configs/${encodeURIComponent(config)}`
    const etag = (await this.call('GET', under)).headers.get('etag')
    const held: Record<string, string> = etag === null ? { 'if-none-match': '*' } : { 'if-match': etag }
    const query = strategy ? `?strategy=${encodeURIComponent(JSON.stringify(strategy))}` : ''
    await this.call('PUT', `${under}/content${query}`, content, held)
  }

  async nodes(): Promise<readonly Node[]> {
    const { body } = await this.call('GET', `/v1/configs/${encodeURIComponent(config)}/nodes`)
    return (body as unknown as { readonly items: readonly Node[] }).items
  }

  /** What a node without a connection would be answered now: the status, and which release. */
  async polled(uid: string, index: number): Promise<{ readonly status: number; readonly number: number | undefined }> {
    const path = `/v1/agent/${encodeURIComponent(config)}/poll?uid=${uid}&index=${index}&wait=0s`
    const answer = await this.ask('GET', path)
    const text = await answer.text()
    const found = answer.status === 200 ? (JSON.parse(text) as { release: { number: number } }) : undefined
    return { status: answer.status, number: found?.release.number }
  }
}

/** Waits for what other processes will bring about; the test's own time limit is the bound. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 20))
}
