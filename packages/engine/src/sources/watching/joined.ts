/**
 * Makes one document of keys and values: either one key holds it whole, or the keys below a prefix are its tree.
 * Only values that changed are read again.
 */
import { Buffer } from 'node:buffer'
import type { Issue, Origin } from '../../issue.ts'
import { pathText, type Json, type Path } from '../../json.ts'
import { SourceError, type Document } from '../../source.ts'
import { isJsonValue } from '../../text/key-value.ts'
import { forbiddenMessage, isForbiddenIn } from '../../text/keys.ts'
import { defaultLimits, formatOf, parseText, type Format, type ParsedText } from '../../text/parse.ts'
import { checkedText } from '../../text/source-text.ts'

/** `key`: it holds the whole document. `prefix`: the keys below it, parted at `separator`, are the tree. */
export type Place = { readonly key: string } | { readonly prefix: string; readonly separator: string }

/**
 * How values are read. Default for one key: by the end of its name (`app.yaml`), else JSON where it begins with `{` or
 * `[`, else YAML. Default below a prefix, `auto`: what begins with `{`, `[` or `"` is JSON, and so are `true`, `false`,
 * `null` and JSON's numbers; everything else is text as it stands. `text`: all is text.
 */
export type ValueFormat = Format | 'text' | 'auto'

interface Value {
  readonly bytes: Uint8Array
  readonly config: Json
  readonly parsed: ParsedText | undefined
}

export class Joined {
  readonly #name: string
  readonly #place: Place
  readonly #format: ValueFormat
  readonly #maxBytes: number
  #values = new Map<string, Value>()

  constructor(name: string, place: Place, format: ValueFormat | undefined, maxBytes: number) {
    this.#name = name
    this.#place = place
    this.#format = format ?? 'auto'
    this.#maxBytes = maxBytes
  }

  /** How errors and origins name a key. */
  file(key: string): string {
    return `${this.#name} ${key}`
  }

  /** @throws SourceError with everything that is wrong, each with its key. */
  async document(entries: ReadonlyMap<string, Uint8Array>): Promise<Document> {
    this.#refuseTooLarge(entries)
    const read = [...entries] // those of the caller may change while these are read
    const values = new Map<string, Value>()
    const issues: Issue[] = []
    for (const [key, bytes] of read) {
      try {
        values.set(key, await this.#value(key, bytes))
      } catch (error) {
        if (!(error instanceof SourceError)) throw error
        issues.push(...error.issues)
      }
    }
    this.#values = values
    const document = 'key' in this.#place ? this.#whole(this.#place.key) : this.#tree(this.#place, issues)
    if (issues.length > 0) throw new SourceError(issues)
    return document
  }

  #refuseTooLarge(entries: ReadonlyMap<string, Uint8Array>) {
    let sizeBytes = 0
    for (const [key, bytes] of entries) {
      sizeBytes += bytes.length
      if (sizeBytes <= this.#maxBytes) continue
      const message =
        bytes.length > this.#maxBytes
          ? `is ${bytes.length} bytes; want at most ${this.#maxBytes}`
          : `and the keys before it are more than ${this.#maxBytes} bytes together; want less`
      throw new SourceError([{ code: 'limit', path: [], message, origin: { file: this.file(key) } }])
    }
  }

  async #value(key: string, bytes: Uint8Array): Promise<Value> {
    const before = this.#values.get(key)
    if (before && (before.bytes === bytes || Buffer.compare(before.bytes, bytes) === 0)) return before
    const file = this.file(key)
    const format = this.#formatOf(key, file, bytes)
    if (format === 'text') {
      return { bytes, config: checkedText(file, bytes, this.#maxBytes).text(), parsed: undefined }
    }
    const limits = { ...defaultLimits, maxBytes: this.#maxBytes }
    const parsed = await parseText(bytes, { file, format, limits, ...(before?.parsed && { previous: before.parsed }) })
    return { bytes, config: parsed.config, parsed }
  }

  #formatOf(key: string, file: string, bytes: Uint8Array): Format | 'text' {
    if (this.#format !== 'auto') return this.#format
    const whole = 'key' in this.#place
    const named = whole ? formatOf(key) : undefined
    if (named) return named
    const text = checkedText(file, bytes, this.#maxBytes).text()
    if (whole) return /^\s*[{[]/.test(text) ? 'json' : 'yaml'
    return isJsonValue(text) ? 'json' : 'text'
  }

  #whole(key: string): Document {
    const value = this.#values.get(key)
    // No key at all: someone removed it, and was seen to.
    return value?.parsed
      ? { config: value.config, origin: (path) => value.parsed?.origin(path) }
      : { config: value?.config ?? {} }
  }

  #tree({ prefix, separator }: { prefix: string; separator: string }, issues: Issue[]): Document {
    const root: Record<string, Json> = {}
    /** By the path of its value. */
    const keys = new Map<string, string>()
    // Sorted, so that a key comes before those below it, and so that the same keys always make the same document.
    for (const key of [...this.#values.keys()].sort()) {
      const { bytes, config } = this.#values.get(key) as Value
      // What Consul's and etcd's browsers write for a folder.
      if (bytes.length === 0 && key.endsWith(separator)) continue
      const path = key.slice(prefix.length).split(separator)
      const wrong = place(root, path, config, keys)
      if (wrong) issues.push({ ...wrong, path, origin: { file: this.file(key) } })
      else keys.set(pathText(path), key)
    }
    return { config: root, origin: (path) => this.#origin(keys, path) }
  }

  #origin(keys: ReadonlyMap<string, string>, path: Path): Origin | undefined {
    for (let length = path.length; length > 0; length--) {
      const key = keys.get(pathText(path.slice(0, length)))
      if (key === undefined) continue
      return this.#values.get(key)?.parsed?.origin(path.slice(length)) ?? { file: this.file(key) }
    }
    return undefined
  }
}

/** @returns what is wrong with it */
function place(
  root: Record<string, Json>,
  path: readonly string[],
  value: Json,
  keys: ReadonlyMap<string, string>,
): Pick<Issue, 'code' | 'message'> | undefined {
  let object = root
  for (const [i, step] of path.entries()) {
    if (step === '') return { code: 'syntax', message: 'has a step without a name; want one between separators' }
    if (isForbiddenIn(path[i - 1], step)) return { code: 'forbidden-key', message: forbiddenMessage(step) }
    const there = Object.hasOwn(object, step) ? object[step] : undefined
    if (i === path.length - 1) {
      object[step] = value
      return undefined
    }
    const above = keys.get(pathText(path.slice(0, i + 1)))
    if (above !== undefined) return { code: 'duplicate-key', message: `goes below the key ${above}, which has a value` }
    object = (there ?? (object[step] = {})) as Record<string, Json>
  }
  return undefined
}
