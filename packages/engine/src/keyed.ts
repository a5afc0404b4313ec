/**
 * A component made of `start`, `update` and `stop` over a keyed collection: an array whose entries have a key field,
 * or an object. Exactly the entries that changed are touched; the running object of an unchanged key is the very same
 * object afterwards. The new is prepared before the old is stopped, and a failure undoes itself.
 */
import type { Component, Prepared, SliceChange } from './component.ts'
import { isContentChange } from './contents.ts'
import { errorText, isPromise, isTransient } from './deadline.ts'
import { diffEntries } from './diff.ts'
import type { Issue } from './issue.ts'
import { at, isArray, isObject, parsePath, pathText, type Json, type JsonObject, type Path } from './json.ts'

type Collection = readonly Json[] | JsonObject | undefined
type Change = SliceChange<Collection>

/** `E` is an entry, `R` the running object that `start` makes of it. */
export interface KeyedOptions<E, R> {
  readonly name: string
  readonly after?: readonly string[]
  /**
   * The field that tells the entries of an array apart. Left out where the collection is an object, or where the schema
   * says it (`x-midflight-key`).
   */
  readonly key?: string
  /** Fields of an entry (dotted) that cannot change while the process runs. */
  readonly restartFor?: readonly string[]
  /** Fields of an entry (dotted) whose change means a new running object: started before the old one is stopped. */
  readonly replaceFor?: readonly string[]
  readonly deadlines?: Component['deadlines']
  /**
   * Pure; called for new and changed entries. What comes back refuses the configuration: a string about the entry, or
   * one about a field of it (dotted).
   */
  validate?(entry: E, id: string): readonly (string | { readonly field: string; readonly message: string })[]
  /** Makes a running object, invisible from outside until it is committed. If it throws, it has cleaned up. */
  start(entry: E, id: string, signal: AbortSignal): R | Promise<R>
  /** Takes a changed entry in place, keeping the state. Called with the old entry to undo. Without it: start and stop. */
  update?(running: R, entry: E, before: E, id: string): void | Promise<void>
  /**
   * Lets a running object go: it was removed, replaced, or never came to be live. The reload waits for it, within the
   * component's `rollbackMs`: what takes long (draining connections) is begun here and left to end by itself.
   */
  stop?(running: R, id: string): void | Promise<void>
}

export interface KeyedComponent<R> extends Component<Collection> {
  /** What runs now, by key. Between two turns of the event loop it is wholly old or wholly new. */
  readonly running: ReadonlyMap<string, R>
}

/** How many entries are started at a time. */
const startsAtOnce = 16

export function keyedComponent<E, R>(options: KeyedOptions<E, R>, path: string): KeyedComponent<R> {
  const running = new Map<string, R>()
  const replaceFor = (options.replaceFor ?? []).map(parsePath)
  const base = parsePath(path)

  const replaces = (before: Json, after: Json) =>
    options.update === undefined || replaceFor.some((field) => at(before, field) !== at(after, field))

  // All at once: one that hangs keeps no other from being stopped.
  const stopAll = async (entries: ReadonlyMap<string, R>, why: string) => {
    const { stop } = options
    if (!stop) return
    const stopped = await Promise.allSettled([...entries].map(async ([id, object]) => stop(object, id)))
    const errors = stopped.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []))
    if (errors.length > 0) throw new AggregateError(errors, why)
  }

  return {
    name: options.name,
    after: options.after ?? [],
    paths: [path],
    slice: ([value]) => value as Collection,
    hot: options.restartFor?.length
      ? { restartFor: options.restartFor.map((field) => pathText([...base, '*', ...parsePath(field)])) }
      : 'full',
    ...(options.key !== undefined && { keys: { [path]: options.key } }),
    ...(options.deadlines && { deadlines: options.deadlines }),
    running,

    validate(change) {
      const { before, after } = change
      const changed = before === undefined ? undefined : changedEntries(change)
      if (!changed) {
        const issues = keyIssues(after, options.key, base)
        if (issues.length > 0) return issues
      }
      const { added, updated } = changed ?? differences(change, options.key, base)
      const issues: Issue[] = []
      const look = (id: string, entry: Json) => {
        for (const found of options.validate?.(entry as E, id) ?? []) {
          const { field, message } = typeof found === 'string' ? { field: '', message: found } : found
          issues.push({ code: 'component', path: [...base, id, ...parsePath(field)], message })
        }
      }
      for (const [id, entry] of added) look(id, entry)
      for (const [id, { after: entry }] of updated) look(id, entry)
      return issues
    },

    async prepare(change: Change, signal): Promise<Prepared> {
      const { added, removed, updated } = differences(change, options.key, base)
      const replaced = new Map([...updated].filter(([, e]) => replaces(e.before, e.after)))
      const inPlace = [...updated].filter(([id]) => !replaced.has(id))
      const fresh = new Map<string, R>()
      const wanted: [string, Json][] = [...added]
      for (const [id, { after }] of replaced) wanted.push([id, after])
      try {
        await startEach(wanted, fresh, signal)
      } catch (error) {
        await stopAll(fresh, `undoing ${options.name}`).catch((undo: unknown) => {
          throw new AggregateError([error, undo], `could not start, nor undo`)
        })
        throw error
      }

      const old = new Map<string, R>()
      const touched: typeof inPlace = []
      return {
        async commit() {
          for (const entry of inPlace) {
            touched.push(entry)
            const [id, { before, after }] = entry
            const done = options.update?.(running.get(id) as R, after as E, before as E, id)
            if (isPromise(done)) await done
          }
          // One turn of the event loop: nobody sees a part of it.
          for (const id of [...removed.keys(), ...replaced.keys()]) {
            if (!running.has(id)) continue
            old.set(id, running.get(id) as R)
            running.delete(id)
          }
          for (const [id, object] of fresh) running.set(id, object)
        },
        async rollback() {
          const errors: unknown[] = []
          for (const [id, object] of fresh) if (running.get(id) === object) running.delete(id)
          for (const [id, object] of old) running.set(id, object)
          old.clear()
          for (const [id, { before, after }] of touched.splice(0).reverse()) {
            try {
              await options.update?.(running.get(id) as R, before as E, after as E, id)
            } catch (error) {
              errors.push(error)
            }
          }
          const undone = new Map(fresh)
          fresh.clear()
          await stopAll(undone, 'could not stop what had been started').catch((error: unknown) => errors.push(error))
          if (errors.length > 0) throw new AggregateError(errors, `${options.name} could not be undone`)
        },
        async dispose() {
          const gone = new Map(old)
          old.clear()
          await stopAll(gone, 'could not stop what is no longer wanted')
        },
      }
    },

    async close() {
      const all = new Map(running)
      running.clear()
      await stopAll(all, `closing ${options.name}`)
    },
  }

  /** The differences, or nothing where a key is missing or taken: then the whole has to be looked at. */
  function changedEntries(change: Change) {
    try {
      const changed = differences(change, options.key, base)
      for (const id of changed.added.keys()) if (running.has(id) && !changed.removed.has(id)) return undefined
      return changed
    } catch {
      // diffEntries refuses a missing or a double key; keyIssues says where both are.
      return undefined
    }
  }

  async function startEach(wanted: [string, Json][], fresh: Map<string, R>, signal: AbortSignal) {
    let next = 0
    let failed: { error: unknown } | undefined
    const lane = async () => {
      while (next < wanted.length && !failed) {
        const [id, entry] = wanted[next++] as [string, Json]
        try {
          signal.throwIfAborted()
          const object = options.start(entry as E, id, signal)
          fresh.set(id, isPromise(object) ? await object : object)
        } catch (error) {
          failed ??= { error: new EntryError(id, error) }
        }
      }
    }
    await Promise.all(Array.from({ length: Math.min(startsAtOnce, wanted.length) }, lane))
    if (failed) throw failed.error
  }
}

/** Says which entry failed; as transient as its cause. */
class EntryError extends Error {
  override readonly name = 'EntryError'
  readonly transient: boolean
  constructor(id: string, cause: unknown) {
    super(`${id}: ${errorText(cause)}`, { cause })
    this.transient = isTransient(cause)
  }
}

/** The entries that differ, and those that are to be taken anew: all if forced, or where a named file changed. */
function differences({ before, after, forced, changes }: Change, key: string | undefined, base: readonly string[]) {
  const differing = diffEntries(before, after, key)
  if (before === undefined || (!forced && !changes.some(isContentChange))) return differing
  const { added, removed, updated } = differing
  const named = new Set(changes.filter(isContentChange).map((change) => String(change.path[base.length])))
  const again = [...diffEntries(undefined, after, key).added].filter(
    ([id]) => !added.has(id) && !updated.has(id) && (forced || named.has(id)),
  )
  const all = [...updated, ...again.map(([id, entry]) => [id, { before: entry, after: entry }] as const)]
  return { added, removed, updated: new Map(all) }
}

/** An entry without a key, or two with the same: both positions (P5). */
export function keyIssues(next: Collection, key: string | undefined, base: Path): Issue[] {
  if (key === undefined || !isArray(next)) return []
  const issues: Issue[] = []
  const first = new Map<string, number>()
  next.forEach((entry, index) => {
    const id = isObject(entry) ? entry[key] : undefined
    if (typeof id !== 'string' && typeof id !== 'number') {
      issues.push({
        code: 'component',
        path: [...base, index],
        message: `has no ${key}; want a string that no other entry has`,
      })
      return
    }
    const earlier = first.get(String(id))
    if (earlier === undefined) first.set(String(id), index)
    else {
      issues.push({
        code: 'duplicate-key',
        path: [...base, index, key],
        message: `is ${JSON.stringify(id)}, which entry ${earlier} has already; want one entry for each ${key}`,
        firstPath: [...base, earlier, key],
      })
    }
  })
  return issues
}
