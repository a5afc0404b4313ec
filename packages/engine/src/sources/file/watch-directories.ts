/**
 * `fs.watch` on every directory met while resolving the paths of interest, symbolic links included, so that a change
 * anywhere on the way to a file gives a hint. What the hints are worth is decided in `watch.ts`.
 */
import * as fs from 'node:fs'
import type { BigIntStats, FSWatcher } from 'node:fs'
import { lstat, readlink } from 'node:fs/promises'
import { basename, dirname, join, parse, resolve, sep } from 'node:path'

/** `written`: bytes or attributes of a file changed. Otherwise a name appeared, went or was replaced. */
export type OnHint = (paths: Iterable<string>, written: boolean) => void

/** A directory to watch and why. */
interface Wanted {
  readonly identity: string
  /** By name in the directory: the paths of interest that are resolved through it. */
  readonly names: Map<string, Set<string>>
  /** The path of interest whose listing this directory is. */
  listing: string | undefined
}

interface Watched {
  wanted: Wanted
  readonly watcher: FSWatcher
}

/** As many links as Linux follows before it says ELOOP. */
const linksMax = 40
/** A tree that keeps growing under our eyes is left to the next look. */
const roundsMax = 8

export class Directories {
  readonly #onHint: OnHint
  readonly #watched = new Map<string, Watched>()
  #closed = false

  constructor(onHint: OnHint) {
    this.#onHint = onHint
  }

  /**
   * Watches what resolving `paths` meets now, and lets go of the rest.
   * @returns why some directory cannot be watched; undefined when all are.
   */
  async follow(paths: Iterable<string>, listings: Iterable<string>): Promise<Error | undefined> {
    const files = [...paths]
    const lists = [...listings]
    for (let round = 0; ; round++) {
      const wanted = await resolveAll(files, lists)
      if (this.#closed) return undefined
      const { opened, failure } = this.#adopt(wanted)
      // What came to be before its directory was watched gave no hint, so what is newly watched is resolved again.
      if (!opened || round === roundsMax) return failure
    }
  }

  close(): void {
    this.#closed = true
    for (const { watcher } of this.#watched.values()) watcher.close()
    this.#watched.clear()
  }

  #adopt(wanted: ReadonlyMap<string, Wanted>): { opened: boolean; failure: Error | undefined } {
    for (const [directory, { wanted: before, watcher }] of this.#watched) {
      // Another inode under the same name is another directory, and the old watch is blind to it.
      if (wanted.get(directory)?.identity === before.identity) continue
      watcher.close()
      this.#watched.delete(directory)
    }
    let opened = false
    let failure: Error | undefined
    for (const [directory, want] of wanted) {
      const watched = this.#watched.get(directory)
      if (watched !== undefined) {
        watched.wanted = want
        continue
      }
      const result = this.#open(directory, want)
      if (result instanceof Error) failure ??= result
      else opened ||= result
    }
    return { opened, failure }
  }

  /** @returns whether it is watched now; an error if it is there and cannot be. */
  #open(directory: string, wanted: Wanted): boolean | Error {
    try {
      const watcher = fs.watch(directory)
      const watched: Watched = { wanted, watcher }
      watcher.on('change', (event, name) => this.#hint(directory, watched.wanted, event, name))
      watcher.on('error', () => {
        // Its directory is gone or its file system is: opened again, or found missing, at the next follow.
        watcher.close()
        if (this.#watched.get(directory) === watched) this.#watched.delete(directory)
        this.#hint(directory, watched.wanted, 'rename', null)
      })
      this.#watched.set(directory, watched)
      return true
    } catch (error) {
      if (!(error instanceof Error)) throw error
      const gone = 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
      return gone ? false : error
    }
  }

  #hint(directory: string, wanted: Wanted, event: string, name: string | Buffer | null): void {
    const written = event === 'change'
    const own = name === null || (name === basename(directory) && !wanted.names.has(name))
    if (own) {
      for (const paths of wanted.names.values()) this.#onHint(paths, written)
    } else {
      const paths = wanted.names.get(String(name))
      if (paths !== undefined) this.#onHint(paths, written)
    }
    if (wanted.listing !== undefined && !written) this.#onHint([wanted.listing], false)
  }
}

async function resolveAll(files: readonly string[], listings: readonly string[]): Promise<Map<string, Wanted>> {
  const wanted = new Map<string, Wanted>()
  const lstats = new Map<string, Promise<BigIntStats | undefined>>()
  // Each step is asked once, however many paths share it.
  const at = (path: string): Promise<BigIntStats | undefined> => {
    let asked = lstats.get(path)
    if (asked === undefined) lstats.set(path, (asked = lstat(path, { bigint: true }).catch(() => undefined)))
    return asked
  }
  await Promise.all([
    ...files.map((path) => walk(path, at, wanted)),
    ...listings.map(async (path) => {
      const directory = await walk(path, at, wanted)
      if (directory !== undefined) directory.listing = path
    }),
  ])
  return wanted
}

/** @returns the directory that `path` is in the end, if it is one. */
async function walk(
  path: string,
  at: (path: string) => Promise<BigIntStats | undefined>,
  wanted: Map<string, Wanted>,
): Promise<Wanted | undefined> {
  const absolute = absoluteOf(path)
  if (absolute === undefined) return undefined
  let directory = parse(absolute).root
  const rest = absolute.slice(directory.length).split(sep)
  let links = 0
  for (;;) {
    const stats = await at(directory)
    if (!stats?.isDirectory()) return undefined
    const want = wantedAt(wanted, directory, `${stats.dev}:${stats.ino}`)
    const name = rest.shift()
    if (name === undefined) return want
    if (name === '' || name === '.') continue
    if (name === '..') {
      directory = dirname(directory)
      continue
    }
    const through = want.names.get(name)
    if (through === undefined) want.names.set(name, new Set([path]))
    else through.add(path)
    const next = join(directory, name)
    const met = await at(next)
    if (met?.isSymbolicLink()) {
      const target = await readlink(next).catch(() => undefined)
      if (target === undefined || ++links > linksMax) return undefined
      const root = parse(target).root
      if (root !== '') directory = root
      rest.unshift(...target.slice(root.length).split(sep))
    } else {
      directory = next
    }
  }
}

function wantedAt(wanted: Map<string, Wanted>, directory: string, identity: string): Wanted {
  let want = wanted.get(directory)
  if (want === undefined) wanted.set(directory, (want = { identity, names: new Map(), listing: undefined }))
  return want
}

/** Undefined if it is relative to a working directory that was deleted: nothing can appear there any more. */
function absoluteOf(path: string): string | undefined {
  try {
    return resolve(path)
  } catch {
    return undefined
  }
}
