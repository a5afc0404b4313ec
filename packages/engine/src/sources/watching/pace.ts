/**
 * How fast a loop of long polls may turn: a few answers at once, then one per interval. What changes now and then is
 * seen without a wait; what changes all the time, or a server that does not hold its answers back, is polled.
 */
export class Pace {
  readonly #burst: number
  readonly #everyMs: number
  #left: number
  #at: number | undefined

  constructor(burst: number, everyMs: number) {
    this.#burst = burst
    this.#everyMs = everyMs
    this.#left = burst
  }

  /** Takes the next turn. @returns how long to wait for it */
  nextMs(now = performance.now()): number {
    const passedMs = now - (this.#at ?? now)
    this.#left = Math.min(this.#burst, this.#left + passedMs / this.#everyMs) - 1
    this.#at = now
    return Math.max(0, -this.#left * this.#everyMs)
  }
}
