/**
 * A real Kafka broker for tests, alone and without ZooKeeper, from the jars that `scripts/bootstrap --kafka` brings.
 * It keeps its data over `stop`, `kill` and `restart`. It can be reached as it is, and through a proxy that misbehaves.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { freePorts } from '../../../test/rig/free-ports.ts'
import { selfSigned } from './self-signed.ts'
import { TcpProxy } from './tcp-proxy.ts'

const jars = fileURLToPath(new URL('../../../.cache/kafka', import.meta.url))

/** Why there is none, for the names of skipped tests. */
export const withoutKafka = !existsSync(join(jars, 'pom.xml'))
  ? 'no Kafka broker here: scripts/bootstrap --kafka brings it where java and mvn are installed'
  : spawnSync('java', ['-version']).status === 0
    ? undefined
    : 'java is not installed'

export interface BrokerOptions {
  /** For its data, and left there. Default: a folder of its own, removed by `close`. */
  readonly dir?: string
  /**
   * What is asked of whoever comes through the proxy: a certificate to trust, or the user `app` with the password
   * `right`, by PLAIN or SCRAM-SHA-512.
   */
  readonly proxied?: 'plain' | 'tls' | 'sasl'
  /** Its cluster, as broker 2 of it; it decides nothing there. */
  readonly joins?: Broker
  /** Lines of server.properties besides. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface Broker {
  /** `127.0.0.1:port`, without TLS and without a password. */
  readonly bootstrap: string
  /** The same broker through `proxy`. */
  readonly proxied: string
  readonly proxy: TcpProxy
  /** To be trusted by whoever comes through the proxy, where that is with TLS. */
  readonly ca: string | undefined
  /** Where the one that decides for the cluster is. */
  readonly controller: string
  /** Ends it as an operator does, and waits for that. */
  stop(): Promise<void>
  /** Ends it as a power cut does. */
  kill(): Promise<void>
  /** Resolves when it answers; ends it first if it runs. */
  restart(): Promise<void>
  /** Ends it and the proxy, and removes its folder. */
  close(): Promise<void>
}

/** Resolves when it answers. Where `withoutKafka` is set there is nothing to start. */
export async function startBroker(options: BrokerOptions = {}): Promise<Broker> {
  const { proxied = 'plain', settings = {}, joins } = options
  const folder = options.dir ?? (await mkdtemp(join(tmpdir(), 'midflight-kafka-')))
  const [port, behindProxy, own] = (await freePorts(3)) as [number, number, number]
  const controller = joins?.controller ?? `127.0.0.1:${own}`
  const proxy = await TcpProxy.listen(behindProxy)
  const proxiedAt = new URL(proxy.url).host
  const tls = proxied === 'tls' ? selfSigned(folder) : undefined
  const lines = {
    ...{ 'process.roles': joins ? 'broker' : 'broker,controller', 'node.id': joins ? '2' : '1' },
    'log.dirs': join(folder, 'data'),
    'controller.quorum.voters': `1@${controller}`,
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'DIRECT',
    listeners: [
      ...[`DIRECT://127.0.0.1:${port}`, `PROXIED://127.0.0.1:${behindProxy}`],
      ...(joins ? [] : [`CONTROLLER://${controller}`]),
    ].join(','),
    // A client goes where the broker says it is: through the proxy again.
    'advertised.listeners': `DIRECT://127.0.0.1:${port},PROXIED://${proxiedAt}`,
    'listener.security.protocol.map': `DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:${protocols[proxied]}`,
    ...(proxied === 'sasl' && {
      'listener.name.proxied.sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-512',
      'listener.name.proxied.scram-sha-512.sasl.jaas.config':
        'org.apache.kafka.common.security.scram.ScramLoginModule required;',
      'listener.name.proxied.plain.sasl.jaas.config':
        'org.apache.kafka.common.security.plain.PlainLoginModule required user_app="right";',
    }),
    ...(tls && {
      'listener.name.proxied.ssl.keystore.type': 'PEM',
      'listener.name.proxied.ssl.keystore.certificate.chain': oneLine(tls.pem),
      'listener.name.proxied.ssl.keystore.key': oneLine(await readFile(tls.key, 'utf8')),
    }),
    ...alone,
    ...quick,
    ...settings,
  }
  const file = join(folder, 'server.properties')
  await writeFile(
    file,
    Object.entries(lines)
      .map((line) => `${line.join('=')}\n`)
      .join(''),
  )
  if (!existsSync(join(folder, 'data', 'meta.properties'))) await format(file)

  let running = await run(file)
  const end = async (signal: NodeJS.Signals) => {
    if (running.exitCode !== null || running.signalCode !== null) return
    running.kill(signal)
    // One that hangs while it ends would hold up the test for good.
    const late = setTimeout(() => running.kill('SIGKILL'), 20_000)
    await once(running, 'exit')
    clearTimeout(late)
  }
  return {
    bootstrap: `127.0.0.1:${port}`,
    proxied: proxiedAt,
    proxy,
    ca: tls?.pem,
    controller,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
    async restart() {
      await end('SIGTERM')
      running = await run(file)
    },
    async close() {
      await end('SIGKILL')
      await proxy.close()
      if (options.dir === undefined) await rm(folder, { recursive: true, force: true })
    },
  }
}

const protocols = { plain: 'PLAINTEXT', tls: 'SSL', sasl: 'SASL_PLAINTEXT' }

/** What a broker needs to work without others. */
const alone = {
  'offsets.topic.replication.factor': '1',
  'transaction.state.log.replication.factor': '1',
  'transaction.state.log.min.isr': '1',
  'share.coordinator.state.topic.replication.factor': '1',
  'share.coordinator.state.topic.min.isr': '1',
}

/** Tests wait for these. */
const quick = {
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.num.partitions': '1',
  'group.initial.rebalance.delay.ms': '0',
  'auto.create.topics.enable': 'false',
  'num.network.threads': '2',
  'num.io.threads': '2',
  'log.cleaner.backoff.ms': '50',
  'log.cleaner.dedupe.buffer.size': '2097152',
  'log.retention.check.interval.ms': '500',
  // One that starts again is taken for another until the one before it has timed out.
  'broker.session.timeout.ms': '2000',
  'broker.heartbeat.interval.ms': '100',
  'controlled.shutdown.enable': 'false',
}

/** Without class data of its own and the best compiler, which a short life does not repay. */
const java = ['-Xmx256m', '-XX:TieredStopAtLevel=1', '-XX:+UseSerialGC', '-cp', join(jars, '*')]

async function format(file: string): Promise<void> {
  const user = 'SCRAM-SHA-512=[name=app,iterations=4096,password=right]'
  const args = [
    'kafka.tools.StorageTool',
    'format',
    '--cluster-id',
    'bWlkZmxpZ2h0LXRlc3RzMQ',
    '--config',
    file,
    '--add-scram',
    user,
  ]
  const child = spawn('java', [...java, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const said = lastOf(child)
  const [code] = (await once(child, 'close')) as [number | null]
  if (code !== 0) throw new Error(`the broker's folder could not be made:\n${said()}`)
}

async function run(file: string): Promise<ChildProcess> {
  const child = spawn('java', [...java, 'kafka.Kafka', file], { stdio: ['ignore', 'pipe', 'pipe'] })
  const said = lastOf(child)
  await new Promise<void>((resolve, reject) => {
    const look = () => said().includes('Kafka Server started') && resolve()
    child.stdout.on('data', look)
    child.stderr.on('data', look)
    child.once('error', reject)
    child.once('exit', () => reject(new Error(`the broker has ended before it answered:\n${said()}`)))
  })
  return child
}

/** The end of what it says, so that a failure has its reason. */
function lastOf(child: ChildProcess): () => string {
  let text = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (chunk: string) => void (text = (text + chunk).slice(-20_000)))
  }
  return () => text
}

/** As a value of a properties file. */
function oneLine(pem: string): string {
  return pem.trim().replaceAll('\n', '\\n')
}
