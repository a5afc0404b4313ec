/**
 * What a JSON Schema says of one place after the other, for marks that no validator need know: by `properties`, `items`
 * and the like, through local `$ref`s and combinations. Pure, and bounded whatever the schema is.
 */
import { at, parsePointer, type Json, type JsonObject } from 'midflight'

/** All parts of a schema that speak of one place. */
export interface SchemaPlace {
  readonly root: Json
  readonly parts: readonly JsonObject[]
}

const combined = ['allOf', 'anyOf', 'oneOf'] as const
const single = ['then', 'else'] as const
/** More parts than this do not speak of one place. */
const maxParts = 100
/** More of a schema than this is not searched for a mark. */
const maxSearched = 100_000

/** @param schema `null`: none. */
export function schemaRoot(schema: Json | null): SchemaPlace {
  return expanded(schema, [schema])
}

/** The place one step further: a field, an index, or the key of an entry. */
export function schemaBelow({ root, parts }: SchemaPlace, step: string): SchemaPlace {
  const found = parts.flatMap((part): (Json | undefined)[] => {
    const properties = objectIn(part['properties'])
    const named = properties !== undefined && Object.hasOwn(properties, step) ? [properties[step]] : []
    const patterned = Object.values(objectIn(part['patternProperties']) ?? {}).slice(0, maxParts)
    const prefix = Array.isArray(part['prefixItems']) ? [(part['prefixItems'] as readonly Json[])[Number(step)]] : []
    const rest = named.length > 0 ? [] : [part['additionalProperties']]
    return [...named, ...patterned, ...prefix, ...rest, part['items']]
  })
  return expanded(root, found)
}

/** The field by which the entries of the list at this place are known. */
export function keyFieldAt({ parts }: SchemaPlace): string | undefined {
  for (const part of parts) if (typeof part['x-midflight-key'] === 'string') return part['x-midflight-key']
  return undefined
}

export function isMarked({ parts }: SchemaPlace, mark: string): boolean {
  return parts.some((part) => part[mark] === true)
}

/** Whether the mark stands at this place or anywhere below. */
export function holdsMark({ root, parts }: SchemaPlace, mark: string): boolean {
  const seen = new Set<Json>()
  const open: Json[] = [...parts]
  for (let node = open.pop(); node !== undefined && seen.size < maxSearched; node = open.pop()) {
    if (typeof node !== 'object' || node === null || seen.has(node)) continue
    seen.add(node)
    for (const below of Object.values(node)) open.push(below as Json)
    const part = objectIn(node)
    if (part === undefined) continue
    if (part[mark] === true) return true
    open.push(referred(root, part) ?? null)
  }
  return false
}

function expanded(root: Json, found: readonly (Json | undefined)[]): SchemaPlace {
  const parts = new Set<JsonObject>()
  const open = [...found]
  for (let i = 0; i < open.length && parts.size < maxParts; i++) {
    const part = objectIn(open[i])
    if (part === undefined || parts.has(part)) continue
    parts.add(part)
    for (const word of combined) {
      if (Array.isArray(part[word])) open.push(...(part[word] as readonly Json[]).slice(0, maxParts))
    }
    for (const word of single) open.push(part[word])
    open.push(referred(root, part))
  }
  return { root, parts: [...parts] }
}

function referred(root: Json, { $ref: ref }: JsonObject): Json | undefined {
  if (typeof ref !== 'string' || !(ref === '#' || ref.startsWith('#/'))) return undefined
  try {
    return at(root, parsePointer(decodeURIComponent(ref.slice(1))))
  } catch (error) {
    if (!(error instanceof URIError)) throw error
    return undefined // not a pointer; the compiler of the schema says so
  }
}

function objectIn(value: Json | undefined): JsonObject | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : undefined
}
