/** A real nats-server with JetStream for one test, and a proxy before it that can misbehave. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { Kvm, type KV, type KvOptions } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { ended } from '../../../test/rig/ended.ts'
import { freePort } from '../../../test/rig/free-ports.ts'
import { selfSigned } from './self-signed.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** Why there is none, for the names of skipped tests. */
export const withoutNats =
  spawnSync('nats-server', ['--version']).status === 0 ? undefined : 'nats-server is not installed'

interface Admin {
  readonly connection: NatsConnection
  readonly kv: KV
  readonly manager: JetStreamManager
}

export class NatsServer {
  readonly #args: readonly string[]
  readonly #folder: string
  readonly #port: number
  readonly #bucket: Partial<KvOptions>
  readonly proxy: TcpProxy
  /** To be trusted, where it is one with TLS. */
  readonly ca: string | undefined
  #process: ChildProcess | undefined
  #admin: Admin | undefined

  private constructor(
    args: readonly string[],
    folder: string,
    port: number,
    bucket: Partial<KvOptions>,
    proxy: TcpProxy,
    ca: string | undefined,
  ) {
    this.#args = args
    this.#folder = folder
    this.#port = port
    this.#bucket = bucket
    this.proxy = proxy
    this.ca = ca
  }

  /**
   * With the bucket `config`, and the user `admin` with the password `right`.
   * @param options.users lines of the server's own format, besides the admin
   */
  static async start(
    options: { bucket?: Partial<KvOptions>; tls?: boolean; users?: string } = {},
  ): Promise<NatsServer> {
    const { bucket = {}, users = '' } = options
    const folder = await mkdtemp(join(tmpdir(), 'midflight-nats-'))
    const port = await freePort()
    const tls = options.tls ? selfSigned(folder) : undefined
    const file = join(folder, 'nats.conf')
    await writeFile(file, `authorization { users = [{ user: admin, password: right }\n${users}] }`)
    const files = tls ? ['--tls', '--tlscert', tls.cert, '--tlskey', tls.key] : []
    const args = ['-c', file, '-js', '-sd', folder, '-a', '127.0.0.1', '-p', String(port), ...files]
    const server = new NatsServer(args, folder, port, bucket, await TcpProxy.listen(port), tls?.pem)
    await server.start()
    return server
  }

  /** Through the proxy. */
  get url(): string {
    return this.proxy.url.replace('http', this.ca === undefined ? 'nats' : 'tls')
  }

  /** Not through the proxy. */
  get admin(): Admin {
    if (!this.#admin) throw new Error('the server does not run')
    return this.#admin
  }

  async start(): Promise<void> {
    const child = spawn('nats-server', this.#args, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    const lines: string[] = []
    let isReady = false
    for await (const line of createInterface(child.stderr)) {
      lines.push(line)
      isReady = line.includes('Server is ready')
      if (isReady) break
    }
    // What it says ends before its exit is told: `exitCode` may still be null.
    if (!isReady) throw new Error(`nats-server has ended:\n${lines.join('\n')}`)
    child.stderr.resume()
    const connection = await connect({
      ...{ servers: `127.0.0.1:${this.#port}`, user: 'admin', pass: 'right' },
      ...(this.ca !== undefined && { tls: { ca: this.ca } }),
    })
    const kv = await new Kvm(connection).create('config', this.#bucket)
    this.#admin = { connection, kv, manager: await jetstreamManager(connection) }
  }

  async stop(): Promise<void> {
    await this.#admin?.connection.close()
    this.#admin = undefined
    const child = this.#process
    this.#process = undefined
    await ended(child)
  }

  async close(): Promise<void> {
    await this.proxy.close()
    await this.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }
}
