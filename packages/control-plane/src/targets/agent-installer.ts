/**
 * Midflight's own agents as an installer. A node that takes packages runs the config `nodes/<id>`, in which what it is
 * to have stands by subscription; to install is to publish there, and everything else is what any release has: it is
 * durable, pushed, caught up with, reported. What the node does with it is `midflight/agent`, `packages`.
 */
import { digest, pointerText, type Json, type JsonObject } from 'midflight'
import { configNameProblem } from 'midflight/protocol'
import { changeDemands, createConfig } from '../configs.ts'
import type { Domain } from '../domain.ts'
import { publish, type PublishResult } from '../publish.ts'
import { RefusedError, type ConfigChange } from '../release.ts'
import type { Roster } from '../roster.ts'
import type { NodeRecord, StoreRead } from '../store.ts'
import {
  InstallerError,
  type Call,
  type Installer,
  type NodeState,
  type SubscriptionStatus,
  type Wanted,
} from './installer.ts'
import { deploymentsOf, NodeConfigs, nodesPrefix, type Entry, type Newest, type Standing } from './node-configs.ts'
import type { KnownNode } from './node-directory.ts'

export interface AgentInstallerOptions {
  readonly domain: Domain
  readonly roster: Pick<Roster, 'all' | 'uids' | 'node' | 'isAway'>
  /** Releases were made: their nodes are to be told. */
  readonly published: (result: PublishResult) => void
}

const author = 'deployer'
/** Configs in one publish. */
const atOnce = 100
const pageSize = 1000

/** All below is one thing to whoever looks at diffs: there may be secrets in it. */
const schema: JsonObject = {
  type: 'object',
  properties: {
    deployments: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        properties: { parameters: { type: 'object', 'x-midflight-secret': true } },
      },
    },
  },
}

/** The nodes that run a `nodes/…` config: with the labels `ip` and `cloud` they are known by their address too. */
export function hostsOf(roster: Pick<Roster, 'all'>): KnownNode[] {
  const hosts: KnownNode[] = []
  for (const { config, labels } of roster.all()) {
    if (!config.startsWith(nodesPrefix)) continue
    const { ip, cloud = '0' } = labels
    hosts.push({ id: nodeOf(config), labels, ...(ip !== undefined && { ip, cloud }) })
  }
  return hosts
}

/** One subscription on one node, as it is in one transaction. */
interface Place extends Newest {
  readonly read: StoreRead
  readonly node: string
  readonly id: string
}

export function agentInstaller(options: AgentInstallerOptions): Installer {
  return new AgentInstaller(options)
}

class AgentInstaller implements Installer {
  private readonly options: AgentInstallerOptions
  private readonly configs = new NodeConfigs()
  /** Which nodes have, or had a moment ago, something of a subscription. */
  private index: Promise<Map<string, Set<string>>> | undefined

  constructor(options: AgentInstallerOptions) {
    this.options = options
  }

  async create(id: string, wanted: Wanted, call: Call): Promise<void> {
    await this.update(id, wanted, call)
  }

  async update(id: string, wanted: Wanted, { signal }: Call): Promise<void> {
    const held = await this.heldBy(id)
    const known = await this.options.domain.store.read((read) => {
      const newest = this.configs.newest(read)
      return [...held].map((name) => newest(name).standing.get(id)).find((one) => one !== undefined)
    })
    const entry: Entry = {
      config: wanted.config,
      enabled: known?.enabled ?? true,
      inspected: known?.inspected ?? false,
      remoteHost: wanted.remoteHost as unknown as JsonObject | null,
      package: wanted.package as unknown as JsonObject,
      parameters: wanted.parameters,
    }
    const names = wanted.nodes.flatMap(({ key, unknown }) => (unknown === true || !isName(key) ? [] : [key]))
    const stays = new Set(names)
    const changes = new Map<string, Entry | null>(names.map((name) => [name, entry]))
    for (const name of held) if (!stays.has(name)) changes.set(name, null)
    await this.write(id, changes, signal, new Set(wanted.again ? wanted.only : []))
  }

  async enable(id: string, call: Call): Promise<void> {
    await this.change(id, { enabled: true }, call)
  }

  async disable(id: string, call: Call): Promise<void> {
    await this.change(id, { enabled: false }, call)
  }

  async inspect(id: string, on: boolean, call: Call): Promise<void> {
    await this.change(id, { inspected: on }, call)
  }

  async uninstall(id: string, { signal }: Call): Promise<void> {
    await this.write(id, new Map([...(await this.heldBy(id))].map((name) => [name, null])), signal)
  }

  /** What was taken off its nodes is nowhere else. */
  async delete(id: string): Promise<void> {
    const index = await this.known()
    index.delete(id)
  }

  async status(id: string): Promise<SubscriptionStatus | null> {
    const held = await this.heldBy(id)
    if (held.size === 0) return null
    const found = await this.options.domain.store.read((read) => {
      const newest = this.configs.newest(read)
      return [...held].map((node) => {
        const place = { read, node, id, ...newest(node) }
        return { has: place.standing.get(id), state: this.stateOf(place) }
      })
    })
    const there = found.flatMap(({ has }) => has ?? [])
    return {
      enabled: there.length > 0 && there.every(({ enabled }) => enabled),
      inspected: there.length > 0 && there.every(({ inspected }) => inspected),
      // What is there already makes no release: to be told again is to be looked at again.
      digest: null,
      nodes: found.map(({ state }) => state),
    }
  }

  private stateOf(place: Place): NodeState {
    const { node, id, head, standing } = place
    const has = standing.get(id)
    const { roster } = this.options
    const uids = roster.uids(nodesPrefix + node)
    const here = uids.filter((uid) => !roster.isAway(uid)).map((uid) => roster.node(uid) as NodeRecord)
    // It lets go when it comes back: that is on record already.
    if (here.length === 0) {
      if (has === undefined) return { node, state: 'absent' }
      const detail = uids.length === 0 ? 'it has not connected yet' : 'it is away'
      return { node, state: 'pending', detail, away: true }
    }
    const behind = here.find((one) => !this.runsThis(place, one))
    if (behind !== undefined) {
      if (behind.seen !== head || !failures.includes(behind.status)) return { node, state: 'running' }
      return { node, state: 'failed', detail: this.reason(place, behind) }
    }
    const sick = here.find(({ health }) => health?.ok === false)
    if (has !== undefined && sick !== undefined) {
      return { node, state: 'failed', detail: sick.health?.detail ?? 'it is not healthy' }
    }
    return { node, state: has === undefined ? 'absent' : 'success' }
  }

  /** Also in an older release: what holds up the newest may be another package. */
  private runsThis({ read, node, id, head, standing }: Place, { runs, status }: NodeRecord): boolean {
    if (runs?.number === head) return true
    if (status === 'DEGRADED') return false
    const running = runs === null ? nothing : this.configs.at(read, node, runs.number)
    return running !== undefined && running.get(id)?.digest === standing.get(id)?.digest
  }

  /** What is said of another package may hold its secrets, which are not for whoever looks at this one. */
  private reason({ read, node, id, standing }: Place, { runs, detail, status }: NodeRecord): string {
    if (detail === undefined) return status
    // What stands before is how a reload ends, which is the same for all.
    const at = detail.indexOf(packageWord(id))
    if (at >= 0) return detail.slice(at)
    const before = runs === null ? undefined : this.configs.at(read, node, runs.number)
    const ids = [...standing.keys(), ...(before?.keys() ?? [])]
    const other = ids.find((one) => detail.includes(packageWord(one)))
    return other === undefined ? detail : `${packageWord(other)}comes with it, and is not taken by the node`
  }

  private async change(id: string, to: Partial<Pick<Entry, 'enabled' | 'inspected'>>, { signal }: Call): Promise<void> {
    const held = await this.heldBy(id)
    const entries = await this.options.domain.store.read(
      (read) => new Map([...held].map((name) => [name, entryOf(read, name, id)])),
    )
    const changes = new Map<string, Entry>()
    for (const [name, entry] of entries) if (entry !== undefined) changes.set(name, { ...entry, ...to })
    await this.write(id, changes, signal)
  }

  /**
   * What is there already makes no release, so doing it again is doing nothing.
   * @param forced make one all the same: a node that has refused a release is not sent it again.
   */
  private async write(
    id: string,
    changes: ReadonlyMap<string, Entry | null>,
    signal: AbortSignal,
    forced: ReadonlySet<string> = new Set(),
  ): Promise<void> {
    const { domain, published } = this.options
    const index = await this.known()
    const held = index.get(id) ?? new Set()
    index.set(id, held)
    for (const name of changes.keys()) held.add(name)
    const all = [...changes]
    const digests = new Map<Entry, string>()
    const digestOf = (entry: Entry): string => {
      const found = digests.get(entry) ?? digest(entry as unknown as Json)
      digests.set(entry, found)
      return found
    }
    for (let i = 0; i < all.length; i += atOnce) {
      if (signal.aborted) throw new InstallerError('was stopped', true)
      const part = all.slice(i, i + atOnce)
      const edits = await domain.store.read((read) => {
        const newest = this.configs.newest(read)
        return part.flatMap(([name, entry]) => {
          const isThere = newest(name).standing.get(id)?.digest === (entry ? digestOf(entry) : undefined)
          return isThere && !forced.has(name) ? [] : editOf(read, name, id, entry)
        })
      })
      if (edits.length === 0) continue
      try {
        await this.makeConfigs(edits.map(({ config }) => nodeOf(config)))
        const wanted = edits.map((edit) => (forced.has(nodeOf(edit.config)) ? { ...edit, force: true } : edit))
        published(await publish(domain, { author, changes: wanted }))
      } catch (error) {
        if (!(error instanceof RefusedError)) throw error
        throw new InstallerError(error.message, error.code === 'busy' || error.code === 'frozen', error)
      }
    }
  }

  private async makeConfigs(names: readonly string[]): Promise<void> {
    const { domain } = this.options
    const { missing, bare } = await domain.store.read((read) => {
      const found = names.map((name) => ({ name, config: read.config(nodesPrefix + name) }))
      return {
        missing: found.filter(({ config }) => config === undefined),
        bare: found.filter(({ config }) => config?.schema === null),
      }
    })
    const make = async ({ name }: { readonly name: string }): Promise<void> => {
      try {
        await createConfig(domain, { name: nodesPrefix + name, actor: author, schema })
      } catch (error) {
        // Somebody else was first, which is as good.
        if (!(error instanceof RefusedError && error.code === 'exists')) throw error
      }
    }
    // At once, so that the store writes them in one go.
    await Promise.all(missing.map(make))
    // One that was made by hand: parameters are secret in its diffs too.
    await Promise.all(bare.map(({ name }) => changeDemands(domain, nodesPrefix + name, { schema }, author)))
  }

  private async heldBy(id: string): Promise<ReadonlySet<string>> {
    return (await this.known()).get(id) ?? new Set()
  }

  private known(): Promise<Map<string, Set<string>>> {
    this.index ??= this.look().catch((error: unknown) => {
      // The next who asks looks again.
      this.index = undefined
      throw error
    })
    return this.index
  }

  private async look(): Promise<Map<string, Set<string>>> {
    const index = new Map<string, Set<string>>()
    for (let after: string | undefined; ;) {
      const page = await this.options.domain.store.read((read) => {
        const configs = read.configs(nodesPrefix.slice(0, -1), after, pageSize)
        const newest = this.configs.newest(read)
        return configs.map(({ name }) => ({ name, ids: [...newest(nodeOf(name)).standing.keys()] }))
      })
      for (const { name, ids } of page) {
        for (const id of ids) index.set(id, (index.get(id) ?? new Set()).add(nodeOf(name)))
      }
      after = page.at(-1)?.name
      if (page.length < pageSize) return index
    }
  }
}

const nothing: Standing = new Map()
const failures: readonly string[] = ['FAILED', 'ROLLED_BACK', 'RESTART_REQUIRED', 'DEGRADED']

/** As `packages()` on the node says which one it is about. */
function packageWord(id: string): string {
  return `package ${id} `
}

function nodeOf(config: string): string {
  return config.slice(nodesPrefix.length)
}

function isName(node: string): boolean {
  return configNameProblem(nodesPrefix + node) === undefined
}

function entryOf(read: StoreRead, node: string, id: string): Entry | undefined {
  const all = deploymentsOf(read, node)
  return Object.hasOwn(all, id) ? (all[id] as unknown as Entry) : undefined
}

function editOf(read: StoreRead, node: string, id: string, entry: Entry | null): ConfigChange[] {
  const config = nodesPrefix + node
  const value = entry as unknown as Json
  const all = deploymentsOf(read, node)
  if (entry === null && !Object.hasOwn(all, id)) return []
  if (read.config(config)?.head == null) return [{ config, content: { deployments: { [id]: value } } }]
  // A content that somebody else has made may have no deployments in it.
  if (Object.keys(all).length === 0) return [{ config, mergePatch: { deployments: { [id]: value } } }]
  const path = pointerText(['deployments', id])
  return [{ config, patch: [entry === null ? { op: 'remove', path } : { op: 'add', path, value }] }]
}
