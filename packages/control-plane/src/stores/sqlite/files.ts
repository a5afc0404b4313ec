/**
 * The files of a store, before SQLite opens them and after it has closed them: who may read them, whether one is missing,
 * and whether they are what they should be.
 *
 * `store.open` says that a store was opened and not closed. While it is there, so must be the write-ahead log: without
 * it, acknowledged transactions would be gone and nobody would notice.
 */
import {
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  readdirSync,
  rmSync,
  statSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { StoreError } from '../../store.ts'
import { damaged } from './errors.ts'
import { checkWal } from './wal.ts'

const magic = Buffer.from('SQLite format 3\0')

export interface StoreFiles {
  readonly database: string
  readonly log: string
  readonly mark: string
}

export function filesIn(directory: string): StoreFiles {
  const database = join(directory, 'store.db')
  return { database, log: `${database}-wal`, mark: join(directory, 'store.open') }
}

/** Makes what is missing, for this user alone. @returns whether there is a database already. */
export function prepareFiles(directory: string): boolean {
  const files = filesIn(directory)
  if (!existsSync(directory)) {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    syncDirectory(dirname(directory))
  } else if (existsSync(files.database) || readdirSync(directory).length === 0) {
    chmodSync(directory, 0o700)
  }
  const there = existsSync(files.database) && statSync(files.database).size > 0
  if (there) checkFiles(files)
  else if (existsSync(files.mark) || (existsSync(files.log) && statSync(files.log).size > 0)) {
    throw damaged(files.database, 'is missing, but what belongs to it is there')
  }
  // The log gets the mode of the database.
  closeSync(openSync(files.database, 'a', 0o600))
  chmodSync(files.database, 0o600)
  return there
}

function checkFiles(files: StoreFiles): void {
  const header = Buffer.alloc(magic.length)
  const file = openSync(files.database, 'r')
  try {
    readSync(file, header, 0, header.length, 0)
  } finally {
    closeSync(file)
  }
  if (!header.equals(magic)) {
    throw new StoreError(
      'not-a-database',
      files.database,
      'is not an SQLite database',
      'give the data directory of a control plane, or restore a backup',
    )
  }
  if (!existsSync(files.mark)) return
  if (!existsSync(files.log)) {
    throw new StoreError(
      'damaged',
      files.log,
      'is missing, though the store was not closed: what was acknowledged last was in it',
      `put it back, or restore a backup; to go on without, remove ${files.mark}`,
    )
  }
  checkWal(readFileSync(files.log), files.log)
}

/** From now on the log must be there. Call it once the log is on disk. */
export function markOpen(directory: string): void {
  const file = openSync(filesIn(directory).mark, 'w', 0o600)
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
  syncDirectory(directory)
}

/** The log may go. Call it once all of it is in the database, and that on disk. */
export function markClosed(directory: string): void {
  rmSync(filesIn(directory).mark, { force: true })
  syncDirectory(directory)
}

export function syncDirectory(directory: string): void {
  const file = openSync(directory, 'r')
  try {
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
