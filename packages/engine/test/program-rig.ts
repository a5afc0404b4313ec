/** Real programs for the tests of `midflight/program`: an nginx or Prometheus of their own, on free ports of loopback. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { ended } from '../../../test/rig/ended.ts'
import { freePort } from '../../../test/rig/free-ports.ts'
import { jsonSchema, start, type Component, type Engine, type Json } from '../src/index.ts'
import { memory } from '../src/testing/index.ts'

export const withoutNginx = spawnSync('nginx', ['-v']).status === 0 ? undefined : 'nginx is not installed'
export const withoutPrometheus = ['prometheus', 'promtool'].every((name) => spawnSync(name, ['--version']).status === 0)
  ? undefined
  : 'prometheus is not installed'

export type Config = Record<string, Json>

const anything = jsonSchema<Config>({ type: 'object' })

const opened: Engine<Config>[] = []

/** Those of a test, for its end. */
export async function closeEngines(): Promise<void> {
  for (const engine of opened.splice(0)) await engine.close()
}

/** An engine on a configuration that is set by hand. */
export async function engineOf(components: readonly Component[], config: Config, more: object = {}) {
  const source = memory(config)
  const engine: Engine<Config> = await start({
    schema: anything,
    sources: [source],
    components: components as Component[],
    logger: false,
    retries: { limit: 0 },
    ...more,
  })
  opened.push(engine)
  const set = (next: Config) => {
    source.set(next)
    return engine.reload()
  }
  return { engine, set }
}

export function tree(files: Readonly<Record<string, string>>, prefix = 'midflight-program-'): string {
  const directory = mkdtempSync(join(tmpdir(), prefix))
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    writeFileSync(join(directory, path), text)
  }
  return directory
}

/** All files below, hidden ones too, except for what a running sidecar keeps there. */
export function leftIn(directory: string): string[] {
  return (readdirSync(directory, { recursive: true }) as string[])
    .filter((path) => !/^\.midflight-[\w-]+(\/lock\.\d+)?$/.test(path))
    .sort()
}

/** Asks until it is so. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  for (const end = Date.now() + limitMs; ; await new Promise((resolve) => setTimeout(resolve, 20))) {
    if (await holds()) return
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
  }
}

/** `undefined` where nobody answers. */
export async function textAt(url: string): Promise<string | undefined> {
  try {
    return await (await fetch(url, { headers: { connection: 'close' } })).text()
  } catch {
    return undefined
  }
}

const nginxConf = (port: number, directory: string) => `
daemon off; worker_processes 2; pid ${directory}/nginx.pid; error_log ${directory}/error.log notice;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path ${directory}/t1; proxy_temp_path ${directory}/t2; fastcgi_temp_path ${directory}/t3;
  uwsgi_temp_path ${directory}/t4; scgi_temp_path ${directory}/t5;
  server { listen 127.0.0.1:${port}; include sites/*.conf; }
  include servers/*.conf;
}
`

export class Nginx {
  readonly directory: string
  readonly port: number
  /** Where the pid and the log are, apart from the files. */
  readonly run: string
  #process: ChildProcess | undefined

  private constructor(directory: string, port: number, run: string) {
    this.directory = directory
    this.port = port
    this.run = run
  }

  /** With `sites/a.conf`, which serves `/a`, and others that are given. */
  static async start(
    files: Readonly<Record<string, string>> = { 'sites/a.conf': serving('a', 'old') },
  ): Promise<Nginx> {
    const port = await freePort()
    const run = tree({}, 'midflight-nginx-run-')
    const directory = tree({ ...files, 'nginx.conf': nginxConf(port, run) }, 'midflight-nginx-')
    mkdirSync(join(directory, 'sites'), { recursive: true })
    const nginx = new Nginx(directory, port, run)
    await nginx.start()
    return nginx
  }

  get pidFile(): string {
    return join(this.run, 'nginx.pid')
  }

  get pid(): number {
    return Number(readFileSync(this.pidFile, 'utf8'))
  }

  async start(): Promise<void> {
    rmSync(this.pidFile, { force: true })
    const args = ['-c', join(this.directory, 'nginx.conf'), '-e', join(this.run, 'error.log')]
    const child = spawn('nginx', args, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => (said += String(chunk)))
    await until('nginx runs', async () => {
      if (child.exitCode !== null) throw new Error(`nginx has ended: ${said}`)
      return existsSync(this.pidFile) && (await textAt(this.url('/'))) !== undefined
    })
  }

  url(path: string): string {
    return `http://127.0.0.1:${this.port}${path}`
  }

  get log(): string {
    return readFileSync(join(this.run, 'error.log'), 'utf8')
  }

  get hasEnded(): boolean {
    const child = this.#process
    return child !== undefined && (child.exitCode !== null || child.signalCode !== null)
  }

  /** Master and workers. */
  async kill(): Promise<void> {
    const child = this.#process
    const workers = this.workers()
    this.#process = undefined
    await ended(child)
    for (const worker of workers) {
      try {
        process.kill(worker, 'SIGKILL')
      } catch {
        // It has ended with its master.
      }
    }
    await until('nginx lets its port go', async () => (await textAt(this.url('/'))) === undefined)
  }

  workers(): number[] {
    const found = spawnSync('pgrep', ['-P', String(this.#process?.pid)], { encoding: 'utf8' }).stdout
    return found.split('\n').filter(Boolean).map(Number)
  }

  async close(): Promise<void> {
    await this.kill()
    for (const made of [this.directory, this.run]) rmSync(made, { recursive: true, force: true })
  }
}

/** A location of nginx that answers with a text. */
export function serving(path: string, text: string): string {
  return `location = /${path} { return 200 "${text}"; }\n`
}

export class Prometheus {
  readonly directory: string
  readonly base: string
  readonly #data: string
  #process: ChildProcess | undefined

  private constructor(directory: string, base: string, data: string) {
    this.directory = directory
    this.base = base
    this.#data = data
  }

  static async start(files: Readonly<Record<string, string>> = {}): Promise<Prometheus> {
    const base = `http://127.0.0.1:${await freePort()}`
    const directory = tree({ 'prometheus.yml': 'global: {}\n', ...files }, 'midflight-prometheus-')
    const prometheus = new Prometheus(directory, base, tree({}, 'midflight-prometheus-data-'))
    await prometheus.start()
    return prometheus
  }

  get pid(): number {
    return this.#process?.pid ?? 0
  }

  async start(): Promise<void> {
    const args = [
      `--config.file=${join(this.directory, 'prometheus.yml')}`,
      `--web.listen-address=${new URL(this.base).host}`,
      `--storage.tsdb.path=${this.#data}`,
      '--web.enable-lifecycle',
    ]
    const child = spawn('prometheus', args, { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#process = child
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => (said += String(chunk)))
    await until('Prometheus is ready', async () => {
      if (child.exitCode !== null) throw new Error(`Prometheus has ended: ${said}`)
      return (await textAt(`${this.base}/-/ready`))?.includes('Ready') ?? false
    })
  }

  async kill(): Promise<void> {
    const child = this.#process
    this.#process = undefined
    await ended(child)
  }

  async close(): Promise<void> {
    await this.kill()
    for (const made of [this.directory, this.#data]) rmSync(made, { recursive: true, force: true })
  }
}
