/** The schema of the database, step by step. A step that was released is never edited: a change is a new step. */
import type { DatabaseSync } from 'node:sqlite'
import { StoreError } from '../../store.ts'

/**
 * Records are JSON in `data` with a checksum (CRC-32) in `sum`; the other columns are what is searched by, and repeat what `data`
 * says. Contents have no sum: they have the digest of their release. The content of a release is `null` once pruned; else
 * the whole of it, or the JSON Patch that leads from the release before to it: `whole` is the last one kept whole.
 */
export const migrations: readonly string[] = [
  `
  create table meta (key text primary key, value text not null) without rowid;
  create table configs (name text primary key, head integer not null default 0, data text not null, sum integer not null)
    without rowid;
  create table releases (id integer primary key, config text not null, number integer not null,
    whole integer not null, whole_bytes integer not null, patch_bytes integer not null, data text not null,
    sum integer not null, content text, unique (config, number));
  create table applied (config text not null, number integer not null, data text not null, sum integer not null,
    primary key (config, number)) without rowid;
  create table pins (config text not null, number integer not null, holder text not null, data text not null,
    sum integer not null, primary key (config, number, holder)) without rowid;
  create table idempotency (key text primary key, created_at text not null, data text not null, sum integer not null)
    without rowid;
  create index idempotency_by_age on idempotency (created_at);
  create table nodes (uid text primary key, config text not null, status text not null, runs integer,
    lease_until text not null, data text not null, sum integer not null) without rowid;
  create index nodes_by_config on nodes (config, uid, status, runs, lease_until);
  create table attempts (id integer primary key, uid text not null, data text not null, sum integer not null);
  create index attempts_by_node on attempts (uid, id);
  create table drafts (id text primary key, config text not null, base integer, status text not null,
    data text not null, sum integer not null) without rowid;
  create table draft_contents (id text primary key, digest text not null, body text not null);
  create table tokens (id text primary key, hash text not null unique, data text not null, sum integer not null)
    without rowid;
  create table audit (number integer primary key, entry text not null, prev text not null, hash text not null);
  `,
  `
  create table rollouts (config text not null, number integer not null, is_open integer not null, data text not null,
    sum integer not null, primary key (config, number)) without rowid;
  create index rollouts_open on rollouts (config, number) where is_open = 1;
  create table rollout_events (config text not null, number integer not null, seq integer not null, data text not null,
    sum integer not null, primary key (config, number, seq)) without rowid;
  `,
  // Attempts in groups. What was tried before is not carried over: what was applied, and what runs where, stands elsewhere.
  `
  drop table attempts;
  create table attempts (id integer primary key, bucket text not null, data text not null, sum integer not null);
  create index attempts_by_bucket on attempts (bucket, id);
  drop index nodes_by_config;
  create index nodes_by_config on nodes (config, uid);
  `,
  `
  create table deployments (config text not null, number integer not null, is_open integer not null,
    data text not null, sum integer not null, primary key (config, number)) without rowid;
  create index deployments_open on deployments (config, number) where is_open = 1;
  create table pointers (config text primary key, data text not null, sum integer not null) without rowid;
  `,
  // Open rollouts say themselves what they need, and nobody looks for nodes by their status or the end of their lease.
  `
  drop table pins;
  alter table nodes drop column lease_until;
  alter table nodes drop column status;
  `,
]

/**
 * Brings the database to the newest step, each in a transaction of its own: a crash leaves it at one step or the next.
 * @throws StoreError `newer-schema` if it has seen steps that are not known here.
 */
export function migrate(db: DatabaseSync, path: string, steps: readonly string[] = migrations): void {
  const found = versionOf(db)
  if (found > steps.length) {
    throw new StoreError(
      'newer-schema',
      path,
      `has schema ${found}; this version knows those up to ${steps.length}`,
      'start it with the version that wrote it, or restore a backup that was made before',
    )
  }
  steps.slice(found).forEach((step, index) => {
    db.exec('begin immediate')
    try {
      db.exec(step)
      db.exec(`pragma user_version = ${found + index + 1}`)
      db.exec('commit')
    } catch (error) {
      if (db.isTransaction) db.exec('rollback')
      throw error
    }
  })
}

export function versionOf(db: DatabaseSync): number {
  return Number(db.prepare('pragma user_version').get()?.['user_version'])
}
