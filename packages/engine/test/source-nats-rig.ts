/** A real nats-server with JetStream for one test, and a proxy before it that can misbehave. */
import { spawnSync } from 'node:child_process'
import { mkdtemp, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { Kvm, type KV, type KvOptions } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { freePort } from '../../../test/rig/free-ports.ts'
import { ProxiedServer, type Program } from '../../../test/rig/proxied-server.ts'
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

export class NatsServer extends ProxiedServer<Admin> {
  readonly #bucket: Partial<KvOptions>

  private constructor(program: Program, proxy: TcpProxy, bucket: Partial<KvOptions>) {
    super(program, proxy)
    this.#bucket = bucket
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
    const program: Program = {
      ...{ name: 'nats-server', args, ready: 'Server is ready', says: 'stderr' },
      ...{ port, folder, scheme: tls ? 'tls' : 'nats', ca: tls?.pem },
    }
    const server = new NatsServer(program, await TcpProxy.listen(port), bucket)
    await server.start()
    return server
  }

  protected async connected(): Promise<Admin> {
    const connection = await connect({
      ...{ servers: `127.0.0.1:${this.program.port}`, user: 'admin', pass: 'right' },
      ...(this.ca !== undefined && { tls: { ca: this.ca } }),
    })
    const kv = await new Kvm(connection).create('config', this.#bucket)
    return { connection, kv, manager: await jetstreamManager(connection) }
  }

  protected disconnect({ connection }: Admin): Promise<void> {
    return connection.close()
  }
}
