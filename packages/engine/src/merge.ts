/**
 * Many documents made one: later sources win, objects are merged key by key, everything else is replaced whole.
 * Reading documents is left to the sources, checking the result to the schema.
 */
import type { Origin } from './issue.ts'
import { at, isObject, type Json, type JsonObject, type Path } from './json.ts'
import type { Document, NamedFile, SecretValue } from './source.ts'

export interface Merged {
  readonly config: Json
  /** The origin of the value at `path`, or of the nearest thing above it that has one. */
  origin(path: Path): Origin | undefined
  readonly secrets: readonly SecretValue[]
  readonly named: readonly NamedFile[]
}

export function merge(documents: readonly Document[]): Merged {
  const [only] = documents
  const config =
    documents.length === 1 && only ? only.config : documents.map((d) => d.config).reduce((base, top) => over(base, top))
  return {
    config,
    origin: (path) => {
      for (let length = path.length; length >= 0; length--) {
        const part = path.slice(0, length)
        const found = documents.findLast((d) => at(d.config, part) !== undefined)?.origin?.(part)
        if (found) return found
      }
      return undefined
    },
    secrets: documents.flatMap((d) => (d.secrets ?? []).filter((s) => at(d.config, s.path) === at(config, s.path))),
    named: documents.flatMap((d) => (d.named ?? []).filter((n) => at(d.config, n.path) === at(config, n.path))),
  }
}

/** Deeper than any limit that `check` takes: a cycle, or something that it refuses for its depth. */
const tooDeep = 1000

function over(base: Json, top: Json, depth = 0): Json {
  if (!isPlain(base) || !isPlain(top) || depth > tooDeep) return top
  const out: Record<string, Json> = { ...base }
  for (const [key, value] of Object.entries(top)) {
    const below = Object.hasOwn(base, key) ? base[key] : undefined
    // defineProperty semantics: a key named __proto__ must stay visible to the check that refuses it.
    const merged = below === undefined ? value : over(below, value, depth + 1)
    Object.defineProperty(out, key, { value: merged, enumerable: true, configurable: true, writable: true })
  }
  return out
}

/** A Map or an instance of a class is left as it is, for the check to refuse: merged, it would look like `{}`. */
function isPlain(value: Json): value is JsonObject {
  if (!isObject(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
