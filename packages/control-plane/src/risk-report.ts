/**
 * Whether the advice was good: what was said of the risk of each release, beside what came of it. Pure; who records
 * both, and how it is shown, is left to others.
 */
import type { Recommendation, Risk, RiskLevel } from './risk.ts'

/** What was said of one release, what was done, and what came of it. */
export interface RiskRecord {
  readonly config: string
  readonly number: number
  readonly risk: RecordedRisk
  /** The kind of strategy that was used. */
  readonly strategy: string
  /** `undefined`: it is not through yet. */
  readonly outcome: 'completed' | 'rolled-back' | 'failed' | undefined
}

/** What is kept of a risk: no texts, and so no paths. */
export interface RecordedRisk {
  readonly score: number
  readonly level: RiskLevel
  readonly recommended: Recommendation['strategy']
  readonly factors: readonly { readonly factor: string; readonly points: number }[]
}

export function recordedRisk({ score, level, recommended, reasons }: Risk): RecordedRisk {
  return {
    score,
    level,
    recommended: recommended.strategy,
    factors: reasons.map(({ factor, points }) => ({ factor, points })),
  }
}

/** Releases, and those of them that were rolled back or failed. */
export interface Tallied {
  readonly releases: number
  readonly bad: number
}

export interface LevelTally extends Tallied {
  readonly level: RiskLevel
  readonly rolledBack: number
  readonly failed: number
}

export interface FactorTally {
  readonly factor: string
  /** How many of the bad releases had it, and how many of the good ones. */
  readonly bad: number
  readonly good: number
  /** The points it gave on average where it was present. */
  readonly points: number
  /** In how much larger a share of the bad ones than of the good ones: 1 says nothing; `null`: there are none to tell. */
  readonly lift: number | null
}

export interface RiskReport extends Tallied {
  /** Not through yet: they count nowhere else. */
  readonly pending: number
  /** Low, medium, high. */
  readonly levels: readonly LevelTally[]
  /** "High" taken as the forecast that it goes badly. */
  readonly high: {
    /** Of the releases that were called high, the share that went badly; `null`: none was. */
    readonly precision: number | null
    /** Of those that went badly, the share that had been called high; `null`: none did. */
    readonly recall: number | null
  }
  /** Published as recommended, or otherwise. */
  readonly followed: Tallied
  readonly overruled: Tallied
  /** By the strategy that was used, the most frequent first. */
  readonly strategies: readonly (Tallied & { readonly strategy: string })[]
  /** Those that tell most first. */
  readonly factors: readonly FactorTally[]
}

const levels: readonly RiskLevel[] = ['low', 'medium', 'high']
/** Names come from records, which may be of any version. */
const maxNames = 100

export function judge(records: Iterable<RiskRecord>): RiskReport {
  const all = [...records]
  const done = all.filter(({ outcome }) => outcome !== undefined)
  const bad = done.filter(isBad)
  const high = done.filter(({ risk }) => risk.level === 'high')
  const truly = high.filter(isBad).length
  const byStrategy = grouped(done, ({ strategy }) => [strategy])
  return {
    ...tallied(done),
    pending: all.length - done.length,
    levels: levels.map((level) => {
      const mine = done.filter(({ risk }) => risk.level === level)
      const ended = (outcome: string): number => mine.filter((record) => record.outcome === outcome).length
      return { level, ...tallied(mine), rolledBack: ended('rolled-back'), failed: ended('failed') }
    }),
    high: { precision: share(truly, high.length), recall: share(truly, bad.length) },
    followed: tallied(done.filter(isFollowed)),
    overruled: tallied(done.filter((record) => !isFollowed(record))),
    strategies: [...byStrategy]
      .map(([strategy, mine]) => ({ strategy, ...tallied(mine) }))
      .toSorted((a, b) => b.releases - a.releases || byText(a.strategy, b.strategy))
      .slice(0, maxNames),
    factors: factorTallies(done, bad.length),
  }
}

function factorTallies(done: readonly RiskRecord[], badCount: number): FactorTally[] {
  const goodCount = done.length - badCount
  const found = grouped(done, ({ risk }) => new Set(risk.factors.map(({ factor }) => factor)))
  const tallies = [...found].map(([factor, mine]): FactorTally => {
    const { releases, bad } = tallied(mine)
    const good = releases - bad
    const points = mine.flatMap(({ risk }) => risk.factors.filter((one) => one.factor === factor))
    return {
      factor,
      bad,
      good,
      points: points.reduce((sum, one) => sum + one.points, 0) / mine.length,
      lift: good === 0 || badCount === 0 ? null : bad / badCount / (good / goodCount),
    }
  })
  return tallies
    .toSorted((a, b) => telling(b) - telling(a) || b.bad - a.bad || byText(a.factor, b.factor))
    .slice(0, maxNames)
}

/** What stands in bad releases only tells most. */
function telling({ lift, bad }: FactorTally): number {
  return lift ?? (bad > 0 ? Infinity : 0)
}

function grouped(
  records: readonly RiskRecord[],
  names: (record: RiskRecord) => Iterable<string>,
): Map<string, RiskRecord[]> {
  const groups = new Map<string, RiskRecord[]>()
  for (const record of records) {
    for (const name of names(record)) {
      const group = groups.get(name) ?? []
      groups.set(name, group)
      group.push(record)
    }
  }
  return groups
}

function tallied(records: readonly RiskRecord[]): Tallied {
  return { releases: records.length, bad: records.filter(isBad).length }
}

/** Whatever its steps are called, what goes in steps is staged. */
function isFollowed({ strategy, risk }: RiskRecord): boolean {
  const used = strategy === 'all-at-once' || strategy === 'two-phase' ? strategy : 'staged'
  return used === risk.recommended
}

function isBad({ outcome }: RiskRecord): boolean {
  return outcome === 'rolled-back' || outcome === 'failed'
}

function share(part: number, whole: number): number | null {
  return whole === 0 ? null : part / whole
}

function byText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}
