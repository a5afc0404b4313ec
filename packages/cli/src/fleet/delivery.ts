/** Follows a release on its way to the nodes: who runs it, who tries, who cannot, until all have come to an end. */
import type { NodeStatus } from 'midflight/protocol'
import type { Address } from '../admin/address.ts'
import { call, callAll, configPath } from './call.ts'
import type { NodeView, Progress } from './records.ts'
import { pause } from '../pause.ts'

/** `waiting`: has not heard of it yet. `away`: its lease has ended. */
export type Stage = 'applied' | 'trying' | 'waiting' | 'failed' | 'restart' | 'away'

export interface Delivery {
  readonly number: number
  readonly nodes: number
  readonly counts: Readonly<Record<Stage, number>>
  /** Those that do not run it, and why. */
  readonly behind: readonly NodeView[]
  /** Every node that is here runs it; where there are nodes, and none is here, nothing is known. */
  readonly converged: boolean
  /** Every node that is here has come to an end with it, good or not. */
  readonly settled: boolean
  /** A newer release came meanwhile: nodes go to that one. */
  readonly overtakenBy?: number
}

const failing: readonly NodeStatus[] = ['FAILED', 'ROLLED_BACK', 'DEGRADED']
const trying: readonly NodeStatus[] = ['RECEIVED', 'PREPARED', 'APPLYING']

function stageOf(node: NodeView, number: number): Stage {
  if (!node.here) return 'away'
  // It does not go back to one that is older than what it knows: the control plane was restored from a backup.
  if (node.seen !== null && node.seen > number) return 'failed'
  if (node.seen !== number) return 'waiting'
  if (failing.includes(node.status)) return 'failed'
  if (node.status === 'RESTART_REQUIRED') return 'restart'
  return trying.includes(node.status) ? 'trying' : 'waiting'
}

/** How far it is now. */
export async function deliveryOf(address: Address, config: string, number: number): Promise<Delivery> {
  const { body: progress } = await call<Progress>(address, configPath(config, '/nodes/summary'))
  const behind = await callAll<NodeView>(address, configPath(config, '/nodes'), { notOn: number }, Infinity)
  const nodes = Math.max(behind.length, progress.nodes)
  const overtakenBy = progress.release !== null && progress.release > number ? progress.release : undefined
  const counts = { applied: nodes - behind.length, trying: 0, waiting: 0, failed: 0, restart: 0, away: 0 }
  for (const node of behind) counts[stageOf(node, number)]++
  const moving = counts.trying + counts.waiting
  return {
    number,
    nodes,
    counts,
    behind,
    converged:
      overtakenBy === undefined && moving + counts.failed + counts.restart === 0 && (nodes === 0 || counts.applied > 0),
    settled: overtakenBy !== undefined || moving === 0,
    ...(overtakenBy !== undefined && { overtakenBy }),
  }
}

const leastMs = 150

/**
 * Looks again and again until every node has come to an end with it, or the time is over.
 * @param onLook called after each look.
 */
export async function follow(
  address: Address,
  config: string,
  number: number,
  options: { readonly waitMs: number; readonly signal: AbortSignal; onLook(delivery: Delivery): void },
): Promise<Delivery> {
  const until = performance.now() + options.waitMs
  for (;;) {
    const began = performance.now()
    const found = await deliveryOf(address, config, number)
    options.onLook(found)
    const now = performance.now()
    if (found.settled || now >= until || options.signal.aborted) return found
    // A large fleet is not asked more often than it can answer.
    const pauseMs = Math.min(Math.max(leastMs, 3 * (now - began)), until - now)
    await pause(pauseMs, options.signal)
  }
}
