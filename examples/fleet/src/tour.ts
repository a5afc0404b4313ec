/**
 * `npm run fleet`: a control plane, three gateway nodes as processes of their own, and a trickle of requests, in the
 * foreground, with a list of things to try. What becomes of a release on each node shows up as a line.
 */
import { join } from 'node:path'
import { serve, StoreError, type ControlPlane } from '@midflight/control-plane'
import { destination, pino } from 'pino'
import { Api } from './api.ts'
import { editedFile, firstRelease } from './first-release.ts'
import { followFleet } from './fleet-lines.ts'
import { NodeProcess } from './node-process.ts'
import { RunDir } from './run-dir.ts'
import { counterText, trickle, upstream } from './trickle.ts'

const config = 'shop/gateway/prod'
const names = ['a', 'b', 'c'] as const
const requestEveryMs = 500
const countersEveryMs = 15_000

const example = join(import.meta.dirname, '..')
const gateway = join(example, '..', 'gateway')
const program = join(gateway, 'src', 'node.ts')
const run = new RunDir(process.env['FLEET_RUN_DIR'] ?? join(example, 'run'))

/** What has been started, to be ended in the opposite order. */
const started: (() => Promise<unknown>)[] = []
let closing: Promise<void> | undefined
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void close())

const starting = start()
try {
  await starting
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  const isElsewhere = error instanceof StoreError && error.code === 'locked'
  if (!isElsewhere) console.error(`The tour keeps its things in ${run.shown()}; without that directory it begins anew.`)
  process.exitCode = 1
  await close()
}

async function start(): Promise<void> {
  const ports = await run.ports(['control-plane', ...names])
  const logger = pino(destination({ dest: run.in('control-plane.log'), sync: true }))
  const plane = await serve({
    dataDir: run.in('control-plane'),
    port: ports['control-plane'],
    logger,
    newAdminToken: !run.has('admin-token'),
    onAdminToken: (secret) => run.write('admin-token', `${secret}\n`),
  })
  started.push(() => plane.close())
  run.keepPorts(ports)
  const api = new Api(plane.url, run.read('admin-token'))
  await firstRelease(api, config, run, { example: join(gateway, 'gateway.yaml'), program })
  if (!run.has('agent-token')) {
    const token = { name: 'nodes', role: 'agent', prefix: config, expiresAt: null }
    run.write('agent-token', `${(await api.ask<{ secret: string }>('POST', '/v1/tokens', token)).secret}\n`)
  }
  run.directory('secrets')
  if (!run.has('secrets/orders-token')) run.write('secrets/orders-token', 'Bearer example\n')

  const users = await upstream('users')
  started.push(() => users.close())
  const orders = await upstream('orders')
  started.push(() => orders.close())
  const nodes = await startNodes(plane, ports, { users: { url: users.url }, orders: { url: orders.url } })
  if (closing) return
  const enough = new AbortController()
  const addresses = nodes.map(({ address }) => address)
  const requests = trickle(addresses, requestEveryMs, enough.signal)
  started.push(() => (enough.abort(), requests))

  const counters = async () => {
    const texts = await Promise.all(nodes.map(({ name, address }) => counterText(name, address, 'users')))
    if (!closing) line(`requests of this minute: ${texts.join(', ')}`)
  }
  for (const node of nodes) {
    node.onExit((how) => {
      if (!closing) line(`node ${node.name} ended: ${how}`)
    })
  }
  console.log(tour(plane, nodes))
  const every = setInterval(() => void counters(), countersEveryMs)
  started.push(async () => clearInterval(every))
  followFleet(api, config, names.length, { line, onEverywhere: () => void counters() }).catch((error: unknown) => {
    if (!closing) line(`! the events of the fleet cannot be followed: ${String(error)}`)
  })
}

/** All at once. Those that started are ended later, together, also if another did not. */
async function startNodes(
  plane: ControlPlane,
  ports: Readonly<Record<(typeof names)[number], number>>,
  upstreams: object,
): Promise<NodeProcess[]> {
  const coming = names.map(async (name) => {
    const node = await NodeProcess.start({
      name,
      program,
      directory: run.directory('nodes', name),
      local: { server: { port: ports[name] }, upstreams },
      controlPlane: plane.url,
      config,
      tokenFile: run.in('agent-token'),
      secrets: run.in('secrets'),
    })
    return node
  })
  const settled = await Promise.allSettled(coming)
  const there = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  started.push(() => Promise.all(there.map((node) => node.end())))
  return Promise.all(coming)
}

function close(): Promise<void> {
  closing ??= ended()
  return closing
}

async function ended(): Promise<void> {
  // Ctrl-C in the middle of a start: only when that is over is all there that has to end.
  await Promise.allSettled([starting])
  for (let end = started.pop(); end; end = started.pop()) await end()
  console.log('closed')
}

function line(text: string): void {
  console.log(`${new Date().toISOString().slice(11, 19)} ${text}`)
}

function tour({ url }: ControlPlane, nodes: readonly NodeProcess[]): string {
  const edited = run.shown(editedFile)
  const token = run.shown('admin-token')
  const path = `${url}/v1/configs/${encodeURIComponent(config)}`
  return `
Midflight fleet: ${config}
  control plane   ${url}
  admin token     in ${token}
${nodes.map(({ name, address, pid }) => `  node ${name}          ${address}   process ${pid}`).join('\n')}
  edit            ${edited}   published is applied

Try, in another terminal:
  1. export MIDFLIGHT_URL=${url} MIDFLIGHT_TOKEN="$(cat ${token})"
     curl -si ${nodes[0]?.address}/api/users | grep -i x-rate
       the limit of rule "users", on node a
  2. sed -i 's/limit: 1000/limit: 3/' ${edited}
     npx midflight publish ${config} ${edited} -m 'three a minute'
       shows what would change, asks, and follows it to all three; what was counted before still counts
  3. sed -i 's/limit: 3$/limit: 0/' ${edited}; npx midflight publish ${config} ${edited}
       a bad edit: refused before it is a release
  4. curl -s -X PATCH '${path}/content?message=by+curl' \\
       -H "Authorization: Bearer $MIDFLIGHT_TOKEN" -H 'If-Match: *' -H 'Content-Type: application/json-patch+json' \\
       -d '[{"op": "replace", "path": "/rules/0/limit", "value": 500}]'
       the same without the command line
  5. npx midflight rollback ${config} 1
       back to what release 1 said, as a new one
  6. npx midflight nodes ${config}; npx midflight history ${config}
       who runs what; what was released, by whom and why

Ctrl-C ends all of it, and the next start finds everything as it was. The fleet:`
}
