/** Schemas that would be checked for ever: a reference that comes back to itself without going into the value. */
import { isArray, isObject, type Json, type JsonObject } from '../json.ts'
import { resolveLocal } from './marks.ts'
import { SchemaError } from './schema-error.ts'

const one = ['not', 'if', 'then', 'else']
const several = ['allOf', 'anyOf', 'oneOf']
const named = ['dependentSchemas', 'dependencies']

/** @throws SchemaError naming a reference on the way round. */
export function refuseSelfReference(root: Json): void {
  const done = new Set<JsonObject>()
  const above = new Set<JsonObject>()

  const visit = (node: Json | undefined, ref: string): void => {
    if (!isObject(node) || done.has(node)) return
    if (above.has(node)) throw new SchemaError(`JSON Schema: ${ref} refers to itself without going into the value`)
    above.add(node)
    if (typeof node['$ref'] === 'string') visit(resolveLocal(root, node['$ref']), node['$ref'])
    for (const word of one) visit(node[word], ref)
    for (const word of several) for (const part of isArray(node[word]) ? node[word] : []) visit(part, ref)
    for (const word of named) for (const part of Object.values(isObject(node[word]) ? node[word] : {})) visit(part, ref)
    above.delete(node)
    done.add(node)
  }

  const seen = new Set<Json>()
  const open: Json[] = [root]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (typeof node !== 'object' || node === null || seen.has(node)) continue
    seen.add(node)
    visit(node, '#')
    for (const child of Object.values(node) as Json[]) open.push(child)
  }
}
