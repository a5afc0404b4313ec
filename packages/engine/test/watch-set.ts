/** What a load would have on record of these files and directories now. */
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { contentDigest, identityOf, listingDigest } from '../src/sources/file/watch.ts'
import type { SeenFile, WatchSet } from '../src/sources/file/watch.ts'

export function seenNow(path: string): SeenFile {
  try {
    const identity = identityOf(statSync(path, { bigint: true }))
    return { path, identity, digest: contentDigest(readFileSync(path)) }
  } catch {
    return { path, identity: undefined, digest: undefined }
  }
}

export function setOf(files: readonly string[], listings: readonly string[] = []): WatchSet {
  const names = (path: string): string[] => {
    try {
      return readdirSync(path)
    } catch {
      return []
    }
  }
  return {
    files: new Map(files.map((path) => [path, seenNow(path)])),
    listings: new Map(listings.map((path) => [path, listingDigest(names(path))])),
  }
}
