/**
 * Walks a configuration beside its schema and the live configuration, and checks only what is not known to be valid:
 * a subtree that is the same object as one that was valid under the same node of the schema is not looked into.
 * Also the way to all issues of a configuration that was refused, which stops after a bounded number of them.
 */
import type { ErrorObject, ValidateFunction } from 'ajv'
import type { Issue } from '../issue.ts'
import { isArray, isObject, type Json, type JsonObject } from '../json.ts'
import { issuesOf, type IssueContext } from './ajv-issues.ts'
import type { ArrayNode, Node, ObjectNode, Pointer, UnitNode } from './split.ts'
import { unseen } from './unseen.ts'
import { wanted } from './wanted.ts'

const maxIssues = 50
/** A unit with more values than this is told only its first error: the list of all would have no bound. */
const maxSizeForAll = 10_000

/** The compiled parts of a schema. */
export interface Checks {
  /** Stops at the first error. */
  fast(pointer: Pointer): ValidateFunction
  /** Finds all errors. */
  thorough(pointer: Pointer): ValidateFunction
  matches(source: string, text: string): boolean
}

export class Walk {
  readonly issues: Issue[] = []
  private readonly checks: Checks
  private readonly context: IssueContext
  private readonly path: (string | number)[] = []

  constructor(checks: Checks, context: IssueContext) {
    this.checks = checks
    this.context = context
  }

  /**
   * Checks `value` under `node`. `live` was valid there, or is undefined.
   * @returns the value with its defaults: the same object where it needed none. Nothing is written into it, as it may
   * be live, or stand in other places too.
   */
  value(node: Node, value: Json, live: Json | undefined): Json {
    if (value === live || this.issues.length >= maxIssues) return value
    if (node.kind === 'unit') return this.unit(node, value)
    if (node.also !== undefined) this.passes(node.also, value)
    if (node.kind === 'object' && isObject(value)) return this.object(node, value, isObject(live) ? live : undefined)
    if (node.kind === 'array' && isArray(value)) return this.array(node, value, isArray(live) ? live : undefined)
    this.passes(node.shallow, value, node.written)
    return value
  }

  private unit(node: UnitNode, value: Json): Json {
    const own = node.fills ? copied(value) : value
    this.passes(node.whole, own)
    return own !== value && sizeOf(own) === sizeOf(value) ? value : own
  }

  private object(node: ObjectNode, value: JsonObject, live: JsonObject | undefined): Json {
    let own = value as Record<string, Json>
    const put = (key: string, member: Json): void => {
      if (own === value) own = { ...value }
      own[key] = member
    }
    for (const [key, member] of node.defaults) if (!Object.hasOwn(own, key)) put(key, structuredClone(member))
    this.passes(node.shallow, own, node.written)

    const open = node.patterns.length > 0 || node.additional !== undefined || node.names !== undefined
    for (const key of open ? Object.keys(own) : node.properties.keys()) {
      if (!Object.hasOwn(own, key)) continue
      const before = live !== undefined && Object.hasOwn(live, key) ? live[key] : undefined
      if (own[key] === before) continue
      if (before === undefined && node.names !== undefined) this.name(node, node.names, key)
      this.path.push(key)
      for (const child of this.childrenOf(node, key)) {
        const checked = this.value(child(), own[key]!, before)
        if (checked !== own[key]) put(key, checked)
      }
      this.path.pop()
      if (this.issues.length >= maxIssues) break
    }
    return own
  }

  private childrenOf(node: ObjectNode, key: string): (() => Node)[] {
    const named = node.properties.get(key)
    const children = named === undefined ? [] : [named]
    for (const pattern of node.patterns) if (this.checks.matches(pattern.source, key)) children.push(pattern.node)
    return children.length === 0 && node.additional !== undefined ? [node.additional] : children
  }

  private array(node: ArrayNode, value: readonly Json[], live: readonly Json[] | undefined): Json {
    this.passes(node.shallow, value, node.written)
    let own = value as Json[]
    const item = node.items()
    unseen(value, live ?? [], (i, replaced) => {
      this.path.push(i)
      const checked = this.value(item, own[i]!, replaced)
      this.path.pop()
      if (checked !== own[i]) {
        if (own === value) own = [...value]
        own[i] = checked
      }
      return this.issues.length < maxIssues
    })
    return own
  }

  private passes(pointer: Pointer, value: Json, written?: JsonObject): void {
    const check = this.checks.fast(pointer)
    if (check(value)) return
    let errors = check.errors ?? []
    if (!largerThan(value, maxSizeForAll)) {
      const all = this.checks.thorough(pointer)
      if (!all(value)) errors = all.errors ?? errors
    }
    // A part of a container knows its children only as `true`; the words come from what the author wrote.
    const told =
      written === undefined ? errors : errors.map((error): ErrorObject => ({ ...error, parentSchema: written }))
    this.add(issuesOf(told, value, [...this.path], this.context))
  }

  private name(node: ObjectNode, pointer: Pointer, key: string): void {
    if (this.checks.fast(pointer)(key)) return
    const want = wanted(node.written['propertyNames'], this.context.root)
    this.add([{ code: 'schema', path: [...this.path, key], message: `is not an allowed name; want ${want}` }])
  }

  private add(issues: readonly Issue[]): void {
    for (const issue of issues.slice(0, maxIssues - this.issues.length)) this.issues.push(issue)
  }
}

function copied(value: Json): Json {
  if (typeof value !== 'object' || value === null) return value
  if (isArray(value)) return value.map(copied)
  const own: Record<string, Json> = { ...value }
  for (const key in own) {
    const member = own[key]!
    if (typeof member === 'object' && member !== null) own[key] = copied(member)
  }
  return own
}

/** How many members there are at all depths: defaults only ever add some. */
function sizeOf(value: Json): number {
  if (typeof value !== 'object' || value === null) return 0
  let size = 0
  for (const key in value) size += 1 + sizeOf((value as JsonObject)[key]!)
  return size
}

function largerThan(value: Json, limit: number): boolean {
  let count = 0
  const open: Json[] = [value]
  for (let one = open.pop(); one !== undefined; one = open.pop()) {
    if (++count > limit) return true
    if (typeof one !== 'object' || one === null) continue
    for (const key in one) {
      open.push((one as JsonObject)[key]!)
      if (open.length > limit) return true
    }
  }
  return false
}
