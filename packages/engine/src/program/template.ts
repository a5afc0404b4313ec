/**
 * Mustache, less what a configuration file has no use for: values are data only. No functions, no partials, no
 * prototype, and a name that means nothing is an error instead of an empty place in the file.
 */
import { isArray, isObject, type Json } from '../json.ts'
import type { Escape } from './options.ts'

type Parse = (template: string) => readonly Token[]

let parser: Promise<Parse> | undefined

/** Not mustache's own rendering: that follows prototypes, calls functions and is silent about what is missing. */
async function loadParser(): Promise<Parse> {
  try {
    const { Writer } = (await import('mustache')).default
    // It keeps what it has read: there are as many templates as somebody has written down.
    const writer = new Writer()
    return (template) => writer.parse(template) as readonly Token[]
  } catch (cause) {
    parser = undefined
    throw new Error('templates need the package mustache: npm install mustache', { cause })
  }
}

/** Where a name is looked for: in the innermost section first, by its own keys only. */
interface Scope {
  readonly view: Json
  readonly parent: Scope | undefined
}

type Token = readonly [kind: string, name: string, start: number, end: number, inner?: readonly Token[]]

/** @throws Error if the template is none, names what is not there, or a value is refused by `escape`. Holds no values. */
export async function renderTemplate(template: string, view: Json, escape: Escape): Promise<string> {
  const parse = await (parser ??= loadParser())
  return renderAll(parse(template), { view, parent: undefined }, escape)
}

/** Where a template is none, from 1, and why. */
export interface TemplateFault {
  readonly line: number
  readonly column: number
  readonly message: string
}

/**
 * What can be said of a template without values.
 * @throws Error if the package that reads templates is not installed.
 */
export async function templateFault(template: string): Promise<TemplateFault | undefined> {
  const parse = await (parser ??= loadParser())
  const at = (offset: number, message: string): TemplateFault => {
    const before = template.slice(0, offset).split('\n')
    return { line: before.length, column: (before.at(-1) ?? '').length + 1, message }
  }
  try {
    const strange = strangeIn(parse(template))
    return strange && at(strange[2], unknownText(strange))
  } catch (error) {
    const { message } = error as Error
    const [, what = message, offset = '0'] = /^(.*) at (\d+)$/s.exec(message) ?? []
    return at(Number(offset), what)
  }
}

const known = new Set(['text', 'name', '&', '#', '^', '!', '='])

function strangeIn(tokens: readonly Token[]): Token | undefined {
  for (const token of tokens) {
    if (!known.has(token[0])) return token
    const inner = token[4] && strangeIn(token[4])
    if (inner) return inner
  }
  return undefined
}

function unknownText([kind, name]: Token): string {
  return `{{${kind}${name}}} is not known here; want values and sections, no partials`
}

function renderAll(tokens: readonly Token[], scope: Scope, escape: Escape): string {
  return tokens.map((token) => render(token, scope, escape)).join('')
}

function render(token: Token, scope: Scope, escape: Escape): string {
  const [kind, name, , , inner = []] = token
  switch (kind) {
    case 'text':
      return name
    case 'name':
      return escaped(name, textOf(name, lookup(scope, name)), escape)
    case '&':
      return textOf(name, lookup(scope, name))
    case '#': {
      const value = lookup(scope, name)
      if (isEmpty(value)) return ''
      const views: readonly Json[] = isArray(value) ? value : [value as Json]
      return views.map((view) => renderAll(inner, { view, parent: scope }, escape)).join('')
    }
    case '^':
      return isEmpty(lookup(scope, name)) ? renderAll(inner, scope, escape) : ''
    case '!':
    case '=':
      return ''
    default:
      throw new Error(unknownText(token))
  }
}

/** What a section is left out for. 0 and the empty text are values like others, unlike in JavaScript. */
function isEmpty(value: Json | undefined): boolean {
  return value === undefined || value === null || value === false || (isArray(value) && value.length === 0)
}

function lookup(scope: Scope, name: string): Json | undefined {
  if (name === '.') return scope.view
  const steps = name.split('.')
  for (let at: Scope | undefined = scope; at; at = at.parent) {
    let value: Json | undefined = at.view
    let step = 0
    for (; step < steps.length; step++) {
      const next: Json | undefined = field(value, steps[step]!)
      if (next === undefined) break
      value = next
    }
    if (step === steps.length) return value
  }
  return undefined
}

function field(value: Json | undefined, name: string): Json | undefined {
  if (isArray(value)) return /^\d+$/.test(name) ? value[Number(name)] : undefined
  return isObject(value) && Object.hasOwn(value, name) ? value[name] : undefined
}

function textOf(name: string, value: Json | undefined): string {
  if (typeof value === 'string') return value
  if (typeof value === 'number' || typeof value === 'boolean') return String(value)
  const found = value === undefined ? 'not there' : value === null ? 'null' : isArray(value) ? 'a list' : 'an object'
  throw new Error(`{{${name}}} is ${found}; want a text, a number or a boolean, or a section around it`)
}

const escapes: { readonly [E in Escape]: (name: string, text: string) => string } = {
  none: (_name, text) => text,
  line: (name, text) => allowed(name, text, /^[^\p{Cc}\p{Zl}\p{Zp}]*$/u, 'a text without control characters'),
  word: (name, text) => allowed(name, text, /^[\w.~:/@%+=,-]+$/, 'letters, digits and . _ ~ : / @ % + = , -'),
  json: (_name, text) => JSON.stringify(text).slice(1, -1),
}

function escaped(name: string, text: string, escape: Escape): string {
  return escapes[escape](name, text)
}

function allowed(name: string, text: string, pattern: RegExp, want: string): string {
  if (pattern.test(text)) return text
  throw new Error(`the value of {{${name}}} cannot be written there; want ${want}`)
}
