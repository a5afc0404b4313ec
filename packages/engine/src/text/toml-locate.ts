/**
 * Where the values of a TOML text are written. Reads a text (or the beginning of one) that the real parser has
 * accepted, so it only follows the structure and checks nothing.
 */
import type { Path } from '../json.ts'

export interface Followed {
  /** Indexes into the text, by `placeKey` of the path. */
  readonly places: ReadonlyMap<string, number>
  /** The table that the next member would go into. */
  readonly table: Path
  /** The path of `keys` inside of `table`: an array of tables on the way stands for its last one. */
  resolved(table: Path, keys: readonly string[]): Path
}

export function placeKey(path: Path): string {
  return JSON.stringify(path.map(String))
}

export function placesIn(text: string): Followed {
  return new Follower(text).follow()
}

/** The keys of a header or a member that begins at `index`: `a."b.c"` → `['a', 'b.c']`. */
export function keysAt(text: string, index: number): string[] {
  return new Follower(text, index).keys()
}

const bareEnd = /[,\]}#\n\r]/g

class Follower implements Followed {
  readonly #text: string
  readonly places = new Map<string, number>()
  table: Path = []
  /** How many tables each array of tables has so far, by its place key. */
  readonly #tables = new Map<string, number>()
  #at: number

  constructor(text: string, at = 0) {
    this.#text = text
    this.#at = at
  }

  follow(): Followed {
    this.places.set(placeKey([]), 0)
    for (this.#gap(); this.#at < this.#text.length; this.#gap()) {
      if (this.#text[this.#at] === '[') this.table = this.#header()
      else this.#member(this.table)
    }
    return this
  }

  keys(): string[] {
    const keys: string[] = []
    for (;;) {
      this.#spaces()
      keys.push(this.#key())
      this.#spaces()
      if (this.#text[this.#at] !== '.') return keys
      this.#at++
    }
  }

  resolved(table: Path, keys: readonly string[]): Path {
    const path = [...table]
    for (const [k, key] of keys.entries()) {
      path.push(key)
      const count = this.#tables.get(placeKey(path))
      if (count !== undefined && k < keys.length - 1) path.push(count - 1)
    }
    return path
  }

  #header(): Path {
    const start = this.#at
    const isArray = this.#text[start + 1] === '['
    this.#at += isArray ? 2 : 1
    const keys = this.keys()
    this.#at += isArray ? 2 : 1
    const path: (string | number)[] = []
    for (const [k, key] of keys.entries()) {
      path.push(key)
      this.#note(path, start)
      const listed = placeKey(path)
      const count = this.#tables.get(listed)
      if (isArray && k === keys.length - 1) {
        this.#tables.set(listed, (count ?? 0) + 1)
        path.push(count ?? 0)
        this.#note(path, start)
      } else if (count !== undefined) {
        path.push(count - 1)
      }
    }
    return path
  }

  #member(table: Path): void {
    const start = this.#at
    const path = [...table]
    const keys = this.keys()
    for (const [k, key] of keys.entries()) {
      path.push(key)
      if (k < keys.length - 1) this.#note(path, start)
    }
    this.#at++
    this.#spaces()
    this.#value(path)
  }

  #value(path: Path): void {
    const c = this.#text[this.#at]
    this.#note(path, this.#at)
    if (c === '"' || c === "'") this.#string(c)
    else if (c === '[') this.#list(path)
    else if (c === '{') this.#inlineTable(path)
    else {
      bareEnd.lastIndex = this.#at
      this.#at = bareEnd.exec(this.#text)?.index ?? this.#text.length
    }
  }

  #list(path: Path): void {
    this.#at++
    for (let index = 0; ;) {
      this.#gap()
      const c = this.#text[this.#at]
      if (c === undefined) return
      if (c === ',') this.#at++
      else if (c === ']') break
      else this.#value([...path, index++])
    }
    this.#at++
  }

  #inlineTable(path: Path): void {
    this.#at++
    for (;;) {
      this.#gap()
      const c = this.#text[this.#at]
      if (c === undefined) return
      if (c === ',') this.#at++
      else if (c === '}') break
      else this.#member(path)
    }
    this.#at++
  }

  #string(mark: string): string {
    const long = this.#text.startsWith(mark.repeat(3), this.#at)
    const close = long ? mark.repeat(3) : mark
    const start = this.#at
    let at = start + close.length
    while (at < this.#text.length && !this.#text.startsWith(close, at)) {
      at += mark === '"' && this.#text[at] === '\\' ? 2 : 1
    }
    at += close.length
    // A long string may end in up to two quotes of its own.
    for (let k = 0; long && k < 2 && this.#text[at] === mark; k++) at++
    this.#at = at
    return this.#text.slice(start, at)
  }

  #key(): string {
    const c = this.#text[this.#at]
    if (c === "'") return this.#string(c).slice(1, -1)
    if (c === '"') return unescaped(this.#string(c).slice(1, -1))
    const start = this.#at
    while (/[\w-]/.test(this.#text[this.#at] ?? '')) this.#at++
    // Nothing that a key is made of: go on behind it, or the reader would stand still.
    if (this.#at === start) this.#at++
    return this.#text.slice(start, this.#at)
  }

  #note(path: Path, index: number): void {
    const key = placeKey(path)
    if (!this.places.has(key)) this.places.set(key, index)
  }

  #spaces(): void {
    while (this.#text[this.#at] === ' ' || this.#text[this.#at] === '\t') this.#at++
  }

  /** White space, line ends and comments. */
  #gap(): void {
    for (;;) {
      const c = this.#text[this.#at]
      if (c === '#') {
        const end = this.#text.indexOf('\n', this.#at)
        this.#at = end < 0 ? this.#text.length : end
      } else if (c === ' ' || c === '\t' || c === '\n' || c === '\r') {
        this.#at++
      } else {
        return
      }
    }
  }
}

const named: { readonly [escape: string]: string } = {
  b: '\b',
  t: '\t',
  n: '\n',
  f: '\f',
  r: '\r',
  e: '\u001b',
  '"': '"',
  '\\': '\\',
}

function unescaped(text: string): string {
  return text.replace(/\\(?:u([\da-fA-F]{4})|U([\da-fA-F]{8})|x([\da-fA-F]{2})|(.))/g, (_, short, long, byte, name) =>
    name === undefined ? String.fromCodePoint(Number.parseInt(short ?? long ?? byte, 16)) : (named[name] ?? name),
  )
}
