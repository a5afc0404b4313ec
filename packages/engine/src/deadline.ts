/**
 * Time limits that bind. A wait ends when its limit passes, whatever the work does; what the work comes to later is
 * handed to `late`, so that it can be undone and never overwrites what came after (F51, F52).
 */
import type { Deadlines } from './component.ts'

export const defaultDeadlines: Deadlines = {
  loadMs: 30_000,
  validateMs: 10_000,
  prepareMs: 30_000,
  commitMs: 10_000,
  rollbackMs: 10_000,
}

export class DeadlineError extends Error {
  override readonly name = 'DeadlineError'
}

/** The engine is closing, or whoever asked has gone. */
export class StoppedError extends Error {
  override readonly name = 'StoppedError'
}

/** A timer that is set for longer fires at once; Infinity stands for no limit. */
const longestTimerMs = 2 ** 31 - 1

export type Late<T> = (result: PromiseSettledResult<T>) => void

/**
 * Runs `work` for at most `limitMs`. The signal that `work` gets aborts when the limit passes or when `stop` aborts;
 * the wait ends then too, whether or not the work heeds it.
 * @throws DeadlineError, StoppedError, or what `work` throws within its time.
 */
export function within<T>(
  limitMs: number,
  stop: AbortSignal | undefined,
  work: (signal: AbortSignal) => T | Promise<T>,
  late?: Late<T>,
): Promise<T> {
  const controller = new AbortController()
  return inTime(
    limitMs,
    stop,
    () => work(controller.signal),
    late,
    (error) => controller.abort(error),
  )
}

/**
 * The same for work that cannot be told to end, which spares it the signal.
 * @param givenUp called when the wait ends before the work does, with why
 */
export function inTime<T>(
  limitMs: number,
  stop: AbortSignal | undefined,
  work: () => T | Promise<T>,
  late: Late<T> = () => {},
  givenUp: (error: Error) => void = () => {},
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (stop?.aborted) {
      reject(new StoppedError('stopped'))
      return
    }
    const began = performance.now()
    let timer: NodeJS.Timeout | undefined
    const end = () => {
      unbound.delete(bind)
      if (timer === undefined) return
      clearTimeout(timer)
      stop?.removeEventListener('abort', onStop)
    }
    let waiting = true
    const giveUp = (error: Error) => {
      if (!waiting) return
      waiting = false
      end()
      reject(error)
      givenUp(error)
    }
    const onStop = () => giveUp(new StoppedError('stopped'))
    const tooLate = () => giveUp(new DeadlineError(`did not finish within ${limitMs} ms`))
    const bind = () => {
      if (stop?.aborted) return onStop()
      timer = setTimeout(tooLate, Math.min(limitMs - (performance.now() - began), longestTimerMs))
      stop?.addEventListener('abort', onStop)
    }
    const settle = (result: PromiseSettledResult<T>) => {
      // Work that blocked the event loop settles before the timer could fire; its limit binds all the same (F56).
      if (performance.now() - began > limitMs + 1) tooLate()
      else if (stop?.aborted) onStop()
      if (!waiting) {
        late(result)
        return
      }
      waiting = false
      end()
      if (result.status === 'fulfilled') resolve(result.value)
      else reject(result.reason as Error)
    }
    let running: T | Promise<T>
    try {
      running = work()
      if (!isPromise(running)) {
        settle({ status: 'fulfilled', value: running })
        return
      }
    } catch (error) {
      settle({ status: 'rejected', reason: error })
      return
    }
    bindSoon(bind)
    Promise.resolve(running).then(
      (value) => settle({ status: 'fulfilled', value }),
      (reason: unknown) => settle({ status: 'rejected', reason }),
    )
  })
}

/**
 * Waits whose limits are not watched yet. Most work is done in the turn of the event loop in which it began, when no
 * timer could have fired: timers and listeners are only for what is still under way after it.
 */
const unbound = new Set<() => void>()
let isTurnWatched = false

function bindSoon(bind: () => void): void {
  unbound.add(bind)
  if (!isTurnWatched) setImmediate(bindAll)
  isTurnWatched = true
}

function bindAll(): void {
  isTurnWatched = false
  const all = [...unbound]
  unbound.clear()
  for (const bind of all) bind()
}

/** Waits `ms`, or until one of the signals aborts; tells which. */
export function pause(ms: number, ...stops: readonly (AbortSignal | undefined)[]): Promise<'elapsed' | 'stopped'> {
  return new Promise((resolve) => {
    const end = (how: 'elapsed' | 'stopped') => {
      clearTimeout(timer)
      for (const stop of stops) stop?.removeEventListener('abort', onStop)
      resolve(how)
    }
    const onStop = () => end('stopped')
    const timer = setTimeout(() => end('elapsed'), ms)
    if (stops.some((stop) => stop?.aborted)) onStop()
    else for (const stop of stops) stop?.addEventListener('abort', onStop)
  })
}

/** After all that is ready to run now. Much cheaper than the one of `node:timers/promises`. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/** Full jitter: a random wait between 0 and an exponentially growing bound, at most `maxMs`. */
export function backoffMs(attempt: number, firstMs: number, maxMs: number): number {
  return Math.random() * Math.min(maxMs, firstMs * 2 ** attempt)
}

/** Whether trying again soon may help. Anything may have been thrown: looking at it must not throw. */
export function isTransient(error: unknown): boolean {
  try {
    return typeof error === 'object' && error !== null && 'transient' in error && error.transient === true
  } catch {
    // It refuses to be looked at, so it does not say that it is transient.
    return false
  }
}

/** Whether it has to be waited for: a promise of any kind, not only of this realm. */
export function isPromise<T>(value: T | PromiseLike<T>): value is PromiseLike<T> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

/** Errors in errors are followed so far: one may hold itself. */
const maxNested = 3

/** What an unknown thrown thing says, in one line. Never throws: what is thrown while undoing would be lost. */
export function errorText(error: unknown, nested = 0): string {
  try {
    if (error instanceof AggregateError && error.errors.length > 0 && nested < maxNested) {
      const all = error.errors.map((one) => errorText(one, nested + 1)).join('; ')
      return error.message ? `${error.message}: ${all}` : all
    }
    if (error instanceof Error) return String(error.message || error.name)
    return String(error)
  } catch {
    return 'something was thrown that cannot be shown'
  }
}
