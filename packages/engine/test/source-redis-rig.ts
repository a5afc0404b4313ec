/** A real redis-server for one test, and a proxy before it that can misbehave. */
import { spawnSync } from 'node:child_process'
import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { freePort } from '../../../test/rig/free-ports.ts'
import { ProxiedServer, type Program } from '../../../test/rig/proxied-server.ts'
import { selfSigned } from './self-signed.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** Why there is none, for the names of skipped tests. */
export const withoutRedis =
  spawnSync('redis-server', ['--version']).status === 0 ? undefined : 'redis-server is not installed'

export class RedisServer extends ProxiedServer<Redis> {
  readonly #password: string | undefined

  private constructor(program: Program, proxy: TcpProxy, password: string | undefined) {
    super(program, proxy)
    this.#password = password
  }

  static async start(options: { args?: readonly string[]; password?: string; tls?: boolean } = {}) {
    const { args = [], password } = options
    const folder = await mkdtemp(join(tmpdir(), 'midflight-redis-'))
    const port = await freePort()
    const tls = options.tls ? selfSigned(folder) : undefined
    const files = tls && ['--tls-cert-file', tls.cert, '--tls-key-file', tls.key, '--tls-auth-clients', 'no']
    const all = [
      ...['--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
      ...(files ? ['--port', '0', '--tls-port', String(port), ...files] : ['--port', String(port)]),
      ...(password === undefined ? [] : ['--requirepass', password]),
      ...args,
    ]
    const program: Program = {
      ...{ name: 'redis-server', args: all, ready: 'Ready to accept connections', says: 'stdout' },
      ...{ port, folder, scheme: tls ? 'rediss' : 'redis', ca: tls?.pem },
    }
    const server = new RedisServer(program, await TcpProxy.listen(port), password)
    await server.start()
    return server
  }

  protected async connected(): Promise<Redis> {
    const [password, ca] = [this.#password, this.ca]
    const admin = new Redis({
      host: '127.0.0.1',
      port: this.program.port,
      ...(password !== undefined && { password }),
      ...(ca !== undefined && { tls: { ca } }),
    })
    await admin.ping()
    return admin
  }

  protected disconnect(admin: Redis): void {
    admin.disconnect()
  }
}
