/**
 * The files and directories that one load came by, for the watcher to compare with. What did not exist is noted too:
 * it may come.
 */
import { stat } from 'node:fs/promises'
import { SourceError } from '../../source.ts'
import { isAbsent } from './read.ts'
import { contentDigest, identityOf, listingDigest, type SeenFile, type WatchSet } from './watch.ts'

/** The bytes of a file. Their digest takes two milliseconds a megabyte, so only who needs it makes it. */
export interface Content {
  readonly digest: string
  /** Made only where the content is not that of the load before. */
  readonly isNew: boolean
}

export function contentOf(bytes: Uint8Array, isNew = false): Content {
  let digest: string | undefined
  return {
    isNew,
    get digest() {
      digest ??= contentDigest(bytes)
      return digest
    },
  }
}

export class Met implements WatchSet {
  readonly files = new Map<string, SeenFile>()
  readonly listings = new Map<string, string>()
  readonly #contents = new Map<string, Content>()
  readonly #absent = new Set<string>()

  clear(): void {
    this.#contents.clear()
    this.files.clear()
    this.listings.clear()
    this.#absent.clear()
  }

  read(path: string, content: Content, identity: string): void {
    this.#contents.set(path, content)
    this.files.set(path, {
      path,
      identity,
      get digest() {
        return content.digest
      },
    })
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

  /** Whether it came by something with other content than a load before it did. */
  differsFrom(before: Met): boolean {
    for (const path of before.files.keys()) {
      const [was, now] = [before.#contents.get(path), this.#contents.get(path)]
      if (was === now || !this.files.has(path)) continue
      if (now?.isNew || was?.digest !== now?.digest) return true
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
