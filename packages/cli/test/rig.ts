/** Runs the command line as a process, on files of its own and on a real gateway. Used by the tests beside it. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
const compileCache = fileURLToPath(new URL('../../../.cache/compile', import.meta.url))
const gatewayProgram = fileURLToPath(new URL('programs/gateway.ts', import.meta.url))

export interface Ran {
  readonly code: number | null
  readonly out: string
  readonly err: string
  json(): unknown
}

export interface RunOptions {
  readonly cwd?: string
  readonly input?: string
  readonly env?: Readonly<Record<string, string>>
}

/** The environment without what would change how the command line behaves. */
function environment(env: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const clean: NodeJS.ProcessEnv = { ...process.env, TZ: 'UTC' }
  for (const name of ['MIDFLIGHT_URL', 'MIDFLIGHT_TOKEN', 'NO_COLOR', 'FORCE_COLOR', 'COLUMNS', 'NODE_OPTIONS']) {
    delete clean[name]
  }
  // Stripping types at each start would be most of what these tests cost.
  return { ...clean, NODE_COMPILE_CACHE: compileCache, ...env }
}

export function spawned(args: readonly string[], options: RunOptions = {}): ChildProcess {
  return spawn(
    process.execPath,
    ['--conditions=midflight-source', '--disable-warning=ExperimentalWarning', main, ...args],
    {
      cwd: options.cwd,
      env: environment(options.env),
      stdio: 'pipe',
    },
  )
}

export async function midflight(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const child = spawned(args, options)
  child.stdin?.end(options.input ?? '')
  return finished(child)
}

export async function finished(child: ChildProcess): Promise<Ran> {
  let out = ''
  let err = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text))
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve))
  return { code, out, err, json: () => JSON.parse(out) as unknown }
}

/** A folder with these files, gone when the test is over. */
export async function folder(files: Readonly<Record<string, string>> = {}): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'midflight-cli-'))
  onTestFinished(() => rm(path, { recursive: true, force: true }))
  for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text)
  return path
}

export interface Gateway {
  readonly pid: number
  readonly url: string
  readonly port: number
  readonly cwd: string
  write(text: string): Promise<void>
  stop(): Promise<void>
}

/** A gateway process on `cwd`, ended when the test is over. */
export async function gateway(
  cwd: string,
  text: string,
  options: Readonly<Record<string, unknown>> = {},
): Promise<Gateway> {
  const write = (next: string) => writeFile(join(cwd, 'gateway.yaml'), next)
  await write(text)
  const child = spawn(process.execPath, ['--conditions=midflight-source', gatewayProgram, JSON.stringify(options)], {
    cwd,
    env: environment(),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()))
  const stop = async () => {
    child.kill('SIGTERM')
    await gone
  }
  onTestFinished(stop)
  let err = ''
  child.stderr.setEncoding('utf8').on('data', (said: string) => (err += said))
  const ready = new Promise<{ pid: number; addresses: Record<string, string> }>((resolve, reject) => {
    createInterface(child.stdout).once('line', (line) => resolve(JSON.parse(line)))
    void gone.then(() => reject(new Error(`the gateway ended: ${err}`)))
  })
  const { pid, addresses } = await ready
  const url = addresses['admin HTTP']?.split(', ')[0] ?? ''
  return { pid, url, port: Number(new URL(url).port), cwd, write, stop }
}

/** The lines of a stream, for tests that wait for one of them. */
export function lines(child: ChildProcess): { until(matches: (line: string) => boolean): Promise<string[]> } {
  const seen: string[] = []
  const waiting = new Set<() => void>()
  let ended = false
  const wake = () => waiting.forEach((look) => look())
  createInterface(child.stdout!).on('line', (line) => {
    seen.push(line)
    wake()
  })
  child.once('close', () => {
    ended = true
    wake()
  })
  return {
    until: (matches) =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (seen.some(matches)) resolve([...seen])
          else if (ended) reject(new Error(`ended before the line came:\n${seen.join('\n')}`))
          else return
          waiting.delete(look)
        }
        waiting.add(look)
        look()
      }),
  }
}

export const good = `server:
  port: 8080
log:
  level: info
  format: text
  output: file
db:
  host: db.internal
  password: hunter2-very-secret
rules:
  - id: r1
    resource: api:GET:/api/users
    limit: 1000
  - id: r2
    resource: service:order
    limit: 200
`

export const schema = JSON.stringify({
  type: 'object',
  additionalProperties: false,
  required: ['server', 'log'],
  properties: {
    server: {
      type: 'object',
      properties: { port: { type: 'integer', minimum: 1, maximum: 65535, 'x-midflight-restart': true } },
    },
    log: {
      type: 'object',
      additionalProperties: false,
      properties: {
        level: { enum: ['debug', 'info', 'warn'] },
        format: { enum: ['text', 'json'] },
        output: { type: 'string' },
      },
    },
    db: {
      type: 'object',
      properties: { host: { type: 'string' }, password: { type: 'string', 'x-midflight-secret': true } },
    },
    rules: {
      type: 'array',
      'x-midflight-key': 'id',
      items: {
        type: 'object',
        required: ['id'],
        properties: {
          id: { type: 'string' },
          resource: { type: 'string' },
          limit: { type: 'integer', minimum: 1 },
        },
      },
    },
  },
})
