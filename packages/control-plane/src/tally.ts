/** How many nodes of one config are how far: counted up and down with each change, so that asking costs nothing. */
import type { NodeStatus } from 'midflight/protocol'
import type { Wanted } from './desired.ts'
import { isKept } from './fleet.ts'
import type { NodeRecord } from './store.ts'

/** Accepted is not delivered, and delivered is not applied. Nodes that are away are counted by what they last said. */
export interface Progress {
  /** The release that is asked about: accepted, as it is there. `null`: there is none. */
  readonly release: number | null
  readonly nodes: number
  readonly away: number
  /** Have said that they have seen it, or a later one. */
  readonly delivered: number
  /** Run it, with this very content, and have not said since that they took it back or are degraded. */
  readonly applied: number
  readonly byStatus: Partial<Readonly<Record<NodeStatus, number>>>
}

export class Tally {
  private nodes = 0
  private away = 0
  private readonly byStatus = new Map<NodeStatus, number>()
  /** By number and digest. */
  private readonly byRuns = new Map<number, Map<string, number>>()
  private readonly bySeen = new Map<number, number>()

  count(node: NodeRecord, isAway: boolean, by: 1 | -1): void {
    this.nodes += by
    if (isAway) this.away += by
    add(this.byStatus, node.status, by)
    if (node.runs !== null && isKept(node)) this.countRuns(node.runs, by)
    if (node.seen !== null) add(this.bySeen, node.seen, by)
  }

  private countRuns({ number, digest }: Wanted, by: 1 | -1): void {
    let byDigest = this.byRuns.get(number)
    if (byDigest === undefined) this.byRuns.set(number, (byDigest = new Map()))
    add(byDigest, digest, by)
    if (byDigest.size === 0) this.byRuns.delete(number)
  }

  statuses(): Iterable<readonly [NodeStatus, number]> {
    return this.byStatus
  }

  progress(head: Wanted | null): Progress {
    let delivered = 0
    // As many entries as there are releases that some node saw last: few.
    if (head !== null) for (const [seen, count] of this.bySeen) if (seen >= head.number) delivered += count
    return {
      release: head?.number ?? null,
      nodes: this.nodes,
      away: this.away,
      delivered,
      applied: head === null ? 0 : (this.byRuns.get(head.number)?.get(head.digest) ?? 0),
      byStatus: Object.fromEntries(this.byStatus),
    }
  }
}

function add<K>(counts: Map<K, number>, key: K, by: number): void {
  const count = (counts.get(key) ?? 0) + by
  if (count === 0) counts.delete(key)
  else counts.set(key, count)
}
