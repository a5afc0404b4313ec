/**
 * How requests are slowed down without losing the newest: `debounced` waits until a noisy trigger is quiet, `paced`
 * lets the first through at once and holds back a storm. Both merge what they hold into one request. Which trigger
 * gets which is up to the user and `engine.ts`.
 */
import { nextTurn } from './deadline.ts'
import { inRange } from './range.ts'
import type { ReloadRequest, Trigger } from './trigger.ts'

const longestMs = 86_400_000

export interface DebounceOptions {
  /** Milliseconds without a request before the held one passes, 1 to 86 400 000. */
  readonly quietMs: number
  /** Milliseconds after which a held request passes although more keep coming, `quietMs` to 86 400 000. */
  readonly maxMs?: number
}

/**
 * The same trigger, asking once it has been quiet for `quietMs`, and at the latest `maxMs` after the first request
 * that is held. A `force` among the held ones is kept.
 * @throws RangeError at the call, if an option is out of range.
 */
export function debounced(trigger: Trigger, options: DebounceOptions): Trigger {
  const { quietMs } = options
  const maxMs = options.maxMs ?? Math.min(10 * quietMs, longestMs)
  inRange('debounced', 'quietMs', quietMs, 1, longestMs)
  inRange('debounced', 'maxMs', maxMs, quietMs, longestMs)
  const pace: Pace = { dueAt: (held) => Math.min(held.lastAt + quietMs, held.firstAt + maxMs), passed() {} }
  return { name: trigger.name, requests: (signal, warn) => gathered(trigger.requests(signal, warn), pace, signal) }
}

export interface PaceOptions {
  /** Milliseconds that an isolated request is held to gather those that come with it; 0 lets it pass at once. */
  readonly firstMs: number
  /** By how much the gap between two requests grows while they keep coming, 1 to 100. */
  readonly growth: number
  /** Milliseconds that the gap never exceeds, 1 to 86 400 000: no request waits longer than this and `firstMs`. */
  readonly maxMs: number
}

/** The first gap of a storm where `firstMs` is less: growing needs something to grow from. */
const smallestGapMs = 10
/** The gap for what comes alone, if there has been a storm before; for n that were merged it is √n times as much. */
const steadyMs = 100

/**
 * Lets an isolated request pass after `firstMs`. While requests keep coming they pass at growing distances; each quiet
 * spell as long as the gap takes one step of growth back. How far the gap grows depends on how fast they come: ten a
 * second and fewer wait some 100 ms at most, 50 a second 500 ms, 200 a second 2 s. Without that a gap that a
 * storm has left behind would hold back a steady trickle for good. The newest is never lost, and a `force` among the
 * merged ones is kept.
 * @throws RangeError at the call, if an option is out of range.
 */
export function paced(
  requests: AsyncIterable<ReloadRequest>,
  options: PaceOptions,
  signal: AbortSignal,
): AsyncIterable<ReloadRequest> {
  const { firstMs, growth, maxMs } = options
  inRange('paced', 'maxMs', maxMs, 1, longestMs)
  inRange('paced', 'firstMs', firstMs, 0, maxMs)
  inRange('paced', 'growth', growth, 1, 100)
  const firstGapMs = Math.min(Math.max(firstMs, smallestGapMs), maxMs)
  let gapMs = 0
  let passedAt = -Infinity

  const gapAfter = (quietMs: number): number => {
    if (growth === 1 || quietMs === Infinity) return quietMs >= gapMs ? 0 : gapMs
    let gap = gapMs
    for (let left = quietMs; gap > 0 && left >= gap;) {
      left -= gap
      gap = gap / growth < firstGapMs ? 0 : gap / growth
    }
    return gap
  }
  const pace: Pace = {
    dueAt: (held) => Math.max(held.firstAt + firstMs, passedAt + gapAfter(held.firstAt - passedAt)),
    passed(held, now) {
      const mostMs = Math.max(firstGapMs, Math.min(steadyMs * Math.sqrt(held.count), maxMs))
      gapMs = Math.min(Math.max(gapAfter(held.firstAt - passedAt) * growth, firstGapMs), mostMs)
      passedAt = now
    },
  }
  return gathered(requests, pace, signal)
}

/** One or more requests merged into one. Times are of the monotonic clock, in milliseconds. */
interface Held {
  readonly request: ReloadRequest
  readonly count: number
  readonly firstAt: number
  readonly lastAt: number
}

interface Pace {
  dueAt(held: Held): number
  passed(held: Held, now: number): void
}

async function* gathered(
  requests: AsyncIterable<ReloadRequest>,
  pace: Pace,
  signal: AbortSignal,
): AsyncGenerator<ReloadRequest, void, undefined> {
  const source = requests[Symbol.asyncIterator]()
  const inbox: { held?: Held | undefined; ended: boolean; failure?: unknown } = { ended: false }
  let wake = () => {}
  const onAbort = () => wake()

  const read = async () => {
    try {
      for (let next = await source.next(); !next.done; next = await source.next()) {
        inbox.held = added(inbox.held, next.value)
        wake()
        // One that asks again without waiting for anything would otherwise leave no turn to the rest of the process.
        await nextTurn()
      }
    } catch (error) {
      inbox.failure = error
    }
    inbox.ended = true
    wake()
  }
  const woken = (waitMs?: number) =>
    new Promise<void>((resolve) => {
      const timer = waitMs === undefined ? undefined : setTimeout(resolve, waitMs)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })

  signal.addEventListener('abort', onAbort, { once: true })
  void read()
  try {
    while (!signal.aborted) {
      const { held } = inbox
      if (held === undefined && inbox.ended) break
      // What is held when the source ends passes without its wait: nothing more can be merged with it.
      const waitMs = held === undefined || inbox.ended ? 0 : pace.dueAt(held) - performance.now()
      if (held === undefined) await woken()
      else if (waitMs > 0) await woken(waitMs)
      else {
        inbox.held = undefined
        pace.passed(held, performance.now())
        yield held.request
      }
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    // Not awaited: a source that waits for its next request answers only when that comes or its signal aborts.
    // What it says about being left has nobody left to say it to.
    if (!inbox.ended) void source.return?.().catch(() => undefined)
  }
  if (inbox.failure !== undefined && !signal.aborted) throw inbox.failure
}

function added(held: Held | undefined, request: ReloadRequest): Held {
  const now = performance.now()
  if (held === undefined) return { request, count: 1, firstAt: now, lastAt: now }
  const merged = held.request.force && !request.force ? { ...request, force: true } : request
  return { request: merged, count: held.count + 1, firstAt: held.firstAt, lastAt: now }
}
