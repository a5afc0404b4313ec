/** What is no longer needed goes, now and then. What must never go, whatever the policy says, the store holds: see `prune`. */
import type { Domain } from './domain.ts'
import type { Pruned } from './store.ts'

export interface Retention {
  /** So many of the newest contents of each config stay, … */
  readonly keepNewest: number
  /** … and all that are younger than this, in days. */
  readonly keepDays: number
  /** So many of the newest attempts of each node stay. */
  readonly attemptsPerNode: number
  /** For how long the answer to an idempotency key is remembered, in days. */
  readonly idempotencyDays: number
  /** Between two times, in milliseconds, 1,000 or more. */
  readonly everyMs: number
}

export const defaultRetention: Retention = {
  keepNewest: 1_000,
  keepDays: 90,
  attemptsPerNode: 100,
  idempotencyDays: 7,
  everyMs: 3_600_000,
}

/** A process that never lives for as long as `everyMs` is to prune too; and its clock has had time to be set right. */
const firstMs = 60_000

export interface Pruning {
  /** Writes what nodes have said that they run: it is not to be taken from them. */
  readonly settle: () => Promise<void>
  readonly onPruned: (pruned: Pruned) => void
  readonly onProblem: (error: unknown) => void
}

/** Prunes soon, and then now and then. @returns what ends that. */
export function pruning(domain: Domain, retention: Retention, { settle, onPruned, onProblem }: Pruning): () => void {
  const wake = (): void => {
    settle()
      .then(() => prune(domain, retention))
      .then(onPruned, onProblem)
    timer = setTimeout(wake, retention.everyMs).unref()
  }
  let timer = setTimeout(wake, Math.min(retention.everyMs, firstMs)).unref()
  return () => clearTimeout(timer)
}

export async function prune(domain: Domain, retention: Retention): Promise<Pruned> {
  const { keepNewest, keepDays, attemptsPerNode, idempotencyDays } = retention
  const now = domain.now().getTime()
  const before = (days: number): string => new Date(now - days * 86_400_000).toISOString()
  return await domain.store.transaction((tx) =>
    tx.prune({
      keepNewest,
      keepSince: before(keepDays),
      attemptsPerNode,
      idempotencyBefore: before(idempotencyDays),
    }),
  )
}
