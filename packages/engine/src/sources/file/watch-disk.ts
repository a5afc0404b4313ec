/**
 * What the disk holds now, compared with what was last loaded: identity first, bytes only when the identity is new.
 * When to look, and what to do about a difference, is `watch.ts`.
 */
import { createHash, hash } from 'node:crypto'
import { readFileSync, readdirSync, statSync } from 'node:fs'
import type { BigIntStats } from 'node:fs'
import { open, readdir, stat } from 'node:fs/promises'

export interface SeenFile {
  readonly path: string
  /** Digest of the bytes `load()` read; large ones take long, so it is asked for last. Undefined: absent or unreadable. */
  readonly digest: string | undefined
  /** `identityOf` the file when it was read, taken before reading. Undefined: absent. */
  readonly identity: string | undefined
}

export interface WatchSet {
  /** By path as it was opened. */
  readonly files: ReadonlyMap<string, SeenFile>
  /** Directories whose listing matters, with their `listingDigest`. One that is absent counts as empty. */
  readonly listings: ReadonlyMap<string, string>
}

/** Changes whenever the file is written, replaced, renamed or has its attributes changed. */
export function identityOf(stat: BigIntStats): string {
  return `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`
}

export function contentDigest(bytes: Uint8Array): string {
  return hash('sha256', bytes, 'base64url')
}

/** What editors put beside a file while it is open: Emacs locks and autosaves, backups, Vim swap files. */
const editorLitter = /^\.#|^#.*#$|~$|^\..*\.sw[a-px]$/

/** Of the names alone, in any order. What editors leave beside a file that is being edited does not count. */
export function listingDigest(names: readonly string[]): string {
  const kept = names.filter((name) => !editorLitter.test(name)).toSorted()
  return hash('sha256', kept.join('\0'), 'base64url')
}

/**
 * File systems stamp times in ticks (4 ms on most, 2 s on FAT): a second write of the same size within the tick leaves
 * the identity as it was. So an identity is believed for good only once its bytes were compared this long (ms) after
 * it was first seen.
 */
const tickMs = 2100
/** Up to here (bytes) a file is read in one go after an event: it is in the page cache and costs microseconds. */
const smallBytes = 256 * 1024
const chunkBytes = 1024 * 1024

/** What is known of one identity of one path. */
interface Known {
  readonly identity: string
  readonly firstSeenMs: number
  /** Undefined until read. `bytes` is undefined if it cannot be read. */
  read: { readonly bytes: string | undefined } | undefined
  /** No write can hide behind this identity any more. */
  believed: boolean
}

/** One path as one `stat` showed it. */
export interface Look {
  readonly path: string
  readonly stat: BigIntStats | undefined
}

/** Remembers what it has read, so that a touched file is read once and an untouched one never. */
export class Disk {
  readonly #known = new Map<string, Known>()
  /** The state of each path that was already told about and not loaded since. */
  readonly #told = new Map<string, string>()

  /** Of paths that an event has just named. The kernel that sent it has their inodes at hand, so this does not block. */
  lookNow(paths: Iterable<string>): Look[] {
    return Array.from(paths, (path) => ({ path, stat: statOrUndefined(path) }))
  }

  /** Of any paths. A file system that hangs delays this, and nothing else. */
  async look(paths: Iterable<string>): Promise<Look[]> {
    return Promise.all(
      Array.from(paths, async (path) => ({ path, stat: await stat(path, { bigint: true }).catch(absent) })),
    )
  }

  /**
   * Those of `looks` that differ from `set` and were not told about in this state. `hinted` says that an event named
   * them: an identity that is not believed yet is then not trusted either, and its bytes are compared.
   */
  async differences(set: WatchSet, looks: readonly Look[], hinted: boolean): Promise<Look[]> {
    const differing: Look[] = []
    for (const look of looks) {
      const seen = set.files.get(look.path)
      const listing = set.listings.get(look.path)
      let differs = false
      if (seen !== undefined) differs = await this.#fileDiffers(seen, look, hinted)
      if (!differs && listing !== undefined) differs = (await listingOf(look.path, hinted)) !== listing
      if (!differs) this.#told.delete(look.path)
      else if (this.#told.get(look.path) !== stateOf(look)) differing.push(look)
    }
    return differing
  }

  /** These differences are being told: they count again only when the disk changes again. */
  tell(differing: readonly Look[]): void {
    for (const look of differing) this.#told.set(look.path, stateOf(look))
  }

  /** Lets go of what is no longer in the set. */
  forget(set: WatchSet): void {
    for (const path of this.#known.keys()) if (!set.files.has(path)) this.#known.delete(path)
    for (const path of this.#told.keys()) {
      if (!set.files.has(path) && !set.listings.has(path)) this.#told.delete(path)
    }
  }

  async #fileDiffers(seen: SeenFile, { path, stat }: Look, hinted: boolean): Promise<boolean> {
    if (stat === undefined) {
      this.#known.delete(path)
      return seen.identity !== undefined || seen.digest !== undefined
    }
    // A pipe or a device gives its bytes once, to whoever loads it. A directory has none.
    if (!stat.isFile()) return seen.digest !== undefined && seen.identity === undefined
    const identity = identityOf(stat)
    const nowMs = performance.now()
    let known = this.#known.get(path)
    if (known?.identity !== identity) {
      known = { identity, firstSeenMs: nowMs, read: undefined, believed: false }
      this.#known.set(path, known)
    }
    const old = nowMs - known.firstSeenMs >= tickMs
    if (!known.believed && (hinted || old || (known.read === undefined && identity !== seen.identity))) {
      if (sizeDiffers(seen, stat)) return true
      // Another file in its place: the load compares the bytes, and finds nothing changed where they are equal.
      if (stat.size > smallBytes && isAnotherFile(seen, stat)) return true
      known.read = { bytes: await digestOf(path, stat.size, hinted) }
      known.believed = old
    }
    return known.read !== undefined && known.read.bytes !== seen.digest
  }
}

/**
 * What a file looks like while its writer is still at it: not there, or empty. If it is known to be `written` in
 * place, then also if it has whole blocks only (a buffer was flushed) or less than half of what was loaded.
 */
export function looksUnfinished({ stat }: Look, seen: SeenFile | undefined, written: boolean): boolean {
  if (stat === undefined || !stat.isFile()) return stat === undefined
  if (stat.size === 0n || !written) return stat.size === 0n
  return stat.size % 512n === 0n || Number(stat.size) * 2 < Number(sizeOf(seen) ?? 0)
}

export function stateOf({ stat }: Look): string {
  return stat === undefined ? 'absent' : identityOf(stat)
}

function sizeDiffers(seen: SeenFile, stat: BigIntStats): boolean {
  const size = sizeOf(seen)
  return size !== undefined && size !== String(stat.size)
}

function isAnotherFile(seen: SeenFile, stat: BigIntStats): boolean {
  return seen.identity !== undefined && !seen.identity.startsWith(`${stat.dev}:${stat.ino}:`)
}

function sizeOf(seen: SeenFile | undefined): string | undefined {
  return seen?.identity?.split(':')[2]
}

/** Undefined if the file cannot be read, as `SeenFile.digest`: why it cannot is for the next load to tell. */
async function digestOf(path: string, size: bigint, hinted: boolean): Promise<string | undefined> {
  try {
    if (hinted && size <= smallBytes) return contentDigest(readFileSync(path))
    return await digestInChunks(path)
  } catch {
    return undefined
  }
}

/** The same as `contentDigest`, holding the event loop for one chunk at a time. */
async function digestInChunks(path: string): Promise<string> {
  const file = await open(path)
  try {
    const sha = createHash('sha256')
    const buffer = Buffer.allocUnsafe(chunkBytes)
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, chunkBytes)
      if (bytesRead === 0) return sha.digest('base64url')
      sha.update(buffer.subarray(0, bytesRead))
    }
  } finally {
    await file.close()
  }
}

async function listingOf(path: string, hinted: boolean): Promise<string> {
  try {
    return listingDigest(hinted ? readdirSync(path) : await readdir(path))
  } catch (error) {
    // A file has come in its place: that is not the same as no directory, or an empty one.
    return (error as NodeJS.ErrnoException).code === 'ENOTDIR' ? 'not a directory' : listingDigest([])
  }
}

function statOrUndefined(path: string): BigIntStats | undefined {
  try {
    return statSync(path, { bigint: true, throwIfNoEntry: false })
  } catch {
    return undefined
  }
}

/** Whatever the reason, nothing can be read there now; the next load says why. */
function absent(): undefined {
  return undefined
}
