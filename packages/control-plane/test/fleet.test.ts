/** The fleet: what the nodes say, late, twice and out of order, and what is made of it. */
import fc from 'fast-check'
import type { Hello, NodeStatus, Report } from 'midflight/protocol'
import { describe, expect, test } from 'vitest'
import type { Domain } from '../src/domain.ts'
import { beat, joined, reasonText, reported, whyNot, type NodeState } from '../src/fleet.ts'
import { laggards } from '../src/laggards.ts'
import { Roster } from '../src/roster.ts'
import { rollback } from '../src/rollback.ts'
import { StoreError } from '../src/store.ts'
import { Tally } from '../src/tally.ts'
import { config, HandClock, limits, memory, publishOne, ready, refusal, stores } from './domain-rig.ts'

const uidOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`
const digestOf = (number: number): string => `sha256:${String(number).padStart(64, '0')}`
const runsOf = (number: number) => ({ number, digest: digestOf(number) })
const heard = { at: '2026-11-20T09:00:00.000Z', leaseUntil: '2026-11-20T09:00:30.000Z' }

function helloOf(over: Partial<Hello> = {}): Hello {
  const agent = { name: 'midflight', version: '1.0.0' }
  return { type: 'hello', uid: uidOf(1), config, labels: {}, agent, runs: null, seen: null, status: 'UNSET', ...over }
}

function reportOf(number: number, status: NodeStatus, over: Partial<Report> = {}): Report {
  return { type: 'report', number, digest: digestOf(number), status, attempt: 1, at: heard.at, ...over }
}

describe('a node, step by step', () => {
  const on5 = joined(undefined, helloOf({ runs: runsOf(5), seen: 5, status: 'APPLIED' }), heard)

  test('it receives, applies and runs a release, and the history keeps what each attempt came to', () => {
    let state = on5
    const step = (report: Report): unknown[] => {
      const { ended, ...transition } = reported(state, report, heard)
      state = transition.state
      const history = ended.map(({ number, attempt, status }) => `${number}/${attempt} ${status}`)
      return [transition.stale, history, state.node.runs?.number, state.node.seen]
    }
    expect([
      step(reportOf(6, 'RECEIVED', { attempt: 0 })),
      step(reportOf(6, 'APPLYING')),
      step(reportOf(6, 'FAILED')),
      step(reportOf(6, 'APPLYING', { attempt: 2 })),
      // What came of that attempt is never said.
      step(reportOf(7, 'RECEIVED', { attempt: 0 })),
      step(reportOf(7, 'APPLYING')),
      step(reportOf(7, 'APPLIED')),
    ]).toEqual([
      [false, [], 5, 6],
      [false, [], 5, 6],
      [false, ['6/1 FAILED'], 5, 6],
      [false, [], 5, 6],
      [false, ['6/2 APPLYING'], 5, 7],
      [false, [], 5, 7],
      [false, ['7/1 APPLIED'], 7, 7],
    ])
  })

  test('R3: it refuses release 6: it runs 5, has seen 6, and says why', () => {
    const { state } = reported(on5, reportOf(6, 'FAILED', { detail: 'limit is 0; want 1 or more' }), heard)
    expect(state.node).toMatchObject({
      runs: { number: 5 },
      seen: 6,
      status: 'FAILED',
      detail: 'limit is 0; want 1 or more',
    })
    expect(whyNot(runsOf(6), state.node, false)).toBe('failed')
    expect(reasonText('failed', state.node)).toBe('refused it; runs 5: limit is 0; want 1 or more')
  })

  test('why it refused is known from its hello too, where that overtakes the report; and never that of an older release', () => {
    const refused = { runs: runsOf(5), seen: 6, status: 'ROLLED_BACK' } as const
    const hasty = joined(on5, helloOf({ ...refused, detail: 'no room' }), heard)
    expect(hasty.node.detail).toBe('no room')
    const { state } = reported(hasty, reportOf(6, 'ROLLED_BACK', { detail: 'no room for 2' }), heard)
    expect(state.node.detail).toBe('no room for 2')
    for (const detail of ['no room', undefined]) {
      const again = joined(state, helloOf({ ...refused, ...(detail !== undefined && { detail }) }), heard)
      expect(again.node.detail).toBe('no room for 2')
    }
    expect(joined(state, helloOf({ ...refused, seen: 7 }), heard).node.detail).toBeUndefined()
  })

  test('R2: what it says late of an older release is history, and changes nothing', () => {
    const { state } = reported(on5, reportOf(7, 'APPLIED'), heard)
    for (const status of ['RECEIVED', 'FAILED', 'APPLIED', 'ROLLED_BACK'] as const) {
      const late = reported(state, reportOf(6, status), heard)
      expect(late).toMatchObject({ stale: true, ended: status === 'RECEIVED' ? [] : [{ number: 6, status }] })
      expect(late.state.node).toMatchObject({ runs: { number: 7 }, seen: 7, status: 'APPLIED' })
    }
  })

  test('F27: within one attempt nothing that comes late undoes the end of it', () => {
    const { state } = reported(on5, reportOf(6, 'FAILED', { detail: 'no' }), heard)
    for (const status of ['RECEIVED', 'PREPARED', 'APPLYING', 'FAILED', 'APPLIED'] as const) {
      const late = reported(state, reportOf(6, status), heard)
      expect(late).toMatchObject({ stale: true, state: { node: { status: 'FAILED', runs: { number: 5 } } } })
      expect(late.ended).toEqual([])
    }
    expect(reported(state, reportOf(6, 'RECEIVED', { attempt: 2 }), heard).state.node.status).toBe('RECEIVED')
  })

  test('while it tries again, what failed the last time stays said, until it comes to another end', () => {
    let { state } = reported(on5, reportOf(6, 'ROLLED_BACK', { detail: 'log: no room' }), heard)
    for (const status of ['RECEIVED', 'PREPARED', 'APPLYING'] as const) {
      state = reported(state, reportOf(6, status, { attempt: 2 }), heard).state
      state = beat(state, { runs: runsOf(5), status }, heard).state
      expect(state.node).toMatchObject({ status, detail: 'log: no room' })
      expect(whyNot(runsOf(6), state.node, false)).toBe('trying')
      expect(reasonText('trying', state.node)).toBe('tries it again; runs 5: log: no room')
    }
    expect(reported(state, reportOf(7, 'RECEIVED'), heard).state.node.detail).toBeUndefined()
    expect(reported(state, reportOf(6, 'APPLIED', { attempt: 2 }), heard).state.node.detail).toBeUndefined()
  })

  test('I5: a heartbeat that goes back is late; only a hello may say that an older one runs', () => {
    const late = beat(on5, { runs: runsOf(4), status: 'APPLYING' }, heard)
    expect(late.stale).toBe(true)
    expect(late.state.node).toMatchObject({ runs: { number: 5 }, status: 'APPLIED' })
    expect(beat(on5, { runs: null, status: 'UNSET' }, heard).state.node.runs).toEqual(runsOf(5))
    const again = joined(on5, helloOf({ runs: runsOf(4), seen: 4, status: 'APPLIED' }), heard)
    expect(again.node.runs).toEqual(runsOf(4))
  })

  test('a heartbeat heals a lost report, and shows another content under the same number', () => {
    const healed = beat(on5, { runs: runsOf(6), status: 'APPLIED' }, heard)
    expect(healed.state.node).toMatchObject({ runs: { number: 6 }, seen: 6 })
    const drifted = beat(on5, { runs: { number: 5, digest: digestOf(9) }, status: 'APPLIED' }, heard)
    expect(drifted.stale).toBe(false)
    expect(whyNot(runsOf(5), drifted.state.node, false)).toBe('drifted')
  })

  test('every reason is told apart', () => {
    const node = (over: Partial<Hello>) => joined(undefined, helloOf(over), heard).node
    expect(whyNot(runsOf(6), on5.node, false)).toBe('not-delivered')
    expect(whyNot(runsOf(6), on5.node, true)).toBe('away')
    expect(whyNot(runsOf(4), on5.node, false)).toBe('newer')
    expect(whyNot(runsOf(5), on5.node, true)).toBeUndefined()
    const tried = (status: NodeStatus) => whyNot(runsOf(6), node({ runs: runsOf(5), seen: 6, status }), false)
    expect(tried('APPLYING')).toBe('trying')
    expect(tried('ROLLED_BACK')).toBe('rolled-back')
    expect(tried('RESTART_REQUIRED')).toBe('restart-required')
    expect(tried('DEGRADED')).toBe('degraded')
    expect(whyNot(runsOf(6), node({ runs: runsOf(6), seen: 6, status: 'DEGRADED' }), false)).toBe('degraded')
    // What was not confirmed is taken back by the node; what it runs now it says with its next heartbeat.
    const reverted = node({ runs: runsOf(6), seen: 6, status: 'ROLLED_BACK' })
    expect(whyNot(runsOf(6), reverted, false)).toBe('rolled-back')
    const tally = new Tally()
    tally.count(reverted, false, 1)
    expect(tally.progress(runsOf(6))).toMatchObject({ nodes: 1, applied: 0 })
    expect(whyNot(runsOf(5), node({ runs: runsOf(5), seen: 6, status: 'ROLLED_BACK' }), false)).toBeUndefined()
  })

  test('property: F27: reports in any order and any number of times come to what they came to in order', () => {
    const story = [
      reportOf(6, 'RECEIVED'),
      reportOf(6, 'APPLYING'),
      reportOf(6, 'FAILED', { detail: 'no' }),
      reportOf(6, 'APPLYING', { attempt: 2 }),
      reportOf(6, 'ROLLED_BACK', { attempt: 2, detail: 'no again' }),
      reportOf(7, 'RECEIVED'),
      reportOf(7, 'APPLYING'),
      reportOf(7, 'APPLIED'),
    ]
    const play = (reports: readonly Report[]): NodeState =>
      reports.reduce((state, report) => reported(state, report, heard).state, on5)
    const end = play(story)
    fc.assert(
      fc.property(fc.shuffledSubarray([...story, ...story], { minLength: story.length }), (reports) => {
        const state = play([...reports, story.at(-1) as Report])
        expect(state.node).toEqual(end.node)
      }),
      { numRuns: 500 },
    )
  })
})

async function fleetOn(domain: Domain, atMs = { now: 0 }, leaseMs = 30_000): Promise<Roster> {
  return await Roster.open(domain, { monotonicMs: () => atMs.now, leaseMs })
}

describe.each(stores)('the roster on %s', (_name, open) => {
  test('R2: two of three apply, the third is down; it comes back and converges', async () => {
    const domain = await ready(await open())
    const time = { now: 0 }
    const roster = await fleetOn(domain, time)
    const first = (await publishOne(domain, { content: structuredClone(limits) })).release
    const on = (number: number, digest: string) => ({
      runs: { number, digest },
      seen: number,
      status: 'APPLIED' as const,
    })
    for (const n of [1, 2, 3]) await roster.hello(helloOf({ uid: uidOf(n), ...on(1, first.digest) }))
    const second = (await publishOne(domain, { mergePatch: { note: 'r2' } })).release
    time.now = 20_000
    for (const n of [1, 2]) roster.report(uidOf(n), reportOf(2, 'APPLIED', { digest: second.digest }))
    time.now = 40_000
    expect(roster.expire().map(({ uid }) => uid)).toEqual([uidOf(3)])
    expect(roster.progress(config, second)).toMatchObject({ nodes: 3, away: 1, delivered: 2, applied: 2 })
    const query = { config, number: 2, limit: 10 }
    expect((await laggards(domain, roster, query)).laggards).toMatchObject([
      { node: { uid: uidOf(3) }, reason: 'away' },
    ])
    await roster.hello(helloOf({ uid: uidOf(3), ...on(1, first.digest) }))
    expect((await laggards(domain, roster, query)).laggards).toMatchObject([{ reason: 'not-delivered' }])
    roster.report(uidOf(3), reportOf(2, 'APPLIED', { digest: second.digest }))
    expect(roster.report(uidOf(3), reportOf(1, 'APPLIED', { digest: first.digest }))?.stale).toBe(true)
    expect(roster.progress(config, second)).toMatchObject({ nodes: 3, away: 0, applied: 3, byStatus: { APPLIED: 3 } })
    expect((await laggards(domain, roster, query)).laggards).toEqual([])
  })

  test('what it knew is there after a restart, with a new lease for everybody', async () => {
    const domain = await ready(await open())
    const { release } = await publishOne(domain, { content: structuredClone(limits) })
    const roster = await fleetOn(domain)
    for (const n of [1, 2]) await roster.hello(helloOf({ uid: uidOf(n), labels: { zone: `z${n}` } }))
    roster.report(uidOf(1), reportOf(1, 'APPLIED', { digest: release.digest }))
    roster.report(uidOf(2), reportOf(1, 'FAILED', { digest: release.digest, detail: 'no' }))
    await roster.flush()
    const time = { now: 5_000_000 }
    const again = await fleetOn(domain, time)
    expect(again.size).toBe(2)
    expect(again.progress(config, release)).toMatchObject({ nodes: 2, away: 0, applied: 1, byStatus: { FAILED: 1 } })
    expect(again.node(uidOf(2))).toMatchObject({ labels: { zone: 'z2' }, detail: 'no' })
    expect(again.expire()).toEqual([])
    time.now += 30_000
    expect(again.expire()).toHaveLength(2)
  })

  test('what runs after a crash is known from what was tried, before every record was written, and stands in the history once', async () => {
    const domain = await ready(await open(), {})
    const releases = [1, 2, 3, 4]
    const digests: string[] = []
    for (const a of releases) digests[a] = (await publishOne(domain, { content: { a } })).release.digest
    const said = (number: number, status: NodeStatus, over: Partial<Report> = {}): Report =>
      reportOf(number, status, { digest: digests[number] as string, ...over })
    const runs = (number: number) => ({ number, digest: digests[number] as string })
    const roster = await fleetOn(domain)
    for (const n of [1, 2, 3]) await roster.hello(helloOf({ uid: uidOf(n), runs: runs(1), seen: 1, status: 'APPLIED' }))
    await roster.flush()
    for (const n of [1, 2, 3]) roster.report(uidOf(n), said(2, 'APPLIED'))
    await roster.flush('urgent')
    roster.report(uidOf(2), said(3, 'FAILED', { detail: 'limit is 0' }))
    roster.report(uidOf(3), said(3, 'APPLIED'))
    await roster.flush('urgent')
    const again = await fleetOn(domain)
    expect([1, 2, 3].map((n) => again.node(uidOf(n)))).toMatchObject([
      { runs: runs(2), seen: 2, status: 'APPLIED' },
      { runs: runs(2), seen: 3, status: 'FAILED', detail: 'limit is 0' },
      { runs: runs(3), seen: 3, status: 'APPLIED' },
    ])
    await again.hello(helloOf({ uid: uidOf(1), runs: runs(2), seen: 2, status: 'APPLIED' }))
    await again.flush()
    const tried = await domain.store.read((read) => read.attempts(uidOf(1), 10).map(({ number }) => number))
    expect(tried).toEqual([2, 1])
    await roster.flush()
    expect(await domain.store.read((read) => read.node(uidOf(3)))).toMatchObject({ runs: runs(3), status: 'APPLIED' })
  })

  /** Three releases, and what a node says of each. */
  async function three() {
    const domain = await ready(await open(), {})
    const digests: string[] = []
    for (const a of [1, 2, 3]) digests[a] = (await publishOne(domain, { content: { a } })).release.digest
    const runs = (number: number) => ({ number, digest: digests[number] as string })
    return {
      domain,
      runs,
      on: (number: number): Partial<Hello> => ({ runs: runs(number), seen: number, status: 'APPLIED' }),
      said: (number: number, status: NodeStatus, over: Partial<Report> = {}) =>
        reportOf(number, status, { digest: digests[number] as string, ...over }),
      tried: async (uid: string) => {
        const attempts = await domain.store.read((read) => read.attempts(uid, 20))
        return attempts.map(({ number, attempt, status }) => `${number}/${attempt} ${status}`)
      },
    }
  }

  test('what comes late of an older release hides nothing that was applied since, when its record was not written yet', async () => {
    const { domain, runs, on, said } = await three()
    const roster = await fleetOn(domain)
    await roster.hello(helloOf(on(1)))
    await roster.flush()
    roster.report(uidOf(1), said(3, 'APPLIED'))
    await roster.flush('urgent')
    roster.report(uidOf(1), said(2, 'FAILED', { detail: 'no' }))
    await roster.flush('urgent')
    expect((await fleetOn(domain)).node(uidOf(1))).toMatchObject({ runs: runs(3), seen: 3, status: 'APPLIED' })
  })

  test('F31: a node that lost its disk is not said to run what it ran before, nor is what was applied lost when the clock is set back', async () => {
    const { domain, runs, on, said } = await three()
    const clock = new HandClock()
    const roster = await fleetOn({ ...domain, now: clock.now })
    for (const n of [1, 2]) await roster.hello(helloOf({ uid: uidOf(n), ...on(1) }))
    await roster.flush()
    clock.atMs += 1_000
    roster.report(uidOf(1), said(3, 'APPLIED'))
    await roster.flush('urgent')
    clock.atMs += 1_000
    await roster.hello(helloOf())
    clock.atMs -= 3_600_000
    roster.report(uidOf(2), said(3, 'APPLIED'))
    await roster.flush('urgent')
    const again = await fleetOn(domain)
    expect(again.node(uidOf(1))).toMatchObject({ runs: null, seen: null, status: 'UNSET' })
    expect(again.node(uidOf(2))).toMatchObject({ runs: runs(3), seen: 3, status: 'APPLIED' })
  })

  test('what is said again after a reconnect, or to the next process, stands in the history once; what is new stands there', async () => {
    const { domain, on, said, tried } = await three()
    let roster = await fleetOn(domain)
    const uid = uidOf(1)
    await roster.hello(helloOf(on(1)))
    roster.report(uid, said(2, 'APPLYING'))
    // A node without a connection says hello all the time.
    await roster.hello(helloOf({ ...on(1), seen: 2, status: 'APPLYING' }))
    roster.report(uid, said(2, 'APPLIED'))
    for (let i = 0; i < 3; i++) {
      await roster.hello(helloOf(on(2)))
      roster.report(uid, said(2, 'APPLIED'))
    }
    await roster.flush('urgent')
    roster = await fleetOn(domain)
    await roster.hello(helloOf(on(2)))
    roster.report(uid, said(2, 'APPLIED'))
    const failure = said(3, 'FAILED', { attempt: 2, detail: 'no room' })
    roster.report(uid, failure)
    const refused: Partial<Hello> = { ...on(2), seen: 3, status: 'FAILED' }
    await roster.hello(helloOf(refused))
    roster.report(uid, failure)
    // Another process, which counts anew: it may fail for another reason.
    await roster.hello(helloOf(refused))
    expect(roster.report(uid, said(3, 'FAILED', { detail: 'no file' }))?.state.node.detail).toBe('no file')
    await roster.flush()
    expect(await tried(uid)).toEqual(['3/1 FAILED', '3/2 FAILED', '2/1 APPLIED', '1/0 APPLIED'])
  })

  test('F64: a node that speaks while it is forgotten is not there again after a restart', async () => {
    const { domain, on, said } = await three()
    const roster = await fleetOn(domain)
    await roster.hello(helloOf(on(1)))
    await roster.flush()
    const forgotten = roster.forget(uidOf(1), 'ada')
    const said2 = setImmediate(() => roster.report(uidOf(1), said(2, 'APPLIED')))
    const flushes: Promise<void>[] = []
    for (let i = 0; i < 50 && roster.node(uidOf(1)); i++) {
      roster.report(uidOf(1), said(2, 'APPLIED', { attempt: i + 1 }))
      flushes.push(roster.flush())
      await Promise.resolve()
    }
    await forgotten
    clearImmediate(said2)
    await Promise.all(flushes)
    expect((await fleetOn(domain)).size).toBe(0)
    expect(await domain.store.read((read) => read.attempts(uidOf(1), 10))).toEqual([])
  })

  test('a release that a node applied may be rolled back to; a claim with another digest does not count', async () => {
    const domain = await ready(await open(), {})
    const roster = await fleetOn(domain)
    const first = (await publishOne(domain, { content: { a: 1 } })).release
    await publishOne(domain, { content: { a: 2 } })
    const third = (await publishOne(domain, { content: { a: 3 } })).release
    await roster.hello(
      helloOf({ uid: uidOf(1), runs: { number: 1, digest: first.digest }, seen: 1, status: 'APPLIED' }),
    )
    roster.report(uidOf(1), reportOf(2, 'APPLIED'))
    await roster.flush()
    expect((await refusal(rollback(domain, { config, to: 2, author: 'ada' }))).code).toBe('not-applied')
    expect((await rollback(domain, { config, to: 1, author: 'ada' })).published[0]?.release.digest).toBe(first.digest)
    roster.report(uidOf(1), reportOf(3, 'APPLIED', { digest: third.digest }))
    await roster.flush()
    expect(await domain.store.read((read) => read.attempts(uidOf(1), 10).map(({ number }) => number))).toEqual([3, 1])
  })

  test('F64: nodes that join, leave and are forgotten are counted as they come and go', async () => {
    const domain = await ready(await open())
    const time = { now: 0 }
    const roster = await fleetOn(domain, time)
    await roster.hello(helloOf({ uid: uidOf(1) }))
    await roster.hello(helloOf({ uid: uidOf(2) }))
    await roster.hello(helloOf({ uid: uidOf(2), status: 'APPLIED', runs: runsOf(1) }))
    expect(roster.progress(config, null)).toMatchObject({ nodes: 2, byStatus: { UNSET: 1, APPLIED: 1 } })
    await roster.forget(uidOf(1), 'root')
    expect(roster.progress(config, null)).toMatchObject({ nodes: 1, byStatus: { APPLIED: 1 } })
    expect(roster.heartbeat(uidOf(1), { runs: null, status: 'UNSET' })).toBeUndefined()
    expect((await refusal(roster.forget(uidOf(1), 'root'))).code).toBe('not-found')
    await roster.flush()
    expect(await domain.store.read((read) => read.node(uidOf(1)))).toBeUndefined()
    const log = await domain.store.read((read) => read.audit(undefined, 10))
    expect(log.at(-1)).toMatchObject({ action: 'node-forgotten', detail: { uid: uidOf(1) } })
    await roster.hello(helloOf({ uid: uidOf(1) }))
    expect(roster.size).toBe(2)
    expect((await refusal(roster.hello(helloOf({ config: 'shop/other' })))).code).toBe('not-found')
  })
})

test.each([
  ['F31: +400 days', 400 * 86_400_000],
  ['F32: −1 hour', -3_600_000],
])(
  'the clock on the wall jumps (%s): nobody is away who is there, and who is away is found out',
  async (_name, jumpMs) => {
    const clock = new HandClock()
    const domain = await ready(await memory(), {}, { now: clock.now })
    const time = { now: 0 }
    const roster = await fleetOn(domain, time)
    for (const n of [1, 2]) await roster.hello(helloOf({ uid: uidOf(n) }))
    clock.atMs += jumpMs
    time.now = 20_000
    roster.heartbeat(uidOf(1), { runs: null, status: 'UNSET' })
    expect(roster.expire()).toEqual([])
    time.now = 30_000
    expect(roster.expire().map(({ uid }) => uid)).toEqual([uidOf(2)])
    expect([roster.isAway(uidOf(1)), roster.isAway(uidOf(2))]).toEqual([false, true])
    await publishOne(domain, { content: { a: 1 } })
    clock.atMs -= 2 * jumpMs
    const { release } = await publishOne(domain, { content: { a: 2 } })
    expect(release).toMatchObject({ number: 2, parent: 1 })
  },
)

test("F33: the clock of a node does not matter: what it says is dated by the control plane's", async () => {
  const clock = new HandClock()
  const domain = await ready(await memory(), {}, { now: clock.now })
  const roster = await fleetOn(domain)
  const { release } = await publishOne(domain, { content: { a: 1 } })
  await roster.hello(helloOf())
  const at = '1970-01-01T00:00:00.000Z'
  roster.report(uidOf(1), reportOf(1, 'APPLIED', { digest: release.digest, at }))
  await roster.flush()
  const [attempt] = await domain.store.read((read) => read.attempts(uidOf(1), 1))
  expect(attempt?.at).toBe(clock.now().toISOString())
})

test('a thousand heartbeats that say nothing new are a few writes, and none is lost when the store fails', async () => {
  const store = await memory()
  let writes = 0
  let fails = false
  const counting = {
    ...store,
    transaction: (async (work) => {
      if (fails) throw new StoreError('full', 'disk', 'is full', 'make room')
      writes++
      return await store.transaction(work)
    }) as typeof store.transaction,
  }
  const domain = await ready(counting, {})
  const time = { now: 0 }
  const roster = await fleetOn(domain, time)
  await roster.hello(helloOf())
  await roster.flush()
  writes = 0
  for (let i = 0; i < 1000; i++) {
    time.now += 100
    roster.heartbeat(uidOf(1), { runs: null, status: 'UNSET' })
    await roster.flush()
  }
  expect(writes).toBeLessThan(10)
  expect(roster.expire()).toEqual([])
  fails = true
  roster.report(uidOf(1), reportOf(1, 'FAILED', { detail: 'while the disk was full' }))
  await expect(roster.flush()).rejects.toBeInstanceOf(StoreError)
  fails = false
  await roster.flush()
  expect(await store.read((read) => read.node(uidOf(1))?.detail)).toBe('while the disk was full')
})

test('property: counting up and down comes to what counting anew does', () => {
  const statuses: NodeStatus[] = ['UNSET', 'RECEIVED', 'APPLYING', 'APPLIED', 'FAILED', 'ROLLED_BACK']
  const nodes = fc.record({
    n: fc.integer({ min: 1, max: 5 }),
    runs: fc.option(fc.integer({ min: 1, max: 4 })),
    seen: fc.option(fc.integer({ min: 1, max: 4 })),
    status: fc.constantFrom(...statuses),
    away: fc.boolean(),
  })
  fc.assert(
    fc.property(fc.array(nodes, { maxLength: 40 }), fc.integer({ min: 1, max: 4 }), (changes, head) => {
      const kept = new Map<number, Parameters<Tally['count']>>()
      const running = new Tally()
      for (const { n, runs, seen, status, away } of changes) {
        const before = kept.get(n)
        if (before !== undefined) running.count(before[0], before[1], -1)
        const hello = helloOf({ uid: uidOf(n), runs: runs === null ? null : runsOf(runs), seen, status })
        const entry: Parameters<Tally['count']> = [joined(undefined, hello, heard).node, away, 1]
        kept.set(n, entry)
        running.count(...entry)
      }
      const anew = new Tally()
      for (const entry of kept.values()) anew.count(...entry)
      expect(running.progress(runsOf(head))).toEqual(anew.progress(runsOf(head)))
    }),
  )
})
