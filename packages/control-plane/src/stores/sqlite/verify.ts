/** Checks what a store holds against its digests, sums and links. Says all that it finds and throws nothing. */
import type { DatabaseSync } from 'node:sqlite'
import { digest, type Json } from 'midflight'
import { StoreError, type StoreReport } from '../../store.ts'
import { chainStart, linkHash } from '../audit-chain.ts'
import { labelOf, type Built } from './contents.ts'
import { damaged, storeErrorFrom } from './errors.ts'
import type { SqliteTransaction } from './transaction.ts'
import type { Table } from './tables.ts'

/** More problems than this are not listed. */
const maxProblems = 100

export function verify(db: DatabaseSync, tx: SqliteTransaction, path: string): StoreReport {
  const problems: StoreError[] = []
  const say = (problem: StoreError): void => {
    if (problems.length < maxProblems) problems.push(problem)
  }
  /** What one check cannot get past must not keep the others from being made. */
  const attempt = (label: string, check: () => void): void => {
    try {
      check()
    } catch (error) {
      say(storeErrorFrom(error, path) ?? damaged(label, `cannot be read: ${(error as Error).message}`, error))
    }
  }
  let [releases, contents, audit] = [0, 0, 0]
  attempt(path, () => {
    for (const row of db.prepare(`pragma integrity_check(${maxProblems})`).all()) {
      if (row['integrity_check'] !== 'ok') say(damaged(path, `has a damaged page: ${String(row['integrity_check'])}`))
    }
  })
  attempt('releases', () => gapProblems(db).forEach(say))
  for (const table of Object.values(tx.tables) as Table<unknown>[]) {
    const name = table.shape.table
    attempt(name, () => {
      for (const row of db.prepare(`select * from ${name}`).iterate()) attempt(name, () => table.read(row))
    })
  }
  attempt('contents', () => {
    let before: (Built & { readonly config: string }) | undefined
    for (const row of db
      .prepare('select config, number from releases where content is not null order by config, number')
      .all()) {
      const at = { config: String(row['config']), number: Number(row['number']) }
      contents++
      attempt(labelOf(at), () => {
        const release = tx.release(at.config, at.number)
        if (release === undefined) return say(damaged(labelOf(at), 'cannot be found by its number'))
        const content = tx.contents.readStored(release, before?.config === at.config ? before : undefined)
        if (content !== undefined) before = { ...at, content }
      })
    }
  })
  attempt('drafts', () => {
    for (const row of db.prepare('select id, digest, body from draft_contents').iterate()) {
      const label = `draft ${String(row['id'])}`
      attempt(label, () => {
        const found = digest(JSON.parse(String(row['body'])) as Json)
        const draft = tx.draft(String(row['id']))
        if (found !== row['digest'] || draft?.digest !== found) say(damaged(label, `has the digest ${found}`))
      })
    }
  })
  attempt('audit', () => {
    const found = auditProblems(db, Number.MAX_SAFE_INTEGER)
    audit = found.links
    found.problems.forEach(say)
  })
  attempt('releases', () => {
    releases = Number(db.prepare('select count(*) as count from releases').get()?.['count'])
  })
  let configs = 0
  attempt('configs', () => {
    configs = Number(db.prepare('select count(*) as count from configs').get()?.['count'])
  })
  return { configs, releases, contents, audit, problems }
}

/** Releases are numbered 1, 2, 3 … up to the head of their config, and the head has a content. */
export function gapProblems(db: DatabaseSync): StoreError[] {
  const problems: StoreError[] = []
  const found = db
    .prepare(
      `select name, head, ifnull(low, 0) as low, ifnull(high, 0) as high, ifnull(count, 0) as count
       from configs full join
         (select config, min(number) as low, max(number) as high, count(*) as count from releases group by config)
         on config = name
       where name is null or head <> ifnull(high, 0) or (count > 0 and (low <> 1 or high <> count))`,
    )
    .all()
  for (const row of found) {
    const [name, head] = [String(row['name']), Number(row['head'])]
    const { missing } = db
      .prepare(
        `select min(number) + 1 as missing from (select 0 as number union select number from releases where config = :name)
         as r where not exists (select 1 from releases where config = :name and number = r.number + 1)`,
      )
      .get({ name }) as { missing: number }
    problems.push(
      gap(`release ${name} #${missing}`, `is missing: the head is ${head}, and ${String(row['count'])} are there`),
    )
  }
  const headless = db.prepare(
    `select name, head from configs where head > 0
     and not exists (select 1 from releases where config = name and number = head and content is not null)`,
  )
  for (const row of headless.iterate()) {
    problems.push(
      gap(`release ${String(row['name'])} #${String(row['head'])}`, 'is the head, and its content is missing'),
    )
  }
  return problems
}

/** Follows the newest `newest` links. */
export function auditProblems(db: DatabaseSync, newest: number): { links: number; problems: StoreError[] } {
  const head = Number(db.prepare('select max(number) as head from audit').get()?.['head'] ?? 0)
  const first = Math.max(1, head - newest + 1)
  let prev = first === 1 ? chainStart : undefined
  let number = first
  let links = 0
  for (const row of db.prepare('select * from audit where number >= ? order by number').iterate(first)) {
    const label = `audit #${String(row['number'])}`
    if (row['number'] !== number)
      return { links, problems: [gap(`audit #${number}`, `is missing before #${String(row['number'])}`)] }
    // The keys are in the order of their names, and this one is the last.
    const numbered = String(row['entry']).endsWith(`"number":${number}}`)
    if ((prev !== undefined && row['prev'] !== prev) || !numbered) {
      return { links, problems: [broken(label, 'does not follow from the entry before it')] }
    }
    if (linkHash(String(row['prev']), String(row['entry'])) !== row['hash']) {
      return { links, problems: [broken(label, 'is not what was written')] }
    }
    prev = String(row['hash'])
    number++
    links++
  }
  return { links, problems: [] }
}

function gap(row: string, message: string): StoreError {
  return new StoreError('gap', row, message, 'restore a backup: midflight restore')
}

function broken(row: string, message: string): StoreError {
  const recover = 'keep the file for whoever has to find out what happened, and restore a backup: midflight restore'
  return new StoreError('audit-broken', row, message, recover)
}
