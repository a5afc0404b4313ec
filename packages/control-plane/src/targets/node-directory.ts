/**
 * Which nodes there are, and by which names: the same host written as `{id}` and as `{ip, cloud}` is one node. What is
 * known comes from the fleet and from what was declared; which nodes targets come to is worked out here. Pure, and in
 * the time of one look at each target and each node it means.
 */
import type { Host, Target, Targets } from './targets.ts'

/** A node of the fleet that can be a target. */
export interface KnownNode extends Host {
  readonly id: string
  readonly labels: Readonly<Record<string, string>>
}

/** A node that targets mean; or what they mean it by, where no node is known. */
export interface TargetNode extends Host {
  /** The same for the same node, however it was written: `h1`, `10.0.1.1@0`, `module/33`, `zone=a`. */
  readonly key: string
  /** By which selector or group, where it is not named itself. */
  readonly by?: string
  /** No node is known: it stands for all that may come. */
  readonly unknown?: true
}

export class NodeDirectory {
  private readonly nodes = new Map<string, KnownNode>()
  /** `cloud/ip` → id; `null`: several have it, so that it names none of them. */
  private readonly ids = new Map<string, string | null>()
  /** As they were declared. */
  private readonly addresses = new Map<string, Pick<Host, 'ip' | 'cloud'>>()
  /** `key=value` → ids. Made for the first who asks: most targets name their hosts. */
  private labelled: Map<string, string[]> | undefined

  /** @param declared targets that name hosts both ways say more than the fleet does, the last of them most. */
  constructor(nodes: Iterable<KnownNode>, ...declared: readonly (Targets | null)[]) {
    for (const node of nodes) {
      this.nodes.set(node.id, node)
      const address = addressOf(node)
      if (address === undefined) continue
      const other = this.ids.get(address)
      this.ids.set(address, other === undefined || other === node.id ? node.id : null)
    }
    for (const targets of declared) if (targets !== null) this.noteIn(targets)
  }

  private noteIn({ kind, nodes, remoteHost }: Targets): void {
    const hosts = kind === 'INSTANCE' ? (nodes as readonly Host[]) : []
    for (const host of [...hosts, ...(remoteHost ? [remoteHost] : [])]) {
      const address = addressOf(host)
      if (host.id === undefined || address === undefined) continue
      this.ids.set(address, host.id)
      this.addresses.set(host.id, { ip: host.ip as string, cloud: host.cloud ?? '0' })
    }
  }

  /** The same text for the same host, whichever way it is written. */
  keyOf(host: Host): string {
    if (host.id !== undefined) return host.id
    return this.ids.get(addressOf(host) as string) ?? `${host.ip}@${host.cloud ?? '0'}`
  }

  /** With all that is known of it. */
  hostOf(host: Host): TargetNode {
    const key = this.keyOf(host)
    const address = this.addresses.get(key)
    if (address !== undefined) return { ...host, ...address, key, id: key }
    const node = this.nodes.get(key)
    if (node?.ip !== undefined) return { ...host, ip: node.ip, cloud: node.cloud ?? '0', key, id: key }
    return node !== undefined || host.id !== undefined ? { ...host, key, id: key } : { ...host, key }
  }

  known(id: string): KnownNode | undefined {
    return this.nodes.get(id)
  }

  /** The nodes that the targets mean now, each once, by key and in the order of the targets. */
  nodesOf({ kind, nodes }: Targets): Map<string, TargetNode> {
    const found = new Map<string, TargetNode>()
    for (const target of nodes) {
      if (kind === 'INSTANCE') {
        const node = this.hostOf(target as Host)
        if (!found.has(node.key)) found.set(node.key, node)
        continue
      }
      const by = selectorText(target)
      const ids = this.idsBy(target)
      if (ids.length === 0) found.set(by, { key: by, unknown: true })
      for (const id of ids) if (!found.has(id)) found.set(id, { ...this.hostOf({ id }), by })
    }
    return found
  }

  private idsBy(target: Target): readonly string[] {
    const pairs =
      'labels' in target ? Object.entries(target.labels) : [pairOf(target as { object: string; instance: string })]
    const labelled = (this.labelled ??= idsByLabel(this.nodes.values()))
    const lists = pairs.map((pair) => labelled.get(pair.join('=')) ?? [])
    const [smallest = []] = lists.toSorted((a, b) => a.length - b.length)
    if (pairs.length === 1) return smallest
    return smallest.filter((id) => pairs.every(([key, value]) => this.nodes.get(id)?.labels[key] === value))
  }
}

function idsByLabel(nodes: Iterable<KnownNode>): Map<string, string[]> {
  const labelled = new Map<string, string[]>()
  for (const { id, labels } of nodes) {
    for (const pair of Object.entries(labels)) {
      const name = pair.join('=')
      const ids = labelled.get(name)
      if (ids === undefined) labelled.set(name, [id])
      else ids.push(id)
    }
  }
  return labelled
}

function pairOf({ object, instance }: { readonly object: string; readonly instance: string }): [string, string] {
  return [object, instance]
}

/** As people write it: `zone=a,role=web`, `module/33`. */
function selectorText(target: Target): string {
  if ('labels' in target)
    return Object.entries(target.labels)
      .map((pair) => pair.join('='))
      .join(',')
  return 'object' in target ? `${target.object}/${target.instance}` : ''
}

function addressOf({ ip, cloud = '0' }: Host): string | undefined {
  return ip === undefined ? undefined : `${cloud}/${ip}`
}
