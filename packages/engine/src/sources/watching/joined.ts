/**
 * Makes one document of keys and values: either one key holds it whole, or the keys below a prefix are its tree.
 * Only values that changed are read again, and only what holds them is made anew (`tree.ts`).
 */
import { Buffer } from 'node:buffer'
import type { Issue, Origin } from '../../issue.ts'
import type { Json, Path } from '../../json.ts'
import { SourceError, type Document, type Piece } from '../../source.ts'
import { isJsonValue } from '../../text/key-value.ts'
import { forbiddenMessage, isForbiddenIn } from '../../text/keys.ts'
import { defaultLimits, formatOf, parseText, type Format, type ParsedText, type TextLimits } from '../../text/parse.ts'
import { checkedText } from '../../text/source-text.ts'
import { Tree } from './tree.ts'

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

/** More than any document may have inside each other. */
const mostSteps = 1_000

export class Joined {
  readonly #name: string
  readonly #place: Place
  /** Where it is given, or told by the name of the one key. */
  readonly #format: ValueFormat
  readonly #maxBytes: number
  readonly #limits: TextLimits
  #entries = new Map<string, Uint8Array>()
  #sizeBytes = 0
  /** Keys that changed since they were read. */
  #due = new Set<string>()
  #tree = Tree.empty<Value>()
  /** What keeps a key out of the tree. */
  readonly #wrong = new Map<string, readonly Issue[]>()
  #document: Document | undefined
  /** The document that is being made: two at once would make one of two moments. */
  #turn: Promise<unknown> = Promise.resolve()

  constructor(name: string, place: Place, format: ValueFormat | undefined, maxBytes: number) {
    this.#name = name
    this.#place = place
    const named = 'key' in place ? formatOf(place.key) : undefined
    this.#format = format === undefined || format === 'auto' ? (named ?? 'auto') : format
    this.#maxBytes = maxBytes
    this.#limits = { ...defaultLimits, maxBytes }
  }

  /** How many keys there are. */
  get size(): number {
    return this.#entries.size
  }

  /** How errors and origins name a key. */
  file(key: string): string {
    return `${this.#name} ${key}`
  }

  /** @param value undefined: the key is gone. @returns whether that is another value. */
  change(key: string, value: Uint8Array | undefined): boolean {
    const before = this.#entries.get(key)
    if (before === value || (before && value && Buffer.compare(before, value) === 0)) return false
    if (value) this.#entries.set(key, value)
    else this.#entries.delete(key)
    this.#sizeBytes += (value?.length ?? 0) - (before?.length ?? 0)
    this.#due.add(key)
    return true
  }

  /** All there is. @returns whether anything is other than before. */
  replace(entries: ReadonlyMap<string, Uint8Array>): boolean {
    let isOther = false
    for (const [key, value] of entries) isOther = this.change(key, value) || isOther
    if (this.#entries.size === entries.size) return isOther
    for (const key of this.#entries.keys()) if (!entries.has(key)) this.change(key, undefined)
    return true
  }

  /**
   * As far as nothing changed, the same object as the last, and the same objects below it.
   * @throws SourceError with everything that is wrong, each with its key.
   */
  document(): Promise<Document> {
    const document = this.#turn.then(() => this.#make())
    this.#turn = document.catch(() => undefined)
    return document
  }

  async #make(): Promise<Document> {
    this.#refuseTooLarge()
    if (this.#due.size > 0) await this.#read()
    if (this.#wrong.size > 0) throw new SourceError([...this.#wrong.values()].flat())
    return (this.#document ??= 'key' in this.#place ? this.#whole(this.#place.key) : this.#joined(this.#place))
  }

  /** Takes into the tree what changed until now; what changes meanwhile is for the next document. */
  async #read(): Promise<void> {
    const due = [...this.#due].map((key) => [key, this.#entries.get(key)] as const)
    this.#due = new Set()
    const changes: [path: readonly string[], value: Value | undefined][] = []
    const wrong = new Map<string, readonly Issue[]>()
    try {
      for (const [key, bytes] of due) {
        const path = this.#pathOf(key)
        const before = this.#tree.at(path)
        try {
          const value = bytes && (await this.#value(key, path, bytes, before))
          if (value !== before) changes.push([path, value])
        } catch (error) {
          if (!(error instanceof SourceError)) throw error
          wrong.set(key, error.issues)
          if (before) changes.push([path, undefined])
        }
      }
    } catch (error) {
      for (const [key] of due) this.#due.add(key)
      throw error
    }
    for (const [key] of due) this.#wrong.delete(key)
    for (const [key, issues] of wrong) this.#wrong.set(key, issues)
    if (changes.length === 0) return
    this.#tree = this.#tree.with(changes)
    this.#document = undefined
  }

  #pathOf(key: string): readonly string[] {
    if ('key' in this.#place) return [key]
    return key.slice(this.#place.prefix.length).split(this.#place.separator)
  }

  #refuseTooLarge(): void {
    if (this.#sizeBytes <= this.#maxBytes) return
    let sizeBytes = 0
    for (const [key, bytes] of this.#entries) {
      sizeBytes += bytes.length
      if (sizeBytes <= this.#maxBytes) continue
      const message =
        bytes.length > this.#maxBytes
          ? `is ${bytes.length} bytes; want at most ${this.#maxBytes}`
          : `and the keys before it are more than ${this.#maxBytes} bytes together; want less`
      throw new SourceError([{ code: 'limit', path: [], message, origin: { file: this.file(key) } }])
    }
  }

  /**
   * @returns undefined for what stands for nothing.
   * @throws SourceError
   */
  async #value(
    key: string,
    path: readonly string[],
    bytes: Uint8Array,
    before: Value | undefined,
  ): Promise<Value | undefined> {
    if (before && Buffer.compare(before.bytes, bytes) === 0) return before
    if ('prefix' in this.#place) {
      // What Consul's and etcd's browsers write for a folder.
      if (bytes.length === 0 && path.at(-1) === '') return undefined
      const wrong = wrongWith(path)
      if (wrong) throw new SourceError([{ ...wrong, path, origin: { file: this.file(key) } }])
    }
    const file = this.file(key)
    const format = this.#formatOf(file, bytes)
    if (format === 'text') {
      return { bytes, config: checkedText(file, bytes, this.#maxBytes).text(), parsed: undefined }
    }
    const previous = before?.parsed
    const parsed = await parseText(bytes, { file, format, limits: this.#limits, ...(previous && { previous }) })
    return { bytes, config: parsed.config, parsed }
  }

  #formatOf(file: string, bytes: Uint8Array): Format | 'text' {
    if (this.#format !== 'auto') return this.#format
    const text = checkedText(file, bytes, this.#maxBytes).text()
    if ('key' in this.#place) return /^\s*[{[]/.test(text) ? 'json' : 'yaml'
    return isJsonValue(text) ? 'json' : 'text'
  }

  #whole(key: string): Document {
    const value = this.#tree.at([key])
    // No key at all: someone removed it, and was seen to.
    return value?.parsed
      ? { config: value.config, origin: (path) => value.parsed?.origin(path) }
      : { config: value?.config ?? {} }
  }

  #joined({ prefix, separator }: { prefix: string; separator: string }): Document {
    // Of this document, whatever comes after it.
    const tree = this.#tree
    const keyAt = (path: readonly string[]) => prefix + path.join(separator)
    const config = tree.json()
    if (config === undefined) {
      const issues = tree.conflicts().map(({ path, above }): Issue => {
        const message = `goes below the key ${keyAt(above)}, which has a value`
        return { code: 'duplicate-key', path, message, origin: { file: this.file(keyAt(path)) } }
      })
      throw new SourceError(issues)
    }
    const origin = (path: Path): Origin | undefined => {
      const found = tree.nearest(path)
      if (!found) return undefined
      return found.value.parsed?.origin(path.slice(found.path.length)) ?? { file: this.file(keyAt(found.path)) }
    }
    return { config, origin, pieces: () => piecesOf(tree) }
  }
}

function* piecesOf(tree: Tree<Value>): Generator<Piece> {
  for (const { path, value } of tree.values()) yield { path, value: value.config }
}

/** @returns why no value can be there */
function wrongWith(path: readonly string[]): Pick<Issue, 'code' | 'message'> | undefined {
  if (path.length > mostSteps) {
    return { code: 'limit', message: `is ${path.length} steps deep; want at most ${mostSteps}` }
  }
  for (const [i, step] of path.entries()) {
    if (step === '') return { code: 'syntax', message: 'has a step without a name; want one between separators' }
    if (isForbiddenIn(path[i - 1], step)) return { code: 'forbidden-key', message: forbiddenMessage(step) }
  }
  return undefined
}
