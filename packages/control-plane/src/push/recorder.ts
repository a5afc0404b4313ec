/**
 * When what nodes have said is written: many records at a time, never one by one, and not in the middle of a fan-out. To
 * flush for each report would cost a fan-out more than the fan-out. What a crash loses of it comes again with the next
 * hello or heartbeat. What is written is `../roster.ts`.
 */

export interface Recorder {
  /** Something was said that is to be written soon. */
  note(): void
  /** What was said until now is in the store when this resolves. @throws StoreError */
  flush(): Promise<void>
  close(): Promise<void>
}

export interface RecorderOptions {
  readonly flush: () => Promise<void>
  /** Written after this time in milliseconds, or when there are so many records. */
  readonly everyMs: number
  readonly perGroup: number
  /** While this is so, writing waits, for at most twenty times `everyMs`. */
  readonly isBusy: () => boolean
  readonly problem: (error: unknown) => void
}

const maxDelays = 20
const maxBackOffMs = 10_000

export function createRecorder({ flush, everyMs, perGroup, isBusy, problem }: RecorderOptions): Recorder {
  let timer: NodeJS.Timeout | undefined
  let noted = 0
  let delays = 0
  let failures = 0
  let writing: Promise<void> | undefined

  function wait(): void {
    timer ??= setTimeout(due, failures === 0 ? everyMs : Math.min(maxBackOffMs, everyMs * 2 ** failures))
  }

  function due(): void {
    timer = undefined
    if (writing) return
    if (isBusy() && delays < maxDelays) {
      delays++
      wait()
      return
    }
    delays = 0
    noted = 0
    writing = flush().then(
      () => {
        failures = 0
        writing = undefined
        // What came meanwhile is written group by group: each is a pause for everyone else.
        if (noted >= perGroup && !isBusy()) due()
        else if (noted > 0) wait()
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
    note() {
      noted++
      if (noted === perGroup && failures === 0 && !isBusy()) {
        clearTimeout(timer)
        due()
      }
      if (!writing) wait()
    },
    flush,
    async close() {
      clearTimeout(timer)
      await writing
      clearTimeout(timer)
      await flush()
    },
  }
}
