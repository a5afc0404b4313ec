/**
 * THE path of one change of a program that is not ours, as a component of the engine:
 *
 *   prepare   settle what a crash left → render all files → stage what differs → check the staged files
 *   commit    record → swap → tell the program → its probes say yes
 *   rollback  restore → tell it again → its probes say yes again
 *   dispose   forget the old files
 *
 * The files themselves are `work.ts`; how a program is told and asked is `reloading.ts` and `probing.ts`.
 */
import type { Component, Prepared, SliceChange } from '../component.ts'
import { backoffMs, DeadlineError, errorText, pause, within } from '../deadline.ts'
import { parsePath, type Json } from '../json.ts'
import { run } from './command.ts'
import type { Command, ProgramOptions } from './options.ts'
import { allSayYes, assertReady, begin } from './probing.ts'
import { tell } from './reloading.ts'
import { fromOf, Renderer } from './render.ts'
import { programSettings, type ProgramSettings } from './settings.ts'
import { Work, type Staged } from './work.ts'

/** The values that its files are made from, in the order of the component's paths. */
type Slice = readonly (Json | undefined)[]

export interface ProgramComponent extends Component<Slice> {
  /**
   * Ends what a process before was killed in: its old files come back and the program is told. The first `prepare` does
   * it too; a start that may have no configuration calls it by itself.
   * @throws Error if the directory cannot be used. A program that could not be told is told with the next change.
   */
  settle(signal?: AbortSignal): Promise<Settled>
}

export interface Settled {
  /** Paths of the files that are the old ones again. Empty if nothing, or only the reload, was left to do. */
  readonly restored: readonly string[]
  /** Why the program could not be told of it. */
  readonly problem?: string
}

/** For files and the turn of the event loop, beside the limits of commands and probes. */
const ownMs = 10_000

/** @throws TypeError or RangeError for options that can never work. */
export function program(options: ProgramOptions): ProgramComponent {
  const settings = programSettings(options)
  const { checkMs, reloadMs, probeMs } = settings.limits
  const paths = [...new Set(settings.files.map(fromOf))]
  const target = new Target(settings)
  const told = settings.reload ? reloadMs + probeMs : 0
  return {
    name: settings.name,
    after: settings.after ?? [],
    paths,
    slice: (values) => values,
    hot: 'full',
    deadlines: {
      prepareMs: checkMs + told + ownMs,
      commitMs: told + ownMs,
      rollbackMs: 2 * told + ownMs,
    },
    validate: ({ after }) =>
      paths.flatMap((path, i) =>
        after[i] === undefined
          ? [
              {
                code: 'component' as const,
                path: parsePath(path),
                message: 'is not there; want what files are made from',
              },
            ]
          : [],
      ),
    prepare: (change, signal) =>
      target.inTurn(signal, (release) => target.prepare(valuesAt(paths, change), change.forced, signal, release)),
    settle: (signal = new AbortController().signal) =>
      target.inTurn(signal, async (release) => {
        const settled = await target.settle(signal)
        release()
        return settled
      }),
    close: () => target.close(),
  }
}

function valuesAt(paths: readonly string[], { after }: SliceChange<Slice>): ReadonlyMap<string, Json | undefined> {
  return new Map(paths.map((path, i) => [path, after[i]]))
}

class Target {
  readonly #settings: ProgramSettings
  readonly #work: Work
  readonly #renderer: Renderer
  /** Until the change before has been committed or rolled back: both would be in one place. */
  #turn: Promise<void> = Promise.resolve()
  #settled = false
  /** A change has been committed: the engine is going to close this component, and not otherwise. */
  #live = false
  /** Why the program may not run what its files say. */
  #owed: string | undefined

  constructor(settings: ProgramSettings) {
    this.#settings = settings
    this.#work = new Work(settings)
    this.#renderer = new Renderer(settings.files)
  }

  /** @param work calls `release` when the next may begin; if it throws, the next may. */
  async inTurn<T>(signal: AbortSignal, work: (release: () => void) => Promise<T>): Promise<T> {
    const before = this.#turn
    let release = () => {}
    this.#turn = new Promise((resolve) => (release = resolve))
    try {
      await Promise.race([before, aborted(signal)])
      signal.throwIfAborted()
      return await work(release)
    } catch (error) {
      // Also where the one before has not ended: whoever comes next waits for that one all the same.
      void before.then(() => release())
      throw error
    }
  }

  async settle(signal: AbortSignal): Promise<Settled> {
    await this.#work.open()
    if (this.#settled) return { restored: [] }
    const restored = await this.#work.settle()
    this.#settled = true
    if (restored === undefined) return { restored: [] }
    try {
      await this.#tell(signal)
      await this.#work.clear()
      return { restored }
    } catch (error) {
      // Only the first line: what follows is the program's own words on files whose secrets are not known here.
      this.#owed = errorText(error).split('\n', 1)[0]!
      return { restored, problem: this.#owed }
    }
  }

  async prepare(
    values: ReadonlyMap<string, Json | undefined>,
    forced: boolean,
    signal: AbortSignal,
    release: () => void,
  ): Promise<Prepared> {
    const { check, probes = [] } = this.#settings
    let staged: readonly Staged[]
    try {
      await this.settle(signal)
      const rendered = await this.#renderer.render(values)
      staged = await this.#work.stage(rendered, check !== undefined, signal)
      if (staged.length > 0) {
        await together([this.#check(signal), this.#work.sync(staged, signal), assertReady(probes)])
        await this.#work.confirm(signal)
      }
    } catch (error) {
      if (this.#settled) await this.#work.clearStaged()
      await this.#letGo()
      throw error
    }
    return this.#prepared(staged, forced, release)
  }

  #prepared(staged: readonly Staged[], forced: boolean, release: () => void): Prepared {
    const stop = new AbortController()
    let committing: Promise<void> | undefined
    let [swapped, told, ended] = [false, false, false]
    const commit = async () => {
      if (staged.length > 0) {
        await this.#work.record()
        swapped = true
        await this.#work.swap(staged)
      } else if (!forced && this.#owed === undefined) return
      stop.signal.throwIfAborted()
      told = true
      await together([this.#tell(stop.signal), this.#work.syncPlaces(staged)])
      this.#owed = undefined
    }
    return {
      commit: () => (committing ??= commit()),
      rollback: async () => {
        if (ended) return
        ended = true
        try {
          stop.abort(new Error('rolled back'))
          await committing?.catch(() => {}) // known to whoever called commit
          if (swapped) await this.#restore(staged)
          if (told) await this.#tellAgain()
          if (this.#owed === undefined) await this.#work.clear()
          else await this.#work.clearStaged()
        } finally {
          await this.#letGo().finally(release)
        }
      },
      dispose: async () => {
        if (ended) return
        ended = true
        this.#live = true
        await this.#work.clear().finally(release)
      },
    }
  }

  async #check(signal: AbortSignal): Promise<void> {
    const { check, directory, limits } = this.#settings
    if (!check) return
    const command = filled(check, directory, this.#work.staged)
    await limited('the check', limits.checkMs, signal, (stop) => run('the check', command, directory, stop))
  }

  async #restore(staged: readonly Staged[]): Promise<void> {
    try {
      await this.#work.restore(staged)
    } catch (error) {
      // The record is still there: the next change begins with another try.
      this.#settled = false
      throw new Error(`the old files could not be brought back: ${errorText(error)}`, { cause: error })
    }
  }

  async #tell(signal: AbortSignal): Promise<void> {
    const { reload, probes = [], directory, limits } = this.#settings
    if (!reload) return
    const asks = await limited('the probe', limits.reloadMs, signal, (stop) => begin(probes, directory, stop))
    await limited('the reload', limits.reloadMs, signal, (stop) => tell(reload, directory, stop))
    await allSayYes(asks, limits.probeMs, signal)
  }

  /** Whatever told it before may have brought it down: its supervisor is given the time to start it again. */
  async #tellAgain(): Promise<void> {
    const { limits } = this.#settings
    const signal = AbortSignal.timeout(limits.reloadMs + limits.probeMs)
    let said: string | undefined
    for (let tried = 0; ; tried++) {
      try {
        await this.#tell(signal)
        this.#owed = undefined
        return
      } catch (error) {
        // What the end of our time has cut off says less than what was said before it.
        if (!signal.aborted) said = errorText(error)
        if (!signal.aborted && (await pause(50 + backoffMs(tried, 100, 1_000), signal)) === 'elapsed') continue
        this.#owed = `the old files are back, but the program did not take them: ${said ?? errorText(error)}`
        throw new Error(this.#owed, { cause: error })
      }
    }
  }

  async close(): Promise<void> {
    await this.#turn
    this.#live = false
    await this.#letGo()
  }

  /** Another process may look after the directory. */
  async #letGo(): Promise<void> {
    if (this.#live) return
    this.#settled = false
    await this.#work.close()
  }
}

/** Placeholders are those of the operator's own command; no value of the configuration comes into it. */
function filled([file, ...args]: Command, directory: string, staged: string): Command {
  const fill = (text: string) =>
    text.replace(/\{(staged|directory|file:([^}]*))\}/g, (_whole, what: string, path: string | undefined) => {
      if (path !== undefined) return `${staged}/${path}`
      return what === 'staged' ? staged : directory
    })
  return [file, ...args.map(fill)]
}

/** All have ended when it settles. @throws what the first of them has thrown. */
async function together(all: readonly Promise<void>[]): Promise<void> {
  for (const result of await Promise.allSettled(all)) if (result.status === 'rejected') throw result.reason as Error
}

/** @throws Error that says what it was that did not end in time. */
async function limited<T>(what: string, ms: number, stop: AbortSignal, work: (stop: AbortSignal) => Promise<T>) {
  try {
    return await within(ms, stop, work)
  } catch (error) {
    throw error instanceof DeadlineError ? new Error(`${what} ${error.message}`, { cause: error }) : error
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
