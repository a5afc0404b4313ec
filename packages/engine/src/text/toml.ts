/**
 * TOML, by smol-toml, which is loaded when the first TOML text is read. Places come from `toml-locate.ts`.
 *
 * Dates and times become strings, as they are written. Whole numbers that JavaScript cannot hold, `inf` and `nan` are
 * refused: JSON has no word for them.
 */
import type { Issue, Origin } from '../issue.ts'
import type { Json, JsonObject, Path } from '../json.ts'
import { SourceError } from '../source.ts'
import { forbiddenMessage, isForbiddenIn } from './keys.ts'
import type { TextLimits } from './limits.ts'
import { precisionMessage, survives } from './number.ts'
import type { ParsedText } from './parsed.ts'
import { refuseNul, type SourceText } from './source-text.ts'
import { keysAt, placeKey, placesIn, type Followed } from './toml-locate.ts'

type SmolToml = typeof import('smol-toml')

export async function parseToml(source: SourceText, limits: TextLimits): Promise<ParsedText> {
  refuseNul(source)
  const toml = await smolToml(source.file)
  const text = source.text()
  let table: unknown
  try {
    table = toml.parse(text, { integersAsBigInt: 'asNeeded', maxDepth: limits.maxDepth, unsafeKeyBehaviour: 'keep' })
  } catch (error) {
    if (error instanceof toml.TomlError) throw syntaxError(source, text, error, limits.maxDepth)
    throw error
  }
  return new Reading(source, text, limits.maxDepth).read(table as object)
}

async function smolToml(file: string): Promise<SmolToml> {
  try {
    return await import('smol-toml')
  } catch (cause) {
    const message = 'is TOML, and the package that reads TOML is not installed'
    const issue: Issue = { code: 'unreadable', path: [], message, origin: { file }, hint: 'npm install smol-toml' }
    throw new SourceError([issue], { cause })
  }
}

class Reading {
  readonly #source: SourceText
  readonly #text: string
  readonly #maxDepth: number
  #followed: Followed | undefined

  constructor(source: SourceText, text: string, maxDepth: number) {
    this.#source = source
    this.#text = text
    this.#maxDepth = maxDepth
  }

  read(table: object): ParsedText {
    if (Object.keys(table).length === 0) throw this.#source.emptiness()
    const config = this.#plain(table, [])
    return {
      config,
      origin: (path) => {
        const offset = this.#offset(path)
        return offset === undefined ? undefined : this.#source.origin(offset)
      },
      isPlain: () => false,
      mayHaveReferences: this.#text.includes('$') || /\\(?:x24|u0024|U00000024)/.test(this.#text),
    }
  }

  /** smol-toml's tables have no prototype, its dates are objects and its large integers bigint. */
  #plain(value: unknown, path: Path): Json {
    if (path.length > this.#maxDepth) {
      this.#fail('limit', path, `is nested more than ${this.#maxDepth} deep; want at most ${this.#maxDepth}`)
    }
    if (typeof value === 'bigint') {
      if (survives(value)) return Number(value)
      this.#fail('number-precision', path, precisionMessage(String(value)))
    }
    if (typeof value === 'number' && !Number.isFinite(value)) {
      this.#fail('number-precision', path, `is ${this.#word(path)}; want a finite number, or a string`)
    }
    if (typeof value !== 'object' || value === null) return value as Json
    if (value instanceof Date) return this.#word(path)
    if (Array.isArray(value)) return value.map((element, k) => this.#plain(element, [...path, k]))
    const plain: { [key: string]: Json } = {}
    for (const key of Object.keys(value)) {
      const inside = [...path, key]
      if (isForbiddenIn(path.at(-1), key)) this.#fail('forbidden-key', inside, forbiddenMessage(key))
      plain[key] = this.#plain((value as JsonObject)[key], inside)
    }
    return plain
  }

  /** The unquoted text of the value at `path`. */
  #word(path: Path): string {
    const index = this.#index(path) ?? 0
    return (/^[^,\]}#\n\r]*/.exec(this.#text.slice(index, index + 80))?.[0] ?? '').trim()
  }

  #index(path: Path): number | undefined {
    this.#followed ??= placesIn(this.#text)
    return this.#followed.places.get(placeKey(path))
  }

  #offset(path: Path): number | undefined {
    const index = this.#index(path)
    return index === undefined ? undefined : this.#source.offsetAt(this.#text, index)
  }

  #fail(code: Issue['code'], path: Path, message: string): never {
    throw this.#source.refusal(code, this.#offset(path) ?? 0, message, { path })
  }
}

interface TomlErrorPlace {
  readonly message: string
  readonly line: number
  readonly column: number
}

function syntaxError(source: SourceText, text: string, error: TomlErrorPlace, maxDepth: number): SourceError {
  const reason = (error.message.split('\n')[0] ?? '').replace('Invalid TOML document: ', '')
  const index = indexOfLine(text, error.line) + error.column - 1
  const offset = source.offsetAt(text, index)
  if (reason.includes('excessively nested')) {
    return source.refusal('limit', offset, `is nested more than ${maxDepth} deep; want at most ${maxDepth}`)
  }
  if (reason.includes('losslessly')) return source.refusal('number-precision', offset, reason)
  if (reason.startsWith('trying to redefine')) {
    const { path, first } = definedBefore(source, text, index)
    const message = 'defines a table or value that is there already; want it once'
    return source.refusal('duplicate-key', offset, message, { path, ...(first && { also: { related: [first] } }) })
  }
  return source.refusal('syntax', offset, `is not TOML: ${reason}`)
}

function indexOfLine(text: string, line: number): number {
  let index = 0
  for (let k = 1; k < line; k++) index = text.indexOf('\n', index) + 1
  return index
}

/** What the text at `index` defines again, and where it was defined before. */
function definedBefore(source: SourceText, text: string, index: number): { path: Path; first: Origin | undefined } {
  const lineStart = text.lastIndexOf('\n', index - 1) + 1
  const isHeader = text.slice(lineStart, index).trim().startsWith('[')
  // Inside of an inline table the names before it on the line are not known here; the position says it all.
  if (!isHeader && text.slice(lineStart, index).trim() !== '') return { path: [], first: undefined }
  const before = placesIn(text.slice(0, lineStart))
  const path = before.resolved(isHeader ? [] : before.table, keysAt(text, index))
  for (let length = path.length; length > 0; length--) {
    const at = before.places.get(placeKey(path.slice(0, length)))
    if (at !== undefined) return { path, first: source.origin(source.offsetAt(text, at)) }
  }
  return { path, first: undefined }
}
