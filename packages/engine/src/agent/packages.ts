/**
 * What a node does with the packages that a control plane brings to it, as a component: it writes each one's files and
 * parameters into a folder of its own, starts and stops what belongs to them, and cleans up what is taken away. That it
 * did so, the node reports as it reports every release. Which nodes get what is decided by the control plane.
 *
 *   directory/monitor%2Fmysql%231/parameters.json, files/…
 */
import { createHash, randomUUID } from 'node:crypto'
import { lstat, mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Component, Prepared } from '../component.ts'
import { errorText } from '../deadline.ts'
import type { Issue } from '../issue.ts'
import { redactor, secretsIn } from '../redact.ts'
import { isObject, type Json, type JsonObject } from '../json.ts'

/** One package as it is to be on this node. */
export interface InstalledPackage {
  /** Of the subscription: `monitor/mysql#1`. */
  readonly id: string
  readonly name: string
  readonly version: string
  readonly parameters: JsonObject
  /** Absolute if `directory` is. */
  readonly folder: string
}

export interface PackagesOptions {
  /** Made by this component, and belongs to it alone: what is in it and was not brought is removed. */
  readonly directory: string
  /** A package is in its folder and is to work. What it throws undoes the release. */
  readonly start?: (installed: InstalledPackage) => Promise<void> | void
  /** It is to work no longer: it was stopped, changed (then it is started again), or is about to be removed. */
  readonly stop?: (installed: InstalledPackage) => Promise<void> | void
  /** Of those whose auto-inspection is on, files that were changed are written again. Milliseconds, default 60,000. */
  readonly inspectMs?: number
  /** Files were found changed and are as they were brought again; or could not be made so, and why. */
  readonly onRepair?: (id: string, files: readonly string[], failure?: string) => void
}

interface Entry {
  readonly enabled: boolean
  readonly inspected: boolean
  readonly package: {
    readonly name: string
    readonly version: string
    readonly files: Readonly<Record<string, string>>
  }
  readonly parameters: JsonObject
}

type Entries = Readonly<Record<string, Entry>>

/** In a directory that was made here. In another one nothing is touched. */
const marker = '.midflight-packages'
const named = /^[A-Za-z0-9][\w.:-]{0,127}$/
const safePath = /^(?!.*(?:^|\/)\.{1,2}(?:\/|$))[^/\0\\]{1,255}(?:\/[^/\0\\]{1,255}){0,7}$/

/** For `start({ components: [packages({ … })] })` in a process that runs a config `nodes/…`. */
export function packages(options: PackagesOptions): Component<Entries> {
  const { directory, inspectMs = 60_000 } = options
  if (!(inspectMs >= 10 && inspectMs <= 86_400_000)) {
    throw new RangeError(`packages(): inspectMs is ${inspectMs}; want 10 to 86,400,000`)
  }
  let live: Entries = {}
  /** One thing at a time is done to the folders. */
  let line: Promise<unknown> = Promise.resolve()
  const inLine = <T>(work: () => Promise<T>): Promise<T> => {
    const turn = line.then(work)
    line = turn.catch(() => {})
    return turn
  }
  const timer = setInterval(() => {
    inLine(() => repaired(live)).catch((error: unknown) => options.onRepair?.('', [], errorText(error)))
  }, inspectMs)
  timer.unref()

  const folderOf = (id: string): string => join(directory, folderName(id))

  async function started(id: string, entry: Entry): Promise<void> {
    try {
      await options.start?.(described(id, entry))
    } catch (error) {
      throw saying(id, entry, 'does not start', error)
    }
  }

  async function stopped(id: string, entry: Entry): Promise<void> {
    try {
      await options.stop?.(described(id, entry))
    } catch (error) {
      throw saying(id, entry, 'does not stop', error)
    }
  }

  const described = (id: string, { package: { name, version }, parameters }: Entry): InstalledPackage => ({
    id,
    name,
    version,
    parameters,
    folder: folderOf(id),
  })

  async function repaired(entries: Entries): Promise<void> {
    for (const [id, entry] of Object.entries(entries)) {
      if (!entry.inspected) continue
      const changed: string[] = []
      try {
        for (const [path, text] of textsOf(entry)) {
          const file = join(folderOf(id), path)
          const crooked = await crookedIn(directory, join(folderName(id), path))
          if (crooked === undefined && (await textIn(file)) === text) continue
          changed.push(path)
          if (crooked !== undefined) await rm(crooked, { recursive: true, force: true })
          await written(file, text)
        }
        if (changed.length > 0) options.onRepair?.(id, changed)
      } catch (error) {
        options.onRepair?.(id, changed, errorText(error))
      }
    }
  }

  return {
    name: 'packages',
    after: [],
    paths: ['deployments'],
    slice: ([value]) => (value ?? {}) as unknown as Entries,
    hot: 'full',
    // Starting and stopping what is in packages takes longer than a swap.
    deadlines: { commitMs: 120_000, rollbackMs: 120_000 },
    validate: ({ after }) =>
      Object.entries(after as unknown as JsonObject).flatMap(([id, entry]) => issuesIn(id, entry)),

    async prepare({ before, after, forced }, signal): Promise<Prepared> {
      const staging = join(directory, `.new-${randomUUID()}`)
      const changed = Object.keys(after).filter((id) => forced || !isAlike(before?.[id], after[id] as Entry))
      const removed = Object.keys(before ?? {}).filter((id) => !Object.hasOwn(after, id))
      try {
        await claim(directory)
        await mkdir(staging, { mode: 0o700 })
        for (const id of changed) {
          signal.throwIfAborted()
          for (const [path, text] of textsOf(after[id] as Entry)) {
            await written(join(staging, folderName(id), path), text)
          }
        }
      } catch (error) {
        await rm(staging, { recursive: true, force: true })
        throw error
      }
      const aside = join(directory, `.old-${randomUUID()}`)
      /** What was done, so that it can be undone, last first. */
      const undo: (() => Promise<void>)[] = []

      async function takeAway(id: string): Promise<void> {
        const entry = before?.[id]
        if (entry?.enabled) {
          await stopped(id, entry)
          undo.push(() => started(id, entry))
        }
        await putAside(folderName(id))
      }

      async function putAside(name: string): Promise<void> {
        const [from, to] = [join(directory, name), join(aside, name)]
        if (await moved(from, to)) undo.push(async () => void (await moved(to, from)))
      }

      async function bring(id: string, entry: Entry): Promise<void> {
        await moved(join(staging, folderName(id)), folderOf(id))
        undo.push(() => rm(folderOf(id), { recursive: true, force: true }))
        if (!entry.enabled) return
        undo.push(() => stopped(id, entry))
        await started(id, entry)
      }

      return {
        commit: () =>
          inLine(async () => {
            await mkdir(aside, { recursive: true, mode: 0o700 })
            // What another process left here, and nobody wants any more.
            if (before === undefined) {
              const own = [staging, aside, marker].map((folder) => basename(folder))
              for (const name of await readdir(directory)) if (!own.includes(name)) await putAside(name)
            }
            for (const id of [...removed, ...changed]) await takeAway(id)
            for (const id of changed) await bring(id, after[id] as Entry)
            live = after
          }),
        rollback: () =>
          inLine(async () => {
            const errors: unknown[] = []
            for (const step of undo.splice(0).reverse()) await step().catch((error: unknown) => errors.push(error))
            if (live === after) live = before ?? {}
            await clean(staging, aside)
            if (errors.length > 0) throw new AggregateError(errors, 'packages were not wholly given back')
          }),
        dispose: () => inLine(() => clean(staging, aside)),
      }
    },

    async close() {
      clearInterval(timer)
      await inLine(async () => {
        const errors: unknown[] = []
        for (const [id, entry] of Object.entries(live)) {
          if (entry.enabled) await stopped(id, entry).catch((error: unknown) => errors.push(error))
        }
        if (errors.length > 0) throw new AggregateError(errors, errors.map((error) => errorText(error)).join('; '))
      })
    },
  }
}

/** Whether it is looked after makes no difference to what is there. Unchanged parts are the very same objects. */
function isAlike(a: Entry | undefined, b: Entry): boolean {
  return a === b || (a?.enabled === b.enabled && a.package === b.package && a.parameters === b.parameters)
}

function textsOf({ package: { files }, parameters }: Entry): [string, string][] {
  const texts = Object.entries(files).map(([path, text]): [string, string] => [`files/${path}`, text])
  return [...texts, ['parameters.json', `${JSON.stringify(parameters, null, 2)}\n`]]
}

function issuesIn(id: string, entry: Json | undefined): Issue[] {
  const wrong = (message: string, ...path: string[]): Issue[] => [
    { code: 'component', path: ['deployments', id, ...path], message },
  ]
  if (!isObject(entry) || typeof entry['enabled'] !== 'boolean')
    return wrong('is no package; want one of a control plane')
  if (!id.isWellFormed() || id === '' || id.startsWith('.')) return wrong('is no id of a subscription')
  const { package: brought, parameters } = entry
  const files = isObject(brought) ? brought['files'] : undefined
  if (!isObject(brought) || !isObject(files) || !isObject(parameters))
    return wrong('has no package, files or parameters')
  for (const field of ['name', 'version']) {
    const text = brought[field]
    if (typeof text !== 'string' || !named.test(text)) return wrong('is no name', 'package', field)
  }
  return Object.entries(files).flatMap(([path, text]) => {
    if (!safePath.test(path)) return wrong('is no path below the folder of the package', 'package', 'files', path)
    if (placesAbove(path).some((one) => Object.hasOwn(files, one)))
      return wrong('lies in what is a file itself', 'package', 'files', path)
    return typeof text === 'string' ? [] : wrong('is no text', 'package', 'files', path)
  })
}

/** What somebody's code says may quote the parameters, and all of them may be secret: they are in neither text nor cause. */
function saying(id: string, { parameters }: Entry, what: string, error: unknown): Error {
  const { text } = redactor({ patterns: [], secretValues: secretsIn(parameters, { patterns: ['*'] }) })
  return new Error(`package ${id} ${what}: ${text(errorText(error))}`)
}

/** `a/b/c` → `a`, `a/b`. */
function placesAbove(path: string): string[] {
  const steps = path.split('/').slice(0, -1)
  return steps.map((_, i) => steps.slice(0, i + 1).join('/'))
}

/** A name that every file system takes, another for each id. */
function folderName(id: string): string {
  const name = encodeURIComponent(id)
  if (name.length <= 200) return name
  return `${name.slice(0, 150)}~${createHash('sha256').update(id).digest('hex').slice(0, 40)}`
}

/** @throws Error for a directory that holds something and was not made here: it would be removed. */
async function claim(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true, mode: 0o700 })
  const names = await readdir(directory)
  if (names.includes(marker)) return
  if (names.length > 0) {
    throw new Error(`packages(): ${directory} holds what is no package; want a directory that is empty or not there`)
  }
  await writeFile(join(directory, marker), '')
}

/**
 * The first place on the way that is no plain folder, or at its end no plain file: what is read or written there would
 * be somewhere else, behind a link.
 */
async function crookedIn(directory: string, path: string): Promise<string | undefined> {
  for (const place of [...placesAbove(path), path]) {
    const at = join(directory, place)
    try {
      const found = await lstat(at)
      if (place === path ? !found.isFile() : !found.isDirectory()) return at
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw error
    }
  }
  return undefined
}

/** Readable by the owner only: parameters may hold secrets. Renamed into place, so that nobody reads a part. */
async function written(file: string, text: string): Promise<void> {
  await mkdir(dirname(file), { recursive: true, mode: 0o700 })
  const beside = `${file}.${randomUUID()}`
  try {
    await writeFile(beside, text, { mode: 0o600, flag: 'wx', flush: true })
    await rename(beside, file)
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
}

async function textIn(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8')
  } catch {
    // Not there, or not to be read: not what it is to be, either way.
    return undefined
  }
}

/** @returns whether it was there. */
async function moved(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to)
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false
    throw error
  }
}

async function clean(...folders: readonly string[]): Promise<void> {
  for (const folder of folders) await rm(folder, { recursive: true, force: true })
}
