/**
 * Who may come in now, and when the others may come back: a herd of 5,000 that lost the server at one moment is let in
 * at a rate that the server can bear, and the rest is spread over the time that this takes (F28). Pure but for the
 * clock and chance that it is given.
 */

export interface AdmissionLimits {
  /** New connections per second that are let in. */
  readonly connectsPerSecond: number
  /** So many at once, after a quiet time. */
  readonly connectBurst: number
  /** At most so many at a time. */
  readonly maxConnections: number
}

export interface Admission {
  /** 0: come in. Otherwise the least time in milliseconds after which to try again. `open` counts those that are in. */
  ask(open: number): number
}

const maxRetryAfterMs = 60_000

/** @param nowMs a clock that only goes forward. @param random from 0 up to 1. */
export function createAdmission(limits: AdmissionLimits, nowMs: () => number, random = Math.random): Admission {
  const perMs = limits.connectsPerSecond / 1000
  let tokens = limits.connectBurst
  let filledMs = nowMs()
  /** When the last of those who were sent away will find a place. */
  let takenUntilMs = filledMs

  return {
    ask(open) {
      const now = nowMs()
      tokens = Math.min(limits.connectBurst, tokens + (now - filledMs) * perMs)
      filledMs = now
      if (open < limits.maxConnections && tokens >= 1) {
        tokens -= 1
        return 0
      }
      takenUntilMs = Math.max(takenUntilMs, now) + 1 / perMs
      if (takenUntilMs - now > maxRetryAfterMs) takenUntilMs = now
      return Math.ceil((takenUntilMs - now) * (1 + random() / 2)) + 100
    },
  }
}
