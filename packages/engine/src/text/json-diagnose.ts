/**
 * Reads a JSON text slowly and exactly, to say what is wrong with it and where. `JSON.parse` and `json-check.ts` only
 * notice that something is; this finds the place. Reports the first thing that it meets.
 */
import type { Issue, IssueCode, Origin } from '../issue.ts'
import type { Path } from '../json.ts'
import { forbiddenMessage, isForbiddenIn } from './keys.ts'
import { exactNumber, precisionMessage } from './number.ts'
import type { SourceText } from './source-text.ts'

/** Carries the issue out of the recursion. Never leaves this file. */
class Found extends Error {
  readonly issue: Issue
  constructor(issue: Issue) {
    super(issue.message)
    this.issue = issue
  }
}

/** The first thing that is wrong with `text`, which is `source`'s text (with comments blanked), or `undefined`. */
export function diagnoseJson(source: SourceText, text: string, maxDepth: number): Issue | undefined {
  try {
    new Reader(source, text, maxDepth).readText()
    return undefined
  } catch (error) {
    if (error instanceof Found) return error.issue
    throw error
  }
}

const escapes = '"\\/bfnrt'
const wordPattern = /[-+.\w$]{1,40}/y

class Reader {
  readonly #source: SourceText
  readonly #text: string
  readonly #maxDepth: number
  readonly #path: (string | number)[] = []
  #at = 0

  constructor(source: SourceText, text: string, maxDepth: number) {
    this.#source = source
    this.#text = text
    this.#maxDepth = maxDepth
  }

  readText(): void {
    this.#space()
    this.#value(0)
    this.#space()
    if (this.#at < this.#text.length) this.#fail(`found ${this.#here()} after the end; want nothing more`)
  }

  #value(depth: number): void {
    const c = this.#text[this.#at]
    if (c === '{') this.#object(depth + 1)
    else if (c === '[') this.#array(depth + 1)
    else if (c === '"') this.#string()
    else if (c !== undefined && (c === '-' || (c >= '0' && c <= '9'))) this.#number()
    else this.#word()
  }

  #object(depth: number): void {
    this.#deeper(depth)
    const seen = new Map<string, number>()
    this.#at++
    this.#space()
    if (this.#text[this.#at] === '}') {
      this.#at++
      return
    }
    for (;;) {
      this.#member(seen, depth)
      this.#space()
      const c = this.#text[this.#at]
      if (c === '}') break
      if (c !== ',') this.#fail(`found ${this.#here()}; want "," or "}"`)
      this.#at++
      this.#space()
      if (this.#text[this.#at] === '}') this.#fail('found "}" after a comma; want a further "key": value, or no comma')
    }
    this.#at++
  }

  #member(seen: Map<string, number>, depth: number): void {
    if (this.#text[this.#at] !== '"') this.#fail(`found ${this.#here()}; want a key in double quotes`)
    const start = this.#at
    const key = this.#string()
    const parent = this.#path.at(-1)
    this.#path.push(key)
    if (isForbiddenIn(parent, key)) {
      this.#fail(forbiddenMessage(key), 'forbidden-key', start)
    }
    const first = seen.get(key)
    if (first !== undefined) {
      const related = [this.#origin(first)]
      this.#fail('has the same key twice; want it once', 'duplicate-key', start, related)
    }
    seen.set(key, start)
    this.#space()
    if (this.#text[this.#at] !== ':') this.#fail(`found ${this.#here()}; want ":" after the key`)
    this.#at++
    this.#space()
    this.#value(depth)
    this.#path.pop()
  }

  #array(depth: number): void {
    this.#deeper(depth)
    this.#at++
    this.#space()
    if (this.#text[this.#at] === ']') {
      this.#at++
      return
    }
    for (let index = 0; ; index++) {
      this.#path.push(index)
      this.#value(depth)
      this.#path.pop()
      this.#space()
      const c = this.#text[this.#at]
      if (c === ']') break
      if (c !== ',') this.#fail(`found ${this.#here()}; want "," or "]"`)
      this.#at++
      this.#space()
      if (this.#text[this.#at] === ']') this.#fail('found "]" after a comma; want a further value, or no comma')
    }
    this.#at++
  }

  #deeper(depth: number): void {
    if (depth > this.#maxDepth) {
      this.#path.length = Math.min(this.#path.length, 8)
      this.#fail(`is nested more than ${this.#maxDepth} deep; want at most ${this.#maxDepth}`, 'limit')
    }
  }

  #string(): string {
    const start = this.#at++
    for (;;) {
      const c = this.#text.charCodeAt(this.#at)
      if (Number.isNaN(c)) this.#fail('the string is not closed; want a closing double quote', 'syntax', start)
      if (c === 34) break
      if (c === 0) this.#fail('found a NUL byte; want text', 'encoding')
      if (c < 32) this.#fail(`found ${this.#here()} inside of a string; want it escaped`)
      if (c === 92) this.#escape()
      else this.#at++
    }
    this.#at++
    return JSON.parse(this.#text.slice(start, this.#at)) as string
  }

  #escape(): void {
    const start = this.#at
    const kind = this.#text[start + 1]
    if (kind !== undefined && kind !== '' && escapes.includes(kind)) {
      this.#at += 2
      return
    }
    const unit = this.#unit(start)
    if (unit === undefined) this.#fail(`found ${shownText(this.#text.slice(start, start + 6))}; want a JSON escape`)
    this.#at += 6
    if (unit < 0xd800 || unit > 0xdfff) return
    const low = unit < 0xdc00 ? this.#unit(this.#at) : undefined
    if (low === undefined || low < 0xdc00 || low > 0xdfff) {
      const found = this.#text.slice(start, start + 6)
      this.#fail(`found ${found}, half of a surrogate pair; want both halves or none`, 'encoding', start)
    }
    this.#at += 6
  }

  /** The code unit of the `\uXXXX` at `at`. */
  #unit(at: number): number | undefined {
    const match = /^\\u([\da-fA-F]{4})$/.exec(this.#text.slice(at, at + 6))
    return match?.[1] === undefined ? undefined : Number.parseInt(match[1], 16)
  }

  #number(): void {
    const start = this.#at
    const pattern = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?/y
    pattern.lastIndex = start
    const literal = pattern.exec(this.#text)?.[0] ?? ''
    const next = this.#text[start + literal.length]
    if (literal === '' || (next !== undefined && /[\w.+-]/.test(next))) {
      this.#fail(`found ${this.#here()}, which is not a JSON number; want digits such as 12, -1.5 or 2e3`)
    }
    if (exactNumber(literal) === undefined) this.#fail(precisionMessage(literal), 'number-precision')
    this.#at += literal.length
  }

  #word(): void {
    for (const word of ['true', 'false', 'null']) {
      const next = this.#text[this.#at + word.length]
      if (this.#text.startsWith(word, this.#at) && (next === undefined || !/\w/.test(next))) {
        this.#at += word.length
        return
      }
    }
    this.#fail(`found ${this.#here()}; want a value`)
  }

  #space(): void {
    for (;;) {
      const c = this.#text.charCodeAt(this.#at)
      if (c !== 32 && c !== 10 && c !== 13 && c !== 9) return
      this.#at++
    }
  }

  /** What stands at the current place, for a message. */
  #here(): string {
    if (this.#at >= this.#text.length) return 'the end of the text'
    if (this.#text.charCodeAt(this.#at) === 0) this.#fail('found a NUL byte; want text', 'encoding')
    wordPattern.lastIndex = this.#at
    const word = wordPattern.exec(this.#text)?.[0]
    return shownText(word ?? String.fromCodePoint(this.#text.codePointAt(this.#at) ?? 0))
  }

  #origin(index: number): Origin {
    return this.#source.origin(this.#source.offsetAt(this.#text, index))
  }

  #fail(message: string, code: IssueCode = 'syntax', index = this.#at, related?: readonly Origin[]): never {
    const path: Path = [...this.#path]
    throw new Found({ code, path, message, origin: this.#origin(index), ...(related && { related }) })
  }
}

function shownText(text: string): string {
  return JSON.stringify(text)
}
