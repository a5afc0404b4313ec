/**
 * What is outside of a control plane, in memory, and a control plane that can be killed between any two things that it
 * does: before or after a write, before or after a call. What is outside lives on.
 */
import { createConfig } from '../src/configs.ts'
import { domainOf } from '../src/domain.ts'
import type { Store, StoreTx } from '../src/store.ts'
import { memoryStore } from '../src/stores/memory.ts'
import type { DeploymentRecord } from '../src/targets/deployment.ts'
import { Deployer } from '../src/targets/deployer.ts'
import {
  InstallerError,
  type Installer,
  type NodeState,
  type SubscriptionStatus,
  type Wanted,
} from '../src/targets/installer.ts'

export const config = 'monitor/mysql'

interface Held {
  wanted: Wanted
  enabled: boolean
  inspected: boolean
  installed: boolean
}

/** Where the process ends: at the `at`-th thing that it does, before it or after it. */
export interface Death {
  readonly at: number
  readonly when: 'before' | 'after'
}

export class World {
  readonly store = memoryStore()
  readonly held = new Map<string, Held>()
  readonly deleted = new Set<string>()
  readonly calls: string[] = []
  /** By node: what it says instead of `success`. */
  readonly states = new Map<string, NodeState['state']>()
  /** Calls that are refused, and will be. */
  readonly refuses = new Set<string>()
  /** What was wrong at any moment: nothing whole where something had been, something forgotten on its nodes. */
  readonly wrongs: string[] = []
  private readonly keys = new Set<string>()
  private wasWhole = false

  status(id: string): SubscriptionStatus | null {
    const held = this.held.get(id)
    if (held === undefined) return null
    const { wanted, enabled, inspected, installed } = held
    const nodes = wanted.nodes.map(({ key }): NodeState => ({
      node: key,
      state: installed ? (this.states.get(key) ?? 'success') : 'absent',
    }))
    return { enabled, inspected, digest: wanted.digest, nodes }
  }

  tell(verb: string, id: string, key: string, change: (held: Held) => void): void {
    if (this.keys.has(key)) return
    this.keys.add(key)
    const held = this.held.get(id)
    if (held === undefined) return
    this.calls.push(`${verb} ${id}`)
    change(held)
    this.look()
  }

  make(id: string, wanted: Wanted, key: string): void {
    if (this.keys.has(key)) return
    this.keys.add(key)
    if (this.deleted.has(id)) throw new InstallerError('that id was deleted', false)
    this.calls.push(`create ${id}`)
    if (!this.held.has(id)) this.held.set(id, { wanted, enabled: true, inspected: false, installed: true })
    this.look()
  }

  forget(id: string, key: string): void {
    if (this.refuses.has('delete')) throw new InstallerError('not today', false)
    if (this.keys.has(key)) return
    this.keys.add(key)
    const held = this.held.get(id)
    if (held?.installed === true) this.wrongs.push(`${id} was forgotten while it is on its nodes`)
    if (held !== undefined) this.calls.push(`delete ${id}`)
    this.held.delete(id)
    this.deleted.add(id)
  }

  /** As an API does that keeps idempotency keys for a while only. */
  forgetKeys(): void {
    this.keys.clear()
  }

  /** From now on something whole is always there. */
  watch(): void {
    this.wasWhole = true
    this.look()
  }

  unwatch(): void {
    this.wasWhole = false
  }

  private look(): void {
    if (!this.wasWhole) return
    const isWhole = [...this.held].some(
      ([id, { enabled }]) => enabled && this.status(id)?.nodes.every(({ state }) => state === 'success'),
    )
    if (!isWhole) this.wrongs.push(`after ${this.calls.at(-1)} nothing whole is there`)
  }
}

export interface Life {
  readonly deployer: Deployer
  /** Resolves when the process has died; never, if it does not. */
  readonly died: Promise<void>
  /** So many things were done. */
  done(): number
  end(): Promise<void>
}

const pace = {
  callMs: 5_000,
  upMs: 5_000,
  goneMs: 5_000,
  pollMs: 1,
  retryMs: 2,
  longestRetryMs: 4,
  inspectMs: 3_600_000,
}

/** One life of a control plane in this world. */
export async function live(world: World, death?: Death, over: Partial<typeof pace> = {}): Promise<Life> {
  let count = 0
  let isDead = false
  let die = (): void => {}
  const died = new Promise<void>((resolve) => {
    die = resolve
  })
  const never = new Promise<never>(() => {})
  async function mortal<T>(work: () => T | Promise<T>): Promise<T> {
    if (isDead) return await never
    const isNow = death !== undefined && count++ === death.at
    if (death === undefined) count++
    if (isNow && death.when === 'before') {
      isDead = true
      die()
      return await never
    }
    const result = await work()
    if (isNow) {
      isDead = true
      die()
      return await never
    }
    return result
  }
  const store: Store = {
    ...world.store,
    transaction: <T>(work: (tx: StoreTx) => T) => mortal(() => world.store.transaction(work)),
    read: (work) => (isDead ? never : world.store.read(work)),
  }
  const installer: Installer = {
    create: (id, wanted, { key }) => mortal(() => world.make(id, wanted, key)),
    update: (id, wanted, { key }) => mortal(() => world.tell('update', id, key, (held) => (held.wanted = wanted))),
    enable: (id, { key }) => mortal(() => world.tell('enable', id, key, (held) => (held.enabled = true))),
    disable: (id, { key }) => mortal(() => world.tell('disable', id, key, (held) => (held.enabled = false))),
    inspect: (id, on, { key }) =>
      mortal(() => world.tell(`inspection ${on ? 'on' : 'off'}`, id, key, (held) => (held.inspected = on))),
    uninstall: (id, { key }) => mortal(() => world.tell('uninstall', id, key, (held) => (held.installed = false))),
    delete: (id, { key }) => mortal(() => world.forget(id, key)),
    status: async (id) => (isDead ? await never : world.status(id)),
  }
  // To take over is no part of what is looked at.
  const epoch = await world.store.transaction((tx) => tx.takeOver())
  const deployer = await Deployer.start({
    domain: domainOf({ store }),
    epoch,
    nodes: () => [],
    installers: new Map([['agents', installer]]),
    mayUse: () => true,
    onProblem: (error) => world.wrongs.push(String(error)),
    pace: { ...pace, ...over },
  })
  return {
    deployer,
    died,
    done: () => count,
    async end() {
      isDead = true
      // What waits for ever is forgotten with it.
      void deployer.close()
    },
  }
}

export async function newWorld(): Promise<World> {
  const world = new World()
  await createConfig(domainOf({ store: world.store }), { name: config, actor: 'ada' })
  return world
}

export async function latest(world: World): Promise<DeploymentRecord | undefined> {
  return await world.store.read((read) => read.deployments.list(config, undefined, 1)[0])
}

/** Until nothing is under way, or it is held. */
export async function settled(world: World): Promise<DeploymentRecord | undefined> {
  for (;;) {
    const record = await latest(world)
    if (record === undefined || record.endedAt !== null || record.state.held !== null) return record
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}
