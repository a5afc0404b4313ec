/**
 * Where the watcher waits: for a hint, for time to pass, for the disk to answer, and in each case for the abort.
 * On the way from an event to the yield it touches no timer and no listener, which cost more there than the rest.
 */
export class Hints {
  #paths = new Set<string>()
  #written = false
  #lastMs = -Infinity
  #wake: (() => void) | undefined
  #timer: NodeJS.Timeout | undefined
  /** What to call at the abort. One listener for all: a race with one promise would leave a reaction on it each time. */
  readonly #stops = new Set<() => void>()
  /** Lets go of the signal and the timer. */
  readonly close: () => void

  constructor(signal: AbortSignal) {
    const stopAll = (): void => {
      clearTimeout(this.#timer)
      for (const stop of this.#stops) stop()
    }
    signal.addEventListener('abort', stopAll, { once: true })
    this.close = () => {
      clearTimeout(this.#timer)
      signal.removeEventListener('abort', stopAll)
    }
  }

  /** Something happened to these paths; `written`, if bytes or attributes of a file changed. */
  add(paths: Iterable<string>, written: boolean): void {
    const first = this.#paths.size === 0
    for (const path of paths) this.#paths.add(path)
    this.#written ||= written
    this.#lastMs = performance.now()
    // Events come in batches, one call each: only the whole batch tells a rename from a rename and a write.
    if (first) setImmediate(() => this.#wake?.())
  }

  /** `lastMs`: when the last hint of all came, on the clock of `performance.now()`. */
  take(): { paths: ReadonlySet<string>; written: boolean; lastMs: number } {
    const taken = { paths: this.#paths, written: this.#written, lastMs: this.#lastMs }
    this.#paths = new Set()
    this.#written = false
    return taken
  }

  /** @returns whether there are hints; false after `timeoutMs` without one, or at the abort. Keeps no process alive. */
  async wait(timeoutMs: number): Promise<boolean> {
    if (this.#paths.size === 0) {
      await this.#sleep(timeoutMs, (wake) => {
        this.#wake = wake
        this.#timer?.unref()
      })
      this.#wake = undefined
    }
    return this.#paths.size > 0
  }

  /** Sleeps until the time is over or the abort; hints do not cut it short. */
  async pause(timeoutMs: number): Promise<void> {
    await this.#sleep(timeoutMs, () => {})
  }

  /** What `work` gives, or undefined as soon as the signal aborts: what is awaited may hang with its file system. */
  async orAborted<T>(work: Promise<T>): Promise<T | undefined> {
    let stop = (): void => {}
    const aborted = new Promise<undefined>((done) => {
      stop = () => done(undefined)
      this.#stops.add(stop)
    })
    try {
      return await Promise.race([work, aborted])
    } finally {
      this.#stops.delete(stop)
    }
  }

  async #sleep(timeoutMs: number, started: (wake: () => void) => void): Promise<void> {
    // The timer of the sleep before may still run: a hint does not stop it, the next sleep does.
    clearTimeout(this.#timer)
    let wake = (): void => {}
    await new Promise<void>((done) => {
      wake = done
      this.#timer = setTimeout(done, timeoutMs)
      this.#stops.add(done)
      started(done)
    })
    this.#stops.delete(wake)
  }
}
