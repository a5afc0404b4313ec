/**
 * What nodes tried, many attempts to a row: after a publish most of a fleet says the same, and a row with two index
 * entries for each of 5,000 nodes costs more than the delivery did. A row holds nodes whose uids begin alike and that came
 * to the same with the same release, so that the history of one node is found without reading that of all.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import type { AttemptRecord } from '../../store.ts'
import type { AttemptGroup, Row, Table } from './tables.ts'

type Stored = AttemptGroup & { nodes: Record<string, string> }

export class Attempts {
  private readonly table: Table<AttemptGroup>
  private readonly inBucket: StatementSync
  private readonly ofNode: StatementSync
  private readonly buckets: StatementSync
  private readonly remove: StatementSync
  private readonly change: StatementSync

  constructor(db: DatabaseSync, table: Table<AttemptGroup>) {
    this.table = table
    this.inBucket = db.prepare('select id, bucket, data, sum from attempts where bucket = ? order by id desc')
    // A text that has the uid somewhere: `nodes` is looked at afterwards.
    this.ofNode = db.prepare(
      'select id, bucket, data, sum from attempts where bucket = ? and instr(data, ?) > 0 order by id desc limit ?',
    )
    this.buckets = db.prepare('select distinct bucket from attempts')
    this.remove = db.prepare('delete from attempts where id = ?')
    this.change = db.prepare('update attempts set data = ?, sum = ? where id = ?')
  }

  add(attempts: readonly AttemptRecord[]): void {
    const groups: Stored[] = []
    const byBucket = new Map<string, Stored[]>()
    for (const attempt of attempts) {
      const { uid, at } = attempt
      const bucket = bucketOf(uid)
      const alike = byBucket.get(bucket) ?? []
      byBucket.set(bucket, alike)
      let group = groupFor(attempt, alike)
      if (group === undefined) {
        const { uid: _, at: __, ...same } = attempt
        group = { bucket, ...same, nodes: {} }
        groups.push(group)
        alike.push(group)
      }
      group.nodes[uid] = at
    }
    for (const group of groups) this.table.put(group)
  }

  of(uid: string, limit: number): AttemptRecord[] {
    return this.ofNode.all(bucketOf(uid), JSON.stringify(uid), limit).flatMap((row): AttemptRecord[] => {
      const { bucket: _, nodes, ...same } = this.table.read(row)
      const at = nodes[uid]
      return at === undefined ? [] : [{ uid, ...same, at }]
    })
  }

  forget(uid: string): void {
    for (const row of this.ofNode.all(bucketOf(uid), JSON.stringify(uid), -1))
      this.without(row, this.table.read(row), [uid])
  }

  /** So many of the newest of each node stay. @param concerned whose; all if `undefined`. @returns how many went. */
  prune(keep: number, concerned: ReadonlySet<string> | undefined): number {
    let removed = 0
    for (const { bucket } of this.buckets.all()) {
      const counts = new Map<string, number>()
      for (const row of this.inBucket.all(String(bucket))) {
        const group = this.table.read(row)
        const surplus = Object.keys(group.nodes).filter((uid) => {
          if (concerned?.has(uid) === false) return false
          const count = (counts.get(uid) ?? 0) + 1
          counts.set(uid, count)
          return count > keep
        })
        if (surplus.length > 0) this.without(row, group, surplus)
        removed += surplus.length
      }
    }
    return removed
  }

  private without(row: Row, { nodes, ...group }: AttemptGroup, uids: readonly string[]): void {
    const id = row['id'] as number
    const left = Object.fromEntries(Object.entries(nodes).filter(([uid]) => !uids.includes(uid)))
    if (Object.keys(left).length === 0) return void this.remove.run(id)
    const { data, sum } = this.table.packed({ ...group, nodes: left })
    this.change.run(data, sum, id)
  }
}

/** Rows are the order: what a node says next stands in a later one. */
function groupFor(attempt: AttemptRecord, groups: readonly Stored[]): Stored | undefined {
  for (let i = groups.length - 1; i >= 0; i--) {
    const group = groups[i] as Stored
    if (Object.hasOwn(group.nodes, attempt.uid)) return undefined
    if (isAlike(group, attempt)) return group
  }
  return undefined
}

function isAlike(a: Stored, b: AttemptRecord): boolean {
  return (
    a.number === b.number &&
    a.status === b.status &&
    a.attempt === b.attempt &&
    a.config === b.config &&
    a.digest === b.digest &&
    a.detail === b.detail
  )
}

/** UUIDs make 256 of them: in 5,000 nodes, twenty to a row. */
function bucketOf(uid: string): string {
  return uid.slice(0, 2)
}
