/**
 * The little language of references in strings: `${VAR}`, `${VAR:-default}`, `${file:/path}` and `$$`. Parsing and
 * putting together only; what a name stands for is asked of a `Scope`.
 *
 * A `$` that is not followed by `{` or `$` stays, and so does `${` before a digit: `foo-${1}` is what regular
 * expressions call a group, and no variable's name starts with a digit. Defaults and paths may hold references again,
 * but no `}` of their own.
 */

/** What references stand for. Both throw UnresolvedReference, or `pending`. */
export interface Scope {
  /** `undefined`: there is no such variable. */
  variable(name: string): Value | undefined
  secret(path: string): Value
}

export interface Value {
  readonly text: string
  /** A part of it came from a secret file. */
  readonly secret: boolean
}

export type Part =
  | string
  | { readonly kind: 'variable'; readonly name: string; readonly fallback?: readonly Part[] }
  | { readonly kind: 'file'; readonly path: readonly Part[] }

/** Thrown with what is wrong, in the words of an issue: `refers to PORT, which is not defined`. */
export class UnresolvedReference extends Error {
  override readonly name = 'UnresolvedReference'
  readonly transient: boolean

  constructor(message: string, transient = false) {
    super(message)
    this.transient = transient
  }
}

/** Thrown by a scope that has not read the secret yet, and has noted that it must. */
export const pending = new Error('a secret is not read yet')

const nameStart = /[A-Za-z_][A-Za-z0-9_]*/y
const maxDepth = 16

/** @throws UnresolvedReference */
export function parseTemplate(text: string): readonly Part[] {
  if (!text.includes('$')) return [text]
  return parseParts(text, 0, 0).parts
}

/** From `start` to the end, or (`depth` above 0) to the `}` that closes the reference. */
function parseParts(text: string, start: number, depth: number): { parts: Part[]; end: number } {
  if (depth > maxDepth) throw new UnresolvedReference(`nests references more than ${maxDepth} deep`)
  const parts: Part[] = []
  let plain = ''
  let at = start
  for (;;) {
    const from = at
    while (at < text.length && text[at] !== '$' && (text[at] !== '}' || depth === 0)) at++
    plain += text.slice(from, at)
    if (text[at] !== '$') break
    if (text[at + 1] === '{' && !isDigit(text[at + 2])) {
      if (plain !== '') parts.push(plain)
      plain = ''
      const reference = parseReference(text, at, depth)
      parts.push(reference.part)
      at = reference.end
    } else {
      // `$$`, a dollar that means nothing, or a group `${1}`, whose brace closes nothing else.
      const length = text[at + 1] === '$' ? 2 : (/^\$\{\d+\}/.exec(text.slice(at, at + 24))?.[0].length ?? 1)
      plain += length === 2 ? '$' : text.slice(at, at + length)
      at += length
    }
  }
  if (plain !== '' || parts.length === 0) parts.push(plain)
  return { parts, end: at }
}

function isDigit(char: string | undefined): boolean {
  return char !== undefined && char >= '0' && char <= '9'
}

function parseReference(text: string, start: number, depth: number): { part: Part; end: number } {
  if (text.startsWith('file:', start + 2)) {
    const { parts, end } = parseParts(text, start + 7, depth + 1)
    if (text[end] !== '}') throw unclosed(text, start)
    if (end === start + 7) throw new UnresolvedReference('has ${file:} without a path')
    return { part: { kind: 'file', path: parts }, end: end + 1 }
  }
  nameStart.lastIndex = start + 2
  const name = nameStart.exec(text)?.[0]
  if (name !== undefined) {
    const after = start + 2 + name.length
    if (text[after] === '}') return { part: { kind: 'variable', name }, end: after + 1 }
    if (after >= text.length) throw unclosed(text, start)
    if (text.startsWith(':-', after)) {
      const { parts, end } = parseParts(text, after + 2, depth + 1)
      if (text[end] !== '}') throw unclosed(text, start)
      return { part: { kind: 'variable', name, fallback: parts }, end: end + 1 }
    }
  }
  throw new UnresolvedReference(
    `has ${cut(text.slice(start))}, which is not a reference; want \${NAME}, \${NAME:-default} or \${file:/path}, or $$ for a dollar`,
  )
}

function unclosed(text: string, start: number): UnresolvedReference {
  return new UnresolvedReference(`has ${cut(text.slice(start))} without its closing "}"`)
}

/** Only the beginning: what follows may be anything, also a secret written in place. */
function cut(text: string): string {
  const head = /^\$\{[A-Za-z0-9_:]{0,20}/.exec(text)?.[0] ?? '${'
  return head.length < text.length ? `${head}…` : head
}

/** @throws UnresolvedReference; `pending` */
export function fill(parts: readonly Part[], scope: Scope): Value {
  let text = ''
  let secret = false
  for (const part of parts) {
    const value = typeof part === 'string' ? { text: part, secret: false } : valueOf(part, scope)
    text += value.text
    secret ||= value.secret
  }
  return { text, secret }
}

function valueOf(part: Exclude<Part, string>, scope: Scope): Value {
  if (part.kind === 'file') return scope.secret(fill(part.path, scope).text)
  const value = scope.variable(part.name)
  // As in a shell, `:-` also stands in for a variable that is there and empty.
  if (part.fallback && (value === undefined || value.text === '')) return fill(part.fallback, scope)
  if (value === undefined) throw new UnresolvedReference(`refers to ${part.name}, which is not defined`)
  return value
}
