/**
 * How requests end, and whether that is well: what a fleet is told of this gateway's health. Counted are those that have a
 * route. Judged are those of the last seconds that met the configuration that is live, so that no release has to answer
 * for the one before it.
 *
 * Without traffic there is nothing to hold against a configuration, and a gateway that nobody asks must be able to take
 * one: too few requests are no bad news. Who wants silence to be a no asks a Prometheus in a gate of the rollout.
 */

/** `refused` by a rule, with 429; `failed`: the upstream's answer was a 5xx, or none, or broke off. */
export type Ending = 'answered' | 'refused' | 'failed'

export type Counts = Readonly<Record<Ending, number>>

export interface ShownTraffic {
  /** Since the process began. */
  readonly total: Counts
  /** Judged. */
  readonly recent: Counts
  /** What is wrong with them; `null`: nothing. */
  readonly unwell: string | null
}

export interface Traffic {
  /** @param met the configuration that the request met. */
  count(met: object, ending: Ending): void
  shown(): ShownTraffic
}

const windowSeconds = 10
/** Fewer say nothing. */
const leastRequests = 5
/** More of them refused or failed, and the gateway is not well: a rule should hold off some, not most. */
const mostShare = 0.5

const none: Counts = { answered: 0, refused: 0, failed: 0 }

/** @param live the configuration that is live. @param nowMs a clock that does not jump. */
export function trafficUnder(live: () => object, nowMs = () => performance.now()): Traffic {
  let total = none
  let judged: object | undefined
  /** By the second that they ended in. */
  let seconds = new Map<number, Counts>()

  /** Drops what is too old, and what met another configuration. */
  function look(): number {
    const second = Math.floor(nowMs() / 1000)
    if (judged !== live()) seconds = new Map()
    judged = live()
    for (const old of seconds.keys()) if (old <= second - windowSeconds) seconds.delete(old)
    return second
  }

  return {
    count(met, ending) {
      total = plusOne(total, ending)
      const second = look()
      if (met === judged) seconds.set(second, plusOne(seconds.get(second) ?? none, ending))
    },
    shown() {
      look()
      const recent = sum(seconds.values())
      return { total, recent, unwell: unwellIn(recent) }
    },
  }
}

function unwellIn({ answered, refused, failed }: Counts): string | null {
  const all = answered + refused + failed
  if (all < leastRequests || refused + failed <= mostShare * all) return null
  const parts = [refused > 0 && `${refused} refused with 429`, failed > 0 && `${failed} failed`]
  const found = parts.filter((part) => part !== false).join(', ')
  return `of the last ${all} requests ${found}; want at most ${mostShare * 100} %`
}

function plusOne(counts: Counts, ending: Ending): Counts {
  return { ...counts, [ending]: counts[ending] + 1 }
}

function sum(all: Iterable<Counts>): Counts {
  const found = { ...none } as Record<Ending, number>
  for (const { answered, refused, failed } of all) {
    found.answered += answered
    found.refused += refused
    found.failed += failed
  }
  return found
}
