/**
 * What a Standard Schema validator returned, as plain JSON data, and which keys of its input it left out. Runs over
 * the whole configuration at every reload, so it copies nothing that is right as it is.
 */
import type { Issue } from '../issue.ts'
import { isArray, isObject, type Json, type JsonObject, type Path } from '../json.ts'

/** Deeper data than this is taken for a cycle. */
const maxDepth = 1000

/** The value with members that are undefined left out. What JSON cannot hold is an issue. */
export function plainOutput(value: unknown, maxIssues: number): { json: Json | undefined; issues: readonly Issue[] } {
  const path: (string | number)[] = []
  const issues: Issue[] = []

  const refuse = (what: string): null => {
    const message = `is turned into ${what} by the schema; want plain JSON data`
    if (issues.length < maxIssues) issues.push({ code: 'schema', path: [...path], message })
    return null
  }

  const plain = (one: unknown): Json | undefined => {
    if (typeof one === 'string' || typeof one === 'boolean' || one === undefined || one === null) return one
    if (typeof one === 'number') return Number.isFinite(one) ? one : refuse(String(one))
    if (typeof one !== 'object') return refuse(`a ${typeof one}`)
    if (path.length > maxDepth) return refuse('a cycle')
    return Array.isArray(one) ? plainArray(one) : plainObject(one)
  }

  const plainArray = (list: readonly unknown[]): Json => {
    let copy: Json[] | undefined
    for (let i = 0; i < list.length; i++) {
      path.push(i)
      const entry = plain(list[i]) ?? null
      path.pop()
      if (entry !== list[i]) copy ??= list.slice(0, i) as Json[]
      copy?.push(entry)
    }
    return copy ?? (list as Json[])
  }

  const plainObject = (object: object): Json => {
    const prototype: unknown = Object.getPrototypeOf(object)
    if (prototype !== Object.prototype && prototype !== null) {
      return refuse(`a ${object.constructor?.name ?? 'class instance'}`)
    }
    const members = object as Record<string, unknown>
    let changed: Map<string, Json | undefined> | undefined
    // The prototype has nothing to enumerate, and this is a third faster than a list of the keys.
    for (const key in members) {
      path.push(key)
      const member = plain(members[key])
      path.pop()
      if (member !== members[key] || member === undefined) (changed ??= new Map()).set(key, member)
    }
    if (changed === undefined) return object as JsonObject
    const mended = changed
    const entries = Object.entries(members).map(([key, member]) => [key, mended.has(key) ? mended.get(key) : member])
    return Object.fromEntries(entries.filter(([, member]) => member !== undefined)) as JsonObject
  }

  const json = plain(value)
  return { json, issues }
}

/** The paths of keys that are in `input` and not in `output`. Lists that were rearranged are not compared. */
export function droppedKeys(input: Json, output: Json, limit: number): Path[] {
  const path: (string | number)[] = []
  const dropped: Path[] = []

  const compare = (before: Json, after: Json): void => {
    if (before === after || dropped.length >= limit) return
    if (isArray(before)) {
      if (!isArray(after) || before.length !== after.length) return
      for (let i = 0; i < before.length; i++) {
        path.push(i)
        compare(before[i]!, after[i]!)
        path.pop()
      }
    } else if (isObject(before) && isObject(after)) {
      for (const key in before) {
        const member = before[key]!
        if (Object.hasOwn(after, key) && member === after[key]) continue
        path.push(key)
        if (Object.hasOwn(after, key)) compare(member, after[key]!)
        else dropped.push([...path])
        path.pop()
      }
    }
  }

  compare(input, output)
  return dropped
}
