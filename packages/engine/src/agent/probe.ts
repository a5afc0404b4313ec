/**
 * Whether the program at this node is well, as the node itself can see: a function, an HTTP answer or a command, asked
 * again and again, one at a time. What is asked and how is in `probe-check.ts`; what becomes of the answer is for others.
 */
import { DeadlineError, errorText, within } from '../deadline.ts'
import { inRange } from '../range.ts'
import { checkOf, type Check } from './probe-check.ts'

export interface ProbeOptions {
  /**
   * What is asked. A function says no by throwing, or with `false`. HTTP: a GET, and a 2xx or `expect` is a yes;
   * redirects are not followed. A command, without a shell: exit code 0 is a yes, and the last line it writes is the
   * detail; it gets `PATH`, `HOME`, `LANG` and `TZ` only, and what it leaves running in its process group is killed.
   */
  readonly check: Check
  /** From the end of one check to the next, jittered by ±10 %; milliseconds, 100 to 86,400,000, default 5000. */
  readonly everyMs?: number
  /** For one check; milliseconds, 1 to 300,000, default 2000. */
  readonly timeoutMs?: number
  /** So many failures in a row make it unhealthy, 1 to 100, default 1. One success makes it healthy. */
  readonly failuresBeforeUnhealthy?: number
}

export interface Health {
  readonly ok: boolean
  /** One line of at most 512 characters. May hold what the check said: to be redacted before it is shown. */
  readonly detail?: string
  /** The release that ran when the check began. */
  readonly release?: number
}

export interface Probe {
  /** `undefined` until it is known. */
  readonly health: Health | undefined
  /**
   * A check that begins after this call, so that it sees what was committed before it. Gives what that check found,
   * also where more failures than one are needed to be unhealthy. Never rejects.
   */
  checkNow(): Promise<Health>
  /** Ends the check that runs. Leaves no timer, connection or process; a function that ignores its signal is left. */
  close(): Promise<void>
}

const maxDetailLength = 512
/** For a killed command to be gone: the kernel may hold it longer. */
const goneWithinMs = 1000
const closed: Health = { ok: false, detail: 'the probe is closed' }

/**
 * Checks at once, and then every `everyMs`.
 * @param onChange is told the first health, each change between ok and not, and the first of another release; must not
 *   throw.
 * @param running the number of the release that runs.
 * @throws RangeError or TypeError at the call, for an option that cannot be used.
 */
export function createProbe(
  options: ProbeOptions,
  onChange: (health: Health) => void,
  running: () => number | undefined = () => undefined,
): Probe {
  const { everyMs, timeoutMs, limit, check } = probeSettings(options)
  const stop = new AbortController()
  let health: Health | undefined
  let failures = 0
  let timer: NodeJS.Timeout | undefined
  let current: Promise<Health> | undefined
  let next: Promise<Health> | undefined
  /** What the last check began, which may outlast its deadline. */
  let begun: Promise<unknown> = Promise.resolve()
  void run()

  return {
    get health() {
      return health
    },
    checkNow() {
      if (current === undefined && next === undefined) return run()
      // The one that runs may have seen what was before; all who ask meanwhile share the one after it.
      return (next ??= current!.then(() => {
        next = undefined
        return run()
      }))
    },
    async close() {
      stop.abort()
      clearTimeout(timer)
      await current
      if (typeof options.check === 'function') return
      await within(goneWithinMs, undefined, () => begun).catch((error: unknown) => {
        // It has been killed; more cannot be done about it.
        if (!(error instanceof DeadlineError)) throw error
      })
    },
  }

  function run(): Promise<Health> {
    if (stop.signal.aborted) return Promise.resolve(closed)
    clearTimeout(timer)
    return (current = once().then((found) => {
      current = undefined
      if (stop.signal.aborted) return closed
      timer = setTimeout(() => void run(), everyMs * (0.9 + 0.2 * Math.random())).unref()
      note(found)
      return found
    }))
  }

  function note(found: Health): void {
    failures = found.ok ? 0 : failures + 1
    if (!found.ok && failures < limit) return
    const changed = health?.ok !== found.ok || health.release !== found.release
    health = found
    if (changed) onChange(found)
  }

  async function once(): Promise<Health> {
    const release = running()
    const of = release === undefined ? {} : { release }
    const before = begun
    let waits = true
    try {
      const detail = await within(timeoutMs, stop.signal, async (signal) => {
        // One at a time, also if the last did not heed its signal: those that hang must not pile up.
        await before
        waits = false
        if (signal.aborted) return ''
        const asked = check(signal)
        begun = asked.catch(() => {})
        return await asked
      })
      return detail === '' ? { ok: true, ...of } : { ok: true, detail: oneLine(detail), ...of }
    } catch (error) {
      const why = waits && error instanceof DeadlineError ? 'the check before it still runs' : errorText(error)
      return { ok: false, detail: oneLine(why), ...of }
    }
  }
}

/** @throws RangeError or TypeError for an option that cannot be used. */
export function probeSettings(options: ProbeOptions) {
  return {
    everyMs: inRange('probe', 'everyMs', options.everyMs ?? 5000, 100, 86_400_000),
    timeoutMs: inRange('probe', 'timeoutMs', options.timeoutMs ?? 2000, 1, 300_000),
    limit: inRange('probe', 'failuresBeforeUnhealthy', options.failuresBeforeUnhealthy ?? 1, 1, 100),
    check: checkOf(options.check),
  }
}

function oneLine(text: string): string {
  const line = text
    .slice(0, 2 * maxDetailLength)
    .replace(/[\s\p{Cc}]+/gu, ' ')
    .trim()
  return line.length > maxDetailLength ? `${line.slice(0, maxDetailLength - 1)}…` : line
}
