/** Whether the advice was good: the figures from what was said and what came of it. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { judge, recordedRisk, type RiskRecord } from '../src/risk-report.ts'
import { riskOf } from '../src/risk.ts'

interface Short {
  readonly level: 'low' | 'medium' | 'high'
  readonly outcome?: RiskRecord['outcome']
  readonly factors?: readonly string[]
  readonly recommended?: 'all-at-once' | 'staged' | 'two-phase'
  readonly strategy?: string
}

function record(short: Short, number = 1): RiskRecord {
  const { level, outcome, factors = [], recommended = 'staged', strategy = recommended } = short
  const points = factors.map((factor) => ({ factor, points: 10 }))
  return { config: 'c', number, risk: { score: 50, level, recommended, factors: points }, strategy, outcome }
}

test('counts each level: how many releases, how many were rolled back, how many failed', () => {
  const report = judge([
    record({ level: 'low', outcome: 'completed' }),
    record({ level: 'low', outcome: 'rolled-back' }),
    record({ level: 'high', outcome: 'failed' }),
    record({ level: 'high' }),
  ])
  expect(report).toMatchObject({ releases: 3, bad: 2, pending: 1 })
  expect(report.levels).toEqual([
    { level: 'low', releases: 2, bad: 1, rolledBack: 1, failed: 0 },
    { level: 'medium', releases: 0, bad: 0, rolledBack: 0, failed: 0 },
    { level: 'high', releases: 1, bad: 1, rolledBack: 0, failed: 1 },
  ])
})

test('precision: of those called high, how many went badly; recall: of those that did, how many were called high', () => {
  const { high } = judge([
    record({ level: 'high', outcome: 'failed' }),
    record({ level: 'high', outcome: 'rolled-back' }),
    record({ level: 'high', outcome: 'completed' }),
    record({ level: 'high', outcome: 'completed' }),
    record({ level: 'low', outcome: 'failed' }),
    record({ level: 'low', outcome: 'completed' }),
  ])
  expect(high).toEqual({ precision: 0.5, recall: 2 / 3 })
})

test('where there is nothing to tell, no figure is made up', () => {
  expect(judge([])).toEqual({
    releases: 0,
    bad: 0,
    pending: 0,
    levels: ['low', 'medium', 'high'].map((level) => ({ level, releases: 0, bad: 0, rolledBack: 0, failed: 0 })),
    high: { precision: null, recall: null },
    followed: { releases: 0, bad: 0 },
    overruled: { releases: 0, bad: 0 },
    strategies: [],
    factors: [],
  })
  expect(judge([record({ level: 'high', factors: ['restart'] })])).toMatchObject({ pending: 1, factors: [] })
})

test('a factor tells as much as it is more frequent in bad releases than in good ones', () => {
  const { factors } = judge([
    record({ level: 'low', outcome: 'failed', factors: ['restart', 'nodes', 'emptied'] }),
    record({ level: 'low', outcome: 'failed', factors: ['restart', 'nodes'] }),
    record({ level: 'low', outcome: 'completed', factors: ['restart', 'nodes', 'added'] }),
    record({ level: 'low', outcome: 'completed', factors: ['nodes'] }),
  ])
  expect(factors).toEqual([
    { factor: 'emptied', bad: 1, good: 0, points: 10, lift: null },
    { factor: 'restart', bad: 2, good: 1, points: 10, lift: 2 },
    { factor: 'nodes', bad: 2, good: 2, points: 10, lift: 1 },
    { factor: 'added', bad: 0, good: 1, points: 10, lift: 0 },
  ])
})

test('followed or overruled; what goes in steps is staged, whatever its steps are called', () => {
  const report = judge([
    record({ level: 'high', outcome: 'completed', strategy: 'exponential' }),
    record({ level: 'high', outcome: 'failed', strategy: 'all-at-once' }),
    record({ level: 'low', outcome: 'completed', recommended: 'all-at-once' }),
  ])
  expect(report).toMatchObject({ followed: { releases: 2, bad: 0 }, overruled: { releases: 1, bad: 1 } })
  expect(report.strategies).toEqual([
    { strategy: 'all-at-once', releases: 2, bad: 1 },
    { strategy: 'exponential', releases: 1, bad: 0 },
  ])
})

test('what is kept of a risk has points and no texts', () => {
  const risk = riskOf({
    changes: [{ kind: 'removed', path: 'rules.canary', values: 1 }],
    values: 100,
    emptied: [],
    restartPaths: [],
    past: [],
    looked: 0,
    authorReleases: 9,
    sinceStable: null,
    nodes: { affected: 3, total: 3 },
    returnsTo: null,
    consistent: false,
  })
  expect(recordedRisk(risk)).toEqual({
    score: 31,
    level: 'medium',
    recommended: 'staged',
    factors: [
      { factor: 'removed', points: 12 },
      { factor: 'nodes', points: 10 },
      { factor: 'unproven', points: 8 },
      { factor: 'bulk', points: 1 },
    ],
  })
  expect(JSON.stringify(recordedRisk(risk))).not.toContain('canary')
})

test('property: every release is counted once, shares are shares, and the order of records does not matter', () => {
  const short = fc.record({
    level: fc.constantFrom<RiskRecord['risk']['level']>('low', 'medium', 'high'),
    outcome: fc.constantFrom<RiskRecord['outcome']>('completed', 'rolled-back', 'failed', undefined),
    factors: fc.uniqueArray(fc.constantFrom('a', 'b', '__proto__'), { maxLength: 3 }),
    strategy: fc.constantFrom('all-at-once', 'staged', 'constructor'),
  })
  fc.assert(
    fc.property(fc.array(short), (shorts) => {
      const records = shorts.map((one, i) => record(one as Short, i + 1))
      const report = judge(records)
      const sum = (parts: readonly { readonly releases: number }[]) => parts.reduce((all, one) => all + one.releases, 0)
      expect(report.releases + report.pending).toBe(records.length)
      for (const parts of [report.levels, report.strategies, [report.followed, report.overruled]]) {
        expect(sum(parts)).toBe(report.releases)
      }
      for (const share of Object.values(report.high)) expect(share === null || (share >= 0 && share <= 1)).toBe(true)
      for (const { bad, good } of report.factors) expect(bad + good).toBeLessThanOrEqual(report.releases)
      expect(judge(records.toReversed())).toEqual(report)
    }),
  )
})
