/**
 * When what nodes have said is written: all of it now and then, never one by one, and not in the middle of a fan-out. To
 * flush for each report would cost a fan-out more than the fan-out. What a crash loses of it comes again with the next
 * hello or heartbeat. What is written is `../roster.ts`.
 */
import type { Part } from '../roster-writes.ts'

export interface Recorder {
  /** Something was said that is to be written soon. */
  note(): void
  /** What was said until now is in the store when this resolves. @throws StoreError */
  flush(): Promise<void>
  close(): Promise<void>
}

export interface RecorderOptions {
  readonly flush: (what: Part) => Promise<void>
  /** Written after this time in milliseconds. */
  readonly everyMs: number
  /** What would follow from it after a crash, after this one. */
  readonly allMs: number
  nowMs(): number
  readonly problem: (error: unknown) => void
}

const maxBackOffMs = 10_000

export function createRecorder({ flush, everyMs, allMs, nowMs, problem }: RecorderOptions): Recorder {
  let timer: NodeJS.Timeout | undefined
  let isNoted = false
  let failures = 0
  let writing: Promise<void> | undefined
  let allAtMs = nowMs()

  function wait(): void {
    isNoted = true
    if (writing) return
    timer ??= setTimeout(due, failures === 0 ? everyMs : Math.min(maxBackOffMs, everyMs * 2 ** failures))
  }

  function due(): void {
    timer = undefined
    isNoted = false
    const isAll = nowMs() - allAtMs >= allMs
    if (isAll) allAtMs = nowMs()
    writing = flush(isAll ? 'all' : 'urgent').then(
      () => {
        failures = 0
        writing = undefined
        if (isNoted) wait()
      },
      (error: unknown) => {
        // It is still there, and is tried again, later and later.
        failures = Math.min(failures + 1, 20)
        writing = undefined
        problem(error)
        wait()
      },
    )
  }

  return {
    note: wait,
    flush: () => flush('all'),
    async close() {
      clearTimeout(timer)
      await writing
      clearTimeout(timer)
      await flush('all')
    },
  }
}
