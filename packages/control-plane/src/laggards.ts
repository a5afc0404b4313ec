/** Who does not run a release, and why. */
import type { NodeStatus } from 'midflight/protocol'
import type { Domain } from './domain.ts'
import { whyNot, type Reason } from './fleet.ts'
import { releaseIn } from './publish.ts'
import type { Roster } from './roster.ts'
import type { NodeRecord } from './store.ts'

export interface Laggard {
  readonly node: NodeRecord
  readonly reason: Reason
}

export interface LaggardQuery {
  readonly config: string
  readonly number: number
  readonly status?: NodeStatus
  readonly after?: string | undefined
  readonly limit: number
}

/** "Nodes not on release N, and why", by uid. */
export async function laggards(
  domain: Domain,
  roster: Roster,
  { config, number, status, after, limit }: LaggardQuery,
): Promise<{ readonly laggards: readonly Laggard[]; readonly next: string | undefined }> {
  const wanted = await domain.store.read((read) => releaseIn(read, config, number))
  const reasonOf = (node: NodeRecord): Reason | undefined => whyNot(wanted, node, roster.isAway(node.uid))
  const isOne = (node: NodeRecord): boolean =>
    (status === undefined || node.status === status) && reasonOf(node) !== undefined
  const found = roster.nodes(config, isOne, after, limit)
  const laggards = found.map((node): Laggard => ({ node, reason: reasonOf(node) as Reason }))
  return { laggards, next: found.length < limit ? undefined : found.at(-1)?.uid }
}
