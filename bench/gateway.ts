// A gateway with 10,000 rules: from the start of the write of its file to the first request under the new rule, with
// the watcher, the proxy and a client on one connection. Beside it Caddy, told by POST /load of 10,000 routes.
//
//   node --conditions=midflight-source bench/gateway.ts [--json] [--n=10000] [--runs=30]
import { fork, spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, createServer, request as send } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startGateway } from '../examples/gateway/src/gateway.ts'
import { freePort } from '../test/rig/free-ports.ts'
import { median, quantile, report } from './report.ts'

/** A peer is ready to take the change with this number; `seen` tells which one its answers show. */
interface Contender {
  readonly name: string
  /** Not timed. */
  prepare(seq: number): () => Promise<void> | void
  seen(): Promise<number>
  stop(): Promise<void>
}

const given = (name: string, otherwise: number) =>
  Number(process.argv.find((arg) => arg.startsWith(`--${name}=`))?.split('=')[1] ?? otherwise)
const [n, runs] = [given('n', 10_000), given('runs', 30)]
const firstLimit = 1_000_000
const warmUps = 5

const serve = process.argv.indexOf('--serve')
if (serve > 0) await serveGateway(process.argv[serve + 1] as string)
else await compare()

/** The gateway has a process of its own, so that it does not share an event loop with the client that waits. */
async function serveGateway(dir: string): Promise<void> {
  const gateway = await startGateway({
    configFile: join(dir, 'gateway.json'),
    stateDir: join(dir, 'state'),
    adminPort: 0,
  })
  process.send?.(gateway.address)
  process.once('message', () => void gateway.close().then(() => process.disconnect()))
}

async function compare(): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'bench-gateway-'))
  const running: Contender[] = []
  try {
    running.push(await midflight(dir))
    const caddyThere = spawnSync('caddy', ['version']).status === 0
    if (caddyThere) running.push(await caddy(dir))

    const tookMs = new Map(running.map(({ name }) => [name, [] as number[]]))
    for (let seq = 1; seq <= warmUps + runs; seq++) {
      // Taken in turns, so that what else the machine does meets both.
      for (const contender of running) {
        const ms = await changeToEffectMs(contender, seq)
        if (seq > warmUps) tookMs.get(contender.name)?.push(ms)
      }
    }
    const peer = median(tookMs.get('Caddy POST /load') ?? [])
    const rows = running.map(({ name }) => {
      const all = tookMs.get(name) ?? []
      const ratio = caddyThere ? median(all) / peer : '-'
      return { contender: name, n, runs, 'median ms': median(all), 'p90 ms': quantile(all, 0.9), 'x Caddy': ratio }
    })
    report(`gateway: written to first request under it, ${n} rules (bar 0.2 x Caddy, moonshot 5 ms)`, rows)
    if (!caddyThere) console.log('skipped: Caddy is not here (apt-get install caddy), so there is no ratio')
  } finally {
    for (const contender of running) await contender.stop()
    rmSync(dir, { recursive: true, force: true })
  }
}

async function changeToEffectMs(contender: Contender, seq: number): Promise<number> {
  const apply = contender.prepare(seq)
  const began = performance.now()
  await apply()
  while ((await contender.seen()) !== seq) {
    if (performance.now() - began > 60_000) throw new Error(`${contender.name} does not show change ${seq}`)
  }
  const ms = performance.now() - began
  await sleep(30) // both let the old go after they answer
  return ms
}

async function midflight(dir: string): Promise<Contender> {
  const upstream = createServer((_request, response) => void response.end('ok')).listen(0, '127.0.0.1')
  await once(upstream, 'listening')
  const url = `http://127.0.0.1:${(upstream.address() as AddressInfo).port}`
  const file = join(dir, 'gateway.json')
  const rules = Array.from({ length: n }, (_, i) => ({
    id: `rule-${i}`,
    resource: `api:GET:/api/${i}`,
    limit: firstLimit,
    per: 'second',
  }))
  const watched = rules[n >> 1] as (typeof rules)[number]
  const text = (seq: number) => {
    watched.limit = firstLimit + seq
    return JSON.stringify({
      server: { port: 0 },
      log: { level: 'warn' },
      upstreams: { api: { url } },
      routes: [{ path: '/api', upstream: 'api' }],
      rules,
    })
  }
  writeFileSync(file, text(0))
  const child = fork(import.meta.filename, ['--serve', dir], { execArgv: ['--conditions=midflight-source'] })
  const [address] = (await once(child, 'message')) as [string]
  const get = client(true)
  return {
    name: 'Midflight gateway, file',
    prepare(seq) {
      const next = text(seq)
      return () => {
        writeFileSync(`${file}.new`, next)
        renameSync(`${file}.new`, file)
      }
    },
    async seen() {
      const { headers } = await get(`${address}/api/${n >> 1}`)
      return Number(headers['x-ratelimit-limit']) - firstLimit
    },
    async stop() {
      child.send('stop')
      await gone(child)
      upstream.close()
      upstream.closeAllConnections()
    },
  }
}

async function caddy(dir: string): Promise<Contender> {
  const [port, admin] = [await freePort(), await freePort()]
  const text = (seq: number) => {
    const routes = Array.from({ length: n }, (_, i) => ({
      match: [{ host: [`s${i}.test`], path: ['/v'] }],
      handle: [{ handler: 'static_response', status_code: 200, body: String(i === n >> 1 ? seq : 0) }],
      terminal: true,
    }))
    const server = { listen: [`127.0.0.1:${port}`], automatic_https: { disable: true }, routes }
    return JSON.stringify({
      admin: { listen: `127.0.0.1:${admin}`, config: { persist: false } },
      logging: { logs: { default: { level: 'ERROR' } } },
      apps: { http: { servers: { bench: server } } },
    })
  }
  const file = join(dir, 'caddy.json')
  writeFileSync(file, text(0))
  const child = spawn('caddy', ['run', '--config', file], {
    stdio: 'ignore',
    env: { ...process.env, HOME: dir, XDG_DATA_HOME: dir, XDG_CONFIG_HOME: dir },
  })
  // Each reload closes the connections that were kept: to find that out would cost Caddy more than a new one does.
  const get = client(false)
  const seen = async () =>
    Number((await get(`http://127.0.0.1:${port}/v`, { headers: { host: `s${n >> 1}.test` } })).body)
  for (let tries = 0; (await seen().catch(() => -1)) !== 0; tries++) {
    if (tries > 200 || child.exitCode !== null) throw new Error('caddy does not start')
    await sleep(50)
  }
  return {
    name: 'Caddy POST /load',
    prepare(seq) {
      const body = text(seq)
      const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) }
      return async () => {
        const { status } = await get(`http://127.0.0.1:${admin}/load`, { method: 'POST', headers }, body)
        if (status !== 200) throw new Error(`caddy answered ${status}`)
      }
    },
    seen,
    async stop() {
      child.kill('SIGTERM')
      await gone(child)
    },
  }
}

/** Requests over one connection that is kept, or each over one of its own. */
function client(keepAlive: boolean) {
  const agent = new Agent({ keepAlive, maxSockets: 1 })
  return async (url: string, options: object = {}, body = '') => {
    const request = send(url, { agent, ...options })
    request.end(body)
    const [response] = await once(request, 'response')
    const chunks: Buffer[] = await response.toArray()
    const { statusCode, headers } = response
    return { status: statusCode as number, headers, body: Buffer.concat(chunks).toString() }
  }
}

async function gone(child: ChildProcess): Promise<void> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}
