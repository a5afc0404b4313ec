/** The queries of the SQLite store, prepared once. */
import type { DatabaseSync } from 'node:sqlite'

export function statements(db: DatabaseSync) {
  return {
    config: db.prepare('select name, head, data, sum from configs where name = ?'),
    configs: db.prepare(`
      select name, head, data, sum from configs
      where (? = '' or name = ? or (name >= ? and name < ?)) and name > ? order by name limit ?`),
    setHead: db.prepare('update configs set head = ? where name = ?'),
    release: db.prepare('select config, number, data, sum from releases where config = ? and number = ?'),
    releases: db.prepare(
      'select config, number, data, sum from releases where config = ? and number < ? order by number desc limit ?',
    ),
    applied: db.prepare('select config, number, data, sum from applied where config = ? and number = ?'),
    idempotency: db.prepare('select key, created_at, data, sum from idempotency where key = ?'),
    node: db.prepare('select * from nodes where uid = ?'),
    nodes: db.prepare(`
      select * from nodes
      where config = :config and uid > :after and (:notOn is null or runs is not :notOn)
      order by uid limit :limit`),
    draft: db.prepare('select * from drafts where id = ?'),
    drafts: db.prepare(`
      select * from drafts where (:config is null or config = :config) and id > :after order by id limit :limit`),
    draftContent: db.prepare('select digest, body from draft_contents where id = ?'),
    putDraftContent: db.prepare(`
      insert into draft_contents (id, digest, body) values (?, ?, ?)
      on conflict (id) do update set digest = excluded.digest, body = excluded.body`),
    token: db.prepare('select * from tokens where hash = ?'),
    tokenById: db.prepare('select * from tokens where id = ?'),
    tokens: db.prepare('select * from tokens where id > ? order by id limit ?'),
    audit: db.prepare('select number, entry, prev, hash from audit where number > ? order by number limit ?'),
    auditHead: db.prepare('select number, hash from audit order by number desc limit 1'),
    appendAudit: db.prepare('insert into audit (number, entry, prev, hash) values (?, ?, ?, ?)'),
  }
}

export type Statements = ReturnType<typeof statements>
