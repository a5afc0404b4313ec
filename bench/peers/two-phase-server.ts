/**
 * The server of the two-phase benchmark, in a process of its own. `midflight`: the real publish on SQLite, coordinator and
 * hub. `ws`: the least that telling all and hearing from all can cost, `rounds` times one after the other.
 */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { WebSocketServer } from 'ws'
import { createConfig } from '../../packages/control-plane/src/configs.ts'
import { Coordinator } from '../../packages/control-plane/src/coordinator.ts'
import { domainOf } from '../../packages/control-plane/src/domain.ts'
import { publish } from '../../packages/control-plane/src/publish.ts'
import { textFrame } from '../../packages/control-plane/src/push/frames.ts'
import { createHub } from '../../packages/control-plane/src/push/hub.ts'
import { defaultHubLimits } from '../../packages/control-plane/src/push/limits.ts'
import { Roster } from '../../packages/control-plane/src/roster.ts'
import { allAtOnce } from '../../packages/control-plane/src/strategies/all-at-once.ts'
import { twoPhase } from '../../packages/control-plane/src/strategies/two-phase.ts'
import { openSqlite } from '../../packages/control-plane/src/stores/sqlite.ts'

export interface ServerSetup {
  readonly contender: 'midflight' | 'ws'
  readonly directory: string
  readonly count: number
}

/** `at-once`: without a rollout. */
export type How = 'at-once' | 'all-at-once' | 'two-phase' | 'one-round' | 'two-rounds'

const setup = JSON.parse(process.argv[2] ?? '') as ServerSetup
const config = 'bench/two-phase'
const tell = (message: object): void => void process.send?.(message)

async function midflight(): Promise<void> {
  const store = await openSqlite({ directory: setup.directory })
  const domain = domainOf({ store })
  await createConfig(domain, { name: config, actor: 'bench' })
  const contentOf = (seq: number) => ({ seq, text: 'x'.repeat(1000) })
  await publish(domain, { author: 'bench', changes: [{ config, content: contentOf(0) }] })
  const { leaseMs } = defaultHubLimits
  const roster = await Roster.open(domain, { monotonicMs: () => performance.now(), leaseMs })
  const fail = (error: unknown): void => {
    console.error(error)
    process.exit(1)
  }
  let wanted = 0
  let applied = 0
  let onAll = (): void => {}
  const hub = createHub({
    store,
    roster,
    onProblem: fail,
    onReport(_, { number, status }) {
      if (number !== wanted || status !== 'APPLIED') return
      applied++
      if (applied === setup.count) onAll()
    },
  })
  const coordinator = await Coordinator.start({
    domain,
    roster,
    monotonicMs: () => performance.now(),
    gateOf: ({ name }) => ({ name, check: async () => ({ ok: true, found: '' }) }),
    moved: (name) => hub.announce(name),
    onProblem: fail,
  })
  const server = createServer()
  server.on('upgrade', (request, socket, head) =>
    hub.attach(request, socket, head, { name: 'bench', role: 'agent', prefix: '' }),
  )
  server.listen({ port: 0, host: '127.0.0.1', backlog: 8192 })
  await once(server, 'listening')
  tell({ type: 'ready', port: (server.address() as AddressInfo).port })

  async function round(seq: number, how: How): Promise<void> {
    const startMs = performance.now()
    const all = new Promise<void>((resolve) => (onAll = resolve))
    applied = 0
    wanted = seq + 1
    const strategy = how === 'at-once' ? undefined : how === 'two-phase' ? twoPhase() : allAtOnce()
    await publish(domain, {
      author: 'bench',
      changes: [{ config, content: contentOf(seq) }],
      ...(strategy && { rolloutOf: () => ({ strategy }) }),
    })
    hub.announce(config).catch(fail)
    coordinator.published(config).catch(fail)
    await all
    const ms = performance.now() - startMs
    const rollout = await coordinator.rollout(config, wanted)
    tell({ type: 'done', ms, mixedMs: rollout?.state.mixedMs ?? 0 })
  }
  process.on('message', ({ seq, how }: { seq: number; how: How }) => void round(seq, how).catch(fail))
}

async function ws(): Promise<void> {
  const sockets = new Set<Socket>()
  let heard = 0
  let onAll = (): void => {}
  const server = createServer()
  const upgrades = new WebSocketServer({ server, perMessageDeflate: false, clientTracking: false })
  upgrades.on('connection', (socket, request) => {
    sockets.add(request.socket)
    socket.on('message', () => {
      heard++
      if (heard === setup.count) onAll()
    })
  })
  server.listen({ port: 0, host: '127.0.0.1', backlog: 8192 })
  await once(server, 'listening')
  tell({ type: 'ready', port: (server.address() as AddressInfo).port })
  process.on('message', async ({ how }: { how: How }) => {
    const startMs = performance.now()
    for (let i = 0; i < (how === 'two-rounds' ? 2 : 1); i++) {
      const all = new Promise<void>((resolve) => (onAll = resolve))
      heard = 0
      // The second only says what was decided.
      const frame = textFrame('x'.repeat(i === 0 ? 1024 : 150))
      for (const socket of sockets) socket.write(frame)
      await all
    }
    tell({ type: 'done', ms: performance.now() - startMs, mixedMs: 0 })
  })
}

await (setup.contender === 'ws' ? ws() : midflight())
