/**
 * What the store knows of a change's past: how often what it touches was changed lately and how that went, who made
 * releases, when one last completed. Looks at the newest releases and at what differs between them, never at the whole
 * of a config; what comes of it is `risk.ts`.
 */
import { setImmediate } from 'node:timers/promises'
import { digest, pathText, type Json, type JsonObject } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type { Domain } from './domain.ts'
import { placesOf, placeText, type ChangedPath, type Place } from './places.ts'
import { configIn } from './publish.ts'
import type { NodesReached, PastChanges, RiskChange, RiskInput } from './risk.ts'
import { holdsMark, isMarked, keyFieldAt, schemaBelow, schemaRoot, type SchemaPlace } from './schema-walk.ts'
import type { ConfigRecord, StoreRead } from './store.ts'

/** A change with what it makes of what; shown values will do, as they are only counted. */
export interface GivenChange extends ChangedPath {
  readonly before?: Json
  readonly after?: Json
}

export type Outcome = 'completed' | 'rolled-back' | 'failed'
/** How a release went; `undefined`: that is not known yet, or not here. */
export type OutcomeOf = (release: ReleaseInfo) => Outcome | undefined

export interface RiskQuestion {
  /** As a plan shows them, or as the engine lists them. */
  readonly changes: readonly GivenChange[]
  /** The digest of what it comes to: it may have run before. */
  readonly content: string
  readonly restartPaths: readonly string[]
  readonly author: string
  readonly nodes: NodesReached
  /** What is known for sure, such as from rollouts; for the rest releases and nodes are asked. */
  readonly outcomeOf?: OutcomeOf
}

/** So many releases are looked at: a store keeps them at hand. */
const window = 30
/** So many nodes are asked how it went, and each for so many attempts. */
const sampledNodes = 30
const sampledAttempts = 50
/** A release that more than this share of the nodes which tried it did not take has failed. */
const failedShare = 0.1

/** Contents are read a few at a time, so that others get their turn: of a large config they may have to be put together. */
const stride = 5

/** `riskInputFrom` for who is not in a read already: what it looks at is at hand by then. */
export async function riskInput(domain: Domain, name: string, question: RiskQuestion): Promise<RiskInput> {
  const head = await domain.store.read((read) => configIn(read, name).head?.number ?? 0)
  for (let number = Math.max(1, head - window + 1); number <= head; number += stride) {
    await domain.store.read((read) => {
      for (let at = number; at < Math.min(number + stride, head + 1); at++) read.content(name, at)
    })
    await setImmediate()
  }
  return await domain.store.read((read) => riskInputFrom(read, configIn(read, name), question))
}

export function riskInputFrom(read: StoreRead, config: ConfigRecord, question: RiskQuestion): RiskInput {
  const { restartPaths, author, nodes } = question
  const schema = schemaRoot(config.schema)
  const changes = question.changes.map(plain)
  const places = placesOf(changes)
  const releases = read.releases(config.name, undefined, window)
  const outcomes = outcomesOf(read, config, releases, question.outcomeOf)
  const head = config.head === null ? undefined : read.content(config.name, config.head.number)
  const emptied = new Set<string>()
  findEmptied(places, head, schema, emptied)
  const { past, looked } = pastOf(read, config, schema, places, releases, outcomes)
  return {
    changes: changes.map(sized),
    values: head === undefined ? 0 : valuesIn(head),
    emptied: [...emptied],
    restartPaths,
    past,
    looked,
    authorReleases: releases.filter((release) => release.author === author).length,
    sinceStable: sinceStable(config, releases, outcomes),
    nodes,
    returnsTo: ranBefore(question.content, releases, outcomes),
    consistent: isConsistent(places, schema),
  }
}

/** The newest release with this very content, if it ran well. */
function ranBefore(content: string, releases: readonly ReleaseInfo[], outcomes: Outcomes): number | null {
  const recent = releases.find((release) => release.digest === content && outcomes.has(release.number))
  return recent !== undefined && outcomes.get(recent.number) === 'completed' ? recent.number : null
}

function isUndoneBy(next: ReleaseInfo | undefined, { number }: ReleaseInfo): boolean {
  return next?.kind === 'rollback' && next.rollbackOf !== undefined && next.rollbackOf < number
}

type Outcomes = ReadonlyMap<number, Outcome>

function outcomesOf(
  read: StoreRead,
  config: ConfigRecord,
  releases: readonly ReleaseInfo[],
  known: OutcomeOf | undefined,
): Outcomes {
  let failed: ReturnType<typeof failedOn> | undefined
  const found = new Map<number, Outcome>()
  for (const [i, release] of releases.entries()) {
    const { number } = release
    const undone = isUndoneBy(releases[i - 1], release)
    const asNodesTell = (): Outcome | undefined => {
      failed ??= failedOn(read, config.name)
      return failed(number) ? 'failed' : appliedOutcome(read, config, number)
    }
    const outcome = known?.(release) ?? (undone ? 'rolled-back' : asNodesTell())
    if (outcome !== undefined) found.set(number, outcome)
  }
  return found
}

/** Of one that has been followed by others: that nodes took it. Of the head: that all did. */
function appliedOutcome(read: StoreRead, config: ConfigRecord, number: number): 'completed' | undefined {
  if (read.appliedAt(config.name, number) === undefined) return undefined
  const isHead = number === config.head?.number
  return isHead && read.nodes(config.name, { notOn: number }, undefined, 1).length > 0 ? undefined : 'completed'
}

const refusals: readonly string[] = ['FAILED', 'ROLLED_BACK', 'DEGRADED']

/** Whether a release failed on nodes, by what some of them have tried. One that took it in the end has taken it. */
function failedOn(read: StoreRead, config: string): (number: number) => boolean {
  const took = new Map<number, { applied: number; refused: number }>()
  for (const { uid } of read.nodes(config, {}, undefined, sampledNodes)) {
    const last = new Map<number, 'applied' | 'refused'>()
    // Newest first: the end of each release's story comes first.
    for (const { number, status, config: of } of read.attempts(uid, sampledAttempts)) {
      const end = status === 'APPLIED' ? 'applied' : refusals.includes(status) ? 'refused' : undefined
      if (of === config && end !== undefined && !last.has(number)) last.set(number, end)
    }
    for (const [number, end] of last) {
      const counts = took.get(number) ?? { applied: 0, refused: 0 }
      counts[end]++
      took.set(number, counts)
    }
  }
  return (number) => {
    const { applied, refused } = took.get(number) ?? { applied: 0, refused: 0 }
    return refused > (applied + refused) * failedShare
  }
}

function sinceStable(config: ConfigRecord, releases: readonly ReleaseInfo[], outcomes: Outcomes): number | null {
  if (config.head === null || outcomes.size === 0) return null
  const stable = releases.find(({ number }) => outcomes.get(number) === 'completed')
  return stable === undefined ? releases.length : config.head.number - stable.number
}

/** Oldest first: a store makes each content of the one before. */
function pastOf(
  read: StoreRead,
  config: ConfigRecord,
  schema: SchemaPlace,
  places: Place,
  releases: readonly ReleaseInfo[],
  outcomes: Outcomes,
): { readonly past: readonly PastChanges[]; readonly looked: number } {
  const counts = new Map([...asked(places)].map((place) => [place, { changed: 0, bad: 0 }]))
  let looked = 0
  let before: Json | undefined
  for (const { number, kind } of releases.toReversed()) {
    const after = read.content(config.name, number)
    // Where one is no longer kept, who made what is in the next cannot be told.
    const known = before !== undefined || number === 1
    const outcome = outcomes.get(number)
    const bad = outcome === 'rolled-back' || outcome === 'failed'
    // What brings back the old proves nothing of the path.
    if (after !== undefined && known && (kind === 'publish' || bad)) {
      compare(places, before, after, schema, (place) => {
        const count = counts.get(place)
        if (count === undefined) return
        count.changed++
        if (bad) count.bad++
      })
    }
    if (after !== undefined) looked++
    before = after
  }
  const past = [...counts].map(([place, count]) => ({ path: placeText(place), ...count }))
  return { past, looked }
}

/** Where something happens as a whole, and where many things do whose names were given up. */
function* asked(place: Place): Generator<Place> {
  if (place.kinds.size > 0 || place.merged) yield place
  if (!place.merged) for (const child of place.children.values()) yield* asked(child)
}

/** Which places hold something else after than before. What is the very same object is not looked into. */
function compare(
  place: Place,
  before: Json | undefined,
  after: Json | undefined,
  schema: SchemaPlace,
  differs: (place: Place) => void,
): void {
  if (before === after) return
  if ((place.kinds.size > 0 || place.merged) && !isEqual(before, after)) differs(place)
  if (place.merged || place.children.size === 0) return
  const key = keyFieldAt(schema)
  const lists = Array.isArray(before) && Array.isArray(after) && key !== undefined
  const [was, is] = lists ? apart(before, after) : [before, after]
  const old = childrenOf(place, was, key)
  const now = childrenOf(place, is, key)
  for (const [step, child] of place.children) {
    if (old.has(step) || now.has(step)) {
      compare(child, old.get(step), now.get(step), schemaBelow(schema, step), differs)
    }
  }
}

/** Two lists without the entries that are the very same at the same place, from the front or from the end. */
function apart(before: readonly Json[], after: readonly Json[]): [readonly Json[], readonly Json[]] {
  // Copies, because reading the entries of a frozen list takes five times as long.
  const old = [...before]
  const now = [...after]
  const shorter = Math.min(old.length, now.length)
  let start = 0
  while (start < shorter && old[start] === now[start]) start++
  let end = 0
  while (end < shorter - start && old.at(-1 - end) === now.at(-1 - end)) end++
  const was = old.slice(start, old.length - end)
  const is = now.slice(start, now.length - end)
  return [was.filter((entry, i) => entry !== is[i]), is.filter((entry, i) => entry !== was[i])]
}

function isEqual(before: Json | undefined, after: Json | undefined): boolean {
  return isContainer(before) && isContainer(after) && digest(before) === digest(after)
}

/**
 * The values of those children that the place has.
 * @param key the field by which the entries of a list are known; without one it is their index.
 */
function childrenOf(place: Place, value: Json | undefined, key: string | undefined): Map<string, Json> {
  const found = new Map<string, Json>()
  if (Array.isArray(value) && key !== undefined) {
    for (const entry of value as readonly Json[]) {
      const name = fieldOf(entry, key)
      const step = typeof name === 'number' ? String(name) : name
      if (typeof step === 'string' && place.children.has(step)) found.set(step, entry)
    }
    return found
  }
  for (const step of place.children.keys()) {
    const child = Array.isArray(value) ? indexed(value, step) : fieldOf(value, step)
    if (child !== undefined) found.set(step, child)
  }
  return found
}

function indexed(list: readonly Json[], step: string): Json | undefined {
  return /^(?:0|[1-9]\d*)$/.test(step) ? list[Number(step)] : undefined
}

function fieldOf(value: Json | undefined, name: string): Json | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined
  return Object.hasOwn(value, name) ? (value as JsonObject)[name] : undefined
}

/** Lists and maps that lose all they have, at once or entry by entry. */
function findEmptied(place: Place, value: Json | undefined, schema: SchemaPlace, emptied: Set<string>): void {
  if (typeof value !== 'object' || value === null) return
  const entries = entriesOf(value)
  if (entries >= 2 && (place.removed >= entries || place.kinds.has('removed'))) emptied.add(placeText(place))
  if (place.merged || place.children.size === 0) return
  const children = childrenOf(place, value, keyFieldAt(schema))
  for (const [step, child] of place.children) {
    findEmptied(child, children.get(step), schemaBelow(schema, step), emptied)
  }
}

/** Entries of a list, or of an object that holds containers only: `{id, limit}` is one thing, and no collection. */
function entriesOf(value: readonly Json[] | JsonObject): number {
  if (Array.isArray(value)) return value.length
  let entries = 0
  for (const name in value) {
    const entry = (value as JsonObject)[name]
    if (typeof entry !== 'object' || entry === null) return 0
    entries++
  }
  return entries
}

const consistentMark = 'x-midflight-consistent'

/** On the way to a touched place, at it, or below what changes as a whole. */
function isConsistent(places: Place, schema: SchemaPlace): boolean {
  if (!holdsMark(schema, consistentMark)) return false
  const search = (place: Place, here: SchemaPlace): boolean => {
    if (isMarked(here, consistentMark)) return true
    if ((place.kinds.size > 0 || place.merged) && holdsMark(here, consistentMark)) return true
    if (place.merged) return false
    return [...place.children].some(([step, child]) => search(child, schemaBelow(here, step)))
  }
  return search(places, schema)
}

/** A list or an object in whose place stands something else is gone. */
function plain(change: GivenChange): GivenChange {
  const gone = change.kind === 'changed' && isContainer(change.before) && !isContainer(change.after)
  return gone ? { ...change, kind: 'removed' } : change
}

function sized({ kind, path, before, after }: GivenChange): RiskChange {
  const text = typeof path === 'string' ? path : pathText(path)
  const old = before === undefined ? 1 : valuesIn(before)
  const now = after === undefined ? 1 : valuesIn(after)
  const values = { added: now, removed: old, changed: Math.max(old, now), moved: 1 }
  const jump = typeof before === 'number' && typeof after === 'number' ? jumpOf(before, after) : 1
  return { kind, path: text, values: values[kind], ...(jump > 1 && { jump }) }
}

/** Secrets are no numbers here: what is shown of them is a text. */
function jumpOf(before: number, after: number): number {
  if (before === 0 || after === 0 || before < 0 !== after < 0) return Infinity
  const times = Math.abs(after / before)
  return Math.max(times, 1 / times)
}

function isContainer(value: Json | undefined): value is readonly Json[] | JsonObject {
  return typeof value === 'object' && value !== null
}

/** Of frozen containers that are not tiny: what two contents share is counted once. */
const known = new WeakMap<object, number>()
const smallestKnown = 8

/** Scalars, and containers with nothing in them. */
export function valuesIn(value: Json): number {
  if (typeof value !== 'object' || value === null) return 1
  const before = known.get(value)
  if (before !== undefined) return before
  let count = 0
  if (Array.isArray(value)) for (const entry of value as readonly Json[]) count += valuesIn(entry)
  else for (const name in value) count += valuesIn((value as JsonObject)[name] as Json)
  const found = Math.max(1, count)
  if (found >= smallestKnown && Object.isFrozen(value)) known.set(value, found)
  return found
}
