/**
 * What stands in the configs `nodes/…` by subscription, each release read once: how thousands of nodes are is asked
 * again and again while few of them change. Of each node the newest release is remembered, and the one that it runs.
 */
import { digest, type Json, type JsonObject } from 'midflight'
import type { StoreRead } from '../store.ts'

export const nodesPrefix = 'nodes/'

/** What a node has of one subscription. */
export interface Entry {
  readonly config: string
  readonly enabled: boolean
  readonly inspected: boolean
  readonly remoteHost: JsonObject | null
  readonly package: JsonObject
  readonly parameters: JsonObject
}

/** An entry, as far as it has to be known to say how a node is. */
export interface Known {
  /** Of all of it. */
  readonly digest: string
  readonly enabled: boolean
  readonly inspected: boolean
}

/** By the id of the subscription. */
export type Standing = ReadonlyMap<string, Known>

export interface Newest {
  readonly head: number
  readonly standing: Standing
  /** How long the audit log was then: every release adds to it, so that while it has not grown there is none. */
  readonly asOf: number
}

const nothing: Standing = new Map()

export class NodeConfigs {
  private readonly heads = new Map<string, Newest>()
  private readonly running = new Map<string, Newest>()

  /** In the newest release of a node, whose number is 0 if there is none. Good within one transaction. */
  newest(read: StoreRead): (node: string) => Newest {
    const asOf = read.auditHead().number
    return (node) => {
      const before = this.heads.get(node)
      if (before?.asOf === asOf) return before
      const head = read.config(nodesPrefix + node)?.head?.number ?? 0
      return this.remembered(this.heads, read, node, head, asOf)
    }
  }

  /** In a release that the node runs; `undefined` if it is not kept any more. */
  at(read: StoreRead, node: string, number: number): Standing | undefined {
    const head = this.heads.get(node)
    if (head?.head === number) return head.standing
    const isKnown = this.running.get(node)?.head === number
    if (!isKnown && read.content(nodesPrefix + node, number) === undefined) return undefined
    return this.remembered(this.running, read, node, number, 0).standing
  }

  private remembered(all: Map<string, Newest>, read: StoreRead, node: string, number: number, asOf: number): Newest {
    const before = all.get(node)
    const isSame = before?.head === number
    const standing = isSame ? before.standing : number === 0 ? nothing : standingIn(deploymentsAt(read, node, number))
    const made = { head: number, standing, asOf }
    all.set(node, made)
    return made
  }
}

/** In the newest release. */
export function deploymentsOf(read: StoreRead, node: string): JsonObject {
  const head = read.config(nodesPrefix + node)?.head
  return head == null ? {} : deploymentsAt(read, node, head.number)
}

function deploymentsAt(read: StoreRead, node: string, number: number): JsonObject {
  const content = read.content(nodesPrefix + node, number)
  return objectIn(objectIn(content)?.['deployments']) ?? {}
}

/** What somebody else has put there may be no entry: then it is another than any that is wanted. */
function standingIn(deployments: JsonObject): Standing {
  return new Map(
    Object.entries(deployments).map(([id, entry]) => {
      const { enabled, inspected } = objectIn(entry) ?? {}
      return [id, { digest: digest(entry), enabled: enabled === true, inspected: inspected === true }]
    }),
  )
}

function objectIn(value: Json | undefined): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined
}
