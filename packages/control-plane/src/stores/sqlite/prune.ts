/** Retention in the SQLite store: what may go goes, and never what somebody still needs. */
import type { DatabaseSync } from 'node:sqlite'
import type { PrunePolicy, Pruned, StoreRead } from '../../store.ts'
import { checkPolicy, neededBy } from '../preconditions.ts'
import type { Attempts } from './attempts.ts'
import type { Contents } from './contents.ts'

type Reading = StoreRead & { readonly contents: Contents }

export function prune(db: DatabaseSync, tx: Reading, history: Attempts, policy: PrunePolicy): Pruned {
  checkPolicy(policy)
  const names =
    policy.config === undefined
      ? db
          .prepare('select name from configs order by name')
          .all()
          .map((row) => String(row['name']))
      : [policy.config]
  let contents = 0
  for (const config of names) contents += pruneContents(db, tx, config, policy)
  return { contents, attempts: pruneAttempts(db, history, policy), idempotency: pruneIdempotency(db, policy) }
}

function pruneContents(db: DatabaseSync, tx: Reading, config: string, policy: PrunePolicy): number {
  const head = tx.config(config)?.head?.number ?? 0
  const stored = db
    .prepare('select number, whole from releases where config = ? and content is not null order by number desc')
    .all(config)
    .map((row) => ({ number: Number(row['number']), whole: Number(row['whole']) }))
  const needed = new Set(
    db
      .prepare(
        `select runs as number from nodes where config = :config and runs is not null
         union select base from drafts where config = :config and base is not null and status = 'open'`,
      )
      .all({ config })
      .map((row) => Number(row['number'])),
  )
  for (const rollout of tx.rollouts.open(config)) for (const number of neededBy(rollout)) needed.add(number)
  const stays = ({ number }: { number: number }): boolean =>
    number > head - policy.keepNewest ||
    needed.has(number) ||
    (policy.keepSince !== undefined && (tx.release(config, number)?.createdAt ?? '') >= policy.keepSince)
  // That there was a rollout and what it came to stays, as the release does; how it came along need not.
  db.prepare(
    `delete from rollout_events where config = :config and number <= :last
     and number in (select number from rollouts where config = :config and is_open = 0)`,
  ).run({ config, last: head - policy.keepNewest })
  const remove = db.prepare('update releases set content = null where config = ? and number = ?')
  let removed = 0
  /** From here up to the last one that stayed, each is a patch on the one before. */
  let neededFrom = Infinity
  for (const content of stored) {
    if (content.number >= neededFrom || stays(content)) {
      neededFrom = Math.min(neededFrom, content.whole)
      continue
    }
    remove.run(config, content.number)
    tx.contents.cache.forget(config, content.number)
    removed++
  }
  return removed
}

function pruneAttempts(db: DatabaseSync, history: Attempts, { attemptsPerNode, config }: PrunePolicy): number {
  if (attemptsPerNode === undefined) return 0
  if (config === undefined) return history.prune(attemptsPerNode, undefined)
  const rows = db.prepare('select uid from nodes where config = ?').all(config)
  return history.prune(attemptsPerNode, new Set(rows.map(({ uid }) => String(uid))))
}

function pruneIdempotency(db: DatabaseSync, { idempotencyBefore }: PrunePolicy): number {
  if (idempotencyBefore === undefined) return 0
  return Number(db.prepare('delete from idempotency where created_at < ?').run(idempotencyBefore).changes)
}
