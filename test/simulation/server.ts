/**
 * One life of a control plane: the real coordinator and roster on a store that outlives it, and what delivery does with
 * what they write, over wires that lose and delay. It can be killed between any two things it does, or be stopped and
 * woken when another has taken over.
 */
import type { AgentMessage, ServerMessage } from 'midflight/protocol'
import { Coordinator } from '../../packages/control-plane/src/coordinator.ts'
import { deliveredAt, desired, failedAt, nextStep, type Delivery } from '../../packages/control-plane/src/desired.ts'
import { domainOf, type Domain } from '../../packages/control-plane/src/domain.ts'
import { Roster } from '../../packages/control-plane/src/roster.ts'
import type { Store, StoreRead, StoreTx } from '../../packages/control-plane/src/store.ts'
import type { Held } from '../../packages/engine/src/agent/node-state.ts'
import type { Content, SimNode } from './node.ts'
import type { World } from './world.ts'

export const config = 'sim'

export interface Weather {
  /** Of messages, 0 to 1. */
  loss: number
  maxDelayMs: number
}

interface Link {
  readonly node: SimNode
  readonly atMs: number
  delivery: Delivery | undefined
  greeted: boolean
}

/** Each one its own: what waits for it is forgotten with it. */
const forever = (): Promise<never> => new Promise(() => {})

export class Server {
  readonly domain: Domain
  readonly problems: unknown[] = []
  roster!: Roster
  coordinator!: Coordinator
  state: 'running' | 'stopped' | 'dead' = 'running'
  /** Dies at the transaction after so many: before it, or when it is durable and nobody knows. */
  dieAt: { transactions: number; when: 'before' | 'after' } | undefined
  private readonly world: World
  private readonly weather: Weather
  private readonly store: Store
  private readonly links = new Map<string, Link>()
  private missed: (() => void)[] = []

  constructor(world: World, weather: Weather, store: Store, wallMs: () => number) {
    this.world = world
    this.weather = weather
    this.store = store
    this.domain = domainOf({ store: this.mortal(store), now: () => new Date(wallMs()) })
  }

  async start(): Promise<void> {
    const monotonicMs = (): number => this.world.nowMs
    this.roster = await Roster.open(this.domain, { monotonicMs, leaseMs: 5_000 })
    const coordinator = Coordinator.start({
      domain: this.domain,
      roster: this.roster,
      monotonicMs,
      gateOf: ({ name }) => ({
        name,
        check: async ({ release }) => {
          const { gate, version } = heldOf(this.store, release).content as unknown as Content
          // Of those that say nothing, some never answer at all.
          if (gate === 'silent' && version % 2 === 0) return await forever()
          return { ok: gate === 'good', found: gate, ...(gate === 'silent' && { noData: true }) }
        },
      }),
      moved: async () => this.lookAtAll(),
      onProblem: (error) => this.problems.push(error),
      turns: {
        every: (ms, turn) => {
          let ended = false
          const again = (): void =>
            this.later(ms, () => {
              if (ended) return
              turn()
              again()
            })
          again()
          return () => (ended = true)
        },
        soon: (turn) => this.later(0, turn),
      },
    })
    this.coordinator = await coordinator
    const sweep = (): void =>
      this.later(1_000, () => {
        this.roster.expire()
        // As the hub does with those that do not say who they are.
        for (const { node, greeted, atMs } of this.links.values()) {
          if (!greeted && this.world.nowMs - atMs > 3_000) this.cut(node)
        }
        this.lookAtAll()
        this.roster.flush().catch((error: unknown) => this.problems.push(error))
        sweep()
      })
    sweep()
  }

  /** A node has connected. */
  connect(node: SimNode): void {
    const link: Link = { node, atMs: this.world.nowMs, delivery: undefined, greeted: false }
    this.links.set(node.uid, link)
    const send = (message: AgentMessage): void =>
      this.travel(() => {
        if (this.links.get(node.uid) === link) this.later(0, () => void this.hear(link, message))
      })
    node.wire = { send }
    send(node.hello())
  }

  has(node: SimNode): boolean {
    return this.state === 'running' && this.links.has(node.uid) && node.wire !== undefined
  }

  cut(node: SimNode): void {
    this.links.delete(node.uid)
    node.wire = undefined
  }

  die(): void {
    if (this.state !== 'dead') this.world.say('the control plane dies')
    this.state = 'dead'
  }

  stop(): void {
    this.state = 'stopped'
  }

  /** It goes on where it was, whatever has happened meanwhile. */
  wake(): void {
    this.state = 'running'
    for (const work of this.missed.splice(0)) this.later(0, work)
  }

  private async hear(link: Link, message: AgentMessage): Promise<void> {
    const { uid } = link.node
    if (message.type === 'hello') {
      await this.roster.hello(message)
      link.greeted = true
    } else if (!link.greeted) return
    else if (message.type === 'heartbeat') this.roster.heartbeat(uid, message)
    else if (message.type === 'report') {
      if (['FAILED', 'ROLLED_BACK'].includes(message.status)) {
        link.delivery = failedAt(link.delivery, message.number, this.world.nowMs, 0.5)
      }
      this.roster.report(uid, message)
    }
    this.look(link)
  }

  private lookAtAll(): void {
    for (const link of this.links.values()) this.look(link)
  }

  private look(link: Link): void {
    const node = this.roster.node(link.node.uid)
    if (!link.greeted || node === undefined || this.state === 'dead') return
    const releases = peek(this.store, (read) => ({
      head: read.config(config)?.head ?? null,
      rollout: read.rollouts.open(config)[0] ?? null,
    }))
    const wish = desired(releases, node)
    const now = this.world.nowMs
    const step = nextStep(wish, node, link.delivery, now)
    if (step.kind === 'decide' && node.prepared) {
      const { number, digest, epoch } = node.prepared
      const highest = Math.max(epoch, releases.rollout?.state.epoch ?? 0)
      return this.send(link, { type: 'decision', number, digest, epoch: highest, decision: step.decision })
    }
    if (step.kind !== 'send' || wish === null) return
    const held = heldOf(this.store, wish.number)
    link.delivery = deliveredAt(wish, link.delivery, now)
    const prepare = wish.prepare ? { prepare: { epoch: wish.epoch, voteMs: 5_000 } } : {}
    const force = step.force ? { force: true as const } : {}
    const body = { kind: 'whole', content: held.content } as const
    this.send(link, { type: 'release', release: held.release, body, ...prepare, ...force }, held)
  }

  private send({ node }: Link, message: ServerMessage, held?: Held): void {
    this.travel(() => node.receive(message, held))
  }

  private travel(arrive: () => void): void {
    const { chance } = this.world
    if (chance.is(this.weather.loss)) return
    const twice = chance.is(this.weather.loss / 2)
    for (let i = 0; i < (twice ? 2 : 1); i++) this.world.after(1 + chance.int(this.weather.maxDelayMs), arrive)
  }

  private later(ms: number, work: () => void): void {
    this.world.after(ms, () => {
      if (this.state === 'running') work()
      else if (this.state === 'stopped') this.missed.push(work)
    })
  }

  /** What a process that is dead or stopped has asked for is not answered. */
  private mortal(store: Store): Store {
    const alive = async <T>(work: () => Promise<T>): Promise<T> => {
      if (this.state === 'dead') return await forever()
      if (this.state === 'stopped') await new Promise<void>((go) => this.missed.push(go))
      return await work()
    }
    return {
      ...store,
      read: (work) => alive(() => store.read(work)),
      transaction: (work) =>
        alive(async () => {
          const { dieAt } = this
          const dies = dieAt !== undefined && dieAt.transactions-- <= 0
          if (dies && dieAt.when === 'before') {
            this.die()
            return await forever()
          }
          const result = await store.transaction(work)
          if (dies) {
            this.die()
            return await forever()
          }
          return result
        }),
    }
  }
}

export function peek<T>(store: Store, work: (read: StoreRead) => T): T {
  let found!: T
  // The memory store does what it is asked before it answers.
  void store.read((read) => (found = work(read)))
  return found
}

export function heldOf(store: Store, number: number): Held {
  return peek(store, (read) => ({ release: read.release(config, number)!, content: read.content(config, number)! }))
}

export type { StoreTx }
