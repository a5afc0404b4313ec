/**
 * `.env` files: names and strings. Reads what `util.parseEnv` of Node reads, to the same values (but `A= ` is empty and
 * does not take the next line, as it does there), and refuses what that would pass over in silence: lines without `=`, quotes that are not closed, text after a closing quote, a name that
 * is there twice, and a `#` in the middle of an unquoted value, which would cut it off.
 */
import type { Origin } from '../issue.ts'
import { SourceError } from '../source.ts'
import { isForbiddenKey } from '../json.ts'
import { forbiddenMessage } from './keys.ts'
import type { ParsedText } from './parsed.ts'
import { refuseNul, type SourceText } from './source-text.ts'

interface Variable {
  readonly value: string
  readonly nameAt: number
  readonly valueAt: number
}

const namePattern = /^[A-Za-z_][\w.-]*$/
const quotes = '"\'`'

export function parseEnvText(source: SourceText): ParsedText {
  refuseNul(source)
  const text = source.text()
  const variables = new Reader(source, text).read()
  if (variables.size === 0) throw source.emptiness()
  const config: { [name: string]: string } = {}
  for (const [name, { value }] of variables) config[name] = value
  return {
    config,
    origin: (path): Origin | undefined => {
      if (path.length === 0) return source.origin(0)
      const variable = path.length === 1 ? variables.get(String(path[0])) : undefined
      return variable && source.origin(source.offsetAt(text, variable.valueAt))
    },
    isPlain: () => false,
    mayHaveReferences: text.includes('$'),
  }
}

class Reader {
  readonly #source: SourceText
  readonly #text: string
  readonly #variables = new Map<string, Variable>()
  #at = 0

  constructor(source: SourceText, text: string) {
    this.#source = source
    this.#text = text
  }

  read(): Map<string, Variable> {
    for (;;) {
      while (/\s/.test(this.#text[this.#at] ?? '')) this.#at++
      if (this.#at >= this.#text.length) return this.#variables
      if (this.#text[this.#at] === '#') this.#at = this.#lineEnd()
      else this.#variable()
    }
  }

  #variable(): void {
    const end = this.#lineEnd()
    const exported = /^export[ \t]+/.exec(this.#text.slice(this.#at, end))?.[0] ?? ''
    const nameAt = this.#at + exported.length
    const equals = this.#text.indexOf('=', nameAt)
    if (equals < 0 || equals >= end) {
      this.#fail(nameAt, `found ${shownLine(this.#text.slice(nameAt, end))} without "="; want NAME=value`)
    }
    const name = this.#text.slice(nameAt, equals).trim()
    if (!namePattern.test(name)) {
      this.#fail(nameAt, `found the name ${JSON.stringify(name)}; want letters, digits, "_", "." and "-"`)
    }
    this.#checkName(name, nameAt)
    let valueAt = equals + 1
    while (this.#text[valueAt] === ' ' || this.#text[valueAt] === '\t') valueAt++
    this.#at = valueAt
    const quote = this.#text[valueAt] ?? ''
    const value = quote !== '' && quotes.includes(quote) ? this.#quoted(quote, name) : this.#bare(name)
    this.#variables.set(name, { value, nameAt, valueAt })
  }

  #checkName(name: string, at: number): void {
    if (isForbiddenKey(name)) {
      throw this.#source.refusal('forbidden-key', this.#source.offsetAt(this.#text, at), forbiddenMessage(name), {
        path: [name],
      })
    }
    const first = this.#variables.get(name)
    if (first === undefined) return
    const related = [this.#source.origin(this.#source.offsetAt(this.#text, first.nameAt))]
    throw this.#source.refusal('duplicate-key', this.#source.offsetAt(this.#text, at), 'is there twice; want it once', {
      path: [name],
      also: { related },
    })
  }

  /** May go over several lines. In double quotes, `\n` is a line end. */
  #quoted(quote: string, name: string): string {
    const start = this.#at
    const close = this.#text.indexOf(quote, start + 1)
    if (close < 0) this.#fail(start, `opens a quote ${quote} that is not closed; want a closing ${quote}`, name)
    const raw = this.#text.slice(start + 1, close)
    this.#at = close + 1
    const rest = this.#text.slice(this.#at, this.#lineEnd())
    if (!/^\s*(?:#.*)?$/.test(rest)) {
      this.#fail(this.#at, `found text after the closing ${quote}; want the end of the line`, name)
    }
    this.#at = this.#lineEnd()
    return quote === '"' ? raw.replaceAll('\\n', '\n') : raw
  }

  #bare(name: string): string {
    const start = this.#at
    this.#at = this.#lineEnd()
    const line = this.#text.slice(start, this.#at)
    const hash = line.indexOf('#')
    if (hash > 0 && !/\s/.test(line[hash - 1] ?? '')) {
      const hint = { also: { hint: 'put the value in quotes, or a space before the comment' } }
      const message = 'has a "#" in an unquoted value, where a comment would begin'
      throw this.#source.refusal('syntax', this.#source.offsetAt(this.#text, start + hash), message, {
        path: [name],
        ...hint,
      })
    }
    return (hash < 0 ? line : line.slice(0, hash)).trim()
  }

  #lineEnd(): number {
    const end = this.#text.indexOf('\n', this.#at)
    return end < 0 ? this.#text.length : end
  }

  #fail(index: number, message: string, name?: string): never {
    const path = name === undefined ? [] : [name]
    const origin = this.#source.origin(this.#source.offsetAt(this.#text, index))
    throw new SourceError([{ code: 'syntax', path, message, origin }])
  }
}

/** Only the beginning of a line that is not understood: it may hold a secret. */
function shownLine(line: string): string {
  const word = /^\S{0,16}/.exec(line)?.[0] ?? ''
  return JSON.stringify(word.length < line.trimEnd().length ? `${word}…` : word)
}
