/**
 * `uniqueItems` in time that grows with the list and not with its square, which ajv's own needs for lists of
 * objects: 100,000 rules would take it minutes.
 */
import type { Ajv, SchemaValidateFunction } from 'ajv'
import { isArray, isObject, type Json } from '../json.ts'

export function addUniqueItems(ajv: Ajv): void {
  ajv.removeKeyword('uniqueItems')
  ajv.addKeyword({ keyword: 'uniqueItems', type: 'array', schemaType: 'boolean', validate: isUnique, errors: 'full' })
}

const isUnique: SchemaValidateFunction = (wanted: boolean, data: readonly Json[]) => {
  const twins = wanted ? firstTwins(data) : undefined
  if (twins === undefined) return true
  isUnique.errors = [{ keyword: 'uniqueItems', params: { j: twins[0], i: twins[1] } }]
  return false
}

function firstTwins(list: readonly Json[]): [number, number] | undefined {
  const scalars = new Map<Json, number>()
  const containers = new Map<Json, number>()
  for (let i = 0; i < list.length; i++) {
    const entry = list[i]!
    const isContainer = typeof entry === 'object' && entry !== null
    const seen = isContainer ? containers : scalars
    const mark = isContainer ? canonical(entry) : entry
    const earlier = seen.get(mark)
    if (earlier !== undefined) return [earlier, i]
    seen.set(mark, i)
  }
  return undefined
}

/** The same text for equal values: keys sorted. */
function canonical(value: Json): string {
  if (isArray(value)) return `[${value.map(canonical).join(',')}]`
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.keys(value).toSorted()
  return `{${members.map((key) => `${JSON.stringify(key)}:${canonical(value[key]!)}`).join(',')}}`
}
