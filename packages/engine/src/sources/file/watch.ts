/**
 * Says when the files on disk no longer agree with what was last loaded. Events are hints: whether something changed
 * is decided by comparing (`watch-disk.ts`), and a poll stands behind the events (`watch-directories.ts`).
 * Reading and understanding the files is the source's part.
 */
import { inRange } from '../../range.ts'
import { Directories } from './watch-directories.ts'
import { Disk, looksUnfinished, stateOf } from './watch-disk.ts'
import type { Look, WatchSet } from './watch-disk.ts'
import { Hints } from './watch-hints.ts'

export { contentDigest, identityOf, listingDigest } from './watch-disk.ts'
export type { SeenFile, WatchSet } from './watch-disk.ts'

export interface WatchOptions {
  /** How long (ms, 0 to 1,000) a file that is written in place must rest before it is told. */
  readonly settleMs?: number
  /** How often (ms, 10 to 86,400,000) everything is compared although no event came. */
  readonly pollMs?: number
  /** Told once when events cannot be had and polling takes over, and once when they can be had again. */
  readonly onWarning?: (message: string) => void
}

const defaultSettleMs = 2
const defaultPollMs = 1000
/** The poll while some directory cannot be watched. */
const unwatchedPollMs = 250
/** A file that was seen growing has a slow writer: it must rest this long. */
const growingMs = 10
/** What looks unfinished must rest this long. */
const unfinishedMs = 100
/** A change this soon after the last one was told belongs to a burst ... */
const burstMs = 50
/** ... and a burst is told when it has paused this long. So is a listing: the new file is still being written. */
const burstRestMs = 12
/** However long it goes on, what is there is told after this long. */
const unrestBoundMs = 200
/** How soon after a change was told the new set is looked at: it may name other files. */
const newSetMs = 100

/**
 * Yields when the disk no longer agrees with what `current()` says was last loaded: a file's bytes, its presence, or
 * the names in a listed directory. A change that is undone, `touch` and `chmod` yield nothing. Once told, a difference
 * is told again only if the disk changes again, so a file that does not load is not reported in a loop; the last write
 * of a burst is always followed by a yield.
 *
 * Ends when `signal` aborts, whatever it is doing, and holds no handle open from then on.
 * @throws RangeError at the call, if an option is out of range.
 */
export function watchFiles(
  current: () => WatchSet,
  options: WatchOptions,
  signal: AbortSignal,
): AsyncGenerator<void, void, undefined> {
  const { settleMs = defaultSettleMs, pollMs = defaultPollMs, onWarning = () => {} } = options
  inRange('watchFiles()', 'settleMs', settleMs, 0, 1000)
  inRange('watchFiles()', 'pollMs', pollMs, 10, 86_400_000)
  return watching(current, settleMs, pollMs, onWarning, signal)
}

async function* watching(
  current: () => WatchSet,
  settleMs: number,
  pollMs: number,
  onWarning: (message: string) => void,
  signal: AbortSignal,
): AsyncGenerator<void, void, undefined> {
  if (signal.aborted) return
  const hints = new Hints(signal)
  const directories = new Directories((paths, written) => hints.add(paths, written))
  const disk = new Disk()
  const close = (): void => directories.close()
  signal.addEventListener('abort', close, { once: true })
  let toldMs = -Infinity
  let unwatched = false

  /** Waits until what differs is at rest, looking again each time. @returns what then differs. */
  async function settled(paths: Set<string>, polled: boolean): Promise<Look[]> {
    const startMs = performance.now()
    let written = polled
    let compare = true
    let growing = false
    let unfinished = false
    let movedMs = startMs
    let states = ''
    for (;;) {
      const hinted = hints.take()
      for (const path of hinted.paths) paths.add(path)
      written ||= hinted.written
      compare ||= hinted.paths.size > 0
      const looks = polled ? await disk.look(paths) : disk.lookNow(paths)
      const nowMs = performance.now()
      const before = states
      states = looks.map(stateOf).join()
      if (states !== before) {
        // The event says when it moved better than the look that came after it.
        movedMs = hinted.paths.size > 0 ? hinted.lastMs : nowMs
        growing = before !== '' && !unfinished
      }
      const set = current()
      const differing = await disk.differences(set, looks, compare)
      if (differing.length === 0) return []
      compare = false
      unfinished = differing.some((look) => looksUnfinished(look, set.files.get(look.path), written))
      const burst = nowMs - toldMs < burstMs || differing.some((look) => set.listings.has(look.path))
      const restMs = Math.max(
        written ? settleMs : 0,
        growing ? growingMs : 0,
        burst ? burstRestMs : 0,
        unfinished ? unfinishedMs : 0,
      )
      const leftMs = Math.min(movedMs + restMs, startMs + unrestBoundMs) - nowMs
      if (leftMs <= 0) return differing
      // What looks unfinished is looked at in small steps: it may be finished long before its time is over.
      await hints.pause(unfinished ? 1 : Math.ceil(leftMs))
      if (signal.aborted) return []
    }
  }

  async function compareAll(set: WatchSet): Promise<Look[]> {
    const paths = new Set([...set.files.keys(), ...set.listings.keys()])
    return disk.differences(set, await disk.look(paths), false)
  }

  try {
    let waitMs = pollMs
    for (;;) {
      const set = current()
      const failure = await hints.orAborted(directories.follow(set.files.keys(), set.listings.keys()))
      if (signal.aborted) return
      if ((failure !== undefined) !== unwatched) {
        unwatched = failure !== undefined
        onWarning(failure ? unwatchedMessage(failure) : 'files are watched again')
      }
      disk.forget(set)
      let found = await hints.orAborted(compareAll(set))
      if (signal.aborted || found === undefined) return
      if (found.length > 0) {
        found = await hints.orAborted(settled(new Set(found.map((look) => look.path)), true))
      } else if (await hints.wait(unwatched ? Math.min(waitMs, unwatchedPollMs) : waitMs)) {
        found = await hints.orAborted(settled(new Set(), false))
      }
      if (signal.aborted || found === undefined) return
      waitMs = pollMs
      if (found.length === 0) continue
      disk.tell(found)
      toldMs = performance.now()
      waitMs = Math.min(pollMs, newSetMs)
      yield
      if (signal.aborted) return
    }
  } finally {
    signal.removeEventListener('abort', close)
    hints.close()
    directories.close()
  }
}

function unwatchedMessage(failure: Error): string {
  return `cannot watch files (${failure.message}); looking at them every ${unwatchedPollMs} ms instead`
}
