/**
 * Reads one regular file whole, or says why not. What reads in the end is what stood in the file at one moment: a
 * file that changes meanwhile is read again. Knows nothing of formats, and does not remember anything.
 */
import { constants, type BigIntStats } from 'node:fs'
import { open, stat, type FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { refuse, sizeText } from './refuse.ts'
import { identityOf } from './watch.ts'

export interface ReadOptions {
  /** More is refused. Bytes. */
  readonly maxBytes: number
  /** A file must have been left alone for this long, so that a save in several writes is not read halfway. Milliseconds. */
  readonly settleMs: number
  /** Memory that nobody looks at any more, to read into: fresh memory takes longer to get than the file to read. */
  readonly room?: ArrayBuffer
}

export interface FileRead {
  readonly bytes: Uint8Array
  /** As the watcher compares it. */
  readonly identity: string
  /** How long ago it was last written, in milliseconds, by this machine's clock. May be negative. */
  readonly ageMs: number
}

const chunkBytes = 4 * 1024 * 1024
/** How many chunks are read at a time. Node's pool has four threads, and others want some too. */
const chunksAtOnce = 2
/** The memory of smaller texts is not worth keeping. */
export const worthKeepingBytes = 64 * 1024
/** How long a file may go on changing before it is given up for now. Milliseconds. */
const patienceMs = 500

/**
 * @param file the file as the user named it, for errors
 * @throws SourceError; the signal's reason when it aborts
 */
export async function readWhole(
  path: string,
  file: string,
  options: ReadOptions,
  signal: AbortSignal,
): Promise<FileRead> {
  const startMs = performance.now()
  while (performance.now() - startMs < patienceMs) {
    signal.throwIfAborted()
    // Looked at before it is opened: opening alone already does something to a FIFO or a device.
    const before = await lookAt(path, file)
    const ageMs = Date.now() - Number(before.mtimeNs / 1_000_000n)
    if (ageMs >= 0 && ageMs < options.settleMs) {
      await sleep(options.settleMs - ageMs, undefined, { signal })
      continue
    }
    if (before.size > options.maxBytes) {
      throw refuse(
        'limit',
        { file },
        `has ${sizeText(Number(before.size))}; want at most ${sizeText(options.maxBytes)}`,
      )
    }
    const bytes = await readOnce(path, file, before, options.room, signal)
    if (bytes && identityOf(await lookAt(path, file)) === identityOf(before)) {
      return { bytes, identity: identityOf(before), ageMs }
    }
  }
  throw refuse('unreadable', { file }, 'keeps changing while it is read; want a file that is left alone for a moment', {
    transient: true,
  })
}

/** The file's state, if it is a regular file. @throws SourceError */
export async function lookAt(path: string, file: string): Promise<BigIntStats> {
  let found: BigIntStats
  try {
    found = await stat(path, { bigint: true })
  } catch (error) {
    throw unreadable(file, error)
  }
  if (!found.isFile()) throw refuse('unreadable', { file }, `is ${kindOf(found)}; want a regular file`)
  return found
}

/** `undefined`: it changed under the hand. */
async function readOnce(
  path: string,
  file: string,
  before: BigIntStats,
  room: ArrayBuffer | undefined,
  signal: AbortSignal,
): Promise<Uint8Array | undefined> {
  let handle: FileHandle
  try {
    // O_NONBLOCK: if it has become a FIFO since, opening must not wait for a writer.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  } catch (error) {
    throw unreadable(file, error)
  }
  try {
    const opened = await handle.stat({ bigint: true })
    if (identityOf(opened) !== identityOf(before)) return undefined
    const bytes = bytesIn(room, Number(opened.size))
    return (await fill(bytes, handle, signal)) ? bytes : undefined
  } catch (error) {
    if (signal.aborted) throw signal.reason
    throw unreadable(file, error)
  } finally {
    await handle.close()
  }
}

/** False: the file is shorter. Nothing writes to `bytes` any more once this is settled. */
async function fill(bytes: Uint8Array, handle: FileHandle, signal: AbortSignal): Promise<boolean> {
  let next = 0
  const lane = async (): Promise<boolean> => {
    while (next < bytes.length) {
      signal.throwIfAborted()
      let at = next
      const end = Math.min(at + chunkBytes, bytes.length)
      next = end
      while (at < end) {
        const { bytesRead } = await handle.read(bytes, at, end - at, at)
        if (bytesRead === 0) return false
        at += bytesRead
      }
    }
    return true
  }
  const lanes = await Promise.allSettled(Array.from({ length: chunksAtOnce }, lane))
  for (const ended of lanes) if (ended.status === 'rejected') throw ended.reason
  return lanes.every((ended) => ended.status === 'fulfilled' && ended.value)
}

/** With some to spare where it is much, so that a file that grows by a little fits in it the next time. */
function bytesIn(room: ArrayBuffer | undefined, sizeBytes: number): Uint8Array {
  if (sizeBytes < worthKeepingBytes) return Buffer.allocUnsafeSlow(sizeBytes)
  const fits = room !== undefined && room.byteLength >= sizeBytes && room.byteLength <= 2 * sizeBytes
  const memory = fits ? room : Buffer.allocUnsafeSlow(sizeBytes + (sizeBytes >> 4)).buffer
  return Buffer.from(memory, 0, sizeBytes)
}

const said: Readonly<Record<string, readonly [message: string, transient: boolean]>> = {
  ENOENT: ['is not there', true],
  ENOTDIR: ['is not there: a part of its path is not a directory', true],
  EACCES: ['may not be read by this process (EACCES)', false],
  EPERM: ['may not be read by this process (EPERM)', false],
  EISDIR: ['is a directory; want a regular file', false],
  ELOOP: ['is a symbolic link that leads to itself', false],
  EMFILE: ['cannot be opened: this process has no file descriptors left (EMFILE)', true],
  ENFILE: ['cannot be opened: the system has no file descriptors left (ENFILE)', true],
}

/** A system error in the form of the source. */
export function unreadable(file: string, error: unknown) {
  const code = (error as NodeJS.ErrnoException).code ?? ''
  const known = Object.hasOwn(said, code) ? said[code] : undefined
  const message = known?.[0] ?? `cannot be read: ${error instanceof Error ? error.message : String(error)}`
  return refuse('unreadable', { file }, message, { transient: known?.[1] ?? true, cause: error })
}

export function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function kindOf(stats: BigIntStats): string {
  if (stats.isDirectory()) return 'a directory'
  if (stats.isFIFO()) return 'a FIFO'
  if (stats.isSocket()) return 'a socket'
  return 'a device'
}
