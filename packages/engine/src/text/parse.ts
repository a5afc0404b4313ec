/**
 * The door to the text parsers: which format a file has, and from its bytes to a plain JSON tree or a SourceError that
 * says where. Files, layers, includes and references (`${VAR}`) are left to `sources/file`.
 */
import { Buffer } from 'node:buffer'
import type { Origin } from '../issue.ts'
import type { Json, Path } from '../json.ts'
import { parseEnvText } from './env.ts'
import { parseChanged } from './json-incremental.ts'
import { locate } from './json-locate.ts'
import { parseJson, type JsonText } from './json.ts'
import { blankComments } from './jsonc.ts'
import type { TextLimits } from './limits.ts'
import type { ParsedText } from './parsed.ts'
import { checkedText, SourceText } from './source-text.ts'
import { parseToml } from './toml.ts'
import { parseYaml } from './yaml.ts'

export { defaultLimits, type TextLimits } from './limits.ts'
export type { ParsedText } from './parsed.ts'
export { plainScalar } from './yaml-scalar.ts'

export type Format = 'json' | 'jsonc' | 'yaml' | 'toml' | 'env'

export interface ParseOptions {
  /** The file as the user named it; errors and origins show it. */
  readonly file: string
  readonly format: Format
  readonly limits: TextLimits
  /**
   * What the same file was before. Used to read only what changed: where nothing did, `previous` itself is returned,
   * and unchanged entries of large JSON containers are the same objects as in it.
   */
  readonly previous?: ParsedText
}

const extensions: { readonly [extension: string]: Format } = {
  json: 'json',
  jsonc: 'jsonc',
  yaml: 'yaml',
  yml: 'yaml',
  toml: 'toml',
  env: 'env',
}

/** The format by the name: `a.yml`, `.env`, `.env.local`, `prod.env`. `undefined` where the name does not say. */
export function formatOf(fileName: string): Format | undefined {
  const name = (fileName.split(/[/\\]/).at(-1) ?? '').toLowerCase()
  if (name === '.env' || name.startsWith('.env.')) return 'env'
  const dot = name.lastIndexOf('.')
  return dot < 0 ? undefined : extensions[name.slice(dot + 1)]
}

/** What a text was read from, so that the next one can be compared with it. */
interface Kept {
  readonly file: string
  readonly format: Format
  readonly limits: TextLimits
  readonly bytes: Uint8Array
  readonly json: JsonText | undefined
}

const kept = new WeakMap<ParsedText, Kept>()

/**
 * Reads one text. Keeps `bytes` for the next comparison and for origins: do not write to them afterwards.
 * @throws SourceError with the place (`file:line:column`), what was found and what was wanted.
 */
export async function parseText(bytes: Uint8Array, options: ParseOptions): Promise<ParsedText> {
  const { file, format, limits, previous } = options
  const before = previous && kept.get(previous)
  const comparable =
    before !== undefined && before.file === file && before.format === format && same(before.limits, limits)
  if (previous && comparable && Buffer.compare(before.bytes, bytes) === 0) return previous
  const isJson = format === 'json' || format === 'jsonc'
  const { parsed, json } = isJson
    ? readJson(bytes, options, comparable ? before.json : undefined)
    : { parsed: await readOther(checkedText(file, bytes, limits.maxBytes), format, limits), json: undefined }
  kept.set(parsed, { file, format, limits, bytes, json })
  return parsed
}

function readOther(source: SourceText, format: Format, limits: TextLimits): ParsedText | Promise<ParsedText> {
  if (format === 'yaml') return parseYaml(source, limits)
  if (format === 'toml') return parseToml(source, limits)
  return parseEnvText(source)
}

function readJson(bytes: Uint8Array, options: ParseOptions, before: JsonText | undefined): JsonReading {
  const { file, format, limits } = options
  if (format === 'json' && before?.root !== undefined && bytes.length <= limits.maxBytes) {
    // What did not change was found to be UTF-8 before, and what changed is looked at as it is read.
    const unchecked = new SourceText(file, bytes)
    const json = parseChanged(before, unchecked.bytes, limits.maxDepth)
    if (json) return { parsed: new ParsedJson(unchecked, json), json }
  }
  const source = checkedText(file, bytes, limits.maxBytes)
  const blanked = format === 'jsonc' ? blankComments(source) : source.bytes
  const changed = format === 'jsonc' && before ? parseChanged(before, blanked, limits.maxDepth) : undefined
  const json = changed ?? parseJson(source, blanked, limits.maxDepth)
  return { parsed: new ParsedJson(source, json), json }
}

interface JsonReading {
  readonly parsed: ParsedText
  readonly json: JsonText
}

class ParsedJson implements ParsedText {
  readonly config: Json
  readonly mayHaveReferences: boolean
  readonly #source: SourceText
  readonly #json: JsonText

  constructor(source: SourceText, json: JsonText) {
    this.config = json.config
    this.mayHaveReferences = json.mayHaveReferences
    this.#source = source
    this.#json = json
  }

  origin(path: Path): Origin | undefined {
    if (this.#source.bytes.length === 0) return undefined // its memory was given away
    const offset = locate(this.#json.bytes, path, this.#json.root)
    return offset < 0 ? undefined : this.#source.origin(offset)
  }

  isPlain(): boolean {
    return false
  }
}

function same(a: TextLimits, b: TextLimits): boolean {
  return a === b || (Object.keys(a) as (keyof TextLimits)[]).every((key) => a[key] === b[key])
}
