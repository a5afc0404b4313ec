/** The score of a change: what it is made of, what it never does, and what follows from it. */
import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { riskOf, type PastChanges, type RiskChange, type RiskInput } from '../src/risk.ts'
import { defaultWeights, type Weights } from '../src/risk-weights.ts'

/** One field of a config that is well known, by somebody who is, on half of 40 nodes. */
const small: RiskInput = {
  changes: [{ kind: 'changed', path: 'rules.r1.limit', values: 1 }],
  values: 400,
  emptied: [],
  restartPaths: [],
  past: [{ path: 'rules.r1.limit', changed: 5, bad: 0 }],
  looked: 30,
  authorReleases: 20,
  sinceStable: 0,
  nodes: { affected: 20, total: 40 },
  returnsTo: null,
  consistent: false,
}

function given(over: Partial<RiskInput>): RiskInput {
  return { ...small, ...over }
}

function pointsOf(input: RiskInput, weights?: Weights): Partial<Record<string, number>> {
  return Object.fromEntries(riskOf(input, weights).reasons.map(({ factor, points }) => [factor, points]))
}

const removed = (path: string, values = 1): RiskChange => ({ kind: 'removed', path, values })
const count = fc.nat({ max: 300 })
const path = fc.oneof(
  fc.constantFrom('rules.r1.limit', 'rules', 'a', '', '*', 'rules.*'),
  fc.string({ unit: 'binary' }),
)
const change = fc.record<RiskChange>({
  kind: fc.constantFrom('added', 'removed', 'changed', 'moved'),
  path,
  values: count,
})
const past = fc.record<PastChanges>({ path, changed: count, bad: count })
const anyInput = fc.record<RiskInput>({
  changes: fc.array(change),
  values: count,
  emptied: fc.array(path, { maxLength: 3 }),
  restartPaths: fc.array(path, { maxLength: 3 }),
  past: fc.array(past, { maxLength: 5 }),
  looked: count,
  authorReleases: count,
  sinceStable: fc.option(count),
  nodes: fc.record({ affected: count, total: count }),
  returnsTo: fc.option(count),
  consistent: fc.boolean(),
})
const points = fc.double({ min: 0, max: 100, noNaN: true })
const anyWeights = fc
  .record<Record<string, number>>({
    ...Object.fromEntries(Object.keys(defaultWeights).map((name) => [name, points])),
    mediumFrom: fc.constant(30),
    highFrom: fc.constant(60),
    bulkShare: fc.double({ min: 0.01, max: 1, noNaN: true }),
    bulkRemoved: fc.double({ min: 1, max: 100, noNaN: true }),
    bulkLeast: fc.integer({ min: 1, max: 1000 }),
    provenAfter: fc.integer({ min: 1, max: 10 }),
    knownAfter: fc.integer({ min: 1, max: 10 }),
    ranBefore: fc.double({ min: 0, max: 1, noNaN: true }),
    fewNodes: fc.integer({ min: 0, max: 10 }),
    firstPercent: fc.integer({ min: 1, max: 100 }),
    longBake: fc.integer({ min: 1, max: 100 }),
  })
  .map((weights) => weights as unknown as Weights)

describe('what the score is made of', () => {
  test('a small change of what is well known, by somebody who is, has few points and goes at once', () => {
    expect(riskOf(small)).toEqual({
      score: 9,
      level: 'low',
      reasons: [
        { factor: 'nodes', points: 5, text: 'reaches 20 of 40 nodes' },
        { factor: 'changed', points: 4, text: 'changes 1 value: rules.r1.limit' },
      ],
      recommended: { strategy: 'all-at-once', why: 'The risk is low.' },
    })
  })

  test('a removal weighs more than a change, a change more than an addition', () => {
    const scoreOf = (kind: RiskChange['kind']): number =>
      riskOf(given({ changes: [{ kind, path: 'a', values: 40 }] })).score
    expect(scoreOf('removed')).toBeGreaterThan(scoreOf('changed'))
    expect(scoreOf('changed')).toBeGreaterThan(scoreOf('added'))
  })

  test('to empty a list, or to remove with a wildcard, weighs more than to remove one entry', () => {
    const one = riskOf(given({ changes: [removed('rules.r1')] }))
    const emptied = riskOf(given({ changes: [removed('rules.r1')], emptied: ['rules'] }))
    const wildcard = riskOf(given({ changes: [removed('rules.*')] }))
    expect(emptied.score - one.score).toBe(defaultWeights.emptied)
    expect(wildcard.score).toBe(emptied.score)
    expect(emptied.reasons[0]).toMatchObject({ factor: 'emptied', text: 'removes everything that was in rules' })
  })

  test('bulk is a share, and no number: ten of twenty values weigh as much as a thousand of two thousand', () => {
    const bulkOf = (values: number, all: number): number | undefined =>
      pointsOf(given({ values: all, changes: [{ kind: 'changed', path: 'a', values }] }))['bulk']
    expect(bulkOf(10, 20)).toBe(defaultWeights.bulk)
    expect(bulkOf(1000, 2000)).toBe(defaultWeights.bulk)
    expect(bulkOf(1000, 200_000)).toBeUndefined()
    // One of two is no bulk.
    expect(bulkOf(1, 2)).toBe(2)
  })

  test('a restart, a bad past, a new author, an unstable head and more nodes each add points, and say what for', () => {
    const worse = riskOf(
      given({
        restartPaths: ['listener.port'],
        past: [{ path: 'rules.r1.limit', changed: 4, bad: 2 }],
        authorReleases: 0,
        sinceStable: 3,
        nodes: { affected: 40, total: 40 },
      }),
    )
    expect(worse.reasons.map(({ points: its, text }) => `${its} ${text}`)).toEqual([
      '20 takes a restart for listener.port',
      '20 rules.r1.limit was changed 4 times in the last 30 releases, and 2 of those went badly',
      '12 is the first release by its author',
      '12 the last 3 releases did not complete on all nodes',
      '10 reaches 40 of 40 nodes',
      '4 changes 1 value: rules.r1.limit',
      '3 rules.r1.limit was changed well only 2 times in the last 30 releases',
    ])
    expect(worse).toMatchObject({ score: 81, level: 'high' })
  })

  test('of several paths the least proven one counts, and the one that went badly most often', () => {
    const past = [
      { path: 'a', changed: 9, bad: 0 },
      { path: 'b', changed: 3, bad: 1 },
      { path: 'c', changed: 9, bad: 2 },
      { path: 'd', changed: 5, bad: 1 },
    ]
    const texts = riskOf(given({ past })).reasons.map(({ points: its, text }) => `${its} ${text}`)
    expect(texts).toContain('20 c was changed 9 times in the last 30 releases, and 2 of those went badly')
    expect(texts).toContain('3 b was changed well only 2 times in the last 30 releases')
  })

  test('of the first release nothing is said that only makes sense with releases before it', () => {
    const texts = riskOf(given({ past: [], looked: 0, authorReleases: 0 })).reasons.map(({ text }) => text)
    expect(texts).toContain('no release came before it')
    expect(texts.join()).not.toMatch(/ 0 releases|never/)
  })

  test('the way back to what ran before is low, whatever it undoes', () => {
    const bad = given({
      changes: [removed('a', 400), { kind: 'added', path: 'b', values: 400 }],
      emptied: ['a'],
      restartPaths: ['a'],
      past: [{ path: 'a', changed: 9, bad: 9 }],
      authorReleases: 0,
      sinceStable: 9,
      nodes: { affected: 40, total: 40 },
    })
    expect(riskOf(bad)).toMatchObject({ score: 100, level: 'high' })
    const back = riskOf({ ...bad, returnsTo: 7 })
    expect(back).toMatchObject({ level: 'low', recommended: { strategy: 'all-at-once' } })
    expect(back.reasons.at(-1)).toMatchObject({
      factor: 'ran-before',
      text: 'goes back to what release 7 held, which ran well',
    })
  })

  test('other weights give other points', () => {
    expect(pointsOf(given({ restartPaths: ['a'] }), { ...defaultWeights, restart: 55 })['restart']).toBe(55)
    expect(pointsOf(given({ restartPaths: ['a'] }), { ...defaultWeights, restart: 0 })).not.toHaveProperty('restart')
  })
})

describe('what follows from it', () => {
  const risky = { restartPaths: ['a'], authorReleases: 0 }
  const worse = { ...risky, changes: [removed('a', 400)] }
  const recommendedFor = (over: Partial<RiskInput>) => riskOf(given(over)).recommended

  test('low goes at once, medium in steps, high in steps that are watched longer', () => {
    expect(recommendedFor({})).toMatchObject({ strategy: 'all-at-once' })
    expect(recommendedFor(risky)).toEqual({
      strategy: 'staged',
      why: 'The risk is medium: 10 % of the nodes first.',
      firstPercent: 10,
      bakeFactor: 1,
    })
    expect(recommendedFor(worse)).toEqual({
      strategy: 'staged',
      why: 'The risk is high: 10 % of the nodes first, each step watched longer.',
      firstPercent: 10,
      bakeFactor: 3,
    })
  })

  test('two nodes are too few for steps, and a config without nodes has nobody to harm', () => {
    const at = (affected: number) => recommendedFor({ ...worse, nodes: { affected, total: 40 } })
    expect(at(0)).toEqual({ strategy: 'all-at-once', why: 'No node follows the config.' })
    expect(at(1)).toEqual({ strategy: 'all-at-once', why: 'One node follows the config.' })
    expect(at(2)).toEqual({ strategy: 'all-at-once', why: '2 nodes are too few for steps.' })
    expect(at(3)).toMatchObject({ strategy: 'staged' })
  })

  test('two-phase only where the schema says that nodes must agree, and there are two or more', () => {
    expect(recommendedFor({ consistent: true })).toMatchObject({ strategy: 'two-phase' })
    expect(recommendedFor({ ...worse, consistent: true })).toMatchObject({ strategy: 'two-phase' })
    expect(recommendedFor({ consistent: true, nodes: { affected: 1, total: 40 } })).toMatchObject({
      strategy: 'all-at-once',
    })
    fc.assert(
      fc.property(anyInput, (input) => {
        expect(riskOf({ ...input, consistent: false }).recommended.strategy).not.toBe('two-phase')
      }),
    )
  })
})

describe('property', () => {
  test('the score is the sum of the points, held between 0 and 100; no reason is without points or words', () => {
    fc.assert(
      fc.property(anyInput, anyWeights, (input, weights) => {
        const { score, reasons } = riskOf(input, weights)
        const sum = reasons.reduce((total, reason) => total + reason.points, 0)
        expect(score).toBe(Math.min(100, Math.max(0, sum)))
        for (const reason of reasons) {
          expect(Number.isInteger(reason.points) && reason.points !== 0).toBe(true)
          expect(reason.text).toMatch(/^\P{C}+$/u)
        }
        expect(new Set(reasons.map(({ factor }) => factor)).size).toBe(reasons.length)
        expect(reasons.map((reason) => reason.points)).toEqual(
          reasons.map((reason) => reason.points).toSorted((a, b) => b - a),
        )
      }),
    )
  })

  test('the same input has the same risk, and is not changed', () => {
    fc.assert(
      fc.property(anyInput, anyWeights, (input, weights) => {
        const copy = structuredClone(input)
        expect(riskOf(input, weights)).toEqual(riskOf(copy, weights))
        expect(input).toEqual(copy)
      }),
    )
  })

  test('one more removal, or any other change, never lowers the score', () => {
    fc.assert(
      fc.property(anyInput, change, anyWeights, (input, more, weights) => {
        const larger = { ...input, changes: [...input.changes, more] }
        expect(riskOf(larger, weights).score).toBeGreaterThanOrEqual(riskOf(input, weights).score)
      }),
    )
  })

  test('a removal weighs at least as much as the same change of another kind', () => {
    const kind = fc.constantFrom<RiskChange['kind']>('added', 'changed', 'moved')
    fc.assert(
      fc.property(anyInput, kind, path, count, (input, other, at, values) => {
        const scoreOf = (one: RiskChange): number => riskOf({ ...input, changes: [one] }).score
        expect(scoreOf({ kind: 'removed', path: at, values })).toBeGreaterThanOrEqual(
          scoreOf({ kind: other, path: at, values }),
        )
      }),
    )
  })

  test('a bad past never lowers the score: one more bad release, or one that turns out bad', () => {
    fc.assert(
      fc.property(anyInput, past, anyWeights, fc.boolean(), (input, one, weights, isNew) => {
        const before = { ...input, past: [...input.past, one] }
        const worse = { ...one, bad: one.bad + 1, changed: one.changed + (isNew ? 1 : 0) }
        const after = { ...input, past: [...input.past, worse] }
        expect(riskOf(after, weights).score).toBeGreaterThanOrEqual(riskOf(before, weights).score)
      }),
    )
  })

  test.each([
    ['an emptied list', (input: RiskInput) => ({ ...input, emptied: [...input.emptied, 'a'] })],
    ['a restart', (input: RiskInput) => ({ ...input, restartPaths: [...input.restartPaths, 'a'] })],
    [
      'a release since the last stable one',
      (input: RiskInput) => ({ ...input, sinceStable: (input.sinceStable ?? 0) + 1 }),
    ],
    [
      'a less known author',
      (input: RiskInput) => ({ ...input, authorReleases: Math.max(0, input.authorReleases - 1) }),
    ],
    [
      'one more node',
      (input: RiskInput) => ({ ...input, nodes: { ...input.nodes, affected: input.nodes.affected + 1 } }),
    ],
  ])('%s never lowers the score', (_name, worse) => {
    fc.assert(
      fc.property(anyInput, anyWeights, (input, weights) => {
        expect(riskOf(worse(input), weights).score).toBeGreaterThanOrEqual(riskOf(input, weights).score)
      }),
    )
  })

  test('the way back is never more of a risk than the same change would be', () => {
    fc.assert(
      fc.property(anyInput, anyWeights, (input, weights) => {
        const forth = riskOf({ ...input, returnsTo: null }, weights).score
        expect(riskOf({ ...input, returnsTo: 3 }, weights).score).toBeLessThanOrEqual(forth)
      }),
    )
  })
})

describe('hostile input', () => {
  test('a hundred thousand changes come to a few short lines', () => {
    const changes = Array.from({ length: 100_000 }, (_, i) => removed(`rules.${'x'.repeat(200)}${i}`))
    const risk = riskOf(given({ changes, emptied: changes.map((one) => one.path) }))
    expect(risk.level).toBe('high')
    expect(JSON.stringify(risk).length).toBeLessThan(3000)
    expect(risk.reasons.find(({ factor }) => factor === 'removed')?.text).toMatch(
      /^removes 100000 values: .* and 99997 more$/,
    )
  })

  test('a path is shown on one line and cut, whatever is in it', () => {
    const odd = ['a\nb', '\u001b[2Jx', '\u202egnp.exe', '\ud800', `${'😀'.repeat(100)}`, '\u2028']
    const risk = riskOf(given({ changes: odd.map((text) => removed(text)), emptied: odd.slice(3), restartPaths: odd }))
    for (const { text } of risk.reasons) {
      expect(text).toMatch(/^\P{C}+$/u)
      expect(text.isWellFormed()).toBe(true)
    }
    expect(risk.reasons.find(({ factor }) => factor === 'removed')?.text).toContain('a\\u{a}b, \\u{1b}[2Jx')
  })

  test('what is no count is none: the score is a number all the same', () => {
    for (const nothing of [Number.NaN, -1, Infinity, -Infinity]) {
      const { score, reasons } = riskOf(
        given({
          changes: [removed('a', nothing)],
          values: nothing,
          past: [{ path: 'a', changed: nothing, bad: nothing }],
          looked: nothing,
          authorReleases: nothing,
          sinceStable: nothing,
          nodes: { affected: nothing, total: nothing },
        }),
      )
      expect(Number.isInteger(score)).toBe(true)
      expect(JSON.stringify(reasons)).not.toMatch(/NaN|null|Infinity/)
    }
  })

  test('nothing that changes is no risk', () => {
    expect(riskOf(given({ changes: [], past: [], nodes: { affected: 0, total: 0 } }))).toMatchObject({
      score: 0,
      reasons: [],
    })
  })
})

describe('weights', () => {
  test('the table cannot be changed by who reads it', () => {
    expect(Object.isFrozen(defaultWeights)).toBe(true)
  })

  test('the guide lists every weight as it is', () => {
    const page = readFileSync(new URL('../../../docs/risk.md', import.meta.url), 'utf8')
    const listed = [...page.matchAll(/^\| `(\w+)` \| ([\d.]+) \|/gm)].map(([, name, value]) => [name, Number(value)])
    expect(Object.fromEntries(listed)).toEqual(defaultWeights)
  })
})
