/**
 * Whether a value that came from anywhere may become a snapshot: plain JSON data, within limits, nothing that would
 * change on its way through a file. What it should mean is left to the schema.
 */
import { isObject, vouched, type Json, type JsonObject, type Path } from './json.ts'
import type { Issue, IssueCode } from './issue.ts'

export interface Limits {
  /** Containers inside each other, 1 to 1,000. */
  readonly maxDepth: number
  /** Values altogether, containers included. */
  readonly maxNodes: number
}

export const defaultLimits: Limits = { maxDepth: 100, maxNodes: 10_000_000 }

/** No limit to the depth is more than this: what walks a tree by calling itself can do so. */
export const mostDepth = 1_000

/** Issues beyond these are not looked for: one would do to refuse the document. */
const maxIssues = 100
/** How far behind its old place an entry of a list is looked for. */
const lookAhead = 32

/**
 * What keeps `next` from being a snapshot: empty if nothing does. Subtrees that are the very objects at the same
 * place in `live` are not looked at again, nor what its parser vouches for.
 */
export function check(next: Json, live: Json | undefined, limits: Limits): Issue[] {
  const known = vouched(next)
  if (known && known.depth <= limits.maxDepth && known.maxValues <= limits.maxNodes) return []
  const quick = new QuickLook(limits)
  if (quick.isFine(next, live, 0)) return []
  const look = new Look(limits)
  look.visit(next, live, 0)
  return look.issues
}

/** A copy of a value that somebody may change later, or why there is none: nested too deeply to be copied or checked. */
export function copyOf(value: Json): { readonly copy: Json } | { readonly issues: readonly Issue[] } {
  try {
    return { copy: structuredClone(value) as Json }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    const issues = check(value, undefined, { maxDepth: mostDepth, maxNodes: Infinity })
    // Else the stack was full before.
    if (issues.length === 0) throw error
    return { issues }
  }
}

/** Whether there is nothing to refuse: without paths and messages, so that good documents are not held up. */
class QuickLook {
  private readonly maxDepth: number
  private nodesLeft: number

  constructor(limits: Limits) {
    this.maxDepth = limits.maxDepth
    this.nodesLeft = limits.maxNodes
  }

  isFine(value: unknown, old: unknown, depth: number): boolean {
    if (typeof value !== 'object' || value === null) return this.isFineScalar(value)
    if (value === old) return true
    if (typeof old !== 'object' || old === null || Array.isArray(value) !== Array.isArray(old))
      return this.isFineAlone(value, depth)
    if (--this.nodesLeft < 0 || depth >= this.maxDepth) return false
    if (Array.isArray(value)) return this.isFineList(value, old as readonly unknown[], depth + 1)
    if (!isPlain(value)) return false
    for (const key in value) {
      if (!isFineKey(key)) return false
      if (!this.isFine((value as JsonObject)[key], (old as JsonObject)[key], depth + 1)) return false
    }
    return true
  }

  /** With nothing to compare with: looking for it in vain would take longer than all the rest. */
  private isFineAlone(value: object, depth: number): boolean {
    if (--this.nodesLeft < 0 || depth >= this.maxDepth) return false
    if (Array.isArray(value)) {
      for (let i = 0; i < value.length; i++) {
        const entry: unknown = value[i]
        const fine =
          typeof entry === 'object' && entry !== null ? this.isFineAlone(entry, depth + 1) : this.isFineScalar(entry)
        if (!fine) return false
      }
      return true
    }
    if (!isPlain(value)) return false
    for (const key in value) {
      if (!isFineKey(key)) return false
      const field: unknown = (value as JsonObject)[key]
      const fine =
        typeof field === 'object' && field !== null ? this.isFineAlone(field, depth + 1) : this.isFineScalar(field)
      if (!fine) return false
    }
    return true
  }

  private isFineScalar(value: unknown): boolean {
    if (--this.nodesLeft < 0) return false
    if (typeof value === 'string') return value.isWellFormed()
    if (typeof value === 'number')
      return Number.isSafeInteger(value) || (Number.isFinite(value) && !Number.isInteger(value))
    return typeof value === 'boolean' || value === null
  }

  private isFineList(list: readonly unknown[], oldList: readonly unknown[], depth: number): boolean {
    // A copy, because reading the entries of a frozen list takes five times as long.
    const old = [...oldList]
    let expected = 0
    for (let i = 0; i < list.length; i++) {
      const entry = list[i]
      if (typeof entry === 'object' && entry !== null) {
        const found = entry === old[expected] ? expected : placeNear(old, entry, expected)
        if (found >= 0) {
          expected = found + 1
          continue
        }
      }
      if (!this.isFine(entry, old[expected], depth)) return false
      if (i + 1 >= list.length || list[i + 1] !== old[expected]) expected++
    }
    return true
  }
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}

/** Whether a key can be passed at once. `prototype` cannot: the slow look knows whether it stands in a `constructor`. */
function isFineKey(key: string): boolean {
  return key !== '__proto__' && key !== 'prototype' && key.isWellFormed()
}

class Look {
  readonly issues: Issue[] = []
  private readonly limits: Limits
  private readonly path: (string | number)[] = []
  private nodes = 0

  constructor(limits: Limits) {
    this.limits = limits
  }

  /** Returns false when there is no point in going on. */
  visit(value: unknown, old: unknown, depth: number): boolean {
    if (++this.nodes > this.limits.maxNodes) {
      const { maxNodes } = this.limits
      this.refuse('limit', `has more than ${maxNodes} values; want at most ${maxNodes}`, [])
      return false
    }
    switch (typeof value) {
      case 'string':
        return value.isWellFormed() || this.refuse('encoding', 'has half of a surrogate pair; want Unicode text')
      case 'boolean':
        return true
      case 'number':
        return this.visitNumber(value)
      case 'object':
        return value === null || value === old || this.visitContainer(value, old, depth + 1)
      default:
        return this.refuse('schema', `is ${value === undefined ? 'undefined' : `a ${typeof value}`}; want a JSON value`)
    }
  }

  private visitNumber(value: number): boolean {
    if (!Number.isFinite(value)) return this.refuse('number-precision', `is ${value}; want a finite number`)
    if (Number.isSafeInteger(value) || !Number.isInteger(value)) return true
    return this.refuse(
      'number-precision',
      `is ${value}, where integers are no longer exact; want at most 2^53 - 1, or a string`,
    )
  }

  private visitContainer(value: object, old: unknown, depth: number): boolean {
    const { maxDepth } = this.limits
    if (depth > maxDepth) {
      this.refuse('limit', `is nested more than ${maxDepth} deep; want at most ${maxDepth}`)
      return false
    }
    if (Array.isArray(value)) return this.visitList(value, Array.isArray(old) ? old : [], depth)
    const prototype: unknown = Object.getPrototypeOf(value)
    if (prototype !== Object.prototype && prototype !== null) {
      return this.refuse('schema', `is a ${className(prototype)}; want a JSON value`)
    }
    return this.visitObject(value as Record<string, unknown>, isObject(old) ? old : {}, depth)
  }

  private visitList(list: readonly unknown[], old: readonly unknown[], depth: number): boolean {
    /** Where in `old` the next entry is expected. */
    let expected = 0
    for (let i = 0; i < list.length; i++) {
      const entry = list[i]
      if (typeof entry === 'object' && entry !== null) {
        const found = placeNear(old, entry, expected)
        if (found >= 0) {
          expected = found + 1
          continue
        }
      }
      this.path.push(i)
      const goOn = this.visit(entry, old[expected], depth)
      this.path.pop()
      if (!goOn) return false
      if (i + 1 >= list.length || list[i + 1] !== old[expected]) expected++
    }
    return true
  }

  private visitObject(value: Record<string, unknown>, old: Readonly<Record<string, unknown>>, depth: number): boolean {
    for (const key of Object.keys(value)) {
      const child = value[key]
      if (typeof child === 'object' && child !== null && child === old[key] && key !== '__proto__') continue
      this.path.push(key)
      const goOn = this.visitKey(key) && this.visit(child, old[key], depth)
      this.path.pop()
      if (!goOn && this.isEnough()) return false
    }
    if (Object.getOwnPropertySymbols(value).length > 0)
      return this.refuse('schema', 'has a symbol for a key; want strings')
    return true
  }

  private visitKey(key: string): boolean {
    if (!key.isWellFormed()) this.refuse('encoding', 'has half of a surrogate pair in its key; want Unicode text')
    else if (key === '__proto__') this.refuse('forbidden-key', 'is a key that would set a prototype; want another name')
    else if (key === 'prototype' && this.path.at(-2) === 'constructor') {
      this.refuse('forbidden-key', 'is a key that leads to a prototype; want another name')
    } else return true
    return false
  }

  private refuse(code: IssueCode, message: string, path: Path = [...this.path]): boolean {
    this.issues.push({ code, path, message })
    return !this.isEnough()
  }

  private isEnough(): boolean {
    return this.issues.length >= maxIssues || this.issues.at(-1)?.code === 'limit'
  }
}

function placeNear(list: readonly unknown[], entry: unknown, expected: number): number {
  const end = Math.min(list.length, expected + lookAhead)
  for (let i = expected; i < end; i++) if (list[i] === entry) return i
  return -1
}

function className(prototype: unknown): string {
  const constructor = (prototype as { constructor?: unknown } | null)?.constructor
  return typeof constructor === 'function' && constructor.name !== '' ? constructor.name : 'class instance'
}
