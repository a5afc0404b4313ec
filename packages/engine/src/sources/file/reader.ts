/** Reads and parses each file of one load once, and takes over from the load before what has not changed. */
import { stat } from 'node:fs/promises'
import type { Origin } from '../../issue.ts'
import { isObject } from '../../json.ts'
import { SourceError } from '../../source.ts'
import { formatOf, parseText, type Format, type ParsedText } from '../../text/parse.ts'
import type { Named } from './glob.ts'
import { contentOf, type Content, type Met } from './met.ts'
import { readWhole, worthKeepingBytes } from './read.ts'
import type { Recipe } from './recipe.ts'
import { refuse } from './refuse.ts'
import { identityOf } from './watch.ts'

export interface Parsed extends Named {
  readonly format: Format
  readonly text: ParsedText
  readonly content: Content
  readonly bytes: Uint8Array
  /** What was read before `bytes` and is no longer compared with: its memory serves for what is read next. */
  readonly outdated: Uint8Array | undefined
  /** The file's identity when it was read, and when (milliseconds of this process) that was first met. */
  readonly identity: string
  readonly firstMetMs: number
  /** It was read again so long after that nothing could be written since without changing the identity. */
  readonly believed: boolean
}

/**
 * A text that does not parse, of a file written less than this ago (milliseconds), may be half of what it will be: a
 * save in several writes with pauses between. So it is worth another try, which a mistake is not.
 */
const tornMs = 1000

/**
 * File systems stamp times in ticks (4 ms on most, 2 s on FAT): a second write within the tick leaves the identity as it
 * was. So a file whose identity is known is read again until this long (milliseconds) after it was first met.
 */
const tickMs = 2100

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
    const before = this.#before(path, file, format)
    if (before?.believed && (await this.#isStill(before, at))) return before
    // Half a JSON text never parses, so it is read at once; if it does not parse it is left alone for a moment first,
    // like every text of which a half may be whole.
    const closed = format === 'json' || format === 'jsonc'
    if (!closed) return this.#read({ path, file }, format, at, before, this.#recipe.settleMs)
    try {
      return await this.#read({ path, file }, format, at, before, 0)
    } catch (error) {
      if (!(error instanceof SourceError && error.transient)) throw error
      return this.#read({ path, file }, format, at, before, this.#recipe.settleMs)
    }
  }

  async #read({ path, file }: Named, format: Format, at: string, before: Parsed | undefined, settleMs: number) {
    const { maxBytes, limits } = this.#recipe
    const room = before?.outdated && takenOver(before.outdated)
    const options = { maxBytes, settleMs, ...(room && { room }) }
    const { bytes, identity, ageMs } = await readWhole(at, file, options, this.#signal).catch((error: unknown) => {
      this.#seen.failed(path, error)
      throw error
    })
    const recent = Math.abs(ageMs) < tornMs
    let text: ParsedText
    try {
      if (bytes.length === 0) throw empty({ file }, recent)
      text = await parseText(bytes, { file, format, limits, ...(before && { previous: before.text }) })
    } catch (error) {
      this.#seen.read(path, contentOf(bytes), identity)
      if (error instanceof SourceError && recent) throw new SourceError(error.issues, { transient: true, cause: error })
      throw error
    }
    const isSame = before?.text === text
    const content = isSame ? before.content : contentOf(bytes, before !== undefined)
    this.#seen.read(path, content, identity)
    checkRoot(text, file, recent)
    const nowMs = performance.now()
    const firstMetMs = before && before.identity === identity ? before.firstMetMs : nowMs
    const believed = nowMs - firstMetMs >= tickMs
    const kept = isSame ? before.bytes : bytes
    const outdated =
      format === 'json' && kept.length >= worthKeepingBytes ? (isSame ? bytes : before?.bytes) : undefined
    return { path, file, format, text, content, bytes: kept, outdated, identity, firstMetMs, believed }
  }

  /** The same file in the load before. */
  #before(path: string, file: string, format: Format): Parsed | undefined {
    const before = this.#previous?.get(path)
    return before && before.format === format && before.file === file ? before : undefined
  }

  async #isStill(before: Parsed, at: string): Promise<boolean> {
    const now = await stat(at, { bigint: true }).catch(() => undefined)
    if (!now || identityOf(now) !== before.identity) return false
    this.#seen.read(before.path, before.content, before.identity)
    return true
  }
}

/** The memory of `bytes`. Whoever still looks at it (the document before the last one, say) finds it empty from now on. */
function takenOver({ buffer }: Uint8Array): ArrayBuffer | undefined {
  if (!(buffer instanceof ArrayBuffer) || buffer.byteLength < worthKeepingBytes) return undefined
  return structuredClone(buffer, { transfer: [buffer] })
}

function checkRoot(text: ParsedText, file: string, recent: boolean): void {
  if (isObject(text.config)) return
  const origin = text.origin([]) ?? { file }
  if (text.config === null) throw empty(origin, recent)
  const found = Array.isArray(text.config) ? 'is a list' : `is a ${typeof text.config}`
  throw refuse('schema', origin, `${found} at the root; want a mapping at the root`, { transient: recent })
}

function empty(origin: Origin, transient: boolean): SourceError {
  return refuse('empty', origin, 'is empty, which is not taken for "nothing is configured"', {
    transient,
    hint: 'write {} if that is meant',
  })
}
