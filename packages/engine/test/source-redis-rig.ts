/** A real redis-server for one test, and a proxy before it that can misbehave. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
import { ended } from '../../../test/rig/ended.ts'
import { freePort } from '../../../test/rig/free-ports.ts'
import { selfSigned } from './self-signed.ts'
import { TcpProxy } from './tcp-proxy.ts'

/** Why there is none, for the names of skipped tests. */
export const withoutRedis =
  spawnSync('redis-server', ['--version']).status === 0 ? undefined : 'redis-server is not installed'

export class RedisServer {
  readonly #args: readonly string[]
  readonly #folder: string
  readonly #port: number
  readonly #password: string | undefined
  readonly proxy: TcpProxy
  /** To be trusted, where it is one with TLS. */
  readonly ca: string | undefined
  #process: ChildProcess | undefined
  #admin: Redis | undefined

  private constructor(
    args: readonly string[],
    folder: string,
    port: number,
    proxy: TcpProxy,
    { password, ca }: { password: string | undefined; ca: string | undefined },
  ) {
    this.#args = args
    this.#folder = folder
    this.#port = port
    this.#password = password
    this.ca = ca
    this.proxy = proxy
  }

  static async start(options: { args?: readonly string[]; password?: string; tls?: boolean } = {}) {
    const { args = [], password } = options
    const folder = await mkdtemp(join(tmpdir(), 'midflight-redis-'))
    const port = String(await freePort())
    const tls = options.tls ? selfSigned(folder) : undefined
    const files = tls && ['--tls-cert-file', tls.cert, '--tls-key-file', tls.key, '--tls-auth-clients', 'no']
    const all = [
      ...['--bind', '127.0.0.1', '--dir', folder, '--save', '', '--appendonly', 'yes', '--appendfsync', 'always'],
      ...(files ? ['--port', '0', '--tls-port', port, ...files] : ['--port', port]),
      ...(password === undefined ? [] : ['--requirepass', password]),
      ...args,
    ]
    const proxy = await TcpProxy.listen(Number(port))
    const server = new RedisServer(all, folder, Number(port), proxy, { password, ca: tls?.pem })
    await server.start()
    return server
  }

  /** Through the proxy. */
  get url(): string {
    return this.proxy.url.replace('http', this.ca === undefined ? 'redis' : 'rediss')
  }

  /** Not through the proxy. */
  get admin(): Redis {
    if (!this.#admin) throw new Error('the server does not run')
    return this.#admin
  }

  async start(): Promise<void> {
    const child = spawn('redis-server', this.#args, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#process = child
    const lines: string[] = []
    let isReady = false
    for await (const line of createInterface(child.stdout)) {
      lines.push(line)
      isReady = line.includes('Ready to accept connections')
      if (isReady) break
    }
    if (!isReady) throw new Error(`redis-server has ended:\n${lines.join('\n')}`)
    child.stdout.resume()
    const [password, ca] = [this.#password, this.ca]
    this.#admin = new Redis({
      host: '127.0.0.1',
      port: this.#port,
      ...(password !== undefined && { password }),
      ...(ca !== undefined && { tls: { ca } }),
    })
    await this.#admin.ping()
  }

  async stop(): Promise<void> {
    this.#admin?.disconnect()
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
