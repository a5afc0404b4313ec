/**
 * Midflight's own agents as an installer. A node that takes packages runs the config `nodes/<id>`, in which what it is
 * to have stands by subscription; to install is to publish there, and everything else is what any release has: it is
 * durable, pushed, caught up with, reported. What the node does with it is `midflight/agent`, `packages`.
 */
import { pointerText, type Json, type JsonObject } from 'midflight'
import { configNameProblem } from 'midflight/protocol'
import { createConfig } from '../configs.ts'
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
import type { KnownNode } from './node-directory.ts'

export interface AgentInstallerOptions {
  readonly domain: Domain
  readonly roster: Pick<Roster, 'all' | 'uids' | 'node' | 'isAway'>
  /** Releases were made: their nodes are to be told. */
  readonly published: (result: PublishResult) => void
}

const prefix = 'nodes/'
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

/** What a node has of one subscription. */
interface Entry {
  readonly config: string
  readonly digest: string
  readonly enabled: boolean
  readonly inspected: boolean
  readonly remoteHost: JsonObject | null
  readonly package: JsonObject
  readonly parameters: JsonObject
}

/** The nodes that run a `nodes/…` config: with the labels `ip` and `cloud` they are known by their address too. */
export function hostsOf(roster: Pick<Roster, 'all'>): KnownNode[] {
  const hosts: KnownNode[] = []
  for (const { config, labels } of roster.all()) {
    if (!config.startsWith(prefix)) continue
    const { ip, cloud = '0' } = labels
    hosts.push({ id: nodeOf(config), labels, ...(ip !== undefined && { ip, cloud }) })
  }
  return hosts
}

export function agentInstaller(options: AgentInstallerOptions): Installer {
  return new AgentInstaller(options)
}

class AgentInstaller implements Installer {
  private readonly options: AgentInstallerOptions
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
    const now = await this.entries(id, held)
    const known = [...now.values()].find((entry) => entry !== undefined)
    const entry: Entry = {
      config: wanted.config,
      digest: wanted.digest,
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
    const entries = await this.entries(id, held)
    if (entries.size === 0) return null
    const found = [...entries.values()].filter((entry) => entry !== undefined)
    const digests = new Set(found.map(({ digest }) => digest))
    const [digest = null] = digests
    const heads = await this.options.domain.store.read(
      (read) => new Map([...entries.keys()].map((name) => [name, read.config(prefix + name)?.head?.number ?? 0])),
    )
    return {
      enabled: found.length > 0 && found.every(({ enabled }) => enabled),
      inspected: found.length > 0 && found.every(({ inspected }) => inspected),
      digest: digests.size === 1 ? digest : null,
      nodes: [...entries].map(([name, entry]) => this.stateOf(name, entry !== undefined, heads.get(name) ?? 0)),
    }
  }

  private stateOf(node: string, has: boolean, head: number): NodeState {
    const { roster } = this.options
    const uids = roster.uids(prefix + node)
    const here = uids.filter((uid) => !roster.isAway(uid)).map((uid) => roster.node(uid) as NodeRecord)
    // It lets go when it comes back: that is on record already.
    if (here.length === 0) {
      if (!has) return { node, state: 'absent' }
      return { node, state: 'pending', detail: uids.length === 0 ? 'it has not connected yet' : 'it is away' }
    }
    const behind = here.find(({ runs }) => runs?.number !== head)
    if (behind !== undefined) {
      const isRefused = behind.seen === head && failures.includes(behind.status)
      return isRefused ? { node, state: 'failed', detail: behind.detail ?? behind.status } : { node, state: 'running' }
    }
    const sick = here.find(({ health }) => health?.ok === false)
    if (has && sick !== undefined) return { node, state: 'failed', detail: sick.health?.detail ?? 'it is not healthy' }
    return { node, state: has ? 'success' : 'absent' }
  }

  private async change(id: string, to: Partial<Entry>, { signal }: Call): Promise<void> {
    const entries = await this.entries(id, await this.heldBy(id))
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
    for (let i = 0; i < all.length; i += atOnce) {
      if (signal.aborted) throw new InstallerError('was stopped', true)
      const part = all.slice(i, i + atOnce)
      await this.makeConfigs(part.filter(([, entry]) => entry !== null).map(([name]) => name))
      const edits = await domain.store.read((read) => part.flatMap(([name, entry]) => editOf(read, name, id, entry)))
      if (edits.length === 0) continue
      try {
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
    const missing = await domain.store.read((read) => names.filter((name) => read.config(prefix + name) === undefined))
    for (const name of missing) {
      try {
        await createConfig(domain, { name: prefix + name, actor: author, schema })
      } catch (error) {
        // Somebody else was first, which is as good.
        if (!(error instanceof RefusedError && error.code === 'exists')) throw error
      }
    }
  }

  private async entries(id: string, names: Iterable<string>): Promise<Map<string, Entry | undefined>> {
    return await this.options.domain.store.read(
      (read) => new Map([...names].map((name) => [name, entryOf(read, name, id)])),
    )
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
        const configs = read.configs(prefix.slice(0, -1), after, pageSize)
        return configs.map(({ name }) => ({ name, ids: Object.keys(deploymentsIn(read, name)) }))
      })
      for (const { name, ids } of page) {
        for (const id of ids) index.set(id, (index.get(id) ?? new Set()).add(nodeOf(name)))
      }
      after = page.at(-1)?.name
      if (page.length < pageSize) return index
    }
  }
}

const failures: readonly string[] = ['FAILED', 'ROLLED_BACK', 'RESTART_REQUIRED', 'DEGRADED']

function nodeOf(config: string): string {
  return config.slice(prefix.length)
}

function isName(node: string): boolean {
  return configNameProblem(prefix + node) === undefined
}

function deploymentsIn(read: StoreRead, config: string): JsonObject {
  const head = read.config(config)?.head
  const content = head == null ? undefined : read.content(config, head.number)
  const found = (content as JsonObject | undefined)?.['deployments']
  return typeof found === 'object' && found !== null && !Array.isArray(found) ? (found as JsonObject) : {}
}

function entryOf(read: StoreRead, node: string, id: string): Entry | undefined {
  const all = deploymentsIn(read, prefix + node)
  return Object.hasOwn(all, id) ? (all[id] as unknown as Entry) : undefined
}

function editOf(read: StoreRead, node: string, id: string, entry: Entry | null): ConfigChange[] {
  const config = prefix + node
  const value = entry as unknown as Json
  const all = deploymentsIn(read, config)
  if (entry === null && !Object.hasOwn(all, id)) return []
  if (read.config(config)?.head == null) return [{ config, content: { deployments: { [id]: value } } }]
  // A content that somebody else has made may have no deployments in it.
  if (Object.keys(all).length === 0) return [{ config, mergePatch: { deployments: { [id]: value } } }]
  const path = pointerText(['deployments', id])
  return [{ config, patch: [entry === null ? { op: 'remove', path } : { op: 'add', path, value }] }]
}
