/**
 * The servers of the fan-out benchmark, each in a process of its own: `midflight` (store on SQLite, publish through the
 * real path), and beside it the least that a push can cost: `ws` (one frame, one write per socket), `tcp` (the same
 * without WebSocket). The parent says `publish` and takes the time; what is to be published is made before.
 */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Json } from 'midflight'
import { WebSocketServer } from 'ws'
import { createConfig } from '../../packages/control-plane/src/configs.ts'
import { domainOf } from '../../packages/control-plane/src/domain.ts'
import { publish } from '../../packages/control-plane/src/publish.ts'
import { textFrame } from '../../packages/control-plane/src/push/frames.ts'
import { createHub } from '../../packages/control-plane/src/push/hub.ts'
import { defaultHubLimits, type HubLimits } from '../../packages/control-plane/src/push/limits.ts'
import { Roster } from '../../packages/control-plane/src/roster.ts'
import { openSqlite } from '../../packages/control-plane/src/stores/sqlite.ts'
import { contentOf, editOf, type Case } from './fanout-cases.ts'

export interface ServerSetup {
  readonly contender: 'midflight' | 'ws' | 'tcp'
  readonly sizeBytes: number
  readonly case: Case
  readonly directory: string
  readonly port: number
  readonly limits: Partial<HubLimits>
}

const setup = JSON.parse(process.argv[2] ?? '') as ServerSetup
const config = 'bench/fanout'

function tell(message: unknown): void {
  process.send?.(message)
}

async function midflight(): Promise<void> {
  const store = await openSqlite({ directory: setup.directory })
  const domain = domainOf({ store })
  if ((await store.read((read) => read.config(config))) === undefined) {
    await createConfig(domain, { name: config, actor: 'bench' })
    const changes = [{ config, content: contentOf(setup.case, 1) }]
    await publish(domain, { author: 'bench', changes })
  }
  const limits = { ...defaultHubLimits, ...setup.limits }
  const roster = await Roster.open(domain, { monotonicMs: () => performance.now(), leaseMs: limits.leaseMs })
  const problem = (error: unknown): void => {
    console.error(error)
    process.exit(1)
  }
  const hub = createHub({ store, roster, limits, onProblem: problem })
  const stalls = monitorEventLoopDelay({ resolution: 5 })
  stalls.enable()
  const server = createHttpServer()
  server.on('upgrade', (request, socket, head) =>
    hub.attach(request, socket, head, { name: 'bench', role: 'agent', prefix: '' }),
  )
  server.listen({ port: setup.port, host: '127.0.0.1', backlog: 8192 })
  await once(server, 'listening')
  const head = await store.read((read) => read.release(config, read.config(config)!.head!.number))
  tell({
    type: 'ready',
    port: (server.address() as AddressInfo).port,
    head: { number: head!.number, digest: head!.digest },
  })
  /** Publishes one after the other; who is still busy with one goes on with the newest. */
  async function flood(first: number, ms: number): Promise<{ seq: number; ms: number; cpuMs: number }> {
    const startedMs = performance.now()
    const before = process.cpuUsage()
    let seq = first
    for (; performance.now() < startedMs + ms; seq++) {
      await publish(domain, { author: 'bench', changes: [{ config, ...editOf(setup.case, seq) }] })
      hub.announce(config).catch(problem)
      // As requests do, each comes in a turn of its own.
      await new Promise((resolve) => setImmediate(resolve))
    }
    return { seq: seq - 1, ms: performance.now() - startedMs, cpuMs: cpuMsSince(before) }
  }

  process.on('message', (message: { type: string; seq: number; ms?: number }) => {
    if (message.type === 'publish') {
      const edit = editOf(setup.case, message.seq)
      const startedMs = performance.now()
      publish(domain, { author: 'bench', changes: [{ config, ...edit }] })
        .then(async () => {
          const durableMs = performance.now() - startedMs
          const before = process.cpuUsage()
          await hub.announce(config)
          const writeCpuMs = cpuMsSince(before)
          tell({ type: 'published', durableMs, writtenMs: performance.now() - startedMs, writeCpuMs })
        })
        .catch(problem)
    }
    if (message.type === 'flood') {
      flood(message.seq, message.ms ?? 0).then(
        (told) => tell({ type: 'flooded', ...told }),
        (error: unknown) => problem(error),
      )
    }
    if (message.type === 'counts') tell({ type: 'counts', stallMs: stalls.max / 1e6 })
    if (message.type === 'reset') stalls.reset()
  })
}

async function ws(): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createHttpServer()
  const upgrades = new WebSocketServer({ server, perMessageDeflate: false, clientTracking: false })
  upgrades.on('connection', (socket, request) => {
    sockets.add(request.socket)
    socket.on('close', () => sockets.delete(request.socket))
  })
  server.listen({ port: setup.port, host: '127.0.0.1', backlog: 8192 })
  await once(server, 'listening')
  serve(server.address() as AddressInfo, sockets, textFrame)
}

async function tcp(): Promise<void> {
  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('close', () => sockets.delete(socket))
  })
  server.listen({ port: setup.port, host: '127.0.0.1', backlog: 8192 })
  await once(server, 'listening')
  serve(server.address() as AddressInfo, sockets, textFrame)
}

function cpuMsSince(before: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(before)
  return (user + system) / 1000
}

/** A text of `sizeBytes` that begins with its number. */
function textOf(seq: number, sizeBytes: number): string {
  return `${String(seq).padStart(10, '0')}${'x'.repeat(Math.max(0, sizeBytes - 10))}`
}

function serve({ port }: AddressInfo, sockets: Set<Socket>, frameOf: (text: string) => Buffer): void {
  tell({ type: 'ready', port, head: { number: 1, digest: '' } satisfies Json })
  process.on('message', ({ type, seq }: { type: string; seq: number }) => {
    if (type !== 'publish') return
    const startedMs = performance.now()
    const frame = frameOf(textOf(seq, setup.sizeBytes))
    const before = process.cpuUsage()
    for (const socket of sockets) socket.write(frame)
    const writeCpuMs = cpuMsSince(before)
    tell({ type: 'published', durableMs: 0, writtenMs: performance.now() - startedMs, writeCpuMs })
  })
}

process.on('disconnect', () => process.exit(0))
await { midflight, ws, tcp }[setup.contender]()
