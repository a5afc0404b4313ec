/** Deployments in the SQLite store. */
import type { DatabaseSync } from 'node:sqlite'
import type { AggregateStatus, DeploymentRecord, Pointer } from '../../targets/deployment.ts'
import { checkAdd, checkMove, forgotten, pointerAfter, type DeploymentsTx } from '../../targets/deployments.ts'
import type { Fence } from './fence.ts'
import type { Tables } from './tables.ts'

export class Deployments implements DeploymentsTx {
  private readonly tables: Pick<Tables, 'deployments' | 'pointers'>
  private readonly sql: ReturnType<typeof statements>
  private readonly fence: Fence

  constructor(db: DatabaseSync, tables: Pick<Tables, 'deployments' | 'pointers'>, fence: Fence) {
    this.tables = tables
    this.sql = statements(db)
    this.fence = fence
  }

  get(config: string, number: number): DeploymentRecord | undefined {
    const row = this.sql.deployment.get(config, number)
    return row && this.tables.deployments.read(row)
  }

  list(config: string, before: number | undefined, limit: number): DeploymentRecord[] {
    const rows = this.sql.deployments.all(config, before ?? Number.MAX_SAFE_INTEGER, limit)
    return rows.map((row) => this.tables.deployments.read(row))
  }

  open(config?: string): DeploymentRecord[] {
    const rows = config === undefined ? this.sql.open.all() : this.sql.openOf.all(config)
    return rows.map((row) => this.tables.deployments.read(row))
  }

  pointer(config: string): Pointer | undefined {
    const row = this.sql.pointer.get(config)
    return row && this.tables.pointers.read(row)
  }

  pointers(after: string | undefined, limit: number): Pointer[] {
    return this.sql.pointers.all(after ?? '', limit).map((row) => this.tables.pointers.read(row))
  }

  add(deployment: DeploymentRecord, epoch: number): void {
    this.fence.check(epoch)
    const { config } = deployment
    checkAdd(deployment, Number(this.sql.newest.get(config)?.['number'] ?? 0), this.open(config))
    this.tables.deployments.put(deployment)
    const old = forgotten(this, deployment)
    if (old !== undefined) this.tables.deployments.put(old)
  }

  move(deployment: DeploymentRecord, epoch: number): void {
    this.fence.check(epoch)
    checkMove(deployment, this.get(deployment.config, deployment.number))
    this.tables.deployments.put(deployment)
    const pointer = pointerAfter(deployment)
    if (pointer === null) this.sql.removePointer.run(deployment.config)
    else if (pointer !== undefined) this.tables.pointers.put(pointer)
  }

  found(config: string, number: number, status: AggregateStatus, epoch: number): void {
    this.fence.check(epoch)
    const pointer = this.pointer(config)
    if (pointer?.number !== number || this.open(config).length > 0) return
    this.tables.pointers.put({ ...pointer, status })
  }
}

function statements(db: DatabaseSync) {
  return {
    deployment: db.prepare('select * from deployments where config = ? and number = ?'),
    deployments: db.prepare('select * from deployments where config = ? and number < ? order by number desc limit ?'),
    open: db.prepare('select * from deployments where is_open = 1 order by config, number'),
    openOf: db.prepare('select * from deployments where is_open = 1 and config = ? order by number'),
    newest: db.prepare('select max(number) as number from deployments where config = ?'),
    pointer: db.prepare('select * from pointers where config = ?'),
    pointers: db.prepare('select * from pointers where config > ? order by config limit ?'),
    removePointer: db.prepare('delete from pointers where config = ?'),
  }
}
