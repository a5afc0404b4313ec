/**
 * The store that is there by default: one SQLite file, in the data directory. What is committed is on disk: the log is
 * flushed at every commit (`synchronous=FULL`). Why it is written on the main thread, and how it is grouped, is
 * decision 7.
 */
import { existsSync, mkdirSync, realpathSync } from 'node:fs'
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { StoreError, type Store, type StoreTx } from '../store.ts'
import { promiseError } from './preconditions.ts'
import { backupTo } from './sqlite/backup.ts'
import { asStoreError, openDatabase } from './sqlite/database.ts'
import { closedError, storeErrorFrom } from './sqlite/errors.ts'
import { filesIn, markClosed, markOpen, prepareFiles } from './sqlite/files.ts'
import { SqliteTransaction } from './sqlite/transaction.ts'
import { verify } from './sqlite/verify.ts'

export interface SqliteOptions {
  /** The data directory; made with mode 0700 if it is not there. Files in it have mode 0600. */
  readonly directory: string
  /** A content is written whole at least every so many releases, and as a patch in between; 1 to 1,000, by default 64. */
  readonly wholeEvery?: number
  /** Of the texts of contents that are kept parsed, in bytes; by default 256 MiB. The newest stays, however large. */
  readonly cacheBytes?: number
  /** How long to wait for another process to let go of the store, in milliseconds; by default 2,000. */
  readonly busyTimeoutMs?: number
}

interface Waiting {
  readonly work: (tx: StoreTx) => unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** More transactions than this do not share one flush, so that none waits too long for those behind it. */
const maxGroup = 256

/** Directories that are open here: the lock on the file keeps out other processes only. */
const openDirectories = new Set<string>()

/** @throws StoreError for what is not a store, not whole, too new, or open elsewhere; RangeError for an option. */
export async function openSqlite(options: SqliteOptions): Promise<Store> {
  const { wholeEvery = 64, cacheBytes = 256 * 2 ** 20, busyTimeoutMs = 2_000 } = options
  if (!(Number.isInteger(wholeEvery) && wholeEvery >= 1 && wholeEvery <= 1_000)) {
    throw new RangeError(`wholeEvery is ${wholeEvery}; want an integer from 1 to 1,000`)
  }
  if (!(cacheBytes >= 0)) throw new RangeError(`cacheBytes is ${cacheBytes}; want 0 or more`)
  const path = filesIn(options.directory).database
  let directory: string | undefined
  try {
    directory = claim(options.directory)
    const isNew = !prepareFiles(directory)
    const db = openDatabase(path, isNew, { busyTimeoutMs })
    try {
      const tx = new SqliteTransaction(db, { wholeEvery, cacheBytes })
      markOpen(directory)
      return new SqliteStore(db, tx, directory)
    } catch (error) {
      db.close()
      throw error
    }
  } catch (error) {
    if (directory !== undefined) openDirectories.delete(directory)
    throw asStoreError(error, path)
  }
}

/** @throws StoreError `locked` if it is open in this process. */
function claim(directory: string): string {
  if (!existsSync(directory)) mkdirSync(directory, { recursive: true, mode: 0o700 })
  const real = realpathSync(directory)
  if (openDirectories.has(real)) {
    throw new StoreError('locked', filesIn(directory).database, 'is open in this process', 'close it first')
  }
  openDirectories.add(real)
  return real
}

class SqliteStore implements Store {
  private readonly db: DatabaseSync
  private readonly tx: SqliteTransaction
  private readonly directory: string
  private readonly path: string
  private readonly begin: StatementSync
  private readonly commit: StatementSync
  private readonly savepoint: StatementSync
  private readonly release: StatementSync
  private queue: Waiting[] = []
  private armed = false
  private readonly backups = new Set<Promise<void>>()
  /** Set once the disk has failed: what it says from then on is not to be believed. */
  private stopped: StoreError | undefined
  private closing: Promise<void> | undefined

  constructor(db: DatabaseSync, tx: SqliteTransaction, directory: string) {
    this.db = db
    this.tx = tx
    this.directory = directory
    this.begin = db.prepare('begin immediate')
    this.commit = db.prepare('commit')
    this.savepoint = db.prepare('savepoint one')
    this.release = db.prepare('release one')
    this.path = filesIn(directory).database
  }

  transaction<T>(work: (tx: StoreTx) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      if (this.closing !== undefined) return reject(closedError(this.path))
      this.queue.push({ work, resolve: resolve as (value: unknown) => void, reject })
      this.arm()
    })
  }

  async read<T>(work: (tx: SqliteTransaction) => T): Promise<T> {
    if (this.closing !== undefined) throw closedError(this.path)
    try {
      // Groups are written from begin to end without a pause, so this never sees a part of one.
      return work(this.tx)
    } catch (error) {
      throw storeErrorFrom(error, this.path) ?? error
    }
  }

  async verify() {
    if (this.closing !== undefined) throw closedError(this.path)
    return verify(this.db, this.tx, this.path)
  }

  async backup(path: string): Promise<void> {
    if (this.closing !== undefined) throw closedError(this.path)
    // SQLite copies in another thread, but not while this one is in the middle of a transaction: those wait. Reads go on.
    const running = backupTo(this.db, path).finally(() => {
      this.backups.delete(settled)
      this.arm()
    })
    const settled = running.catch(() => {}) // the caller is told; `close` only waits
    this.backups.add(settled)
    await running
  }

  close(): Promise<void> {
    this.closing ??= this.shut()
    return this.closing
  }

  private async shut(): Promise<void> {
    await Promise.all(this.backups)
    while (this.queue.length > 0) this.writeGroup()
    try {
      if (this.stopped === undefined) {
        // All of the log into the database, and that to disk: from here on the log is not needed.
        this.db.exec('pragma wal_checkpoint(full)')
        markClosed(this.directory)
      }
    } catch (error) {
      throw storeErrorFrom(error, this.path) ?? error
    } finally {
      this.db.close()
      openDirectories.delete(this.directory)
    }
  }

  private arm(): void {
    if (this.armed || this.backups.size > 0 || this.queue.length === 0) return
    this.armed = true
    // After what else this turn of the event loop brings: that is what fills the group.
    setImmediate(() => {
      this.armed = false
      if (this.backups.size === 0 && this.queue.length > 0) this.writeGroup()
      this.arm()
    })
  }

  /** One transaction for all that wait, in it one savepoint each. */
  private writeGroup(): void {
    const group = this.queue.splice(0, maxGroup)
    if (this.stopped !== undefined) return settle(group, this.stopped)
    const done: (() => void)[] = []
    try {
      this.begin.run()
      for (const waiting of group) done.push(this.run(waiting, group.length > 1))
      this.commit.run()
    } catch (error) {
      this.undo(error)
      return settle(group, storeErrorFrom(error, this.path) ?? error)
    }
    this.tx.contents.cache.commit()
    for (const tell of done) tell()
  }

  /** @throws if the whole group is lost. */
  private run({ work, resolve, reject }: Waiting, shared: boolean): () => void {
    const mark = this.tx.contents.cache.mark()
    if (shared) this.savepoint.run()
    try {
      this.tx.open()
      const value = work(this.tx)
      const wrong = promiseError(value)
      if (wrong !== undefined) throw wrong
      this.tx.shut()
      if (shared) this.release.run()
      return () => resolve(value)
    } catch (error) {
      this.tx.shut()
      // SQLite gives up the whole transaction by itself where it cannot go on (no room, a failing disk).
      if (!this.db.isTransaction || storeErrorFrom(error, this.path)?.code === 'io') throw error
      this.db.exec(shared ? 'rollback to one; release one' : 'rollback; begin immediate')
      this.tx.rollBackTo(mark)
      return () => reject(storeErrorFrom(error, this.path) ?? error)
    }
  }

  private undo(error: unknown): void {
    this.tx.rollBackTo(0)
    const known = storeErrorFrom(error, this.path)
    try {
      if (this.db.isTransaction) this.db.exec('rollback')
    } catch (also) {
      this.stopped = storeErrorFrom(also, this.path) ?? known
    }
    // After a failed flush the system may take the same pages for written (F11).
    if (known?.code === 'io' || known?.code === 'damaged') this.stopped = known
  }
}

function settle(group: readonly Waiting[], error: unknown): void {
  for (const { reject } of group) reject(error)
}
