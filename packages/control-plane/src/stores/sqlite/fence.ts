/** Who may move rollouts and deployments in the SQLite store: the coordinator that took over last (I10). */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { checkEpoch } from '../preconditions.ts'

export class Fence {
  private readonly mustWrite: () => void
  private readonly read: StatementSync
  private readonly write: StatementSync

  /** @param mustWrite throws RangeError outside of a transaction. */
  constructor(db: DatabaseSync, mustWrite: () => void) {
    this.mustWrite = mustWrite
    this.read = db.prepare(`select value from meta where key = 'epoch'`)
    this.write = db.prepare(
      `insert into meta (key, value) values ('epoch', ?) on conflict (key) do update set value = excluded.value`,
    )
  }

  epoch(): number {
    return Number(this.read.get()?.['value'] ?? 0)
  }

  takeOver(): number {
    this.mustWrite()
    const epoch = this.epoch() + 1
    this.write.run(String(epoch))
    return epoch
  }

  /** @throws FencedError; RangeError outside of a transaction. */
  check(epoch: number): void {
    this.mustWrite()
    checkEpoch(epoch, this.epoch())
  }
}
