/** A real redis-server for one test, and a proxy before it that can misbehave. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { Redis } from 'ioredis'
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
  #process: ChildProcess | undefined
  #admin: Redis | undefined

  private constructor(args: readonly string[], folder: string, port: number, proxy: TcpProxy, password?: string) {
    this.#args = args
    this.#folder = folder
    this.#port = port
    this.#password = password
    this.proxy = proxy
  }

  static async start(options: { args?: readonly string[]; password?: string; tls?: boolean } = {}) {
    const { args = [], password, tls } = options
    const folder = await mkdtemp(join(tmpdir(), 'midflight-redis-'))
    const port = await freePort()
    const ports = tls ? ['--port', '0', '--tls-port', String(port)] : ['--port', String(port)]
    const all = [
      ...['--bind', '127.0.0.1', ...ports, '--dir', folder, '--save', '', '--appendonly', 'yes'],
      ...['--appendfsync', 'always', ...(password === undefined ? [] : ['--requirepass', password]), ...args],
    ]
    const server = new RedisServer(all, folder, port, await TcpProxy.listen(port), password)
    await server.start({ withAdmin: !tls })
    return server
  }

  /** Through the proxy. */
  get url(): string {
    return this.proxy.url.replace('http', 'redis')
  }

  /** Not through the proxy. */
  get admin(): Redis {
    if (!this.#admin) throw new Error('the server does not run')
    return this.#admin
  }

  async start({ withAdmin = true } = {}): Promise<void> {
    const child = spawn('redis-server', this.#args, { stdio: ['ignore', 'pipe', 'ignore'] })
    this.#process = child
    const lines: string[] = []
    for await (const line of createInterface(child.stdout)) {
      lines.push(line)
      if (line.includes('Ready to accept connections')) break
    }
    if (child.exitCode !== null) throw new Error(`redis-server has ended:\n${lines.join('\n')}`)
    child.stdout.resume()
    if (!withAdmin) return
    const password = this.#password
    this.#admin = new Redis({ host: '127.0.0.1', port: this.#port, ...(password !== undefined && { password }) })
    await this.#admin.ping()
  }

  async stop(): Promise<void> {
    this.#admin?.disconnect()
    this.#admin = undefined
    const child = this.#process
    this.#process = undefined
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async close(): Promise<void> {
    await this.proxy.close()
    await this.stop()
    await rm(this.#folder, { recursive: true, force: true })
  }
}

/** It may be taken by another before it is used; then the server does not start, and says so. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}
