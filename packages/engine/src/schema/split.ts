/**
 * Takes a JSON Schema apart, so that a container can be checked without looking into those of its entries that are
 * known to be valid. Pure: it only names parts of the schema by JSON pointer; `ajv-checks.ts` compiles them.
 *
 * A container is split where the whole is exactly the conjunction of the parts:
 *   also      what sees the whole value (`allOf`, `if`, `contains`, `enum` …), in one piece
 *   shallow   the container alone (`type`, `required`, `maxItems` …), its children taken for valid
 *   children  each by its own node
 * Everything else is a unit: one check of the whole value. Units are: what holds no list or record, so that there is
 * little to save; tuples; `unevaluated…`, which depends on its surroundings; defaults inside combinators; and the
 * whole schema, where dynamic references or nested `$id`s make the meaning of a part depend on the way to it.
 */
import { isObject, type Json, type JsonObject } from '../json.ts'
import { resolveLocal } from './marks.ts'

/** A JSON pointer into `Split.schema`, in URI form (`#/properties/rules`). */
export type Pointer = string

export type Node = UnitNode | ObjectNode | ArrayNode

export interface UnitNode {
  readonly kind: 'unit'
  readonly whole: Pointer
  /** Its validation may write defaults into the value. */
  readonly fills: boolean
}

interface ContainerNode {
  /** The node of the schema as its author wrote it. */
  readonly written: JsonObject
  readonly shallow: Pointer
  readonly also: Pointer | undefined
}

export interface ObjectNode extends ContainerNode {
  readonly kind: 'object'
  readonly properties: ReadonlyMap<string, () => Node>
  readonly patterns: readonly { readonly source: string; readonly node: () => Node }[]
  readonly additional: (() => Node) | undefined
  readonly names: Pointer | undefined
  readonly defaults: readonly (readonly [key: string, value: Json])[]
}

export interface ArrayNode extends ContainerNode {
  readonly kind: 'array'
  readonly items: () => Node
}

export interface Split {
  /** The schema, with the parts that were cut out of it among its definitions. */
  readonly schema: Json
  readonly root: Node
  /** Whether validation may write defaults. */
  readonly fills: boolean
}

const annotations = new Set(
  'title description default examples $comment readOnly writeOnly deprecated $schema $defs definitions'.split(' '),
)
const objectWords = 'properties patternProperties additionalProperties propertyNames'.split(' ')
const objectShallow = 'type required minProperties maxProperties dependentRequired'.split(' ')
const arrayShallow = 'type minItems maxItems uniqueItems'.split(' ')
const wholeWords =
  'allOf anyOf oneOf not if then else dependentSchemas dependencies contains minContains maxContains enum const'.split(
    ' ',
  )
const contextWords = ['$dynamicRef', '$dynamicAnchor', '$recursiveRef', '$recursiveAnchor', '$anchor']
const partsName = 'midflight:parts'

export function split(schema: Json): Split {
  const fills = mentions(schema, schema, hasDefault)
  const whole: Node = { kind: 'unit', whole: '#', fills }
  if (!isObject(schema) || dependsOnContext(schema)) return { schema, root: whole, fills }

  const definitions = isObject(schema['definitions']) && !isObject(schema['$defs']) ? 'definitions' : '$defs'
  const parts: Record<string, Json> = {}
  const nodes = new Map<Pointer, Node>()

  const part = (words: JsonObject): Pointer => {
    const name = String(Object.keys(parts).length)
    parts[name] = words
    return `#/${definitions}/${encodeURIComponent(partsName)}/${definitions}/${name}`
  }

  /** Past references that say nothing but where to look. */
  const followed = (pointer: Pointer): [Pointer, Json | undefined] => {
    let written = resolveLocal(schema, pointer)
    for (let i = 0; i < 32 && isPlainReference(written); i++) {
      const target = resolveLocal(schema, written.$ref)
      if (target === undefined) break
      ;[pointer, written] = [written.$ref, target]
    }
    return [pointer, written]
  }

  const nodeAt = (pointer: Pointer): Node => {
    const known = nodes.get(pointer)
    if (known) return known
    const [target, written] = followed(pointer)
    const made = nodes.get(target) ?? makeNode(target, written)
    nodes.set(pointer, made)
    nodes.set(target, made)
    return made
  }

  const makeNode = (pointer: Pointer, written: Json | undefined): Node => {
    const unit: Node = {
      kind: 'unit',
      whole: pointer,
      fills: written === undefined || mentions(schema, written, hasDefault),
    }
    if (!isObject(written) || '$ref' in written || !mentions(schema, written, isCollection)) return unit
    const combined = pick(written, wholeWords)
    const kind = kindOf(written)
    if (kind === undefined || mentions(schema, combined, hasDefault)) return unit
    const own = kind === 'object' ? [...objectWords, ...objectShallow] : ['items', ...arrayShallow]
    const free = (word: string): boolean =>
      annotations.has(word) || word.startsWith('x-') || (word === '$id' && pointer === '#')
    if (!Object.keys(written).every((word) => own.includes(word) || wholeWords.includes(word) || free(word)))
      return unit
    const also = Object.keys(combined).length > 0 ? part(combined) : undefined
    return kind === 'object' ? objectNode(pointer, written, also) : arrayNode(pointer, written, also)
  }

  // Every part must be known before the schema is compiled, so all nodes are made now; compiling them can wait.
  const pending: Pointer[] = ['#']
  const child = (pointer: Pointer): (() => Node) => {
    pending.push(pointer)
    return () => nodeAt(pointer)
  }

  const objectNode = (pointer: Pointer, written: JsonObject, also: Pointer | undefined): ObjectNode => {
    const { properties, patternProperties, additionalProperties: additional } = written
    const members = Object.entries(isObject(properties) ? properties : {})
    const patterns = Object.keys(isObject(patternProperties) ? patternProperties : {})
    // Which names count as known matters only where further ones are refused.
    const known = { properties: allTrue(members.map(([name]) => name)), patternProperties: allTrue(patterns) }
    const names: JsonObject = additional === false ? { ...known, additionalProperties: false } : {}
    return {
      kind: 'object',
      written,
      also,
      shallow: part({ ...pick(written, objectShallow), ...names }),
      properties: new Map(members.map(([name]) => [name, child(`${pointer}/properties/${step(name)}`)])),
      patterns: patterns.map((source) => ({ source, node: child(`${pointer}/patternProperties/${step(source)}`) })),
      additional: isObject(additional) ? child(`${pointer}/additionalProperties`) : undefined,
      names: written['propertyNames'] === undefined ? undefined : `${pointer}/propertyNames`,
      defaults: members.flatMap(([name, node]) =>
        isObject(node) && node['default'] !== undefined ? [[name, node['default']] as const] : [],
      ),
    }
  }

  const arrayNode = (pointer: Pointer, written: JsonObject, also: Pointer | undefined): ArrayNode => ({
    kind: 'array',
    written,
    also,
    shallow: part(pick(written, arrayShallow)),
    items: child(`${pointer}/items`),
  })

  for (let pointer = pending.pop(); pointer !== undefined; pointer = pending.pop()) nodeAt(pointer)
  const root = nodeAt('#')
  if (Object.keys(parts).length === 0) return { schema, root, fills }
  const kept = isObject(schema[definitions]) ? schema[definitions] : {}
  return { schema: { ...schema, [definitions]: { ...kept, [partsName]: { [definitions]: parts } } }, root, fills }
}

function hasDefault(node: JsonObject): boolean {
  return 'default' in node
}

/** Lists, and records whose members have a schema: what can grow without end. */
function isCollection(node: JsonObject): boolean {
  return isObject(node['items']) || isObject(node['additionalProperties']) || isObject(node['patternProperties'])
}

function kindOf(node: JsonObject): 'object' | 'array' | undefined {
  const isOne = objectWords.some((word) => word in node)
  if (isObject(node['items'])) return isOne ? undefined : 'array'
  return isOne && !('items' in node) ? 'object' : undefined
}

function isPlainReference(node: Json | undefined): node is JsonObject & { readonly $ref: string } {
  if (!isObject(node) || typeof node['$ref'] !== 'string') return false
  return Object.keys(node).every((word) => word === '$ref' || annotations.has(word) || word.startsWith('x-'))
}

function dependsOnContext(schema: JsonObject): boolean {
  return mentions(
    schema,
    schema,
    (node) => contextWords.some((word) => word in node) || ('$id' in node && node !== schema),
  )
}

/** Whether a node in or below `start`, references followed, may pass `test`. Data that looks like a schema counts too. */
function mentions(root: Json, start: Json, test: (node: JsonObject) => boolean): boolean {
  const seen = new Set<Json>()
  const open: Json[] = [start]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (typeof node !== 'object' || node === null || seen.has(node)) continue
    seen.add(node)
    if (isObject(node)) {
      if (test(node)) return true
      if (typeof node['$ref'] === 'string') {
        const target = resolveLocal(root, node['$ref'])
        if (target === undefined) return true // out of sight: it may
        open.push(target)
      }
    }
    for (const value of Object.values(node) as Json[]) open.push(value)
  }
  return false
}

function pick(node: JsonObject, words: readonly string[]): JsonObject {
  return Object.fromEntries(words.flatMap((word) => (node[word] === undefined ? [] : [[word, node[word]]])))
}

function allTrue(names: readonly string[]): JsonObject {
  return Object.fromEntries(names.map((name) => [name, true]))
}

function step(name: string): string {
  return encodeURIComponent(name.replaceAll('~', '~0').replaceAll('/', '~1'))
}
