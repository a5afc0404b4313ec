/** A control plane as a process, and nodes of its fleet. Used by the tests beside it. */
import { spawn, spawnSync } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { componentsFor, jsonSchema, start, type Engine, type Json } from 'midflight'
import { controlPlane } from 'midflight/agent'
import { expect, onTestFinished } from 'vitest'
import { finished, folder, midflight, schema, spawned, type Ran, type RunOptions } from './rig.ts'

export interface Plane {
  readonly url: string
  readonly cwd: string
  readonly admin: string
  readonly pid: number
  /** A command as the administrator, in `cwd`. */
  run(...args: string[]): Promise<Ran>
  as(token: string, ...args: string[]): Promise<Ran>
  stop(signal?: NodeJS.Signals): Promise<Ran>
}

/** Ended when the test is over. `data` in `cwd` is its data directory. */
export async function plane(options: { cwd?: string; more?: readonly string[] } = {}): Promise<Plane> {
  const cwd = options.cwd ?? (await folder())
  const args = [
    'serve',
    '--data',
    'data',
    '--port',
    '0',
    '--admin-token-file',
    'admin.token',
    '--strategy',
    'none',
    ...(options.more ?? []),
  ]
  const child = spawned(args, { cwd })
  const ran = finished(child)
  const stop = async (signal: NodeJS.Signals = 'SIGTERM') => {
    child.kill(signal)
    return await ran
  }
  onTestFinished(async () => void (await stop('SIGKILL')))
  const url = await new Promise<string>((resolve, reject) => {
    let out = ''
    child.stdout?.on('data', (chunk: Buffer) => {
      out += chunk.toString()
      const [found] = /https?:\/\/[\d.]+:\d+/.exec(out) ?? []
      if (found !== undefined) resolve(found)
    })
    void ran.then(({ out: said, err }) => reject(new Error(`serve ended: ${said}${err}`)))
  })
  const admin = (await readFile(join(cwd, 'admin.token'), 'utf8')).trim()
  const as = (token: string, ...words: string[]) =>
    midflight(words, { cwd, env: { MIDFLIGHT_URL: url, MIDFLIGHT_TOKEN: token } })
  return { url, cwd, admin, pid: child.pid ?? 0, as, run: (...words) => as(admin, ...words), stop }
}

/** A real node in this process: refuses the log level `warn`, and cannot change its port while it runs. */
export async function node(to: Plane, config: string, token: string): Promise<Engine<Json>> {
  const schema = jsonSchema<Json>(true)
  const { value } = componentsFor(schema)
  const engine = await start({
    schema,
    sources: [controlPlane({ url: to.url, config, token, labels: { zone: 'a' }, name: 'test-node' })],
    components: [
      value({
        name: 'log',
        path: 'log',
        apply: (next: Json) => {
          if (JSON.stringify(next).includes('warn')) throw new Error('cannot write warnings')
        },
      }),
      value({ name: 'server', path: 'server', restartFor: ['server.port'], apply: () => {} }),
    ],
    stateDir: join(to.cwd, `node-${randomUUID()}`),
    retries: { limit: 0 },
    logger: false,
  } as never)
  onTestFinished(() => engine.close())
  return engine as unknown as Engine<Json>
}

export const content = `server: { port: 8080 }
log: { level: info }
db: { host: db.internal, password: canary-hunter2 }
rules:
  - { id: r1, resource: 'api:GET:/users', limit: 1000 }
  - { id: r2, resource: 'service:order', limit: 200 }
`

export const config = 'shop/gateway'

/** A control plane with the config, its schema, and `gateway.yaml` beside it. */
/** @param served how the control plane is started. */
export async function made(more: readonly string[] = [], served: readonly string[] = []): Promise<Plane> {
  const cwd = await folder({ 'schema.json': schema, 'gateway.yaml': content })
  const to = await plane({ cwd, more: served })
  expect(await to.run('config', 'create', config, '--schema', 'schema.json', ...more)).toMatchObject({ code: 0 })
  return to
}

/** Writes `gateway.yaml` anew: the content with these replaced. */
export async function change(to: Plane, ...pairs: (readonly [string, string])[]): Promise<void> {
  let text = content
  for (const [from, into] of pairs) text = text.replace(from, into)
  await writeFile(join(to.cwd, 'gateway.yaml'), text)
}

export async function agentToken(to: Plane): Promise<string> {
  const { out } = await to.run('token', 'create', 'nodes', '--role', 'agent')
  return out.trim()
}

export type { RunOptions }

/** Whether there is a program that makes a terminal. */
export const hasScript = spawnSync('script', ['--version']).status === 0

/** A command as the administrator at a terminal, whose question is answered. @returns how it ended, and all that was shown. */
export async function onTerminal(
  to: Plane,
  answer: string,
  ...args: readonly string[]
): Promise<[code: number | null, shown: string]> {
  const main = fileURLToPath(new URL('../src/main.ts', import.meta.url))
  const command = [process.execPath, '--conditions=midflight-source', main, ...args].join(' ')
  const child = spawn('script', ['-qec', command, '/dev/null'], {
    cwd: to.cwd,
    env: { ...process.env, MIDFLIGHT_URL: to.url, MIDFLIGHT_TOKEN: to.admin, NO_COLOR: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  let shown = ''
  child.stdout.on('data', (chunk: Buffer) => {
    const had = shown.includes('[y/N]')
    shown += chunk.toString()
    if (!had && shown.includes('[y/N]')) child.stdin.write(`${answer}\n`)
  })
  const [code] = (await once(child, 'close')) as [number | null]
  return [code, shown]
}
