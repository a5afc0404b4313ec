/** Real ZooKeeper servers for tests, one or an ensemble, and proxies before them that can misbehave. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import zookeeper, { type Client, type Stat } from 'node-zookeeper-client'
import { ended } from '../../../test/rig/ended.ts'
import { freePorts } from '../../../test/rig/free-ports.ts'
import { selfSigned, type SelfSigned } from './self-signed.ts'
import { TcpProxy } from './tcp-proxy.ts'

const jar = '/usr/share/java/zookeeper.jar'
/** With what Debian's package leaves out of those that it needs for TLS, and has installed. */
const jars = [
  jar,
  ...['codec', 'resolver', 'transport-native-unix-common'].map((part) => `/usr/share/java/netty-${part}.jar`),
]
const hasJava = spawnSync('java', ['-version']).status === 0

/** Why there is none, for the names of skipped tests. */
export const withoutZookeeper = existsSync(jar) && hasJava ? undefined : 'zookeeper is not installed'

const startMs = 60_000
/** Since 3.6. */
const addWatch = 106

export class ZookeeperServer {
  readonly #args: readonly string[]
  readonly port: number
  /** Where it speaks TLS, if it does. */
  readonly securePort: number | undefined
  #child: ChildProcess | undefined
  #said = ''

  constructor(args: readonly string[], port: number, securePort?: number) {
    this.#args = args
    this.port = port
    this.securePort = securePort
  }

  async start(): Promise<void> {
    const child = spawn('java', this.#args, { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    this.#said = ''
    for (const output of [child.stdout, child.stderr])
      output.on('data', (chunk: Buffer) => (this.#said = `${this.#said}${chunk.toString()}`.slice(-20_000)))
    for (const lastAt = performance.now() + startMs; !(await this.#isReady());) {
      if (child.exitCode !== null || performance.now() > lastAt) throw new Error(`it does not run:\n${this.#said}`)
      await sleep(50)
    }
  }

  /** It listens for TLS last. */
  async #isReady(): Promise<boolean> {
    if (!/^Mode: /m.test(await this.ask('srvr'))) return false
    if (this.securePort === undefined) return true
    const socket = connect(this.securePort, '127.0.0.1')
    try {
      await once(socket, 'connect')
      return true
    } catch {
      return false // told by `start`, if it stays so
    } finally {
      socket.destroy()
    }
  }

  /** One of its words of four letters. Nothing where it does not listen. */
  async ask(word: string): Promise<string> {
    const socket = connect(this.port, '127.0.0.1')
    // One that is about to run takes connections that it never answers.
    socket.setTimeout(1_000, () => socket.destroy())
    try {
      socket.write(word)
      return await text(socket)
    } catch {
      return ''
    }
  }

  async stop(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    await ended(child)
  }
}

export class Zookeeper {
  readonly servers: readonly ZookeeperServer[]
  /** The certificate of servers that speak TLS, and the one that they want of clients. */
  readonly tls: { readonly server: SelfSigned; readonly client: SelfSigned } | undefined
  readonly #folder: string
  #client: Client | undefined

  private constructor(servers: readonly ZookeeperServer[], folder: string, tls: Zookeeper['tls']) {
    this.servers = servers
    this.#folder = folder
    this.tls = tls
  }

  /**
   * @param options.tickMs sessions last for at most 20 of them
   * @param options.lines of each server's file, besides its own
   * @param options.tls `own`: another port speaks TLS. `mutual`: and wants a certificate of clients.
   */
  static async start({
    members = 1,
    tickMs = 2_000,
    lines: own = [],
    tls,
  }: {
    members?: number
    tickMs?: number
    lines?: readonly string[]
    tls?: 'own' | 'mutual'
  } = {}): Promise<Zookeeper> {
    const folder = await mkdtemp(join(tmpdir(), 'midflight-zookeeper-'))
    const ports = await freePorts(members * 4)
    const certificates = tls && { server: selfSigned(folder), client: selfSigned(folder, 'client') }
    const secure = certificates ? await secureLines(folder, certificates, tls) : []
    const ids = Array.from({ length: members }, (_, i) => i)
    const peers = ids.map((i) => `server.${i + 1}=127.0.0.1:${ports[members + i]}:${ports[2 * members + i]}`)
    // A leader that takes the acknowledgement of a transaction for that of its epoch (ZOOKEEPER-4685) waits so long in vain
    // for the others before a new one is chosen.
    const initLimit = Math.ceil(10_000 / tickMs)
    const servers = await Promise.all(
      ids.map(async (i) => {
        const data = join(folder, String(i))
        const port = ports[i] as number
        const securePort = tls && ports[3 * members + i]
        await mkdir(data)
        await writeFile(join(data, 'myid'), String(i + 1))
        const file = join(folder, `${i}.cfg`)
        const lines = [
          ...[`tickTime=${tickMs}`, `initLimit=${initLimit}`, 'syncLimit=50'],
          ...[`dataDir=${data}`, `clientPort=${port}`],
          ...['clientPortAddress=127.0.0.1', 'maxClientCnxns=0', 'admin.enableServer=false'],
          ...['4lw.commands.whitelist=srvr,cons,dump', ...(members > 1 ? peers : []), ...own],
          ...(securePort ? [`secureClientPort=${securePort}`, 'secureClientPortAddress=127.0.0.1', ...secure] : []),
        ]
        await writeFile(file, lines.join('\n'))
        const small = ['-Xmx128m', '-XX:+UseSerialGC', '-XX:TieredStopAtLevel=1']
        const flags = [
          '-Dzookeeper.forceSync=no',
          '-Dzookeeper.fastleader.maxNotificationInterval=200',
          '-Djava.net.preferIPv4Stack=true',
        ]
        const main = 'org.apache.zookeeper.server.quorum.QuorumPeerMain'
        return new ZookeeperServer([...small, ...flags, '-cp', jars.join(':'), main, file], port, securePort)
      }),
    )
    const zookeeper = new Zookeeper(servers, folder, certificates)
    try {
      await zookeeper.start()
    } catch (error) {
      await zookeeper.close()
      throw error
    }
    return zookeeper
  }

  async start(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.start()))
  }

  async stop(): Promise<void> {
    this.#leave()
    await Promise.all(this.servers.map((server) => server.stop()))
  }

  async close(): Promise<void> {
    await this.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }

  /** Not through a proxy. */
  async admin(): Promise<Client> {
    if (this.#client) return this.#client
    const client = zookeeper.createClient(this.servers.map(({ port }) => `127.0.0.1:${port}`).join(','), {
      spinDelay: 100,
    })
    this.#client = client
    client.addAuthInfo('digest', Buffer.from('admin:right'))
    const connected = once(client, 'connected')
    client.connect()
    await connected
    return client
  }

  #leave(): void {
    this.#client?.close()
    this.#client = undefined
  }

  /** Makes what is above it too. */
  async write(path: string, value: string | Uint8Array | null): Promise<void> {
    const client = await this.admin()
    const data = value === null ? null : Buffer.from(value)
    if (await this.stat(path)) return void (await done<Stat>((end) => client.setData(path, data, end)))
    const above = path.slice(0, path.lastIndexOf('/'))
    if (above !== '') await done((end) => client.mkdirp(above, end))
    await done((end) => (data ? client.create(path, data, end) : client.create(path, end)))
  }

  async read(path: string): Promise<Uint8Array | undefined> {
    const client = await this.admin()
    if (!(await this.stat(path))) return undefined
    return (await done<Buffer | undefined>((end) => client.getData(path, end))) ?? new Uint8Array()
  }

  async remove(path: string): Promise<void> {
    const client = await this.admin()
    await done((end) => client.remove(path, (error) => end(error, undefined)))
  }

  async removeAll(path: string): Promise<void> {
    const client = await this.admin()
    if (!(await this.stat(path))) return
    const children = await done<string[]>((end) => client.getChildren(path, end))
    for (const child of children) await this.removeAll(`${path}/${child}`)
    await this.remove(path)
  }

  async stat(path: string): Promise<Stat | null> {
    const client = await this.admin()
    return done<Stat | null>((end) => client.exists(path, end))
  }

  /** Until it is done: members may still be choosing who leads. */
  async retried<T>(work: () => Promise<T>): Promise<T> {
    for (const lastAt = performance.now() + startMs; ;) {
      try {
        return await work()
      } catch (error) {
        if (performance.now() > lastAt) throw error
        this.#leave()
        await sleep(200)
      }
    }
  }

  /** From now on only for whoever says that it is `user:password`, and for the admin; for all where nobody is named. */
  async protect(path: string, login?: string): Promise<void> {
    const client = await this.admin()
    const all = new zookeeper.ACL(31, new zookeeper.Id('world', 'anyone'))
    if (login === undefined) return void (await done<Stat>((end) => client.setACL(path, [all], end)))
    const acls = [login, 'admin:right'].map((one) => new zookeeper.ACL(31, new zookeeper.Id('digest', digest(one))))
    await done((end) => client.setACL(path, acls, end))
  }
}

async function secureLines(
  folder: string,
  { server, client }: NonNullable<Zookeeper['tls']>,
  clients: 'own' | 'mutual',
): Promise<readonly string[]> {
  const store = join(folder, 'store.pem')
  await writeFile(store, server.keyPem + server.pem)
  const trusted = join(folder, 'trusted.pem')
  await writeFile(trusted, client.pem)
  return [
    'serverCnxnFactory=org.apache.zookeeper.server.NettyServerCnxnFactory',
    ...[`ssl.keyStore.location=${store}`, 'ssl.keyStore.type=PEM'],
    ...[`ssl.trustStore.location=${trusted}`, 'ssl.trustStore.type=PEM'],
    ...['ssl.hostnameVerification=false', `ssl.clientAuth=${clients === 'mutual' ? 'need' : 'none'}`],
  ]
}

export function done<T = unknown>(start: (end: (error: unknown, value: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, value) => (error ? reject(error as Error) : resolve(value)))
  })
}

/** As the scheme `digest` keeps a login. */
function digest(login: string): string {
  return `${login.split(':', 1)[0]}:${createHash('sha1').update(login).digest('base64')}`
}

/** Before one server, and its port that speaks TLS where it has one. */
export function proxied({ port, securePort }: ZookeeperServer): Promise<TcpProxy> {
  return TcpProxy.listen(securePort ?? port)
}

/**
 * Before a server, which it makes one of before 3.6: what is asked by a number that came with it is asked by one that no
 * server knows, and the server answers and does what those do.
 */
export async function asOld({ port }: ZookeeperServer): Promise<{ address: string; close(): void }> {
  const sockets = new Set<Socket>()
  const proxy = createServer((client) => {
    const target = connect(port, '127.0.0.1')
    let held = Buffer.alloc(0)
    client.on('data', (chunk) => {
      held = Buffer.concat([held, chunk])
      for (let end; held.length >= 4 && held.length >= (end = 4 + held.readInt32BE(0)); held = held.subarray(end)) {
        if (held.readInt32BE(8) === addWatch) held.writeInt32BE(999, 8)
        target.write(held.subarray(0, end))
      }
    })
    target.pipe(client)
    for (const socket of [client, target]) {
      sockets.add(socket.on('error', () => {}))
      socket.on('close', () => (socket === client ? target : client).destroy())
    }
  })
  await once(proxy.listen(0, '127.0.0.1'), 'listening')
  const close = () => {
    proxy.close()
    for (const socket of sockets) socket.destroy()
  }
  return { address: `127.0.0.1:${(proxy.address() as AddressInfo).port}`, close }
}

export function addressOf(proxy: TcpProxy): string {
  return proxy.url.replace('http://', '')
}
