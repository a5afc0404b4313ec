/** Parsed contents by config and number: the ones used last, up to a size, and those of the transaction under way. */
import type { Json } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'

export interface Kept {
  readonly release: ReleaseInfo
  readonly content: Json
  /** The release whose whole text it was made from: contents with the same one share most of their structure. */
  readonly whole: number
  readonly wholeBytes: number
  /** Of the patches that lead from there to here. */
  readonly patchBytes: number
}

/** More contents of one config than this are not kept. */
const maxPerConfig = 32

export class ContentCache {
  private readonly maxBytes: number
  /** Configs, and in each its contents, in the order of their last use. */
  private readonly configs = new Map<string, Map<number, Kept>>()
  private staged: Kept[] = []

  constructor(maxBytes: number) {
    this.maxBytes = maxBytes
  }

  get(config: string, number: number): Kept | undefined {
    const staged = this.staged.findLast(({ release }) => release.number === number && release.config === config)
    if (staged !== undefined) return staged
    const contents = this.configs.get(config)
    const found = contents?.get(number)
    if (contents === undefined || found === undefined) return undefined
    moveToEnd(this.configs, config, contents)
    moveToEnd(contents, number, found)
    return found
  }

  /** The content of this config that was used last: the best one to share structure with. */
  latest(config: string): Json | undefined {
    return [...(this.configs.get(config)?.values() ?? [])].at(-1)?.content
  }

  keep(kept: Kept): void {
    const { config, number } = kept.release
    const contents = this.configs.get(config) ?? new Map<number, Kept>()
    moveToEnd(contents, number, kept)
    moveToEnd(this.configs, config, contents)
    for (const oldest of contents.keys()) {
      if (contents.size <= maxPerConfig) break
      contents.delete(oldest)
    }
    for (const [oldest, its] of this.configs) {
      if (this.sizeBytes() <= this.maxBytes) break
      // One always stays, however large: the next publish needs it.
      if (this.configs.size > 1) this.configs.delete(oldest)
      else for (const first of its.keys()) if (its.size > 1) its.delete(first)
    }
  }

  forget(config: string, number: number): void {
    this.configs.get(config)?.delete(number)
  }

  stage(kept: Kept): void {
    this.staged.push(kept)
  }

  /** Where `rollBackTo` leads back to. */
  mark(): number {
    return this.staged.length
  }

  rollBackTo(mark: number): void {
    this.staged.length = mark
  }

  commit(): void {
    const staged = this.staged
    this.staged = []
    for (const kept of staged) this.keep(kept)
  }

  /** Of the texts that the contents were made from, each counted once. */
  private sizeBytes(): number {
    let sum = 0
    for (const contents of this.configs.values()) {
      let last: number | undefined
      for (const { whole, wholeBytes } of contents.values()) {
        if (whole !== last) sum += wholeBytes
        last = whole
      }
    }
    return sum
  }
}

function moveToEnd<K, V>(map: Map<K, V>, key: K, value: V): void {
  map.delete(key)
  map.set(key, value)
}
