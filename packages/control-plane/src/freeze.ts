/**
 * Freezes: times in which nothing new is brought to the nodes of a config. Pure. A publish is refused by `publish.ts`, a
 * rollout under way is held by the coordinator. The clock on the wall counts: a freeze is a matter of the calendar.
 */
import type { Issue, Path } from 'midflight'
import { problemOf } from './rollout.ts'
import type { RolloutEvent, RolloutState } from './rollout-state.ts'

export type Freeze = OnceFreeze | WeeklyFreeze

export interface OnceFreeze {
  /** Times as of releases: `2026-12-24T12:00:00Z`. From and with the first, until and without the second. */
  readonly from: string
  readonly to: string
  /** For people. */
  readonly reason: string
}

export interface WeeklyFreeze {
  readonly weekly: {
    /** 0 is Sunday. */
    readonly days: readonly number[]
    /** `16:00`, UTC; `24:00` is the end of the day. Over midnight takes two. */
    readonly from: string
    readonly to: string
  }
  readonly reason: string
}

export interface ActiveFreeze {
  readonly reason: string
  /** When nothing is frozen any more. */
  readonly endsAt: string
}

const maxFreezes = 100
const maxReasonLength = 200
const minuteMs = 60_000
const dayMs = 86_400_000
/** One that follows on the end of another is the same freeze to whoever waits; what never ends is not looked at for ever. */
const maxJoined = 50

/** The freeze at this time, to the end of the last that joins it; `undefined`: none. */
export function activeFreeze(freezes: readonly Freeze[], now: Date): ActiveFreeze | undefined {
  let found = latestAt(freezes, now.getTime())
  if (found === undefined) return undefined
  const { reason } = found
  for (let joined = 0; joined < maxJoined; joined++) {
    const further = latestAt(freezes, found.endMs)
    if (further === undefined) break
    found = further
  }
  return { reason, endsAt: new Date(found.endMs).toISOString() }
}

interface Found {
  readonly reason: string
  readonly endMs: number
}

function latestAt(freezes: readonly Freeze[], atMs: number): Found | undefined {
  let latest: Found | undefined
  for (const freeze of freezes) {
    const endMs = endOf(freeze, atMs)
    if (endMs !== undefined && endMs > (latest?.endMs ?? -Infinity)) latest = { reason: freeze.reason, endMs }
  }
  return latest
}

/** `undefined` if it is not frozen by this one then. */
function endOf(freeze: Freeze, atMs: number): number | undefined {
  if ('weekly' in freeze) {
    const { days, from, to } = freeze.weekly
    if (!days.includes(new Date(atMs).getUTCDay())) return undefined
    const dayStart = Math.floor(atMs / dayMs) * dayMs
    const minute = (atMs - dayStart) / minuteMs
    return minute >= (minutesOf(from) ?? NaN) && minute < (minutesOf(to) ?? NaN)
      ? dayStart + (minutesOf(to) as number) * minuteMs
      : undefined
  }
  const endMs = Date.parse(freeze.to)
  return atMs >= Date.parse(freeze.from) && atMs < endMs ? endMs : undefined
}

/** A pause whose reason begins so comes and goes with a freeze, and by nobody's hand. */
export const freezePause = 'freeze: '

/** What holds a rollout, or lets it go. */
export function freezeMoves(
  { state, urgent }: { readonly state: RolloutState; readonly urgent?: true },
  freeze: ActiveFreeze | undefined,
  by: string,
): (RolloutEvent & { readonly kind: 'paused' | 'resumed' })[] {
  if (problemOf(state, 'pause') !== undefined) return []
  const wanted = freeze === undefined || urgent === true ? undefined : `${freezePause}${freeze.reason}`
  const held = state.pauses.map(({ reason }) => reason).filter((reason) => reason.startsWith(freezePause))
  const over = held.filter((reason) => reason !== wanted).map((reason) => ({ kind: 'resumed', reason, by }) as const)
  if (wanted === undefined || held.includes(wanted)) return over
  // First the new, so that between two freezes nothing goes on.
  return [{ kind: 'paused', reason: wanted, by }, ...over]
}

/** What is wrong with a list of freezes of the right shape; empty if nothing is. */
export function checkFreezes(freezes: readonly Freeze[]): Issue[] {
  if (freezes.length > maxFreezes) return [wrong([], `has ${freezes.length} freezes; want at most ${maxFreezes}`)]
  return freezes.flatMap((freeze, i) => [...checkReason(freeze.reason, i), ...checkTimes(freeze, i)])
}

function checkReason(reason: string, i: number): Issue[] {
  if (reason.trim() === '') return [wrong([i, 'reason'], 'is empty; want why it is frozen')]
  if (!reason.isWellFormed()) return [wrong([i, 'reason'], 'has half of a surrogate pair; want Unicode text')]
  return reason.length > maxReasonLength ? [wrong([i, 'reason'], `has more than ${maxReasonLength} characters`)] : []
}

function checkTimes(freeze: Freeze, i: number): Issue[] {
  if ('weekly' in freeze) {
    const { days, from, to } = freeze.weekly
    const isDay = (day: number): boolean => Number.isInteger(day) && day >= 0 && day <= 6
    if (days.length === 0 || !days.every(isDay)) {
      return [wrong([i, 'weekly', 'days'], `is [${days.slice(0, 8).join(', ')}]; want some of 0 (Sunday) to 6`)]
    }
    return checkOrder([i, 'weekly'], from, to, minutesOf, 'a time of the day, UTC, such as 16:00')
  }
  const timeOf = (text: string): number | undefined => {
    const time = Date.parse(text)
    return Number.isNaN(time) ? undefined : time
  }
  return checkOrder([i], freeze.from, freeze.to, timeOf, 'a time such as 2026-12-24T12:00:00Z')
}

function checkOrder(
  at: Path,
  from: string,
  to: string,
  numberOf: (text: string) => number | undefined,
  wanted: string,
): Issue[] {
  const issues = Object.entries({ from, to }).flatMap(([name, text]) =>
    numberOf(text) === undefined
      ? [wrong([...at, name], `is ${JSON.stringify(text.slice(0, 40))}; want ${wanted}`)]
      : [],
  )
  if (issues.length > 0) return issues
  if ((numberOf(from) as number) < (numberOf(to) as number)) return []
  return [
    wrong([...at, 'to'], `is ${JSON.stringify(to)}, which is not after ${JSON.stringify(from)}; want a later one`),
  ]
}

/** Minutes since midnight. */
function minutesOf(text: string): number | undefined {
  const [, hours, minutes] = /^(\d\d):(\d\d)$/.exec(text) ?? []
  const sum = Number(hours) * 60 + Number(minutes)
  return Number(minutes) < 60 && sum <= 24 * 60 ? sum : undefined
}

function wrong(path: Path, message: string): Issue {
  return { code: 'schema', path, message }
}
