/** What a node has come to with a release, and how the counts follow it. What counts lead to is `rollout.test.ts`. */
import { describe, expect, test } from 'vitest'
import { Facts, factOf } from '../src/facts.ts'
import { queued } from '../src/rollout-state.ts'
import { allAtOnce } from '../src/strategies/all-at-once.ts'
import { staged } from '../src/strategies/staged.ts'
import type { NodeRecord, RolloutRecord } from '../src/store.ts'
import { cutsOf, stepOf, type Strategy } from '../src/strategy.ts'

const digestOf = (digit: number): string => `sha256:${String(digit).repeat(64)}`
const target = { number: 7, digest: digestOf(7) }
const before = { number: 6, digest: digestOf(6) }
const at = '2026-11-20T09:00:00.000Z'

function node(uid: string, over: Partial<NodeRecord> = {}): NodeRecord {
  return {
    uid,
    config: 'shop/prod',
    labels: { name: uid },
    agent: { name: 't', version: '1' },
    runs: before,
    seen: 6,
    status: 'APPLIED',
    firstSeenAt: at,
    lastSeenAt: at,
    leaseUntil: at,
    ...over,
  }
}

const running = { runs: target, seen: 7 } as const
const ready = { ...target, epoch: 1 }

describe('a node', () => {
  test.each<[string, Partial<NodeRecord>, boolean, string]>([
    ['runs the one before', {}, false, 'waiting'],
    ['runs the one before, and is away', {}, true, 'away'],
    ['runs nothing yet', { runs: null, seen: null, status: 'UNSET' }, false, 'waiting'],
    ['runs it', running, false, 'applied'],
    ['runs the number with another content', { runs: before, seen: 7 }, false, 'waiting'],
    ['holds it ready', { seen: 7, prepared: ready }, false, 'prepared'],
    ['holds it ready, and is away', { seen: 7, prepared: ready }, true, 'prepared'],
    ['holds another content of the number ready', { prepared: { ...before, number: 7, epoch: 1 } }, false, 'waiting'],
    ['would not have it', { seen: 7, status: 'FAILED' }, false, 'failed'],
    ['rolled it back', { seen: 7, status: 'ROLLED_BACK' }, false, 'failed'],
    ['needs a restart for it', { seen: 7, status: 'RESTART_REQUIRED' }, false, 'failed'],
    ['is degraded by it', { ...running, status: 'DEGRADED' }, false, 'failed'],
    ['failed with the one before', { status: 'FAILED' }, false, 'waiting'],
    ['runs a newer one', { runs: { number: 8, digest: digestOf(8) }, seen: 8 }, false, 'failed'],
    ['has it, and was lost before it ran it', { seen: 7, status: 'APPLYING' }, true, 'lost'],
  ])('that %s', (_, over, isAway, fact) => {
    expect(factOf(node('n1', over), isAway, target, 'if-present').fact).toBe(fact)
  })

  test('I12: that runs it and is silent is no good news; on the way back it is enough that it runs it', () => {
    expect(factOf(node('n1', running), true, target, 'if-present')).toMatchObject({ fact: 'lost' })
    expect(factOf(node('n1', running), true, target, 'ignored')).toEqual({ fact: 'applied' })
  })

  test('I12: is well by what it says since it runs it; what was well before says nothing', () => {
    const says = (ok: boolean, release: number, probes: Strategy['probes'] = 'if-present') =>
      factOf(node('n1', { ...running, health: { ok, release, detail: 'x' } }), false, target, probes).fact
    expect([says(true, 7), says(false, 7), says(true, 6), says(false, 6)]).toEqual([
      'applied',
      'unhealthy',
      'waiting',
      'waiting',
    ])
    expect(factOf(node('n1', running), false, target, 'required')).toMatchObject({ fact: 'unhealthy' })
  })
})

describe('the counts', () => {
  const steps = staged([{ select: { percent: 10 }, bakeMs: 0 }])

  function counted(strategy: Strategy, uids: readonly string[]) {
    const nodes = new Map(uids.map((uid) => [uid, node(uid)]))
    const [away, silent] = [new Set<string>(), new Set<string>()]
    const cuts = cutsOf(strategy.steps, [...nodes.values()])
    const record: RolloutRecord = {
      config: 'shop/prod',
      ...target,
      strategy,
      by: 'ada',
      createdAt: at,
      startedAt: at,
      endedAt: null,
      state: { ...queued(before), phase: 'applying', cuts },
    }
    const fleet = {
      node: (uid: string) => nodes.get(uid),
      isAway: (uid: string) => away.has(uid),
      isSilent: (uid: string) => silent.has(uid),
    }
    const facts = new Facts(record, fleet)
    for (const uid of uids) facts.look(uid)
    const first = uids.find((uid) => stepOf(strategy.steps, cuts, node(uid)) === 0) as string
    const set = (uid: string, over: Partial<NodeRecord>): boolean => {
      nodes.set(uid, node(uid, over))
      return facts.look(uid)
    }
    return { facts, nodes, away, silent, first, set }
  }

  test('are of the steps that were begun: a node of an earlier one counts to the end, one of a later not yet', () => {
    const { facts, first, set } = counted(steps, ['n1', 'n2', 'n3'])
    expect(facts.counts({ phase: 'applying', step: 0 })).toMatchObject({ waiting: 1 })
    expect(set(first, { ...running, health: { ok: false, release: 7, detail: 'hot' } })).toBe(true)
    const found = { waiting: 2, unhealthy: 1, reasons: [{ node: first, reason: 'hot' }] }
    for (const phase of ['applying', 'baking', 'confirming'] as const) {
      expect(facts.counts({ phase, step: 1 })).toMatchObject(found)
    }
    // Who voted for an earlier step has run it since.
    expect(facts.counts({ phase: 'preparing', step: 1 })).toMatchObject({ waiting: 2, unhealthy: 0, reasons: [] })
    expect(facts.counts({ phase: 'rolling-back', step: 0 })).toMatchObject(found)
  })

  test('I12: one that runs it and is silent is waited for again, before it counts as lost', () => {
    const { facts, silent, set } = counted(allAtOnce(), ['n1', 'n2'])
    for (const uid of ['n1', 'n2']) set(uid, running)
    silent.add('n2')
    expect(facts.look('n2')).toBe(true)
    const reasons = [{ node: 'n2', reason: `runs it, and was last heard of at ${at}` }]
    expect(facts.counts({ phase: 'baking', step: 0 })).toMatchObject({ applied: 1, waiting: 1, reasons })
    silent.clear()
    expect(facts.look('n2')).toBe(true)
    expect(facts.counts({ phase: 'baking', step: 0 })).toMatchObject({ applied: 2, waiting: 0, reasons: [] })
  })

  test('change with what is news, and with a node that is forgotten', () => {
    const { facts, nodes, set } = counted(allAtOnce(), ['n1', 'n2'])
    expect(set('n1', running)).toBe(true)
    expect(set('n1', running)).toBe(false)
    expect(facts.counts({ phase: 'applying', step: 0 })).toMatchObject({ waiting: 1, applied: 1 })
    nodes.delete('n2')
    expect([facts.look('n2'), facts.look('n2')]).toEqual([true, false])
    expect(facts.counts({ phase: 'applying', step: 0 })).toMatchObject({ waiting: 0, applied: 1 })
  })

  test('follow a node that comes back with other labels into its other step, also when nothing else is new of it', () => {
    const byZone = staged([{ select: { labels: { zone: 'a' } }, bakeMs: 0 }])
    const { facts, set } = counted(byZone, ['n1', 'n2'])
    expect(facts.counts({ phase: 'applying', step: 0 })).toMatchObject({ waiting: 0 })
    expect(set('n2', { labels: { zone: 'a' } })).toBe(true)
    expect(facts.counts({ phase: 'applying', step: 0 })).toMatchObject({ waiting: 1 })
    expect(set('n2', { labels: { zone: 'a', rack: '7' } })).toBe(false)
  })

  test('of those who are missing know zones by whatever name', () => {
    const strategy: Strategy = { ...allAtOnce(), absent: { kind: 'per-zone', max: 0, label: 'zone' } }
    const { facts, set } = counted(strategy, ['n1', 'n2'])
    set('n1', { labels: { zone: '__proto__' } })
    set('n2', { labels: { zone: '__proto__' } })
    const { missingInZone } = facts.counts({ phase: 'preparing', step: 0 })
    expect(Object.entries(missingInZone)).toEqual([['__proto__', 2]])
  })

  test('of those who are missing are made by zone where that is asked for', () => {
    const strategy: Strategy = { ...allAtOnce(), absent: { kind: 'per-zone', max: 1, label: 'name' } }
    const { facts, away, set } = counted(strategy, ['n1', 'n2', 'n3'])
    away.add('n2')
    facts.look('n2')
    set('n3', running)
    expect(facts.counts({ phase: 'preparing', step: 0 }).missingInZone).toEqual({ n1: 1, n2: 1 })
  })
})
