/**
 * The programs of the sidecar's benchmark: a real nginx, Prometheus, HAProxy and Caddy, each with files that say which
 * change they belong to, how it is checked and told by the shortest means, and how one sees what it serves.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, request as send } from 'node:http'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import * as preset from 'midflight/program'
import type { Command, FileOptions, ProgramOptions } from 'midflight/program'
import { freePort } from '../../test/rig/free-ports.ts'

/** A running program, in a directory of its own. */
export interface Running {
  readonly options: ProgramOptions
  /** Path below the directory → what a file of the `i`th change holds. */
  texts(change: number, which: Which): ReadonlyMap<string, string>
  /** The configuration that `options` makes the same files from. */
  config(change: number, which: Which): Record<string, string>
  /** On what is in place. */
  readonly check: Command
  tell(): Promise<void>
  /** The change that it serves; -1 where it does not answer. */
  serves(): Promise<number>
  close(): Promise<void>
}

/** Of several files, the first or each has the change's number. */
export type Which = 'one' | 'all'

export interface RealProgram {
  readonly name: string
  readonly lacking: string | undefined
  start(files: number): Promise<Running>
}

export const programs: readonly RealProgram[] = [
  { name: 'nginx', lacking: lackingOf(['nginx', '-v']), start: nginx },
  { name: 'prometheus', lacking: lackingOf(['prometheus', '--version'], ['promtool', '--version']), start: prometheus },
  { name: 'haproxy', lacking: lackingOf(['haproxy', '-v']), start: haproxy },
  { name: 'caddy', lacking: lackingOf(['caddy', 'version']), start: caddy },
]

function lackingOf(...commands: readonly Command[]): string | undefined {
  const missing = commands.find(([program, ...args]) => spawnSync(program, args).status !== 0)
  return missing && `${missing[0]} is not installed`
}

async function nginx(files: number): Promise<Running> {
  const port = await freePort()
  const run = mkdtempSync(join(tmpdir(), 'midflight-bench-run-'))
  const [pidFile, log] = [join(run, 'nginx.pid'), join(run, 'error.log')]
  const main = `daemon off; worker_processes 2; pid ${pidFile}; error_log ${log} notice;
events { worker_connections 256; }
http {
  access_log off;
  ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((name) => `${name}_temp_path ${run}/${name};`).join(' ')}
  server { listen 127.0.0.1:${port}; include sites/*.conf; }
}
`
  const text = (i: number, change: number) => `location = /${i} { return 200 "${change}"; }\n`
  const made = contents(files, (i) => `sites/s${i}.conf`, text, { 'nginx.conf': main })
  const live = join(made.directory, 'nginx.conf')
  const child = spawn('nginx', ['-c', live, '-e', log], { stdio: 'ignore' })
  const { pid } = child
  return running(child, [made.directory, run], {
    ...made,
    options: preset.nginx({ directory: made.directory, files: made.files, pidFile }),
    check: ['nginx', '-t', '-q', '-c', live],
    tell: async () => void process.kill(pid as number, 'SIGHUP'),
    serves: async () => numberIn(await bodyOf(`http://127.0.0.1:${port}/0`)),
  })
}

async function prometheus(files: number): Promise<Running> {
  const base = `http://127.0.0.1:${await freePort()}`
  const data = mkdtempSync(join(tmpdir(), 'midflight-bench-run-'))
  const text = (i: number, change: number) =>
    i === 0
      ? `global: {external_labels: {change: "${change}"}}\nrule_files: ["rules/*.yml"]\n`
      : `groups: [{name: g${i}, rules: [{record: "a:b", expr: vector(1), labels: {change: "${change}"}}]}]\n`
  const made = contents(files, (i) => (i === 0 ? 'prometheus.yml' : `rules/r${i}.yml`), text)
  const live = join(made.directory, 'prometheus.yml')
  const args = [`--config.file=${live}`, `--storage.tsdb.path=${data}`, '--web.enable-lifecycle']
  const child = spawn('prometheus', [...args, `--web.listen-address=${new URL(base).host}`], { stdio: 'ignore' })
  return running(child, [made.directory, data], {
    ...made,
    options: preset.prometheus({ directory: made.directory, files: made.files, url: base }),
    check: ['promtool', 'check', 'config', live],
    tell: async () => void (await bodyOf(`${base}/-/reload`, { method: 'POST' })),
    serves: async () => numberIn(/change: \\?"(\d+)/.exec(await bodyOf(`${base}/api/v1/status/config`))?.[1]),
  })
}

async function haproxy(): Promise<Running> {
  const port = await freePort()
  const run = mkdtempSync(join(tmpdir(), 'midflight-bench-run-'))
  const statsSocket = join(run, 'stats.sock')
  const text = (_i: number, change: number) => `global
  maxconn 256
  stats socket ${statsSocket} mode 600 level admin
defaults
  mode http
  timeout client 5s
  timeout connect 5s
  timeout server 5s
frontend front
  bind 127.0.0.1:${port}
  http-request return status 200 content-type text/plain string "${change}"
`
  const made = contents(1, () => 'haproxy.cfg', text)
  const pidFile = join(run, 'haproxy.pid')
  const live = join(made.directory, 'haproxy.cfg')
  const child = spawn('haproxy', ['-W', '-q', '-f', live], { stdio: 'ignore' })
  writeFileSync(pidFile, String(child.pid))
  return running(child, [made.directory, run], {
    ...made,
    options: preset.haproxy({ directory: made.directory, files: made.files, pidFile, statsSocket }),
    check: ['haproxy', '-c', '-f', live],
    tell: async () => void process.kill(child.pid as number, 'SIGUSR2'),
    serves: async () => numberIn(await bodyOf(`http://127.0.0.1:${port}/`)),
  })
}

async function caddy(): Promise<Running> {
  const [port, admin] = [await freePort(), await freePort()]
  const run = mkdtempSync(join(tmpdir(), 'midflight-bench-run-'))
  const text = (_i: number, change: number) =>
    JSON.stringify({
      admin: { listen: `127.0.0.1:${admin}`, config: { persist: false } },
      logging: { logs: { default: { level: 'ERROR' } } },
      apps: {
        http: {
          servers: {
            bench: {
              listen: [`127.0.0.1:${port}`],
              automatic_https: { disable: true },
              routes: [{ handle: [{ handler: 'static_response', status_code: 200, body: String(change) }] }],
            },
          },
        },
      },
    })
  const made = contents(1, () => 'caddy.json', text)
  const live = join(made.directory, 'caddy.json')
  const home = { HOME: run, XDG_DATA_HOME: run, XDG_CONFIG_HOME: run }
  const child = spawn('caddy', ['run', '--config', live], { stdio: 'ignore', env: { ...process.env, ...home } })
  const load = `http://127.0.0.1:${admin}/load`
  return running(child, [made.directory, run], {
    ...made,
    options: preset.caddy({
      directory: made.directory,
      files: made.files,
      main: 'caddy.json',
      admin: `127.0.0.1:${admin}`,
    }),
    check: ['caddy', 'validate', '--config', live],
    tell: async () => {
      await bodyOf(load, { method: 'POST', headers: { 'content-type': 'application/json' } }, readFileSync(live))
    },
    serves: async () => numberIn(await bodyOf(`http://127.0.0.1:${port}/`)),
  })
}

/** A new directory with the files of change 0, and what `program()` is told of them: each is a text in the config. */
function contents(
  count: number,
  pathOf: (i: number) => string,
  textOf: (i: number, change: number) => string,
  beside: Readonly<Record<string, string>> = {},
) {
  const directory = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
  const changeOf = (i: number, change: number, which: Which) => (which === 'all' || i === 0 ? change : 0)
  const numbers = Array.from({ length: count }, (_, i) => i)
  const texts = (change: number, which: Which) =>
    new Map(numbers.map((i) => [pathOf(i), textOf(i, changeOf(i, change, which))]))
  for (const [path, text] of [...texts(0, 'all'), ...Object.entries(beside)]) {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    writeFileSync(join(directory, path), text)
  }
  return {
    directory,
    files: numbers.map((i): FileOptions => ({ path: pathOf(i), from: `f${i}`, as: 'raw' })),
    texts,
    config: (change: number, which: Which) =>
      Object.fromEntries(numbers.map((i) => [`f${i}`, textOf(i, changeOf(i, change, which))])),
  }
}

/** Once it serves the files that it was started with. */
async function running(
  child: ChildProcess,
  folders: readonly string[],
  rest: Omit<Running, 'close'>,
): Promise<Running> {
  const close = async () => {
    if (child.exitCode === null && child.signalCode === null) {
      child.kill('SIGTERM')
      // Old workers may wait for a connection; nobody waits for them.
      const patience = setTimeout(() => child.kill('SIGKILL'), 5_000)
      await once(child, 'exit')
      clearTimeout(patience)
    }
    for (const folder of folders) rmSync(folder, { recursive: true, force: true })
  }
  for (const lastAt = performance.now() + 30_000; (await rest.serves()) !== 0; await sleep(50)) {
    if (child.exitCode === null && performance.now() < lastAt) continue
    await close()
    throw new Error(`${rest.options.name} does not start`)
  }
  return { ...rest, close }
}

// Workers that are told to go close what was kept open; each request has a connection of its own.
const agent = new Agent({ keepAlive: false })

async function bodyOf(url: string, options: object = {}, body: string | Uint8Array = ''): Promise<string> {
  try {
    const request = send(url, { agent, ...options })
    request.end(body)
    const [response] = (await once(request, 'response')) as [NodeJS.ReadableStream]
    const chunks: Buffer[] = []
    for await (const chunk of response) chunks.push(chunk as Buffer)
    return Buffer.concat(chunks).toString()
  } catch {
    return '' // It does not answer just now.
  }
}

function numberIn(text: string | undefined): number {
  return text === undefined || !/^\d+$/.test(text) ? -1 : Number(text)
}
