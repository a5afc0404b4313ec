import { expect, test } from 'vitest'
import { ReloadStats } from '../src/stats.ts'
import { component, outcome } from './outcomes.ts'

test('before the first reload the success rate is 1 and everything else is empty', () => {
  expect(new ReloadStats().snapshot()).toEqual({
    runs: 0,
    byOutcome: {},
    successRate: 1,
    retries: 0,
    byPhase: {},
    byComponent: {},
  })
})

test('committed and unchanged are successes, all other outcomes are not (K1, K3, K6, F66)', () => {
  const stats = new ReloadStats()
  for (const kind of [
    'committed',
    'unchanged',
    'rejected',
    'restart-required',
    'rolled-back',
    'degraded',
    'committed',
    'committed',
  ] as const) {
    stats.record(outcome(kind))
  }
  expect(stats.snapshot()).toMatchObject({
    runs: 8,
    successRate: 0.5,
    byOutcome: { committed: 3, unchanged: 1, rejected: 1, 'restart-required': 1, 'rolled-back': 1, degraded: 1 },
  })
})

test('a reload that close() forestalled is named and does not count as a run', () => {
  const stats = new ReloadStats()
  stats.record(outcome('closed'))
  expect(stats.snapshot()).toMatchObject({ runs: 0, successRate: 1, byOutcome: { closed: 1 }, byPhase: {} })
})

test('retries add up (K5)', () => {
  const stats = new ReloadStats()
  stats.record(outcome('committed', { retries: 2 }))
  stats.record(outcome('rejected', { retries: 1 }))
  expect(stats.snapshot().retries).toBe(3)
})

test('quantiles are durations that were measured: nearest rank', () => {
  const stats = new ReloadStats()
  for (let ms = 100; ms >= 1; ms--)
    stats.record(outcome('unchanged', { durationMs: ms, durationsMs: { load: ms * 10 } }))
  expect(stats.snapshot().byPhase).toEqual({
    total: { count: 100, p50Ms: 50, p95Ms: 95, p99Ms: 99 },
    load: { count: 100, p50Ms: 500, p95Ms: 950, p99Ms: 990 },
  })
})

test('one duration is all its quantiles', () => {
  const stats = new ReloadStats()
  stats.record(outcome('unchanged', { durationMs: 7, durationsMs: {} }))
  expect(stats.snapshot().byPhase['total']).toEqual({ count: 1, p50Ms: 7, p95Ms: 7, p99Ms: 7 })
})

test('quantiles look at the newest 1,024 only; the count goes on', () => {
  const stats = new ReloadStats()
  for (let i = 0; i < 2000; i++) stats.record(outcome('unchanged', { durationMs: 1000 }))
  for (let i = 0; i < 1024; i++) stats.record(outcome('unchanged', { durationMs: 1 }))
  expect(stats.snapshot().byPhase['total']).toEqual({ count: 3024, p50Ms: 1, p95Ms: 1, p99Ms: 1 })
})

test('each component has its own counts and phases', () => {
  const stats = new ReloadStats()
  stats.record(
    outcome('committed', {
      components: [component('log', 'committed', { prepare: 1, commit: 2 }), component('http', 'untouched')],
    }),
  )
  stats.record(
    outcome('rolled-back', {
      components: [
        component('log', 'rolled-back', { prepare: 3, rollback: 4 }),
        component('http', 'failed', { prepare: 9 }),
      ],
    }),
  )
  expect(stats.snapshot().byComponent).toEqual({
    log: {
      committed: 1,
      failed: 0,
      phases: {
        prepare: { count: 2, p50Ms: 1, p95Ms: 3, p99Ms: 3 },
        commit: { count: 1, p50Ms: 2, p95Ms: 2, p99Ms: 2 },
        rollback: { count: 1, p50Ms: 4, p95Ms: 4, p99Ms: 4 },
      },
    },
    http: { committed: 0, failed: 1, phases: { prepare: { count: 1, p50Ms: 9, p95Ms: 9, p99Ms: 9 } } },
  })
})

test('a component may have any name', () => {
  const stats = new ReloadStats()
  stats.record(
    outcome('committed', { components: [component('__proto__', 'committed'), component('constructor', 'committed')] }),
  )
  expect(Object.keys(stats.snapshot().byComponent)).toEqual(['__proto__', 'constructor'])
})

test('component names made up at run time do not fill the memory', () => {
  const stats = new ReloadStats()
  for (let i = 0; i < 3000; i++)
    stats.record(outcome('committed', { components: [component(`c${i}`, 'committed', { commit: 1 })] }))
  expect(Object.keys(stats.snapshot().byComponent)).toHaveLength(1000)
})
