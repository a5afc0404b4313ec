/** Opens the database of a store and refuses what is not whole. Cheap enough for every start; the rest is `verify.ts`. */
import { statSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { StoreError } from '../../store.ts'
import { damaged, storeErrorFrom } from './errors.ts'
import { migrate, versionOf } from './migrations.ts'
import { auditProblems, gapProblems } from './verify.ts'

/** "MdFl", so that a database of something else is not taken for ours. */
const applicationId = 0x4d64466c
/** The pages of larger databases are looked at by `verify` only: it takes about a second per GiB. */
const maxPageCheckBytes = 256 * 2 ** 20
/** So many of the newest links of the audit log are followed at every start. */
const auditLinks = 10_000

export interface DatabaseLimits {
  /** How long to wait for another process to let go of the file, in milliseconds. */
  readonly busyTimeoutMs: number
}

/** @throws StoreError */
export function openDatabase(path: string, isNew: boolean, limits: DatabaseLimits): DatabaseSync {
  const db = new DatabaseSync(path, { timeout: limits.busyTimeoutMs })
  try {
    // One process at a time; that also keeps the index of the log in memory and not in a file.
    db.exec('pragma locking_mode = exclusive')
    // Also takes the lock.
    db.exec('begin exclusive; commit')
    if (!isNew) checkKind(db, path)
    db.exec('pragma journal_mode = wal')
    db.exec('pragma synchronous = full')
    // In KiB: room for the records of a fleet of 10,000, which are all written anew after each publish.
    db.exec('pragma cache_size = -8000')
    db.exec('pragma foreign_keys = on')
    db.exec('pragma wal_autocheckpoint = 4000')
    db.exec(`pragma journal_size_limit = ${64 * 2 ** 20}`)
    if (!isNew) checkPages(db, path)
    db.exec(`pragma application_id = ${applicationId}`)
    migrate(db, path)
    const [problem] = [...gapProblems(db), ...auditProblems(db, auditLinks).problems]
    if (problem !== undefined) throw problem
    // Something to write brings the log to disk, which the mark of an open store relies on.
    db.exec(`insert into meta values ('opened', '1') on conflict (key) do update set value = value + 1`)
    return db
  } catch (error) {
    db.close()
    throw asStoreError(error, path)
  }
}

function checkKind(db: DatabaseSync, path: string): void {
  const id = Number(db.prepare('pragma application_id').get()?.['application_id'])
  const tables = Number(db.prepare('select count(*) as count from sqlite_schema').get()?.['count'])
  // Empty: a first start that was cut short.
  if (tables === 0 && versionOf(db) === 0) return
  if (id !== applicationId) {
    throw new StoreError(
      'not-a-database',
      path,
      'is a database of another program',
      'give the data directory of a control plane, or restore a backup',
    )
  }
  if (versionOf(db) === 0) throw damaged(path, 'has tables, but no version of its schema')
}

function checkPages(db: DatabaseSync, path: string): void {
  if (statSync(path).size > maxPageCheckBytes) return
  const [found] = db.prepare('pragma quick_check(1)').all()
  if (found?.['quick_check'] !== 'ok') throw damaged(path, `has a damaged page: ${String(found?.['quick_check'])}`)
}

/** While a database is opened, what SQLite does not understand is damage: the statements are ours, and were tried. */
export function asStoreError(error: unknown, path: string): unknown {
  const known = storeErrorFrom(error, path)
  if (known !== undefined) return known
  const { code, message } = error as { code?: string; message: string }
  return code === 'ERR_SQLITE_ERROR' ? damaged(path, `cannot be read: ${message}`, error) : error
}
