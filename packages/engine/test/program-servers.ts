/** A HAProxy and a Caddy of a test's own, on free ports of loopback; beside `program-rig.ts`, which has nginx and Prometheus. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { freePort } from '../../../test/rig/free-ports.ts'
import { textAt, tree, until } from './program-rig.ts'

const missing = (name: string, argument: string) =>
  spawnSync(name, [argument]).status === 0 ? undefined : `${name} is not installed`
export const withoutHaproxy = missing('haproxy', '-v')
export const withoutCaddy = missing('caddy', 'version')
export const withoutWrk = spawnSync('wrk', ['-v']).error === undefined ? undefined : 'wrk is not installed'

/** What both have: a directory of files, a process, a page to know it by. */
abstract class Server {
  readonly directory: string
  readonly port: number
  /** Where its sockets and the like are, apart from the files. */
  readonly run: string
  #process: ChildProcess | undefined
  log = ''

  protected constructor(port: number, files: Readonly<Record<string, string>>, run: string) {
    this.port = port
    this.run = run
    this.directory = tree(files, 'midflight-server-')
  }

  protected abstract command(): readonly [string, ...string[]]

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`
  }

  async start(): Promise<void> {
    const [file, ...args] = this.command()
    const env = { ...process.env, XDG_DATA_HOME: this.run, XDG_CONFIG_HOME: this.run }
    // A group of its own: workers end with their master.
    const child = spawn(file, args, { env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#process = child
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => (this.log += String(chunk)))
    await until(`${file} runs`, async () => {
      if (child.exitCode !== null) throw new Error(`${file} has ended: ${this.log}`)
      return (await textAt(this.url('/'))) !== undefined
    })
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    if (!child?.pid || child.exitCode !== null || child.signalCode !== null) return
    process.kill(-child.pid, 'SIGKILL')
    await once(child, 'exit')
    await until('it lets its port go', async () => (await textAt(this.url('/'))) === undefined)
  }

  async close(): Promise<void> {
    await this.kill()
    for (const made of [this.directory, this.run]) rmSync(made, { recursive: true, force: true })
  }
}

/** Answers every request with a text of `pages.map`, by its path. */
export class Haproxy extends Server {
  static async start(): Promise<Haproxy> {
    const port = await freePort()
    const run = tree({}, 'midflight-haproxy-run-')
    const server = new Haproxy(port, { 'haproxy.cfg': haproxyCfg(port, run, 'zero') }, run)
    await server.start()
    return server
  }

  get pidFile(): string {
    return join(this.run, 'haproxy.pid')
  }

  get statsSocket(): string {
    return join(this.run, 'admin.sock')
  }

  cfg(text: string, more = ''): string {
    return haproxyCfg(this.port, this.run, text) + more
  }

  live(): string {
    return readFileSync(join(this.directory, 'haproxy.cfg'), 'utf8')
  }

  protected command(): readonly [string, ...string[]] {
    return ['haproxy', '-W', '-f', join(this.directory, 'haproxy.cfg'), '-p', this.pidFile]
  }
}

const haproxyCfg = (port: number, run: string, text: string) => `global
  stats socket ${run}/admin.sock mode 600 level admin expose-fd listeners
  hard-stop-after 5s
defaults
  mode http
  timeout client 5s
  timeout server 5s
  timeout connect 5s
frontend web
  bind 127.0.0.1:${port}
  http-request return status 200 content-type text/plain string "${text}"
`

export class Caddy extends Server {
  readonly admin: string

  private constructor(port: number, admin: string, run: string) {
    super(port, { Caddyfile: caddyfile(port, admin, 'zero') }, run)
    this.admin = admin
  }

  static async start(): Promise<Caddy> {
    const server = new Caddy(await freePort(), `127.0.0.1:${await freePort()}`, tree({}, 'midflight-caddy-run-'))
    await server.start()
    return server
  }

  caddyfile(text: string, more = ''): string {
    return caddyfile(this.port, this.admin, text) + more
  }

  live(): string {
    return readFileSync(join(this.directory, 'Caddyfile'), 'utf8')
  }

  protected command(): readonly [string, ...string[]] {
    return ['caddy', 'run', '--config', join(this.directory, 'Caddyfile'), '--adapter', 'caddyfile']
  }
}

const caddyfile = (port: number, admin: string, text: string) => `{
  admin ${admin}
  auto_https off
}
http://127.0.0.1:${port} {
  bind tcp4/127.0.0.1
  respond "${text}"
}
`
