/**
 * Tells nodes that a release stays, which they would otherwise take back by themselves (`revertMs`): once its step is
 * through, or its rollout. Once for each connection, as a node that was restarted waits anew.
 */
import { encode, type Runs } from 'midflight/protocol'
import { isConfirmed } from '../desired.ts'
import type { NodeRecord, RolloutRecord, StoreRead } from '../store.ts'
import { textFrame } from './frames.ts'

/** Of a config: the rollouts whose releases a node may run and wait for a word on. */
export function confirmingIn(read: StoreRead, config: string, rollout: RolloutRecord | null, head: Runs | null) {
  const numbers = new Set([head?.number, rollout?.number, rollout?.state.from?.number])
  return [...numbers].flatMap((number) => {
    const found = number === undefined ? undefined : read.rollouts.get(config, number)
    return found && found.strategy.revertMs !== null ? [found] : []
  })
}

interface Listener {
  /** What it was told in this connection. */
  confirmed: number
  sendFrame(frame: Buffer): void
}

export function confirm(link: Listener, confirming: readonly RolloutRecord[], node: NodeRecord): void {
  const { runs } = node
  if (runs === null || confirming.length === 0 || link.confirmed === runs.number) return
  const rollout = confirming.find(({ number, digest }) => number === runs.number && digest === runs.digest)
  if (!rollout) return
  if (rollout.state.phase !== 'completed' && !isConfirmed(rollout, node)) return
  link.confirmed = runs.number
  link.sendFrame(textFrame(encode({ type: 'confirm', number: runs.number, digest: runs.digest })))
}
