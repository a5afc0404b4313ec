/** What a node of a JSON Schema wants, in words: `an integer from 1 to 65535`. Never shows the values of a secret. */
import { isArray, isObject, type Json, type JsonObject } from '../json.ts'
import { isSecret, resolveLocal } from './marks.ts'

const article: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  integer: 'an integer',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  null: 'null',
}

const maxChoices = 10

/** In words what `node` lets through; `root` is the schema that its references point into. */
export function wanted(node: Json | undefined, root: Json, depth = 0): string {
  if (node === false) return 'nothing here'
  if (!isObject(node)) return 'a value'
  if (node['const'] !== undefined) return isSecret(node) ? 'the one allowed value' : JSON.stringify(node['const'])
  const choices = node['enum']
  if (isArray(choices)) {
    if (isSecret(node)) return `one of the ${choices.length} allowed values`
    const texts = choices.slice(0, maxChoices).map((choice) => JSON.stringify(choice))
    return choices.length > maxChoices
      ? `one of ${texts.join(', ')} and ${choices.length - maxChoices} more`
      : either(texts)
  }
  if (typeof node['$ref'] === 'string' && depth < 8) {
    const target = resolveLocal(root, node['$ref'])
    if (target !== undefined) return wanted(target, root, depth + 1)
  }
  const type = node['type']
  if (typeof type === 'string') return withLimits(type, node)
  if (isArray(type)) return either(type.map((one) => withLimits(String(one), node)))
  const branches = node['anyOf'] ?? node['oneOf']
  if (isArray(branches) && depth < 3) {
    return either([...new Set(branches.map((branch) => wanted(branch, root, depth + 1)))])
  }
  return withLimits(kindOfLimits(node), node)
}

/** `a`, `a or b`, `a, b or c` */
export function either(texts: readonly string[]): string {
  return texts.length < 2 ? (texts[0] ?? 'nothing') : `${texts.slice(0, -1).join(', ')} or ${texts.at(-1)}`
}

function kindOfLimits(node: JsonObject): string {
  if (['minimum', 'maximum', 'exclusiveMinimum', 'exclusiveMaximum', 'multipleOf'].some((word) => word in node))
    return 'number'
  if (['minLength', 'maxLength', 'pattern', 'format'].some((word) => word in node)) return 'string'
  if (['minItems', 'maxItems', 'uniqueItems', 'items', 'prefixItems', 'contains'].some((word) => word in node))
    return 'array'
  if (['minProperties', 'maxProperties', 'properties', 'required', 'additionalProperties'].some((word) => word in node))
    return 'object'
  return 'other'
}

function withLimits(type: string, node: JsonObject): string {
  const base = article[type] ?? 'a value'
  const limits = limitsOf(type, node)
  return limits.length === 0 ? base : `${base} ${limits.join(', ')}`
}

function limitsOf(type: string, node: JsonObject): string[] {
  switch (type) {
    case 'number':
    case 'integer':
      return [
        ...range(node),
        ...(node['multipleOf'] === undefined ? [] : [`that is a multiple of ${text(node['multipleOf'])}`]),
      ]
    case 'string': {
      const limits = sizes(node['minLength'], node['maxLength'], 'character')
      const blank = node['minLength'] === 1 && node['maxLength'] === undefined
      if (blank) limits.splice(0, 1, 'that is not empty')
      if (typeof node['format'] === 'string' && node['format'] !== 'password')
        limits.push(`in the format ${node['format']}`)
      if (typeof node['pattern'] === 'string') limits.push(`matching ${node['pattern']}`)
      return limits
    }
    case 'array':
      return [
        ...sizes(node['minItems'], node['maxItems'], 'entry', 'entries'),
        ...(node['uniqueItems'] === true ? ['without duplicates'] : []),
      ]
    case 'object':
      return sizes(node['minProperties'], node['maxProperties'], 'member')
    default:
      return []
  }
}

function range(node: JsonObject): string[] {
  // The bounds of exact integers say nothing to people; zod states them for every integer.
  const least = node['minimum'] === Number.MIN_SAFE_INTEGER ? undefined : node['minimum']
  const most = node['maximum'] === Number.MAX_SAFE_INTEGER ? undefined : node['maximum']
  if (least !== undefined && most !== undefined) return [`from ${text(least)} to ${text(most)}`]
  const limits: string[] = []
  if (least !== undefined) limits.push(`of at least ${text(least)}`)
  if (most !== undefined) limits.push(`of at most ${text(most)}`)
  if (node['exclusiveMinimum'] !== undefined) limits.push(`above ${text(node['exclusiveMinimum'])}`)
  if (node['exclusiveMaximum'] !== undefined) limits.push(`below ${text(node['exclusiveMaximum'])}`)
  return limits
}

function sizes(least: Json | undefined, most: Json | undefined, one: string, many = `${one}s`): string[] {
  if (least === undefined && most === undefined) return []
  if (least === most) return [`of exactly ${count(least, one, many)}`]
  if (least === undefined) return [`of at most ${count(most, one, many)}`]
  if (most === undefined) return [`of at least ${count(least, one, many)}`]
  return [`of ${text(least)} to ${count(most, one, many)}`]
}

function count(n: Json | undefined, one: string, many: string): string {
  return `${text(n)} ${n === 1 ? one : many}`
}

function text(value: Json | undefined): string {
  return value === undefined ? '' : JSON.stringify(value)
}
