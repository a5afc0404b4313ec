/** One rollout in good weather, with a control plane that dies at one of its writes and is started again. */
import type { Json } from 'midflight'
import { createConfig } from '../../packages/control-plane/src/configs.ts'
import { publish } from '../../packages/control-plane/src/publish.ts'
import type { RolloutRecord } from '../../packages/control-plane/src/store.ts'
import { memoryStore } from '../../packages/control-plane/src/stores/memory.ts'
import { strategyOf, type StrategySpec } from '../../packages/control-plane/src/strategies/spec.ts'
import type { StrategyKind } from '../../packages/control-plane/src/strategy.ts'
import { SimNode, type Content, type Mood, type Watch } from './node.ts'
import { config, peek, Server } from './server.ts'
import { World } from './world.ts'

export type Spec = StrategySpec & { readonly kind: StrategyKind | 'instant' }

export interface Death {
  /** The write from the publish on, counting from 0. */
  readonly transaction: number
  readonly when: 'before' | 'after'
}

export interface Ending {
  /** Of the second release; `undefined`: it was never published. */
  readonly rollout: RolloutRecord | undefined
  /** Which release every node runs, and whether any still has something prepared. */
  readonly runs: readonly (number | undefined)[]
  readonly prepared: number
  readonly head: number
  /** Whether the control plane died as it was to. */
  readonly died: boolean
}

const idle: Watch = { applies: () => {}, givesUp: () => {}, votes: () => {}, returns: () => {} }

export async function killedAt(spec: Spec, moods: Readonly<Record<string, Mood>>, death?: Death): Promise<Ending> {
  const world = new World(1)
  const store = memoryStore()
  const weather = { loss: 0, maxDelayMs: 5 }
  const nodes = [1, 2, 3, 4].map((i) => new SimNode(world, idle, i))
  const start = async (): Promise<Server> => {
    const server = new Server(world, weather, store, () => Date.UTC(2026, 10, 20) + world.nowMs)
    await server.start()
    for (const node of nodes) server.connect(node)
    return server
  }
  const release = async (server: Server, content: Content, how: Spec): Promise<void> => {
    const strategy = strategyOf(how, () => ['a', 'b'])
    const changes = [{ config, content: content as unknown as Json }]
    await publish(server.domain, { changes, author: 'sim', rolloutOf: () => ({ strategy }) })
    await server.coordinator.published(config)
  }
  let server = await start()
  await createConfig(server.domain, { name: config, actor: 'sim' })
  await world.run(2_000)
  void release(server, { version: 1, moods: {}, gate: 'good' }, { kind: 'all-at-once' })
  await world.run(10_000)

  server.dieAt = death && { transactions: death.transaction, when: death.when }
  void release(server, { version: 2, moods, gate: 'good' }, spec)
  await world.run(14_000)
  const died = server.state === 'dead'
  if (died) {
    for (const node of nodes) node.wire = undefined
    server = await start()
  }
  await world.run(120_000)
  return {
    rollout: peek(store, (read) => read.rollouts.get(config, 2)),
    runs: nodes.map(({ runs }) => runs?.number),
    prepared: nodes.filter((node) => node.prepared !== undefined).length,
    head: peek(store, (read) => read.config(config)?.head?.number ?? 0),
    died,
  }
}
