/**
 * Patches onto snapshots: JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7396). The way from a delta to a patch is
 * `to-patch.ts`; whether the result is a good configuration is left to the reload.
 */
import { check, defaultLimits } from './check.ts'
import { diff } from './compare.ts'
import type { Delta } from './delta.ts'
import { equal } from './equal.ts'
import { issueText, shown } from './issue.ts'
import { isArray, isForbiddenKey, isObject, parsePointer, pointerText, type Json, type JsonObject } from './json.ts'
import type { Keys } from './keys.ts'
import { freezeDeep } from './snapshot.ts'
import type { PatchOperation } from './to-patch.ts'

export { toPatch, type PatchOperation } from './to-patch.ts'

/** A patch that does not fit. Nothing was changed. */
export class PatchError extends Error {
  override readonly name = 'PatchError'
  /** Index of the operation in the patch; −1 if the patch as a whole is at fault. */
  readonly operation: number
  /** JSON pointer of the place it could not change. */
  readonly pointer: string

  constructor(operation: number, pointer: string, message: string) {
    super(`${operation < 0 ? 'patch' : `operation ${operation}`}, at "${pointer}": ${message}`)
    this.operation = operation
    this.pointer = pointer
  }
}

/**
 * `before` with the patch applied: all operations or none. Frozen, and shares with `before` what no operation reached.
 * The values in the patch are taken over and frozen.
 * @throws PatchError naming the operation and what it found.
 */
export function applyPatch(before: Json, patch: readonly PatchOperation[]): Json {
  if (!Array.isArray(patch)) throw new PatchError(-1, '', `is ${shown(patch)}; want a list of operations`)
  const draft = new Draft(before)
  patch.forEach((operation: unknown, index) => {
    draft.operation = index
    draft.run(operation)
  })
  return draft.finish()
}

/** The delta that the patch comes to. @throws PatchError */
export function fromPatch(before: Json, patch: readonly PatchOperation[], keys?: Keys): Delta {
  return diff(before, applyPatch(before, patch), keys)
}

/**
 * Objects are merged, `null` removes, everything else replaces (RFC 7396). Frozen; what stays equal stays the same
 * object.
 * @throws PatchError for a forbidden key or a value that is not JSON.
 */
export function applyMergePatch(before: Json, patch: Json): Json {
  const [issue] = check(patch, undefined, defaultLimits)
  if (issue !== undefined) throw new PatchError(-1, pointerText(issue.path), issue.message)
  return merged(before, patch)
}

function merged(before: Json | undefined, patch: Json): Json {
  if (!isObject(patch)) return before !== undefined && equal(before, patch) ? before : freezeDeep(patch)
  const after: Record<string, Json> = {}
  const old: JsonObject = isObject(before) ? before : {}
  let same = isObject(before)
  for (const key of Object.keys(old)) {
    const change = Object.hasOwn(patch, key) ? patch[key] : undefined
    const value = change === undefined ? (old[key] as Json) : change === null ? undefined : merged(old[key], change)
    if (value !== old[key]) same = false
    if (value !== undefined) after[key] = value
  }
  for (const key of Object.keys(patch)) {
    if (Object.hasOwn(old, key) || patch[key] === null) continue
    after[key] = merged(undefined, patch[key] as Json)
    same = false
  }
  return same ? (before as Json) : Object.freeze(after)
}

/** A tree on its way from one snapshot to the next. Containers are copied when they are first written to. */
class Draft {
  operation = -1
  private root: Json
  /** Copies that belong to this draft and are still open. Whatever is above one of them is one of them. */
  private readonly open = new Set<object>()

  constructor(before: Json) {
    this.root = before
  }

  run(operation: unknown): void {
    if (!isObject(operation)) {
      this.refuse('', `is ${shown(operation)}; want an operation such as {"op":"add","path":"/a","value":1}`)
    }
    const path = this.pointer(operation, 'path')
    switch (operation.op) {
      case 'add':
        return this.add(path, this.value(operation))
      case 'remove':
        this.remove(path)
        return
      case 'replace':
        return this.replace(path, this.value(operation))
      case 'move':
        return this.move(this.pointer(operation, 'from'), path)
      case 'copy':
        return this.add(path, this.close(this.read(this.pointer(operation, 'from'))))
      case 'test': {
        const found = this.read(path)
        const wanted = this.value(operation)
        if (!equal(found, wanted)) this.refuse(pointerText(path), `is ${shown(found)}; want ${shown(wanted)}`)
        return
      }
      default:
        this.refuse(
          pointerText(path),
          `has the op ${shown(operation.op)}; want add, remove, replace, move, copy or test`,
        )
    }
  }

  finish(): Json {
    return this.close(this.root)
  }

  private refuse(pointer: string, message: string): never {
    throw new PatchError(this.operation, pointer, message)
  }

  private pointer(operation: JsonObject, field: 'path' | 'from'): string[] {
    const text = operation[field]
    if (typeof text !== 'string') this.refuse('', `has the ${field} ${shown(text)}; want a JSON pointer`)
    if (text !== '' && !text.startsWith('/'))
      this.refuse(text, `has a ${field} that is no JSON pointer; want "" or "/…"`)
    if (/~(?![01])/.test(text)) this.refuse(text, 'has a "~" in its pointer that is neither "~0" nor "~1"')
    return parsePointer(text)
  }

  private value(operation: JsonObject): Json {
    if (!Object.hasOwn(operation, 'value')) this.refuse(String(operation.path), 'has no value; want one')
    const value = operation.value as Json
    const [issue] = check(value, undefined, defaultLimits)
    if (issue !== undefined) this.refuse(String(operation.path), `value ${issueText(issue)}`)
    return freezeDeep(value)
  }

  private read(path: readonly string[]): Json {
    let value = this.root
    path.forEach((step, i) => {
      value = this.child(value, step, path.slice(0, i + 1))
    })
    return value
  }

  private child(parent: Json, step: string, path: readonly string[]): Json {
    if (isArray(parent)) return parent[this.index(step, parent.length - 1, path)] as Json
    if (isObject(parent) && Object.hasOwn(parent, step)) return parent[step] as Json
    return this.refuse(pointerText(path), 'is not there')
  }

  private index(step: string, last: number, path: readonly string[]): number {
    const pointer = pointerText(path)
    if (!/^(?:0|[1-9][0-9]*)$/.test(step)) this.refuse(pointer, `has ${shown(step)} where the list wants an index`)
    const index = Number(step)
    if (index > last)
      this.refuse(pointer, `is not there: ${last < 0 ? 'the list is empty' : `the last index is ${last}`}`)
    return index
  }

  /** The container at `path`, open for writing, and so are all above it. */
  private openAt(path: readonly string[]): Json[] | Record<string, Json> {
    let parent = this.opened(this.root, [])
    this.root = parent
    path.forEach((step, i) => {
      const here = path.slice(0, i + 1)
      const child = this.opened(this.child(parent, step, here), here)
      if (Array.isArray(parent)) parent[Number(step)] = child
      else parent[step] = child
      parent = child
    })
    return parent
  }

  private opened(value: Json, path: readonly string[]): Json[] | Record<string, Json> {
    if (typeof value !== 'object' || value === null) {
      this.refuse(pointerText(path), `is ${shown(value)}; want an object or a list`)
    }
    if (this.open.has(value)) return value as Json[] | Record<string, Json>
    const copy = isArray(value) ? value.slice() : { ...value }
    this.open.add(copy)
    return copy
  }

  /** Freezes what is open in `value`. */
  private close(value: Json): Json {
    if (typeof value !== 'object' || value === null || !this.open.delete(value)) return value
    if (this.open.size > 0) for (const child of Object.values(value)) this.close(child as Json)
    return Object.freeze(value)
  }

  private add(path: readonly string[], value: Json): void {
    const last = path.at(-1)
    if (last === undefined) {
      this.root = value
      return
    }
    const parent = this.openAt(path.slice(0, -1))
    if (Array.isArray(parent)) {
      parent.splice(last === '-' ? parent.length : this.index(last, parent.length, path), 0, value)
      return
    }
    if (isForbiddenKey(last)) this.refuse(pointerText(path), 'is a key that would set a prototype; want another name')
    parent[last] = value
  }

  private remove(path: readonly string[]): Json {
    const last = path.at(-1)
    if (last === undefined) this.refuse('', 'is the whole document, which cannot be removed')
    const parent = this.openAt(path.slice(0, -1))
    const value = this.child(parent, last, path)
    if (Array.isArray(parent)) parent.splice(Number(last), 1)
    else delete parent[last]
    return value
  }

  private replace(path: readonly string[], value: Json): void {
    this.read(path)
    const last = path.at(-1)
    if (last === undefined) {
      this.root = value
      return
    }
    const parent = this.openAt(path.slice(0, -1))
    if (Array.isArray(parent)) parent[Number(last)] = value
    else parent[last] = value
  }

  private move(from: readonly string[], to: readonly string[]): void {
    if (from.length < to.length && from.every((step, i) => step === to[i])) {
      this.refuse(pointerText(to), `is inside "${pointerText(from)}"; want a place outside of what is moved`)
    }
    this.add(to, from.length === 0 ? this.root : this.remove(from))
  }
}
