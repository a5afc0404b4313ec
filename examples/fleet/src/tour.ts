/**
 * `npm start`: a control plane, three gateway nodes as processes of their own, and a trickle of requests, in the
 * foreground, with a list of things to try. What becomes of a release on each node shows up as a line.
 */
import { join } from 'node:path'
import { serve, StoreError } from '@midflight/control-plane'
import { destination, pino } from 'pino'
import { Api } from './api.ts'
import { editedFile, firstRelease } from './first-release.ts'
import { Fleet } from './fleet-lines.ts'
import { Nodes } from './nodes.ts'
import { RunDir } from './run-dir.ts'
import { tourText } from './tour-text.ts'
import { counterText, Trickle, upstream } from './trickle.ts'

const config = 'shop/gateway/prod'
const names = ['a', 'b', 'c'] as const
const requestEveryMs = 250
/** While a rollout is under way, and when not. */
const countersEveryMs = 2_000
const calmEveryMs = 10_000

const example = join(import.meta.dirname, '..')
const gateway = join(example, '..', 'gateway')
const program = join(gateway, 'src', 'node.ts')
const elsewhere = process.env['FLEET_RUN_DIR']
const run = new RunDir(elsewhere ?? join(example, 'run'))
// Addresses that can be remembered, for the one fleet that most people have. 0: any free port.
const usualPorts = elsewhere === undefined ? [7700, 7701, 7702, 7703] : [0, 0, 0, 0]

/** What has been started, to be ended in the opposite order. */
const started: (() => Promise<unknown>)[] = []
let closing: Promise<void> | undefined
const over = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => void close())

const starting = start()
try {
  await starting
} catch (error) {
  console.error(reasons(error).join('\n'))
  process.exitCode = 1
  await close()
}

async function start(): Promise<void> {
  const [plane, a, b, c] = usualPorts as [number, number, number, number]
  const before = run.keptPorts()['control-plane'] ?? plane
  const ports = await run.ports({ 'control-plane': plane, a, b, c })
  const logger = pino(destination({ dest: run.in('control-plane.log'), sync: true }))
  const isFirst = !run.has('control-plane/store.db')
  let isNew = false
  const served = await serve({
    dataDir: run.in('control-plane'),
    port: ports['control-plane'],
    logger,
    // Where a publish does not say how it is to reach the nodes: watched it is in any case.
    strategy: { kind: 'by-risk', bakeMs: 5000 },
    newAdminToken: !run.has('admin-token'),
    onAdminToken: (secret) => {
      run.write('admin-token', `${secret}\n`)
      isNew = true
    },
  })
  started.push(() => served.close())
  run.keepPorts(ports)
  const api = new Api(served.url, run.read('admin-token'))
  await firstRelease(api, config, run, { example: join(gateway, 'gateway.yaml'), program })
  // One that another store handed out is worth nothing to this one.
  if (isNew || !run.has('agent-token')) {
    // Of a name there is one good token: an earlier one may be good still.
    const token = {
      name: isFirst ? 'nodes' : `nodes since ${new Date().toISOString()}`,
      role: 'agent',
      prefix: config,
      expiresAt: null,
    }
    run.write('agent-token', `${(await api.ask<{ secret: string }>('POST', '/v1/tokens', token)).secret}\n`)
  }
  run.directory('secrets')
  if (!run.has('secrets/orders-token')) run.write('secrets/orders-token', 'Bearer example\n')

  const users = await upstream('users')
  started.push(() => users.close())
  const orders = await upstream('orders')
  started.push(() => orders.close())
  const nodes = new Nodes(line, over.signal)
  started.push(() => nodes.end())
  await nodes.start(
    names.map((name) => ({
      name,
      program,
      directory: run.directory('nodes', name),
      local: { server: { port: ports[name] }, upstreams: { users: { url: users.url }, orders: { url: orders.url } } },
      controlPlane: served.url,
      config,
      tokenFile: run.in('agent-token'),
      secrets: run.in('secrets'),
    })),
  )
  if (closing) return
  const requests = new Trickle(nodes.all, requestEveryMs)
  started.push(() => requests.end())

  let countedMs = performance.now()
  const counters = async () => {
    countedMs = performance.now()
    const texts = nodes.all.map(async (node) => `${node.name}: ${await counterText(node, 'users')}`)
    const answers = nodes.all.map(({ name }) => requests.answerTexts(name))
    const all = (await Promise.all(texts)).map((text, i) => [text, ...(answers[i] ?? [])].join(', '))
    if (!closing) line(all.join(' | '))
  }
  if (before !== 0 && before !== ports['control-plane']) {
    console.log(`Port ${before} is taken by another program: the control plane is at ${ports['control-plane']} now.`)
  }
  console.log(
    tourText({
      config,
      url: served.url,
      nodes: nodes.all,
      requestEveryMs,
      kept: run.shown(),
      edited: run.shown(editedFile),
      token: run.shown('admin-token'),
    }),
  )
  const fleet = new Fleet(api, config, names.length, { line, onOthers: () => void counters() })
  const every = setInterval(() => {
    // Timers are not on time: a little early is better than a whole round late.
    const dueMs = fleet.isMoving ? countersEveryMs : calmEveryMs
    if (performance.now() - countedMs > dueMs - 500) void counters()
  }, 1000)
  started.push(async () => clearInterval(every))
  fleet.follow().catch((error: unknown) => {
    if (!closing) line(`! the events of the fleet cannot be followed: ${String(error)}`)
  })
}

/** Why it does not start, and what to do. */
function reasons(error: unknown): string[] {
  const message = error instanceof Error ? error.message : String(error)
  if (error instanceof StoreError && error.code === 'locked') {
    const port = run.keptPorts()['control-plane']
    return [
      `The fleet runs already: its control plane is at http://127.0.0.1:${port ?? '?'}, and Ctrl-C where it was started ends it.`,
      'FLEET_RUN_DIR=another-directory npm start runs a second one beside it.',
    ]
  }
  return [message, `The fleet keeps its things in ${run.shown()}; without that directory it begins anew.`]
}

function close(): Promise<void> {
  // At once: on a terminal Ctrl-C ends the nodes as well, which is no reason to start them again.
  over.abort()
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
