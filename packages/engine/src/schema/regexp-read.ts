/** Reads a regular expression into items, as far as `regexp-harmless.ts` needs it. Pure. */

/** Which of the characters 0 to 127 match; the last element stands for all others. */
export type Chars = Uint8Array

export interface Group {
  readonly kind: 'group'
  readonly options: readonly (readonly Item[])[]
  readonly min: number
  readonly max: number
}

export type Item =
  | { readonly kind: 'chars'; readonly chars: Chars; readonly min: number; readonly max: number }
  | Group
  /** `^`, `$`, `\b`: matches no character. */
  | { readonly kind: 'edge' }

const others = 128

/** The alternatives; `undefined` for what is not understood: back references, lookaround, unknown escapes. */
export function readRegexp(source: string): Item[][] | undefined {
  try {
    const reader = new Reader(source)
    const options = reader.options()
    return reader.atEnd() ? options : undefined
  } catch (error) {
    if (error instanceof Unclear) return undefined
    throw error
  }
}

class Unclear extends Error {}

class Reader {
  private at = 0
  private readonly text: string

  constructor(text: string) {
    this.text = text
  }

  atEnd(): boolean {
    return this.at >= this.text.length
  }

  options(): Item[][] {
    const options: Item[][] = [[]]
    while (!this.atEnd() && this.text[this.at] !== ')') {
      if (this.text[this.at] === '|') {
        this.at++
        options.push([])
      } else options.at(-1)!.push(this.item())
    }
    return options
  }

  private item(): Item {
    const char = this.text[this.at]!
    if (char === '^' || char === '$') {
      this.at++
      return { kind: 'edge' }
    }
    if (char === '\\' && /[bB]/.test(this.text[this.at + 1] ?? '')) {
      this.at += 2
      return { kind: 'edge' }
    }
    if (char === '(') {
      const options = this.group()
      return { kind: 'group', options, ...this.times() }
    }
    const chars = char === '[' ? this.set() : char === '.' ? this.any() : this.single()
    return { kind: 'chars', chars, ...this.times() }
  }

  private group(): Item[][] {
    this.at++
    const opening = /^\?(?::|<[A-Za-z_$][\w$]*>)/.exec(this.text.slice(this.at))
    if (opening) this.at += opening[0].length
    else if (this.text[this.at] === '?') throw new Unclear('lookaround')
    const options = this.options()
    if (this.text[this.at++] !== ')') throw new Unclear('open group')
    return options
  }

  private times(): { min: number; max: number } {
    const found = /^(?:([*+?])|\{(\d+)(,(\d*))?\})\??/.exec(this.text.slice(this.at))
    if (!found) return { min: 1, max: 1 }
    this.at += found[0].length
    if (found[1] !== undefined) return { min: found[1] === '+' ? 1 : 0, max: found[1] === '?' ? 1 : Infinity }
    const min = Number(found[2])
    return { min, max: found[3] === undefined ? min : found[4] === '' ? Infinity : Number(found[4]) }
  }

  private any(): Chars {
    this.at++
    return everything()
  }

  private single(): Chars {
    const found = this.character()
    return typeof found === 'number' ? range(found, found) : found
  }

  private set(): Chars {
    this.at++
    const negated = this.text[this.at] === '^'
    if (negated) this.at++
    const chars = emptySet()
    while (this.text[this.at] !== ']') {
      if (this.atEnd()) throw new Unclear('open set')
      const from = this.character()
      if (typeof from !== 'number') join(chars, from)
      else if (this.text[this.at] === '-' && this.text[this.at + 1] !== ']') {
        this.at++
        const to = this.character()
        if (typeof to !== 'number') throw new Unclear('range')
        join(chars, range(from, to))
      } else join(chars, range(from, from))
    }
    this.at++
    // What lies outside ASCII may be only partly excluded: it stays.
    return negated ? chars.map((has, i) => (i === others ? 1 : 1 - has)) : chars
  }

  /** One character, or the set that an escape stands for. */
  private character(): number | Chars {
    const code = this.text.codePointAt(this.at)!
    this.at += code > 0xffff ? 2 : 1
    if (code !== 0x5c) return code
    const escape = this.text[this.at++] ?? ''
    if (escape === '') throw new Unclear('lone backslash')
    if ('dDwWsS'.includes(escape)) return classOf(escape)
    const control = 'tnrfv'.indexOf(escape)
    if (control >= 0) return [9, 10, 13, 12, 11][control]!
    const rest = escape + this.text.slice(this.at)
    const hex = /^(?:x([0-9a-f]{2})|u([0-9a-f]{4})|u\{([0-9a-f]+)\})/i.exec(rest)
    const found = hex ?? /^[pP]\{[^}]*\}/.exec(rest)
    if (found) {
      this.at += found[0].length - 1
      return hex ? parseInt((hex[1] ?? hex[2] ?? hex[3])!, 16) : everything()
    }
    if (/[0-9A-Za-z]/.test(escape)) throw new Unclear('back reference or unknown escape')
    return escape.codePointAt(0)!
  }
}

export function emptySet(): Chars {
  return new Uint8Array(others + 1)
}

export function everything(): Chars {
  return emptySet().fill(1)
}

export function join(into: Chars, more: Chars): void {
  for (let i = 0; i <= others; i++) into[i]! |= more[i]!
}

export function overlap(a: Chars, b: Chars): boolean {
  return a.some((has, i) => has === 1 && b[i] === 1)
}

function range(from: number, to: number): Chars {
  const chars = emptySet()
  for (let code = from; code <= to && code < others; code++) chars[code] = 1
  if (to >= others) chars[others] = 1
  return chars
}

function classOf(escape: string): Chars {
  const test = new RegExp(`\\${escape}`)
  return Uint8Array.from({ length: others + 1 }, (_, code) => {
    if (code === others) return escape === 'd' || escape === 'w' ? 0 : 1
    return test.test(String.fromCharCode(code)) ? 1 : 0
  })
}
