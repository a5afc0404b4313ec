/** Records as rows: JSON beside the columns they are searched by, with a checksum that is looked at on every read. */
import { crc32 } from 'node:zlib'
import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from 'node:sqlite'
import type { ReleaseInfo } from 'midflight/protocol'
import type {
  AttemptRecord,
  ConfigRecord,
  DraftRecord,
  IdempotencyRecord,
  NodeRecord,
  RolloutEventRecord,
  RolloutRecord,
  TokenRecord,
} from '../../store.ts'
import type { DeploymentRecord, Pointer } from '../../targets/deployment.ts'
import { damaged } from './errors.ts'

export type Row = Readonly<Record<string, SQLOutputValue>>

interface Shape<T> {
  readonly table: string
  /** The columns that name a record; all others are overwritten by the next record of the same name. */
  readonly key: readonly string[]
  readonly columns: Readonly<Record<string, (record: T) => SQLInputValue>>
  readonly label: (record: T) => string
}

export interface Applied {
  readonly config: string
  readonly number: number
  readonly at: string
}

/** One table of records. */
export class Table<T> {
  readonly shape: Shape<T>
  private readonly insert: StatementSync
  private readonly seed: number
  private readonly columns: readonly ((record: T) => SQLInputValue)[]

  constructor(db: DatabaseSync, shape: Shape<T>) {
    this.shape = shape
    this.seed = crc32(shape.table)
    this.columns = Object.values(shape.columns)
    const names = [...Object.keys(shape.columns), 'data', 'sum']
    const written = names.filter((name) => !shape.key.includes(name)).map((name) => `${name} = excluded.${name}`)
    const conflict = shape.key.length === 0 ? '' : ` on conflict (${shape.key.join()}) do update set ${written.join()}`
    this.insert = db.prepare(
      `insert into ${shape.table} (${names.join()}) values (${names.map(() => '?').join()})${conflict}`,
    )
  }

  put(record: T): void {
    const { data, sum } = this.packed(record)
    this.insert.run(...this.columns.map((column) => column(record)), data, sum)
  }

  packed(record: T): { readonly data: string; readonly sum: number } {
    const data = JSON.stringify(record)
    return { data, sum: crc32(data, this.seed) }
  }

  /** @throws StoreError `damaged` if the row is not what was written. */
  read(row: Row): T {
    const data = String(row['data'])
    if (crc32(data, this.seed) !== row['sum']) throw damaged(this.place(row), 'is not what was written')
    const record = JSON.parse(data) as T
    for (const [name, column] of Object.entries(this.shape.columns)) {
      if (name in row && row[name] !== column(record)) throw damaged(this.shape.label(record), `has another ${name}`)
    }
    return record
  }

  /** What can be said of a row whose data cannot be trusted. */
  private place(row: Row): string {
    const { key, columns } = this.shape
    const keys = (key.length === 0 ? Object.keys(columns) : key).filter((name) => name in row)
    return `${this.shape.table} ${keys.map((name) => `${name} ${String(row[name])}`).join(', ')}`
  }
}

export interface StoredRolloutEvent extends RolloutEventRecord {
  readonly config: string
  readonly number: number
}

/** The same attempt of several nodes; each node is in it once. */
export interface AttemptGroup extends Omit<AttemptRecord, 'uid' | 'at'> {
  readonly bucket: string
  /** When, by the uid. */
  readonly nodes: Readonly<Record<string, string>>
}

type StoredConfig = Omit<ConfigRecord, 'head'>

export function tablesOf(db: DatabaseSync) {
  return {
    configs: new Table<StoredConfig>(db, {
      table: 'configs',
      key: ['name'],
      columns: { name: (config) => config.name },
      label: (config) => `config ${config.name}`,
    }),
    releases: new Table<ReleaseInfo>(db, {
      table: 'releases',
      key: [],
      columns: { config: (release) => release.config, number: (release) => release.number },
      label: (release) => `release ${release.config} #${release.number}`,
    }),
    applied: new Table<Applied>(db, {
      table: 'applied',
      key: ['config', 'number'],
      columns: { config: (applied) => applied.config, number: (applied) => applied.number },
      label: (applied) => `applied ${applied.config} #${applied.number}`,
    }),
    idempotency: new Table<IdempotencyRecord>(db, {
      table: 'idempotency',
      key: ['key'],
      columns: { key: (record) => record.key, created_at: (record) => record.createdAt },
      label: (record) => `idempotency key ${record.key}`,
    }),
    nodes: new Table<NodeRecord>(db, {
      table: 'nodes',
      key: ['uid'],
      columns: {
        uid: (node) => node.uid,
        config: (node) => node.config,
        runs: (node) => node.runs?.number ?? null,
      },
      label: (node) => `node ${node.uid}`,
    }),
    attempts: new Table<AttemptGroup>(db, {
      table: 'attempts',
      key: [],
      columns: { bucket: (group) => group.bucket },
      label: (group) => `attempts of ${Object.keys(group.nodes).join(', ')}`,
    }),
    rollouts: new Table<RolloutRecord>(db, {
      table: 'rollouts',
      key: ['config', 'number'],
      columns: {
        config: (rollout) => rollout.config,
        number: (rollout) => rollout.number,
        is_open: (rollout) => (rollout.endedAt === null ? 1 : 0),
      },
      label: (rollout) => `rollout ${rollout.config} #${rollout.number}`,
    }),
    rolloutEvents: new Table<StoredRolloutEvent>(db, {
      table: 'rollout_events',
      key: ['config', 'number', 'seq'],
      columns: { config: (event) => event.config, number: (event) => event.number, seq: (event) => event.seq },
      label: (event) => `event ${event.seq} of rollout ${event.config} #${event.number}`,
    }),
    deployments: new Table<DeploymentRecord>(db, {
      table: 'deployments',
      key: ['config', 'number'],
      columns: {
        config: (deployment) => deployment.config,
        number: (deployment) => deployment.number,
        is_open: (deployment) => (deployment.endedAt === null ? 1 : 0),
      },
      label: (deployment) => `deployment ${deployment.config} #${deployment.number}`,
    }),
    pointers: new Table<Pointer>(db, {
      table: 'pointers',
      key: ['config'],
      columns: { config: (pointer) => pointer.config },
      label: (pointer) => `targets of ${pointer.config}`,
    }),
    drafts: new Table<DraftRecord>(db, {
      table: 'drafts',
      key: ['id'],
      columns: {
        id: (draft) => draft.id,
        config: (draft) => draft.config,
        base: (draft) => draft.base,
        status: (draft) => draft.status,
      },
      label: (draft) => `draft ${draft.id}`,
    }),
    tokens: new Table<TokenRecord>(db, {
      table: 'tokens',
      key: ['id'],
      columns: { id: (token) => token.id, hash: (token) => token.hash },
      label: (token) => `token ${token.id}`,
    }),
  }
}

export type Tables = ReturnType<typeof tablesOf>
