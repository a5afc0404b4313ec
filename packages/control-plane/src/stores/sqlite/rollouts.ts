/** Rollouts in the SQLite store: what state each is in, what moved it, and who may move it. */
import type { DatabaseSync } from 'node:sqlite'
import type { RolloutEvent } from '../../rollout-state.ts'
import { FencedError, type RolloutEventRecord, type RolloutRecord } from '../../store.ts'
import { checkRollout } from '../preconditions.ts'
import type { Tables } from './tables.ts'

export class Rollouts {
  private readonly tables: Pick<Tables, 'rollouts' | 'rolloutEvents'>
  private readonly sql: ReturnType<typeof statements>

  constructor(db: DatabaseSync, tables: Pick<Tables, 'rollouts' | 'rolloutEvents'>) {
    this.tables = tables
    this.sql = statements(db)
  }

  get(config: string, number: number): RolloutRecord | undefined {
    const row = this.sql.rollout.get(config, number)
    return row && this.tables.rollouts.read(row)
  }

  list(config: string, before: number | undefined, limit: number): RolloutRecord[] {
    const rows = this.sql.rollouts.all(config, before ?? Number.MAX_SAFE_INTEGER, limit)
    return rows.map((row) => this.tables.rollouts.read(row))
  }

  open(config: string | undefined): RolloutRecord[] {
    const rows = config === undefined ? this.sql.openRollouts.all() : this.sql.openRolloutsOf.all(config)
    return rows.map((row) => this.tables.rollouts.read(row))
  }

  events(config: string, number: number, after: number | undefined, limit: number): RolloutEventRecord[] {
    return this.sql.events.all(config, number, after ?? 0, limit).map((row) => {
      const { seq, at, epoch, event } = this.tables.rolloutEvents.read(row)
      return { seq, at, epoch, event }
    })
  }

  epoch(): number {
    return Number(this.sql.epoch.get()?.['value'] ?? 0)
  }

  add(rollout: RolloutRecord, hasRelease: boolean): void {
    checkRollout(rollout, hasRelease, this.get(rollout.config, rollout.number) !== undefined)
    this.tables.rollouts.put(rollout)
  }

  move(rollout: RolloutRecord, event: RolloutEvent | null, epoch: number, at: string): void {
    const newest = this.epoch()
    if (epoch !== newest) throw new FencedError(epoch, newest)
    const { config, number } = rollout
    this.tables.rollouts.put(rollout)
    if (event === null) return
    const seq = Number(this.sql.lastEvent.get(config, number)?.['seq'] ?? 0) + 1
    this.tables.rolloutEvents.put({ config, number, seq, at, epoch, event })
  }

  takeOver(): number {
    const epoch = this.epoch() + 1
    this.sql.setEpoch.run(String(epoch))
    return epoch
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
    epoch: db.prepare(`select value from meta where key = 'epoch'`),
    setEpoch: db.prepare(
      `insert into meta (key, value) values ('epoch', ?) on conflict (key) do update set value = excluded.value`,
    ),
  }
}
