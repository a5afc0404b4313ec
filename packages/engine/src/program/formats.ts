/** A value as the text of a file. What a format cannot hold is refused; nothing is bent to fit. Errors hold no values. */
import { dump } from 'js-yaml'
import { isArray, isObject, pathText, type Json, type JsonObject, type Path } from '../json.ts'
import type { FileFormat } from './options.ts'

type Write = (value: Json) => string | Promise<string>

const writers: { readonly [F in FileFormat]: Write } = {
  raw(value) {
    if (typeof value !== 'string') throw new Error(`is ${kindOf(value)}; want a text, which is written as it is`)
    return value
  },
  json: (value) => `${JSON.stringify(value, undefined, 2)}\n`,
  yaml: (value) => dump(value, { noRefs: true, lineWidth: -1 }),
  toml,
  properties(value) {
    return [...leaves(value)]
      .map(([path, leaf]) => `${propertiesKey(path.join('.'))}=${propertiesValue(leaf)}\n`)
      .join('')
  },
  env(value) {
    const lines = [...leaves(value)].map(([path, leaf]) => {
      const name = path.join('.')
      if (path.length !== 1 || !/^[A-Za-z_]\w*$/.test(name)) {
        throw new Error(`has the name ${JSON.stringify(name)}; want letters, digits and _ at one level`)
      }
      return `${name}=${envValue(name, leaf)}\n`
    })
    return lines.join('')
  },
}

/** @throws Error that goes on after the place: `is null; want …`. */
export async function formatted(value: Json, as: FileFormat): Promise<string> {
  const text = await writers[as](value)
  if (!text.isWellFormed()) throw new Error('holds a lone surrogate, which has no UTF-8; want text')
  return text
}

async function toml(value: Json): Promise<string> {
  if (!isObject(value)) throw new Error(`is ${kindOf(value)}; want an object, as TOML has nothing else at its root`)
  const found = findNull(value, [])
  if (found) throw new Error(`has null at ${pathText(found)}; TOML has no such value`)
  const { stringify } = await import('smol-toml').catch((cause: unknown) => {
    throw new Error('has to be TOML, which needs the package smol-toml: npm install smol-toml', { cause })
  })
  const text = stringify(value)
  return text.endsWith('\n') ? text : `${text}\n`
}

function findNull(value: Json, path: Path): Path | undefined {
  if (value === null) return path
  if (!isArray(value) && !isObject(value)) return undefined
  for (const [key, inner] of Object.entries(value)) {
    const found = findNull(inner as Json, [...path, key])
    if (found) return found
  }
  return undefined
}

type Leaf = string | number | boolean

function* leaves(value: Json, path: readonly string[] = []): Generator<[readonly string[], Leaf]> {
  if (isObject(value)) {
    for (const [key, inner] of Object.entries(value as JsonObject)) yield* leaves(inner, [...path, key])
  } else if (value === null || isArray(value) || path.length === 0) {
    const place = path.length === 0 ? '' : ` at ${pathText(path)}`
    throw new Error(`has ${kindOf(value)}${place}; want names with texts, numbers and booleans`)
  } else yield [path, value]
}

function propertiesKey(key: string): string {
  return ascii(key.replace(/[\\:=#! ]/g, '\\$&')).replace(/[\t\n\f\r]/g, controlEscape)
}

function propertiesValue(value: Leaf): string {
  return ascii(String(value).replaceAll('\\', '\\\\').replace(/^ /, '\\ ')).replace(/[\t\n\f\r]/g, controlEscape)
}

/** Readers before Java 9 take the file for Latin-1. */
function ascii(text: string): string {
  return text.replace(/[^\t\n\f\r -~]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function controlEscape(control: string): string {
  return { '\t': '\\t', '\n': '\\n', '\f': '\\f' }[control] ?? '\\r'
}

/** So that a shell, systemd and the readers of `.env` files all read the same. */
function envValue(name: string, value: Leaf): string {
  const text = String(value)
  if (/[\0\r\n]/.test(text)) throw new Error(`has a line break or NUL at ${name}, which an env file cannot hold`)
  if (/^[\w./:@%+,-]*$/.test(text)) return text
  if (!text.includes("'")) return `'${text}'`
  if (!/["\\$`]/.test(text)) return `"${text}"`
  throw new Error(
    `has quotes of both kinds (or \\, $, \`) at ${name}, which readers of env files take in different ways`,
  )
}

function kindOf(value: Json): string {
  return value === null ? 'null' : isArray(value) ? 'a list' : isObject(value) ? 'an object' : `a ${typeof value}`
}
