/** Copies of a store: made while it runs, checked, and put back. */
import {
  closeSync,
  copyFileSync,
  existsSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  chmodSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { backup as copyPages, DatabaseSync } from 'node:sqlite'
import { StoreError, type StoreReport } from '../../store.ts'
import { asStoreError, openDatabase } from './database.ts'
import { filesIn, prepareFiles, syncDirectory } from './files.ts'
import { SqliteTransaction } from './transaction.ts'
import { verify } from './verify.ts'

/** Pages that are copied before others get their turn. */
const pagesPerStep = 512

/** @throws StoreError `exists` if there is something at `path`. */
export async function backupTo(db: DatabaseSync, path: string): Promise<void> {
  mustNotExist(path)
  const part = `${path}.part`
  rmSync(part, { force: true })
  try {
    closeSync(openSync(part, 'wx', 0o600))
    await copyPages(db, part, { rate: pagesPerStep })
    // A copy of a database with a log expects one; a backup is one file.
    const copy = new DatabaseSync(part)
    copy.exec('pragma journal_mode = delete')
    copy.close()
    flush(part)
    renameSync(part, path)
    syncDirectory(dirname(resolve(path)))
  } catch (error) {
    rmSync(part, { force: true })
    throw asStoreError(error, path)
  }
}

/** Reads a backup, or a store that is not open, and checks all of it. The file is not touched. @throws StoreError if it cannot be opened at all. */
export function verifyStore(path: string): StoreReport {
  const directory = mkdtempSync(join(dirname(resolve(path)), `.${basename(path)}-`))
  try {
    chmodSync(directory, 0o700)
    const { database, log } = filesIn(directory)
    try {
      copyFileSync(path, database)
      if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, log)
      prepareFiles(directory)
    } catch (error) {
      const found = asStoreError(error, path)
      throw found instanceof StoreError
        ? new StoreError(found.code, path, 'cannot be read', found.recover, error)
        : found
    }
    return verifyCopy(database, path)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function verifyCopy(database: string, path: string): StoreReport {
  let db: DatabaseSync
  try {
    db = openDatabase(database, false, { busyTimeoutMs: 0 })
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    return { configs: 0, releases: 0, contents: 0, audit: 0, problems: [error] }
  }
  try {
    return verify(db, new SqliteTransaction(db, { wholeEvery: 1, cacheBytes: 0 }), path)
  } finally {
    db.close()
  }
}

/**
 * Makes a data directory from a backup.
 * @returns what was found in it. @throws StoreError `exists` if there is a store already; what is wrong with the backup.
 */
export function restoreStore(path: string, directory: string): StoreReport {
  const { database } = filesIn(directory)
  mustNotExist(database)
  const report = verifyStore(path)
  const [problem] = report.problems
  if (problem !== undefined) throw problem
  prepareFiles(directory)
  const part = `${database}.part`
  try {
    copyFileSync(path, part)
    chmodSync(part, 0o600)
    raiseEpoch(part)
    flush(part)
    renameSync(part, database)
    syncDirectory(directory)
  } catch (error) {
    rmSync(part, { force: true })
    throw asStoreError(error, database)
  }
  return report
}

/**
 * Nodes have heard of coordinators that came after the backup was made, and do not listen to one with a lower epoch (I10).
 * How many there were is not known here; there was less than one each second since 1970.
 */
function raiseEpoch(path: string): void {
  const db = new DatabaseSync(path)
  try {
    const found = Number(db.prepare(`select value from meta where key = 'epoch'`).get()?.['value'] ?? 0)
    const epoch = Math.max(found + 1, Math.floor(Date.now() / 1000))
    db.prepare(`insert or replace into meta (key, value) values ('epoch', ?)`).run(String(epoch))
  } finally {
    db.close()
  }
}

function mustNotExist(path: string): void {
  if (existsSync(path)) throw new StoreError('exists', path, 'is there already', 'take another path')
}

function flush(path: string): void {
  const file = openSync(path, 'r+')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
