/** Reads and parses each file of one load once, and takes over from the load before what has not changed. */
import type { Origin } from '../../issue.ts'
import { isObject } from '../../json.ts'
import { SourceError } from '../../source.ts'
import { formatOf, parseText, type Format, type ParsedText } from '../../text/parse.ts'
import type { Named } from './glob.ts'
import type { Met } from './met.ts'
import { readWhole } from './read.ts'
import type { Recipe } from './recipe.ts'
import { refuse } from './refuse.ts'
import { contentDigest } from './watch.ts'

export interface Parsed extends Named {
  readonly format: Format
  readonly text: ParsedText
  readonly digest: string
}

/**
 * A text that does not parse, of a file written less than this ago (milliseconds), may be half of what it will be: a
 * save in several writes with pauses between. So it is worth another try, which a mistake is not.
 */
const tornMs = 1000

export class Reader {
  readonly met = new Map<string, Parsed>()
  readonly #recipe: Recipe
  readonly #previous: ReadonlyMap<string, Parsed> | undefined
  readonly #seen: Met
  readonly #signal: AbortSignal

  constructor(recipe: Recipe, previous: ReadonlyMap<string, Parsed> | undefined, seen: Met, signal: AbortSignal) {
    this.#recipe = recipe
    this.#previous = previous
    this.#seen = seen
    this.#signal = signal
  }

  /**
   * @param at where to open it, if not at its own path
   * @throws SourceError
   */
  async parsed(named: Named, wanted: Format | undefined, at = named.path): Promise<Parsed> {
    const known = this.met.get(named.path)
    if (known) return known
    const format = wanted ?? formatOf(named.file)
    if (!format) {
      throw refuse('unreadable', { file: named.file }, 'has a name that tells no format', {
        hint: 'end it in .yaml, .json, .jsonc, .toml or .env, or give the option `format`',
      })
    }
    const parsed = await this.#parse(named, format, at)
    this.met.set(named.path, parsed)
    return parsed
  }

  async #parse({ path, file }: Named, format: Format, at: string): Promise<Parsed> {
    const { bytes, identity, ageMs } = await readWhole(at, file, this.#recipe, this.#signal).catch((error: unknown) => {
      this.#seen.failed(path, error)
      throw error
    })
    const before = this.#previous?.get(path)
    const recent = Math.abs(ageMs) < tornMs
    let text: ParsedText
    try {
      if (bytes.length === 0) throw empty({ file }, recent)
      const previous = before?.text
      text = await parseText(bytes, { file, format, limits: this.#recipe.limits, ...(previous ? { previous } : {}) })
    } catch (error) {
      this.#seen.read(path, contentDigest(bytes), identity)
      if (error instanceof SourceError && recent) throw new SourceError(error.issues, { transient: true, cause: error })
      throw error
    }
    const digest = before && before.text === text ? before.digest : contentDigest(bytes)
    this.#seen.read(path, digest, identity)
    if (before && before.text === text) return before
    const origin = text.origin([]) ?? { file }
    if (text.config === null) throw empty(origin, recent)
    if (!isObject(text.config)) {
      const found = Array.isArray(text.config) ? 'is a list' : `is a ${typeof text.config}`
      throw refuse('schema', origin, `${found} at the root; want a mapping at the root`, { transient: recent })
    }
    return { path, file, format, text, digest }
  }
}

function empty(origin: Origin, transient: boolean): SourceError {
  return refuse('empty', origin, 'is empty, which is not taken for "nothing is configured"', {
    transient,
    hint: 'write {} if that is meant',
  })
}
