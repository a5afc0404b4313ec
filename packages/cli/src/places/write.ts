/** Brings a content to where it is to be: to a key, to the keys below a prefix, or to a config as one release. */
import { randomUUID } from 'node:crypto'
import { digest, putIfChanged, WriteError, type Json, type Put, type Stored, type Writer } from 'midflight'
import type { Address } from '../admin/address.ts'
import { call, callAgain, configPath, placeOf } from '../fleet/call.ts'
import type { Published, PublishPlan } from '../fleet/records.ts'
import { Refusal } from '../refusal.ts'
import { keysOf, type Content } from './content.ts'
import type { Layout, Place } from './place.ts'

export interface Order {
  /** Also removes what the source has not. */
  readonly delete: boolean
  readonly force: boolean
  /** Nothing is written; the report says what would be. */
  readonly dryRun: boolean
  /** Nothing more is begun; what was begun is finished, within its time, so that it can be told. */
  readonly signal: AbortSignal
  onProgress(done: number, total: number): void
}

/** What became of the keys, counted as it happens: whoever is interrupted can say how far it went. */
export interface Report {
  written: number
  unchanged: number
  removed: number
  /** Keys that are there and that the source has not; they stay. */
  left: number
  /** Somebody else was faster, each time. Theirs stays. */
  readonly conflicts: string[]
  /** Of a config. */
  release?: number
  /** Why writes at the same moment by others would not be noticed. */
  unguarded?: string
}

export interface Target {
  readonly name: string
  /** All of it. @throws Refusal, WriteError */
  bring(content: Content, order: Order, report: Report): Promise<void>
  /** What differs from what was brought before, with what the source has no more. After a failure it may be called again. */
  follow(content: Content, order: Order, report: Report): Promise<void>
  close(): Promise<void>
}

export function newReport(): Report {
  return { written: 0, unchanged: 0, removed: 0, left: 0, conflicts: [] }
}

const atOnce = 16
/** Each call has a limit of its own. */
const finished = new AbortController().signal
/** How often a key is compared and written again after somebody else was faster. */
const retries = 5

export function placeTarget(place: Place): Target {
  const writer = place.writer()
  const { name, layout } = place
  if (layout.kind === 'keys') return new KeysTarget(name, writer, layout)
  const bring: Target['bring'] = async ({ config }, order, report) => {
    order.onProgress(0, 1)
    await put(writer, layout.key, config, { order, report, form: 'json' })
    order.onProgress(1, 1)
  }
  return { name, bring, follow: bring, close: () => writer.close() }
}

class KeysTarget implements Target {
  readonly name: string
  readonly #writer: Writer
  readonly #layout: Layout & { kind: 'keys' }
  /** The digest of what each key was brought to; without one where it is not sure. */
  readonly #known = new Map<string, string | undefined>()

  constructor(name: string, writer: Writer, layout: Layout & { kind: 'keys' }) {
    this.name = name
    this.#writer = writer
    this.#layout = layout
  }

  async bring(content: Content, order: Order, report: Report): Promise<void> {
    const wanted = keysOf(content, this.#layout)
    const there = await listed(this.#writer, this.#layout, order)
    const gone = [...(there?.keys() ?? [])].filter((key) => !wanted.has(key))
    if (!order.delete) refuseUnreadable(this.name, this.#layout.separator, wanted, gone)
    let done = 0
    const total = wanted.size + (order.delete ? gone.length : 0)
    const step = () => order.onProgress(++done, total)
    order.onProgress(0, total)
    await each([...wanted], order.signal, async ([key, value]) => {
      await this.#put(key, value, order, report, there && (there.get(key) ?? null))
      step()
    })
    if (!order.delete) report.left += gone.length
    else {
      await each(gone, order.signal, async (key) => {
        await remove(this.#writer, key, there?.get(key)?.revision ?? '', order, report)
        step()
      })
    }
  }

  async follow(content: Content, order: Order, report: Report): Promise<void> {
    // Its last key was seen to be removed, or its source would have kept what it knew.
    const wanted = isEmpty(content) ? new Map<string, Json>() : keysOf(content, this.#layout)
    const changed = [...wanted].filter(([key, value]) => this.#known.get(key) !== digest(value))
    const gone = [...this.#known.keys()].filter((key) => !wanted.has(key))
    try {
      await each(changed, order.signal, ([key, value]) => this.#put(key, value, order, report))
      await each(gone, order.signal, async (key) => {
        const stored = await this.#writer.read(key, finished)
        if (stored && !(await remove(this.#writer, key, stored.revision, order, report))) return
        this.#known.delete(key)
      })
    } catch (error) {
      // Who was away may come back with less than it had.
      for (const key of this.#known.keys()) this.#known.set(key, undefined)
      throw error
    }
  }

  async #put(key: string, value: Json, order: Order, report: Report, last?: Stored | null): Promise<void> {
    this.#known.set(key, undefined)
    const kind = await put(this.#writer, key, value, {
      order,
      report,
      form: 'auto',
      ...(last !== undefined && { last }),
    })
    if (kind !== 'conflict') this.#known.set(key, digest(value))
  }

  close(): Promise<void> {
    return this.#writer.close()
  }
}

/** @throws Refusal if a value would lie below another: nobody could read that as one tree. */
function refuseUnreadable(
  name: string,
  separator: string,
  wanted: ReadonlyMap<string, Json>,
  others: readonly string[],
): void {
  const kept = new Set(others)
  const below =
    [...wanted.keys()].find((key) => isBelow(key, separator, kept)) ??
    others.find((key) => isBelow(key, separator, wanted))
  if (below === undefined) return
  throw new Refusal(
    'refused',
    `${name}: ${below} would lie below a key that has a value; nothing was written`,
    'one of the two is there, and the source has it not: --delete removes what the source has not',
  )
}

function isBelow(key: string, separator: string, keys: { has(key: string): boolean }): boolean {
  for (let at = key.lastIndexOf(separator); at > 0; at = key.lastIndexOf(separator, at - 1)) {
    if (keys.has(key.slice(0, at))) return true
  }
  return false
}

/** Undefined where the store has no lists: then each key is read before it is written. */
async function listed(
  writer: Writer,
  { prefix, separator }: { prefix: string; separator: string },
  order: Order,
): Promise<Map<string, Stored> | undefined> {
  if (writer.lacks.list !== undefined) {
    if (!order.delete) return undefined
    throw new Refusal('usage', `--delete cannot be done: ${writer.name}: ${writer.lacks.list}`)
  }
  const there = new Map<string, Stored>()
  for await (const { key, value, revision } of writer.list(prefix, order.signal)) {
    // What browsers of stores write for a folder is no value.
    if (value.length > 0 || !key.endsWith(separator)) there.set(key, { value, revision })
  }
  return there
}

function isEmpty({ config, pieces }: Content): boolean {
  return pieces
    ? pieces.length === 0
    : typeof config === 'object' && config !== null && Object.keys(config).length === 0
}

interface OneKey {
  readonly order: Order
  readonly report: Report
  readonly form: 'json' | 'auto'
  readonly last?: Stored | null
}

async function put(writer: Writer, key: string, value: Json, one: OneKey): Promise<Put['kind']> {
  const { order, report, form, last } = one
  const { force, dryRun } = order
  const asked = { form, force, retries, ...(last !== undefined && { last }) }
  const result: Put = dryRun ? await wouldPut(writer, key, value, one) : await putIfChanged(writer, key, value, asked)
  if (result.kind === 'conflict') report.conflicts.push(key)
  else report[result.kind]++
  if (result.kind === 'written' && result.unguarded !== undefined) report.unguarded = result.unguarded
  return result.kind
}

async function wouldPut(writer: Writer, key: string, value: Json, { order, form, last }: OneKey): Promise<Put> {
  const stored = last === undefined ? await writer.read(key, finished) : (last ?? undefined)
  return await putIfChanged(onlyLooks(writer), key, value, { form, force: order.force, last: stored ?? null })
}

/** Takes everything, and writes nothing. */
function onlyLooks({ name, lacks }: Writer): Writer {
  const never = () => Promise.reject(new WriteError('refused', `${name} is only looked at`))
  return {
    name,
    lacks,
    read: never,
    // oxlint-disable-next-line require-yield
    async *list() {
      await never()
    },
    write: async () => ({ kind: 'written', revision: '' }),
    remove: never,
    close: async () => {},
  }
}

/** @returns whether it is gone */
async function remove(writer: Writer, key: string, revision: string, order: Order, report: Report): Promise<boolean> {
  const expected = writer.lacks.compare === undefined ? { revision } : ('any' as const)
  const { kind } = order.dryRun ? { kind: 'removed' } : await writer.remove(key, expected, finished)
  if (kind === 'conflict') report.conflicts.push(key)
  else if (kind === 'removed') report.removed++
  return kind !== 'conflict'
}

/** Some at once. After a failure no more are begun; it is thrown when those that were have ended. */
async function each<T>(all: readonly T[], signal: AbortSignal, work: (one: T) => Promise<void>): Promise<void> {
  let next = 0
  let failure: { readonly error: unknown } | undefined
  const worker = async () => {
    while (next < all.length && !failure && !signal.aborted) {
      try {
        await work(all[next++] as T)
      } catch (error) {
        failure ??= { error }
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, all.length) }, worker))
  if (failure) throw failure.error
}

/** A whole content as one release. */
export function configTarget(address: Address, config: string, message: string | undefined): Target {
  const path = configPath(config)
  const bring: Target['bring'] = async ({ config: content }, order, report) => {
    order.onProgress(0, 1)
    const asked = { method: 'POST' as const, body: { content }, signal: order.signal }
    const { head, same, issues } = (await call<PublishPlan>(address, `${path}/plan`, asked)).body
    if (issues.length > 0) {
      const places = issues.flatMap(placeOf)
      throw new Refusal('invalid', `this is not what ${config} demands; nothing was published`, undefined, places)
    }
    if (same && !order.force) report.unchanged++
    else {
      report.written++
      if (!order.dryRun) report.release = (await published(content, head.digest, order)).release.number
    }
    order.onProgress(1, 1)
  }
  const published = async (content: Json, head: string | null, { force }: Order): Promise<Published> => {
    const headers = {
      'idempotency-key': randomUUID(),
      // Against what was compared: what somebody else publishes meanwhile is not overwritten.
      ...(head === null ? { 'if-none-match': '*' } : { 'if-match': `"${head}"` }),
    }
    const query = { message, ...(force && { force: 'true' }) }
    const asked = { method: 'PUT' as const, query, headers, body: content }
    return (await callAgain<Published>(address, `${path}/content`, asked)).body
  }
  return {
    name: config,
    bring,
    follow: bring,
    async close() {},
  }
}
