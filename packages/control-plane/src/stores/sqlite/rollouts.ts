/** Rollouts in the SQLite store: what state each is in, and what moved it. */
import type { DatabaseSync } from 'node:sqlite'
import type { RolloutEvent } from '../../rollout-state.ts'
import type { RolloutEventRecord, RolloutRecord, RolloutsTx } from '../../store.ts'
import { checkRollout } from '../preconditions.ts'
import type { Fence } from './fence.ts'
import type { Tables } from './tables.ts'

interface Around {
  readonly fence: Fence
  /** @throws RangeError outside of a transaction. */
  readonly mustWrite: () => void
  readonly hasRelease: (config: string, number: number) => boolean
}

export class Rollouts implements RolloutsTx {
  private readonly tables: Pick<Tables, 'rollouts' | 'rolloutEvents'>
  private readonly sql: ReturnType<typeof statements>
  private readonly around: Around

  constructor(db: DatabaseSync, tables: Pick<Tables, 'rollouts' | 'rolloutEvents'>, around: Around) {
    this.tables = tables
    this.sql = statements(db)
    this.around = around
  }

  get(config: string, number: number): RolloutRecord | undefined {
    const row = this.sql.rollout.get(config, number)
    return row && this.tables.rollouts.read(row)
  }

  list(config: string, before: number | undefined, limit: number): RolloutRecord[] {
    const rows = this.sql.rollouts.all(config, before ?? Number.MAX_SAFE_INTEGER, limit)
    return rows.map((row) => this.tables.rollouts.read(row))
  }

  open(config?: string): RolloutRecord[] {
    const rows = config === undefined ? this.sql.openRollouts.all() : this.sql.openRolloutsOf.all(config)
    return rows.map((row) => this.tables.rollouts.read(row))
  }

  events(config: string, number: number, after: number | undefined, limit: number): RolloutEventRecord[] {
    return this.sql.events.all(config, number, after ?? 0, limit).map((row) => {
      const { seq, at, epoch, event } = this.tables.rolloutEvents.read(row)
      return { seq, at, epoch, event }
    })
  }

  add(rollout: RolloutRecord): void {
    this.around.mustWrite()
    const { config, number } = rollout
    checkRollout(rollout, this.around.hasRelease(config, number), this.get(config, number) !== undefined)
    this.tables.rollouts.put(rollout)
  }

  move(rollout: RolloutRecord, event: RolloutEvent | null, epoch: number, at: string): void {
    this.around.fence.check(epoch)
    const { config, number } = rollout
    this.tables.rollouts.put(rollout)
    if (event === null) return
    const seq = Number(this.sql.lastEvent.get(config, number)?.['seq'] ?? 0) + 1
    this.tables.rolloutEvents.put({ config, number, seq, at, epoch, event })
  }
}

function statements(db: DatabaseSync) {
  return {
    rollout: db.prepare('select * from rollouts where config = ? and number = ?'),
    rollouts: db.prepare('select * from rollouts where config = ? and number < ? order by number desc limit ?'),
    openRollouts: db.prepare('select * from rollouts where is_open = 1 order by config, number'),
    openRolloutsOf: db.prepare('select * from rollouts where is_open = 1 and config = ? order by number'),
    events: db.prepare('select * from rollout_events where config = ? and number = ? and seq > ? order by seq limit ?'),
    lastEvent: db.prepare('select max(seq) as seq from rollout_events where config = ? and number = ?'),
  }
}
