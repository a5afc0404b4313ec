/**
 * What `work.ts` does with each of many files: looked at, compared, written, linked, synced. It knows places, not why.
 */
import * as fs from 'node:fs'
import { open } from 'node:fs/promises'
import type { FileTarget } from './options.ts'

export interface Rendered extends FileTarget {
  readonly bytes: Buffer
}

/** Files that are synced at once. */
const atOnce = 16
/**
 * Of many files each is the work of some microseconds, and by promises ten times that. So it is done at once, and every
 * so often whatever else this process does has its turn.
 */
const sliceMs = 5
const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = fs.constants

/** @throws Error for what is there and is no regular file. @returns `undefined` for nothing. */
export function fileAt(place: string): fs.Stats | undefined {
  const stat = fs.lstatSync(place, { throwIfNoEntry: false })
  if (stat && !stat.isFile()) {
    throw new Error(
      `${place} is ${stat.isSymbolicLink() ? 'a symbolic link' : 'no regular file'}; want a file, or nothing`,
    )
  }
  return stat
}

/** Nobody has been there: what changes content, mode or owner moves the time of the last change, as a link to it does. */
export function isUntouched(was: fs.Stats, now: fs.Stats): boolean {
  return was.dev === now.dev && was.ino === now.ino && was.ctimeMs === now.ctimeMs && looksSame(was, now)
}

/** As far as it shows where a link to it came or went meanwhile; whether it is the same file its number says. */
export function looksSame(was: fs.Stats, now: fs.Stats): boolean {
  const isSameContent = was.size === now.size && was.mtimeMs === now.mtimeMs
  return isSameContent && was.mode === now.mode && was.uid === now.uid && was.gid === now.gid
}

/** `undefined` is a yes to whatever it is. */
export function isAsWanted(was: fs.Stats, { mode, uid, gid }: Pick<FileTarget, 'mode' | 'uid' | 'gid'>): boolean {
  return (
    (mode === undefined || (was.mode & 0o7777) === mode) &&
    (uid === undefined || was.uid === uid) &&
    (gid === undefined || was.gid === gid)
  )
}

/** A large file that cannot be the same is not read. */
export function holds(place: string, { size }: fs.Stats, bytes: Buffer): boolean {
  return size === bytes.length && bytes.equals(fs.readFileSync(place))
}

/** Not where the file belongs to another user, or the file system has no hard links. */
export function linked(place: string, as: string): boolean {
  try {
    fs.linkSync(place, as)
    return true
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (['EPERM', 'EACCES', 'EMLINK', 'EXDEV', 'ENOTSUP', 'EOPNOTSUPP'].includes(code)) return false
    throw error
  }
}

/**
 * Takes names off files that stay, which costs what it cost to give them. A file that goes with its last name may take
 * the file system a thousand times that: such are not for this.
 * @param folders with what is directly in each, those above before those below. What cannot be removed stays.
 */
export async function unlinkIn(folders: ReadonlyMap<string, readonly string[]>): Promise<void> {
  for (const [folder, places] of folders) {
    // One that somebody has put a symbolic link for leads to files that are not for this either, and so does all below.
    if (!fs.lstatSync(folder, { throwIfNoEntry: false })?.isDirectory()) return
    await inSlices(places, undefined, (place) => {
      try {
        fs.unlinkSync(place)
      } catch {
        // Gone, or it cannot be removed: who removes the directory says why.
      }
    })
  }
}

const newMode = 0o640

/** A file that is not there yet. @returns what it is then. @throws Error if there is no room, or it cannot be given away. */
export function write(place: string, { bytes, mode, uid, gid }: Rendered, was: fs.Stats | undefined): fs.Stats {
  const file = fs.openSync(place, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600)
  try {
    fill(file, place, bytes)
    const made = fs.fstatSync(file)
    const owner = { uid: uid ?? was?.uid ?? made.uid, gid: gid ?? was?.gid ?? made.gid }
    if (owner.uid !== made.uid || owner.gid !== made.gid) give(file, owner, made.uid)
    fs.fchmodSync(file, mode ?? (was ? was.mode & 0o777 : newMode))
    return fs.fstatSync(file)
  } finally {
    fs.closeSync(file)
  }
}

function fill(file: number, place: string, bytes: Buffer): void {
  try {
    fs.writeFileSync(file, bytes)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const room =
      code === 'ENOSPC' || code === 'EDQUOT' ? '; want room for all files that change, beside the old ones' : ''
    throw new Error(`${place} cannot be written: ${code ?? message}${room}`, { cause: error })
  }
}

function give(file: number, { uid, gid }: { readonly uid: number; readonly gid: number }, ourUid: number): void {
  try {
    fs.fchownSync(file, uid, gid)
  } catch (error) {
    const why = `cannot be given to ${uid}:${gid} by user ${ourUid}: ${(error as NodeJS.ErrnoException).code}`
    throw new Error(`a staged file ${why}; want root, or uid and gid of this user`, { cause: error })
  }
}

/** A file or a directory. */
export async function sync(path: string): Promise<void> {
  const opened = await open(path, 'r')
  try {
    await opened.sync()
  } finally {
    await opened.close()
  }
}

export async function inSlices<T>(
  all: Iterable<T>,
  signal: AbortSignal | undefined,
  work: (one: T) => void,
): Promise<void> {
  let since = performance.now()
  for (const one of all) {
    work(one)
    if (performance.now() - since < sliceMs) continue
    await new Promise(setImmediate)
    signal?.throwIfAborted()
    since = performance.now()
  }
}

/** A few at a time; all have ended when it settles. */
export async function each<T>(all: readonly T[], signal: AbortSignal, work: (one: T) => Promise<void>): Promise<void> {
  const left = all.values()
  const failures: unknown[] = []
  const worker = async () => {
    for (const one of left) {
      if (failures.length > 0 || signal.aborted) return
      await work(one).catch((error: unknown) => failures.push(error))
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, all.length) }, worker))
  if (failures.length > 0) throw failures[0]
  signal.throwIfAborted()
}
