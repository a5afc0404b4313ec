/** From what SQLite or the file system says to what the store says: a code, the file, and what to do. */
import { StoreError, type StoreErrorCode } from '../../store.ts'

/** https://www.sqlite.org/rescode.html, by primary code. */
const codes: Readonly<Record<number, StoreErrorCode>> = {
  5: 'locked',
  6: 'locked',
  8: 'read-only',
  10: 'io',
  11: 'damaged',
  13: 'full',
  14: 'io',
  26: 'not-a-database',
}

const fileCodes: Readonly<Record<string, StoreErrorCode>> = {
  ENOSPC: 'full',
  EDQUOT: 'full',
  EACCES: 'read-only',
  EPERM: 'read-only',
  EROFS: 'read-only',
  EEXIST: 'exists',
}

const recoveries: Readonly<Partial<Record<StoreErrorCode, string>>> = {
  'not-a-database': 'give the data directory of a control plane, or restore a backup',
  damaged: 'restore a backup: midflight restore',
  locked: 'stop the other process that has it open',
  full: 'make room on the disk, or prune; nothing that was acknowledged is lost',
  'read-only': 'give this user the right to write there',
  io: 'look at the disk, and start again; what was acknowledged is checked then',
  exists: 'take another path',
}

/** SQLITE_IOERR_SHORT_READ: the disk is well, the file is shorter than it says. */
const shortRead = 522

/** `undefined` for what is no failure of the store: an error of ours, or of whoever wrote in a transaction. */
export function storeErrorFrom(error: unknown, path: string): StoreError | undefined {
  if (error instanceof StoreError) return error
  if (!(error instanceof Error)) return undefined
  const { errcode, code } = error as { errcode?: number; code?: string }
  const found =
    code === 'ERR_SQLITE_ERROR' ? sqliteCode(errcode ?? 0) : code === undefined ? undefined : fileCodes[code]
  if (found !== undefined) return new StoreError(found, path, says(found, error), recoveries[found] as string, error)
  if (code !== undefined && /^E[A-Z]+$/.test(code)) {
    return new StoreError('io', path, `failed: ${error.message}`, recoveries.io as string, error)
  }
  return undefined
}

function sqliteCode(errcode: number): StoreErrorCode | undefined {
  return errcode === shortRead ? 'damaged' : codes[errcode & 0xff]
}

function says(code: StoreErrorCode, error: Error): string {
  if (code === 'locked') return 'is open in another process'
  if (code === 'full') return 'cannot grow: the disk is full'
  return `failed: ${error.message}`
}

export function damaged(row: string, message: string, cause?: unknown): StoreError {
  return new StoreError('damaged', row, message, recoveries.damaged as string, cause)
}

export function closedError(path: string): StoreError {
  return new StoreError('closed', path, 'is closed', 'open it again')
}
