/**
 * The contents of releases: whole now and then, and in between as the JSON Patch from the release before. So a large
 * configuration with a small change costs a small row, and a release is read by applying a bounded number of patches.
 * What is read has the digest of its release, or it is damaged.
 */
import type { DatabaseSync, StatementSync } from 'node:sqlite'
import { applyPatch, diff, digest, PatchError, share, toPatch, type Json, type PatchOperation } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import { ContentCache } from './content-cache.ts'
import { damaged } from './errors.ts'
import type { Table } from './tables.ts'

export interface ContentLimits {
  /** A release is read by applying fewer patches than this; 1 or more. */
  readonly wholeEvery: number
  /** Text of parsed contents that is kept, in bytes. */
  readonly cacheBytes: number
}

/** A content this small is written whole: comparing it costs more than writing it. */
const alwaysWholeBytes = 4096
/** Which lists are keyed is the schema's to say; entries are found beside their equals without. */
const noKeys = {}

interface Place {
  readonly whole: number
  readonly wholeBytes: number
  readonly patchBytes: number
}

export class Contents {
  readonly cache: ContentCache
  private readonly table: Table<ReleaseInfo>
  private readonly wholeEvery: number
  private readonly insert: StatementSync
  private readonly place: StatementSync
  private readonly chain: StatementSync
  private readonly release: StatementSync

  constructor(db: DatabaseSync, table: Table<ReleaseInfo>, limits: ContentLimits) {
    this.wholeEvery = limits.wholeEvery
    this.cache = new ContentCache(limits.cacheBytes)
    this.table = table
    this.insert = db.prepare(`
      insert into releases (config, number, whole, whole_bytes, patch_bytes, data, sum, content)
      values (?, ?, ?, ?, ?, ?, ?, ?)`)
    this.place = db.prepare(
      'select whole, whole_bytes, patch_bytes from releases where config = ? and number = ? and content is not null',
    )
    this.release = db.prepare('select config, number, data, sum from releases where config = ? and number = ?')
    this.chain = db.prepare(
      `
      select number, content from releases
      where config = ? and number > ? and number <= ? and content is not null order by number`,
    )
  }

  /** Adds the release with its content. @throws RangeError if the content is not what the release's digest says. */
  add(release: ReleaseInfo, content: Json, before: Json | undefined): Json {
    const kept = Object.isFrozen(content) ? content : share(content, before, noKeys)
    const found = digest(kept, before)
    if (found !== release.digest) {
      throw new RangeError(`the content of ${labelOf(release)} has the digest ${found}, not ${release.digest}`)
    }
    const base = release.parent === null ? undefined : this.placeOf(release.config, release.parent)
    const patch =
      base === undefined || before === undefined ? undefined : this.patchFrom(release.number, base, before, kept)
    const body = patch ?? JSON.stringify(kept)
    const sizeBytes = Buffer.byteLength(body)
    const place =
      base === undefined || patch === undefined
        ? { whole: release.number, wholeBytes: sizeBytes, patchBytes: 0 }
        : { whole: base.whole, wholeBytes: base.wholeBytes, patchBytes: base.patchBytes + sizeBytes }
    const { whole, wholeBytes, patchBytes } = place
    const { data, sum } = this.table.packed(release)
    this.insert.run(release.config, release.number, whole, wholeBytes, patchBytes, data, sum, body)
    this.cache.stage({ release, content: kept, ...place })
    return kept
  }

  /** As text; `undefined` where the whole is to be written instead. */
  private patchFrom(number: number, base: Place, before: Json, after: Json): string | undefined {
    if (base.wholeBytes <= alwaysWholeBytes || number - base.whole >= this.wholeEvery) return undefined
    const patch = toPatch(before, diff(before, after))
    const text = JSON.stringify(patch)
    // A patch that is a large part of the whole saves little; once they add up to the whole, the next whole pays for itself.
    if (text.length > base.wholeBytes / 4 || base.patchBytes + text.length > base.wholeBytes) return undefined
    // What is not kept whole can be read only through the patch, so here it is tried.
    return diff(applyPatch(before, patch), after).op === 'none' ? text : undefined
  }

  private placeOf(config: string, number: number): Place | undefined {
    return this.cache.get(config, number) ?? this.stored(config, number)
  }

  private stored(config: string, number: number): Place | undefined {
    const row = this.place.get(config, number)
    if (row === undefined) return undefined
    return {
      whole: Number(row['whole']),
      wholeBytes: Number(row['whole_bytes']),
      patchBytes: Number(row['patch_bytes']),
    }
  }

  /** Frozen; `undefined` if it was pruned. @throws StoreError `damaged` */
  read(release: ReleaseInfo): Json | undefined {
    const { config, number } = release
    const known = this.cache.get(config, number)
    if (known !== undefined) return known.content
    const place = this.stored(config, number)
    if (place === undefined) return undefined
    let start: Built | undefined
    for (let below = number - 1; below >= place.whole && start === undefined; below--) {
      const kept = this.cache.get(config, below)
      if (kept !== undefined) start = { number: below, content: kept.content }
    }
    // The whole is kept as well: from it the releases around this one are a few patches away.
    if (start === undefined && place.whole < number) start = this.readWhole(config, place.whole)
    const content = this.build(release, place, start)
    this.cache.keep({ release, content, ...place })
    return content
  }

  private readWhole(config: string, number: number): Built | undefined {
    const row = this.release.get(config, number)
    const content = row && this.read(this.table.read(row))
    return content === undefined ? undefined : { number, content }
  }

  /** From the disk, whatever is in memory, and from `before` if that leads to it. @throws StoreError `damaged` */
  readStored(release: ReleaseInfo, before: Built | undefined): Json | undefined {
    const place = this.stored(release.config, release.number)
    if (place === undefined) return undefined
    const leads = before !== undefined && before.number >= place.whole && before.number < release.number
    return this.build(release, place, leads ? before : undefined)
  }

  private build(release: ReleaseInfo, place: Place, start: Built | undefined): Json {
    const { config, number } = release
    const from = start?.number ?? place.whole - 1
    let content = start?.content
    const steps = this.chain.all(config, from, number)
    if (steps.length !== number - from) throw damaged(labelOf(release), 'cannot be read: a patch before it is missing')
    try {
      for (const step of steps) {
        const body = JSON.parse(String(step['content'])) as Json
        content =
          content === undefined
            ? share(body, this.cache.latest(config), noKeys)
            : applyPatch(content, body as unknown as readonly PatchOperation[])
      }
    } catch (error) {
      if (!(error instanceof SyntaxError || error instanceof PatchError)) throw error
      throw damaged(labelOf(release), `cannot be read: ${error.message}`, error)
    }
    const found = digestOf(content as Json, start?.content)
    if (found !== release.digest) throw damaged(labelOf(release), `has the digest ${found}; want ${release.digest}`)
    return content as Json
  }
}

/** A content that was read, to go on from. */
export interface Built {
  readonly number: number
  readonly content: Json
}

/** Of something read from the disk, which may be text that has no digest. */
function digestOf(content: Json, like: Json | undefined): string {
  try {
    return digest(content, like)
  } catch (error) {
    if (error instanceof RangeError) return `none (${error.message})`
    throw error
  }
}

export function labelOf(release: { readonly config: string; readonly number: number }): string {
  return `release ${release.config} #${release.number}`
}
