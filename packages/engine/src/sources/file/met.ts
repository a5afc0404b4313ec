/**
 * The files and directories that one load came by, for the watcher to compare with. What did not exist is noted too:
 * it may come.
 */
import { stat } from 'node:fs/promises'
import { SourceError } from '../../source.ts'
import { isAbsent } from './read.ts'
import { identityOf, listingDigest, type SeenFile, type WatchSet } from './watch.ts'

export class Met implements WatchSet {
  readonly files = new Map<string, SeenFile>()
  readonly listings = new Map<string, string>()
  readonly #absent = new Set<string>()

  clear(): void {
    this.files.clear()
    this.listings.clear()
    this.#absent.clear()
  }

  read(path: string, digest: string, identity: string): void {
    this.files.set(path, { path, digest, identity })
  }

  /** It could not be read. A file that was read before in the same load stays as it was read. */
  failed(path: string, error: unknown): void {
    if (error instanceof SourceError && isAbsent(error.cause)) this.missed(path)
    else if (!this.files.has(path)) this.files.set(path, { path, digest: undefined, identity: undefined })
  }

  /** It is not there. */
  missed(path: string): void {
    if (this.files.has(path)) return
    this.files.set(path, { path, digest: undefined, identity: undefined })
    this.#absent.add(path)
  }

  readonly listed = (directory: string, names: readonly string[]): void => {
    this.listings.set(directory, listingDigest(names))
  }

  /** Takes over what only `before` has: after a load that broke off, what lay behind the break still matters. */
  alsoOf(before: WatchSet): void {
    for (const [path, seen] of before.files) if (!this.files.has(path)) this.files.set(path, seen)
    for (const [path, digest] of before.listings) if (!this.listings.has(path)) this.listings.set(path, digest)
  }

  /** Whether it came by something with other content than a load before it did. */
  differsFrom(before: WatchSet): boolean {
    for (const [path, { digest }] of before.files) {
      const now = this.files.get(path)
      if (now && now.digest !== digest) return true
    }
    for (const [directory, digest] of before.listings) {
      const now = this.listings.get(directory)
      if (now !== undefined && now !== digest) return true
    }
    return false
  }

  /** Whether every file is still the one that was read or missed, so that all of them together are from one moment. */
  async stillHolds(): Promise<boolean> {
    const looks = await Promise.all(
      [...this.files.values()].map(async ({ path, identity }) => {
        if (identity === undefined && !this.#absent.has(path)) return true
        return (await identityAt(path)) === identity
      }),
    )
    return looks.every(Boolean)
  }
}

async function identityAt(path: string): Promise<string | undefined> {
  try {
    return identityOf(await stat(path, { bigint: true }))
  } catch {
    // Whatever the reason, it is not the file that was read.
    return undefined
  }
}
