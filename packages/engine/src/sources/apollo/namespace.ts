/** A namespace of Apollo: its name, and what its items say, both ways. */
import { Buffer } from 'node:buffer'
import { isObject, type Json, type JsonObject } from '../../json.ts'
import { SourceError } from '../../source.ts'
import { keyValueText } from '../../text/key-value.ts'
import type { Place } from '../watching.ts'
import { Joined } from '../watching/joined.ts'

/** Apollo itself leaves this suffix out. */
export function namespaceOf(name: string): string {
  return name.replace(/\.properties$/i, '')
}

/** With a suffix it holds a document, else items of properties. */
export function placeOf(namespace: string, flat: boolean): Place {
  if (/\.(json|yaml|yml|xml|txt)$/i.test(namespace)) return { key: namespace }
  // Names of items do not hold this character.
  return { prefix: '', separator: flat ? '\u0000' : '.' }
}

/** Nothing, where it is no object. */
export function fieldsOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {}
}

/** @returns undefined where it is no map of texts */
export function textsIn(configurations: Json | undefined): Map<string, string> | undefined {
  if (!isObject(configurations)) return undefined
  const texts = new Map<string, string>()
  for (const [key, value] of Object.entries(configurations)) {
    if (typeof value !== 'string') return undefined
    texts.set(key, value)
  }
  return texts
}

/** The document that a source reads of a release. Undefined: there is none. */
export async function contentOf(namespace: string, items: ReadonlyMap<string, string>): Promise<string | undefined> {
  const place = placeOf(namespace, false)
  if ('key' in place) return items.get('content')
  const joined = new Joined(namespace, place, undefined, 2 ** 31)
  joined.replace(new Map([...items].map(([key, value]) => [key, Buffer.from(value)])))
  try {
    return JSON.stringify((await joined.document()).config)
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    // No source reads it as a tree: items both as `a` and `a.b`, say. It is something else than any tree.
    return JSON.stringify(Object.fromEntries(items))
  }
}

/** The items that are read as this document. @returns why there are none */
export function itemsOf(namespace: string, content: string): ReadonlyMap<string, string> | string {
  if ('key' in placeOf(namespace, false)) {
    return /\.xml$/i.test(namespace) ? 'is of XML, which is not written' : new Map([['content', content]])
  }
  const config = parsed(content)
  if (!isObject(config)) return 'is one of properties; want an object with its items'
  const items = new Map<string, string>()
  const bad = collect(config, [], items)
  if (bad !== undefined)
    return `cannot have an item with ${JSON.stringify(bad)} in its name; want other than "", "." and "/"`
  return items.size === 0 ? 'would have no items; an empty document removes nothing' : items
}

/** @returns a step that an item cannot have in its name: it would be read as another. */
function collect(config: JsonObject, path: readonly string[], items: Map<string, string>): string | undefined {
  for (const [step, value] of Object.entries(config)) {
    if (/^$|[./\\]/.test(step)) return step
    const below = [...path, step]
    if (!isObject(value) || Object.keys(value).length === 0) items.set(below.join('.'), keyValueText(value))
    else {
      const bad = collect(value, below, items)
      if (bad !== undefined) return bad
    }
  }
  return undefined
}

function parsed(content: string): Json | undefined {
  try {
    return JSON.parse(content) as Json
  } catch {
    return undefined // told by the caller
  }
}
