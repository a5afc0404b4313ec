/** Rollouts on real stores, with nodes that do what is on record. The machine itself is `rollout.test.ts`, sockets are `push-rollouts.test.ts`. */
import { randomUUID } from 'node:crypto'
import type { Json } from 'midflight'
import type { Hello } from 'midflight/protocol'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { changeDemands, createConfig } from '../src/configs.ts'
import { Coordinator } from '../src/coordinator.ts'
import type { CoordinatorOptions } from '../src/course.ts'
import { desired, nextStep } from '../src/desired.ts'
import { domainOf, type Domain } from '../src/domain.ts'
import { publish } from '../src/publish.ts'
import { RefusedError } from '../src/release.ts'
import { Roster } from '../src/roster.ts'
import { changeRolloutPolicy } from '../src/rollout-policy.ts'
import { instant } from '../src/strategies/all-at-once.ts'
import { strategyOf, type StrategySpec } from '../src/strategies/spec.ts'
import { StoreError, type NodeRecord, type RolloutRecord, type Store, type StoreRead } from '../src/store.ts'
import { stepOf, type StrategyKind } from '../src/strategy.ts'
import { stores } from './domain-rig.ts'

const config = 'shop/gateway/prod'

interface Fleet {
  readonly domain: Domain
  readonly roster: Roster
  readonly coordinator: Coordinator
  readonly problems: unknown[]
  readonly uids: readonly string[]
  /** What a node does with a release, in place of applying it. */
  readonly behave: Map<string, (number: number) => 'apply' | 'refuse' | 'hang' | 'sicken'>
  /** Which release numbers each node ran, in order. */
  readonly ran: Map<string, number[]>
  publish(content: Json, spec?: Spec): Promise<number>
  rollout(number: number): Promise<RolloutRecord>
  until(number: number, phase: string): Promise<RolloutRecord>
  wake(): void
  /** Another node, which runs nothing yet. */
  join(name: string): Promise<string>
}

type Spec = Partial<StrategySpec> & { kind: StrategyKind | 'instant' }

/** Nodes that look at the record whenever something moved, and say what they did. */
async function fleet(store: Store, first: readonly string[], more: Partial<CoordinatorOptions> = {}): Promise<Fleet> {
  const domain = domainOf({ store })
  await createConfig(domain, { name: config, actor: 'tests' })
  const roster = await Roster.open(domain, { monotonicMs: () => performance.now(), leaseMs: 60_000 })
  const problems: unknown[] = []
  const behave: Fleet['behave'] = new Map()
  const names = [...first]
  const ran: Fleet['ran'] = new Map(names.map((name) => [name, []]))
  const uids = names.map(() => randomUUID())
  let turn = Promise.resolve()
  const wake = (): void => {
    turn = turn.then(look)
  }
  async function look(): Promise<void> {
    const { head, rollout } = await store.read((read) => ({
      head: read.config(config)?.head ?? null,
      rollout: read.rollouts.open(config)[0] ?? null,
    }))
    for (const [i, uid] of uids.entries()) act(uid, names[i] as string, { head, rollout })
  }
  function act(uid: string, name: string, releases: Parameters<typeof desired>[0]): void {
    const node = roster.node(uid)
    if (!node || roster.isAway(uid)) return
    const wish = desired(releases, node)
    const step = nextStep(wish, node, undefined, 0)
    const report = (status: 'PREPARED' | 'APPLIED' | 'FAILED' | 'ROLLED_BACK', over: object = {}): void => {
      const { number, digest } = step.kind === 'decide' && node.prepared ? node.prepared : wish!
      roster.report(uid, { number, digest, status, attempt: 1, at: new Date().toISOString(), ...over })
    }
    if (step.kind === 'decide') {
      report(step.decision === 'commit' ? 'APPLIED' : 'ROLLED_BACK')
      if (step.decision === 'commit') ran.get(name)?.push(node.prepared!.number)
      else roster.heartbeat(uid, { runs: node.runs, status: 'APPLIED' })
      return
    }
    if (step.kind !== 'send' || !wish) return
    const how = behave.get(name)?.(wish.number) ?? 'apply'
    if (how === 'hang') return
    if (how === 'refuse') return report('FAILED', { detail: `${name} will not` })
    if (wish.prepare) return report('PREPARED', { epoch: wish.epoch })
    report('APPLIED')
    ran.get(name)?.push(wish.number)
    if (how !== 'sicken') return
    const runs = { number: wish.number, digest: wish.digest }
    roster.heartbeat(uid, { runs, status: 'APPLIED', health: { ok: false, release: wish.number, detail: 'too hot' } })
  }
  const coordinator = await Coordinator.start({
    domain,
    roster,
    monotonicMs: () => performance.now(),
    gateOf: (spec) => ({ name: spec.name, check: async () => ({ ok: false, found: 'no gate here', noData: true }) }),
    moved: async () => wake(),
    onProblem: (error) => problems.push(error),
    tickMs: 5,
    ...more,
  })
  onTestFinished(() => coordinator.close())
  async function greet(uid: string, i: number): Promise<void> {
    const labels = { name: names[i] as string, zone: i % 2 === 0 ? 'a' : 'b' }
    const agent = { name: 't', version: '1' }
    const hello: Hello = { type: 'hello', uid, config, labels, agent, runs: null, seen: null, status: 'UNSET' }
    await roster.hello(hello)
  }
  for (const [i, uid] of uids.entries()) await greet(uid, i)
  const rollout = async (number: number): Promise<RolloutRecord> => {
    const found = await coordinator.rollout(config, number)
    if (!found) throw new Error(`no rollout ${number}`)
    return found
  }
  return {
    domain,
    roster,
    coordinator,
    problems,
    uids,
    behave,
    ran,
    wake,
    rollout,
    async join(name) {
      const uid = randomUUID()
      ran.set(name, [])
      await greet(uid, names.push(name) - 1)
      uids.push(uid)
      wake()
      return uid
    },
    async publish(content, spec) {
      const strategy = spec && strategyOf(spec, () => ['a', 'b'])
      const result = await publish(domain, {
        changes: [{ config, content }],
        author: 'ada',
        ...(strategy && { rolloutOf: () => ({ strategy }) }),
      })
      await coordinator.published(config)
      wake()
      return result.published[0]!.release.number
    },
    async until(number, phase) {
      return await vi.waitFor(async () => {
        const found = await rollout(number)
        expect(found.state, JSON.stringify(found.state)).toMatchObject({ phase })
        return found
      }, 5_000)
    },
  }
}

const three = ['n1', 'n2', 'n3']
const quick = { bakeMs: 20, prepareMs: 500, applyMs: 500 } as const

describe.each(stores)('on %s', (_, open) => {
  test('all at once: every node runs it, and the rollout is over', async () => {
    const { publish: release, until, ran } = await fleet(await open(), three)
    const one = await release({ limit: 1 }, { kind: 'all-at-once' })
    await until(one, 'completed')
    expect([...ran.values()]).toEqual([[1], [1], [1]])
  })

  test('staged: one node of three first, the others only when it was well', async () => {
    const { publish: release, until, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'staged', steps: [{ percent: 10 }], ...quick, bakeMs: 200 })
    await vi.waitFor(() => expect([...ran.values()].flat().filter((number) => number === two)).toHaveLength(1))
    await until(two, 'completed')
    expect([...ran.values()]).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ])
  })

  test('F60: an unhealthy canary: all go back to the old content as a new release, and the others never ran the bad one', async () => {
    const { publish: release, until, ran, behave, domain } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    for (const name of three) behave.set(name, (number) => (number === 2 ? 'sicken' : 'apply'))
    const { state } = await (async () => {
      const two = await release({ limit: 2 }, { kind: 'staged', steps: [{ percent: 10 }], ...quick, bakeMs: 300 })
      return await until(two, 'rolled-back')
    })()
    expect(state.failure).toMatchObject({ kind: 'nodes', found: '1 node unhealthy', nodes: [{ reason: 'too hot' }] })
    const all = [...ran.values()]
    expect(all.filter((numbers) => numbers.includes(2))).toHaveLength(1)
    expect(all.every((numbers) => numbers.at(-1) === 3)).toBe(true)
    const three3 = await domain.store.read((read) => read.release(config, 3))
    expect(three3).toMatchObject({ kind: 'rollback', rollbackOf: 1, author: 'midflight' })
    expect(three3?.message).toContain('1 node unhealthy')
  })

  test('R6: two-phase: n2 refuses to prepare, so n1 and n3 give it up, and nothing of it is left', async () => {
    const { publish: release, until, ran, behave, roster, uids } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    behave.set('n2', (number) => (number === 2 ? 'refuse' : 'apply'))
    const { state } = await until(await release({ limit: 2 }, { kind: 'two-phase', ...quick }), 'rolled-back')
    expect(state.failure).toMatchObject({ kind: 'refused', nodes: [{ node: 'n2', reason: 'n2 will not' }] })
    expect([...ran.values()]).toEqual([
      [1, 3],
      [1, 3],
      [1, 3],
    ])
    for (const uid of uids) expect(roster.node(uid)?.prepared).toBeUndefined()
  })

  test('R6: two-phase: n2 hangs, so it is given up when the time to vote is over', async () => {
    const { publish: release, until, ran, behave } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    behave.set('n2', (number) => (number === 2 ? 'hang' : 'apply'))
    const { state } = await until(await release({ limit: 2 }, { kind: 'two-phase', ...quick }), 'rolled-back')
    expect(state.failure).toMatchObject({
      kind: 'absent',
      found: '1 node did not vote within 500 ms',
      nodes: [{ node: 'n2', reason: 'has not said anything' }],
    })
    expect([...ran.values()]).toEqual([
      [1, 3],
      [1, 3],
      [1, 3],
    ])
  })

  test('two-phase: all of them vote, then all of them run it', async () => {
    const { publish: release, until, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'two-phase', ...quick }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'two-phase', ...quick })
    const { state } = await until(two, 'completed')
    expect([...ran.values()]).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ])
    expect(state).toMatchObject({ decided: 1, failure: null })
  })

  test('zone by zone, each in two phases: no node of the second prepares before the first is through', async () => {
    const { publish: release, until, ran } = await fleet(await open(), [...three, 'n4'])
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    await until(await release({ limit: 2 }, { kind: 'by-zone', twoPhase: true, ...quick }), 'completed')
    expect([...ran.values()].every((numbers) => numbers.join() === '1,2')).toBe(true)
  })

  test('F61: a gate that says nothing does not pass', async () => {
    const { publish: release, until } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const gates = [{ kind: 'promql', name: 'errors', query: 'x', want: '< 1' } as const]
    const { state } = await until(await release({ limit: 2 }, { kind: 'all-at-once', ...quick, gates }), 'rolled-back')
    expect(state.failure).toMatchObject({ kind: 'gate', gate: 'errors' })
  })

  test('the first release has nothing to go back to: it goes no further until another is published', async () => {
    const { publish: release, until, ran, behave } = await fleet(await open(), three)
    for (const name of three) behave.set(name, (number) => (number === 1 ? 'refuse' : 'apply'))
    await until(await release({ limit: 1 }, { kind: 'staged', steps: [{ percent: 10 }], ...quick }), 'failed')
    await until(await release({ limit: 2 }, { kind: 'all-at-once' }), 'completed')
    expect([...ran.values()]).toEqual([[2], [2], [2]])
  })

  test('a second rollout waits for the first; one that may take its place does, and the first never goes on', async () => {
    const { publish: release, until, rollout, ran, behave } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    behave.set('n1', (number) => (number === 2 ? 'hang' : 'apply'))
    const two = await release({ limit: 2 }, { kind: 'all-at-once', applyMs: 60_000 })
    const three3 = await release({ limit: 3 }, { kind: 'all-at-once' })
    expect((await rollout(three3)).state.phase).toBe('queued')
    const four = await release({ limit: 4 }, { kind: 'all-at-once', whenBusy: 'supersede' })
    await until(four, 'completed')
    await until(two, 'superseded')
    await until(three3, 'superseded')
    for (const numbers of ran.values()) expect(numbers.at(-1)).toBe(4)
    expect([...ran.values()].flat()).not.toContain(3)
  })

  test('a hundred may wait: one more is refused with what holds and what can be done, and what takes their place is not', async () => {
    const { domain, publish: send, until, behave } = await fleet(await open(), ['n1'])
    behave.set('n1', () => 'hang')
    const strategy = strategyOf({ kind: 'all-at-once', applyMs: 600_000 }, () => [])
    const first = await send({ limit: 0 }, { kind: 'all-at-once', applyMs: 600_000 })
    const again = async (limit: number) =>
      await publish(domain, {
        author: 'ada',
        changes: [{ config, content: { limit } }],
        rolloutOf: () => ({ strategy }),
      })
    for (let i = 1; i <= 100; i++) await again(i)
    const refused: unknown = await again(101).catch((error: unknown) => error)
    expect(refused).toBeInstanceOf(RefusedError)
    expect(refused).toMatchObject({ code: 'busy' })
    const { message } = refused as RefusedError
    expect(message).toContain(`100 rollouts of ${config} wait behind that of release ${first} already`)
    expect(message).toContain(`release ${first + 100} is still the newest`)
    expect(message).toContain(`midflight rollout abort ${config}`)
    expect(await domain.store.read((read) => read.config(config)?.head?.number)).toBe(first + 100)
    behave.clear()
    const last = await send({ limit: 101 }, { kind: 'all-at-once', whenBusy: 'supersede' })
    await until(last, 'completed')
    expect(await domain.store.read((read) => read.rollouts.open(config))).toEqual([])
    expect((await again(102)).published[0]?.created).toBe(true)
  })

  test('what was made on a release that failed is given up with it; the way back goes first', async () => {
    const { publish: release, until, behave, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    behave.set('n1', (number) => (number === 2 ? 'hang' : 'apply'))
    const two = await release({ limit: 2 }, { kind: 'all-at-once', applyMs: 300 })
    const three3 = await release({ limit: 3 }, { kind: 'all-at-once' })
    await until(two, 'rolled-back')
    const { state } = await until(three3, 'superseded')
    expect(state.failure?.found).toContain('release 2, which it was made on, has failed')
    for (const numbers of ran.values()) expect(numbers.at(-1)).toBe(4)
  })

  test('I12: what takes the place of several has the way back of the one that was under way, and not of those that never were', async () => {
    const { publish: release, until, behave, domain } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    await until(await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 60_000 }), 'baking')
    await release({ limit: 3 }, { kind: 'all-at-once' })
    behave.set('n1', (number) => (number === 4 ? 'refuse' : 'apply'))
    const four = await release({ limit: 4 }, { kind: 'all-at-once', whenBusy: 'supersede', ...quick })
    await until(3, 'superseded')
    const { state } = await until(four, 'rolled-back')
    expect(state.from).toMatchObject({ number: 1 })
    expect(await domain.store.read((read) => read.content(config, state.rollback!.number))).toEqual({ limit: 1 })
  })

  test('I12: one before it that was given up in the queue leaves the way back of the next as it was', async () => {
    const { publish: release, until, coordinator } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 60_000 })
    await until(two, 'baking')
    await release({ limit: 3 }, { kind: 'all-at-once' })
    await release({ limit: 4 }, { kind: 'all-at-once', bakeMs: 60_000 })
    await coordinator.control(config, 3, 'abort', { by: 'ada', reason: 'a mistake' })
    await coordinator.control(config, two, 'promote', { by: 'ada', reason: 'well' })
    expect((await until(4, 'baking')).state.from).toMatchObject({ number: 2 })
    await coordinator.control(config, 4, 'abort', { by: 'ada', reason: 'errors' })
    await until(4, 'rolled-back')
  })

  test('I8: the newest, given up in the queue, is run by nobody when the one before it is through, and what was there comes back as a newer release', async () => {
    const { publish: release, until, coordinator, ran, domain } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 60_000 })
    await until(two, 'baking')
    const wrong = await release({ limit: 3 }, { kind: 'two-phase', ...quick })
    await coordinator.control(config, wrong, 'abort', { by: 'ada', reason: 'a mistake' })
    const { state } = await until(wrong, 'rolled-back')
    expect(state).toMatchObject({ from: { number: two }, failure: { kind: 'aborted' }, decided: 0 })
    await coordinator.control(config, two, 'promote', { by: 'ada', reason: 'well' })
    await until(two, 'completed')
    const next = await release({ limit: 5 }, { kind: 'all-at-once', ...quick })
    expect((await until(next, 'completed')).state.from).toEqual(state.rollback)
    expect(await domain.store.read((read) => read.content(config, state.rollback!.number))).toEqual({ limit: 2 })
    expect([...ran.values()].flat()).not.toContain(wrong)
  })

  test('I8: two in the queue that are given up, the last first: what comes next goes back to what was never given up', async () => {
    const { publish: release, until, coordinator, ran, domain } = await fleet(await open(), three)
    const wanting = { by: 'ada', reason: 'a mistake' }
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 60_000 })
    await until(two, 'baking')
    const three3 = await release({ limit: 3 }, { kind: 'all-at-once' })
    const four = await release({ limit: 4 }, { kind: 'all-at-once' })
    for (const wrong of [four, three3]) await coordinator.control(config, wrong, 'abort', wanting)
    const contentOf = async (number: number) => await domain.store.read((read) => read.content(config, number))
    const next = await release({ limit: 5 }, { kind: 'all-at-once', bakeMs: 60_000 })
    await coordinator.control(config, two, 'promote', wanting)
    const { state } = await until(next, 'baking')
    expect(await contentOf(state.from!.number)).toEqual({ limit: 2 })
    await coordinator.control(config, next, 'abort', wanting)
    await until(next, 'rolled-back')
    expect([...ran.values()].flat().filter((number) => number === three3 || number === four)).toEqual([])
    const contents = await Promise.all([...ran.values()].flat().map(contentOf))
    expect(contents).not.toContainEqual({ limit: 3 })
    expect(contents).not.toContainEqual({ limit: 4 })
  })

  test('I8: given up behind one that goes back: nobody is brought what failed', async () => {
    const { publish: release, until, coordinator, behave, domain } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    behave.set('n1', (number) => (number === 2 ? 'refuse' : number === 3 ? 'hang' : 'apply'))
    const two = await release({ limit: 2 }, { kind: 'all-at-once', applyMs: 600_000 })
    await until(two, 'rolling-back')
    const four = await release({ limit: 4 }, { kind: 'all-at-once' })
    const { state } = await coordinator.control(config, four, 'abort', { by: 'ada', reason: 'a mistake' })
    expect(state.from).toMatchObject({ number: 3 })
    const head = await domain.store.read((read) => read.config(config)?.head?.number ?? 0)
    expect(await domain.store.read((read) => read.content(config, head))).toEqual({ limit: 1 })
  })

  test('I8: one that is held and given up before it began is run by nobody; the first of all leaves nothing to run', async () => {
    const { publish: release, until, coordinator, ran, domain } = await fleet(await open(), three)
    const wanting = { by: 'ada', reason: 'a mistake' }
    const at = (ms: number) => new Date(domain.now().getTime() + ms).toISOString()
    const freezes = [{ from: at(-1_000), to: at(3_600_000), reason: 'holidays' }]
    const hold = async (isHeld: boolean) =>
      await changeRolloutPolicy(domain, config, { freezes: isHeld ? freezes : [] }, 'ada')
    const strategy = strategyOf({ kind: 'all-at-once' }, () => [])
    const held = async (limit: number) => {
      const made = await publish(domain, {
        author: 'ada',
        changes: [{ config, content: { limit } }],
        rolloutOf: () => ({ strategy }),
      })
      await hold(true)
      return made.published[0]!.release.number
    }
    const first = await held(1)
    expect((await coordinator.control(config, first, 'abort', wanting)).state).toMatchObject({
      phase: 'failed',
      failure: { kind: 'aborted' },
    })
    await hold(false)
    const second = await release({ limit: 2 }, { kind: 'all-at-once', ...quick })
    await until(second, 'completed')
    const third = await held(3)
    const { state } = await coordinator.control(config, third, 'abort', wanting)
    expect(state).toMatchObject({ phase: 'rolled-back', from: { number: second }, failure: { kind: 'aborted' } })
    expect(await domain.store.read((read) => read.config(config)?.head)).toEqual(state.rollback)
    expect([...ran.values()].flat().filter((number) => number === first || number === third)).toEqual([])
  })

  test('paused it stays where it is; resumed it goes on; a reason that is not there is passed over', async () => {
    const { publish: release, until, coordinator, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'staged', steps: [{ percent: 10 }], ...quick, bakeMs: 150 })
    const wanting = { by: 'ada', reason: 'lunch' }
    await coordinator.control(config, two, 'pause', wanting)
    await until(two, 'baking')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect((await until(two, 'baking')).state.pauses).toEqual([{ by: 'ada', reason: 'lunch' }])
    expect([...ran.values()].flat().filter((number) => number === two)).toHaveLength(1)
    await coordinator.control(config, two, 'resume', wanting)
    await until(two, 'completed')
    await expect(coordinator.control(config, two, 'pause', wanting)).rejects.toMatchObject({ code: 'state' })
  })

  test('aborted: back to the old, with who wanted it and why in the audit log', async () => {
    const store = await open()
    const { publish: release, until, coordinator, ran } = await fleet(store, three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'staged', steps: [{ percent: 10 }], ...quick, bakeMs: 60_000 })
    await until(two, 'baking')
    await coordinator.control(config, undefined, 'abort', { by: 'ada', reason: 'wrong customer' })
    await until(two, 'rolled-back')
    for (const numbers of ran.values()) expect(numbers.at(-1)).toBe(3)
    const audit = await store.read((read) => read.audit(0, 100))
    expect(audit.find(({ action }) => action === 'rollout-aborted')).toMatchObject({ actor: 'ada', config })
  })

  test('F62: a node that fails only after its bake time ends the rollout as long as that is under way', async () => {
    const { publish: release, until, roster, uids, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const steps = [
      { percent: 10, bakeMs: 10 },
      { percent: 50, bakeMs: 60_000 },
    ]
    const two = await release({ limit: 2 }, { kind: 'staged', ...quick, steps })
    await vi.waitFor(async () => expect((await until(two, 'baking')).state.step).toBe(1))
    const canary = uids.find((uid) => roster.node(uid)?.runs?.number === two) as string
    const { runs } = roster.node(canary) as { runs: { number: number; digest: string } }
    roster.heartbeat(canary, { runs, status: 'APPLIED', health: { ok: false, release: two, detail: 'late' } })
    const { state } = await until(two, 'rolled-back')
    expect(state.failure).toMatchObject({ kind: 'nodes', step: 1, nodes: [{ reason: 'late' }] })
    for (const numbers of ran.values()) expect(numbers.at(-1)).toBe(3)
  })

  test('F64: a node that joins during a step is in one like the others, and one that leaves is not waited for', async () => {
    const { publish: release, until, join, roster, uids, ran, coordinator } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'staged', steps: [{ percent: 10 }], ...quick, bakeMs: 60_000 })
    await until(two, 'baking')
    const joined = await join('n4')
    await vi.waitFor(() => expect(ran.get('n4')).not.toEqual([]))
    const { state, strategy } = await until(two, 'baking')
    const isEarly = stepOf(strategy.steps, state.cuts, roster.node(joined)!) === 0
    expect(ran.get('n4')).toEqual([isEarly ? 2 : 1])
    const late = uids.find((uid) => roster.node(uid)?.runs?.number === 1) as string
    await roster.forget(late, 'ada')
    await coordinator.control(config, two, 'promote', { by: 'ada', reason: 'seen enough' })
    await vi.waitFor(async () => expect((await until(two, 'baking')).state.step).toBe(1))
    await coordinator.control(config, two, 'promote', { by: 'ada', reason: 'seen enough' })
    await until(two, 'completed')
    expect(ran.get('n4')?.at(-1)).toBe(2)
  })

  test('F65: of two who publish at the same time each has a rollout, one after the other, and the last one stays', async () => {
    const { publish: release, until, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const numbers = await Promise.all(
      [2, 3, 4, 5].map((limit) => release({ limit }, { kind: 'two-phase', prepareMs: 5_000, applyMs: 5_000 })),
    )
    expect(numbers.toSorted((a, b) => a - b)).toEqual([2, 3, 4, 5])
    for (const number of numbers) await until(number, 'completed')
    for (const all of ran.values()) expect(all).toEqual([1, 2, 3, 4, 5])
  })

  test('nobody is asked to approve the way back', async () => {
    const { publish: release, until, domain, coordinator } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'all-at-once', ...quick, bakeMs: 60_000 })
    await until(two, 'baking')
    await changeDemands(domain, config, { reviewers: 2 }, 'root')
    await coordinator.control(config, two, 'abort', { by: 'ada', reason: 'errors' })
    await until(two, 'rolled-back')
  })

  test('I12: a node whose connection is gone since it runs it holds up the step, until it is heard of again', async () => {
    const { publish: release, until, roster, uids, coordinator } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 100, applyMs: 5_000 })
    await until(two, 'baking')
    const [, uid] = uids
    roster.fellSilent(uid!)
    await vi.waitFor(async () => {
      expect((await coordinator.rollout(config, two))!.state.spentMs).toBeGreaterThan(150)
    })
    expect((await coordinator.rollout(config, two))!.state).toMatchObject({ phase: 'baking', counts: { waiting: 1 } })
    const { runs, status } = roster.node(uid!)!
    roster.heartbeat(uid!, { runs, status })
    await until(two, 'completed')
    const last = await release({ limit: 3 }, { kind: 'all-at-once', bakeMs: 100, applyMs: 300 })
    await until(last, 'baking')
    roster.fellSilent(uid!)
    const { state } = await until(last, 'rolled-back')
    expect(state.failure).toMatchObject({ kind: 'timeout', nodes: [{ node: 'n2' }] })
  })

  test('instant: also in the place of a way back that one node does not take', async () => {
    const { publish: release, until, behave, coordinator, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 60_000, applyMs: 60_000 })
    await until(two, 'baking')
    behave.set('n2', (number) => (number === 3 ? 'hang' : 'apply'))
    await coordinator.control(config, two, 'abort', { by: 'ada', reason: 'errors' })
    await vi.waitFor(() => expect(ran.get('n1')?.at(-1)).toBe(3))
    await until(two, 'rolling-back')
    const four = await release({ limit: 4 })
    expect((await until(two, 'rolled-back')).state.failure?.found).toContain('; 1 node did not go back')
    await until(four, 'completed')
    await vi.waitFor(() => expect([...ran.values()].every((numbers) => numbers.at(-1) === 4)).toBe(true))
  })

  test('a node that goes over to another config is not waited for', async () => {
    const { publish: release, until, behave, roster, uids, domain } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    behave.set('n2', () => 'hang')
    const two = await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 0, applyMs: 60_000 })
    await until(two, 'applying')
    const other = 'shop/gateway/test'
    await createConfig(domain, { name: other, actor: 'tests' })
    const { labels, agent } = roster.node(uids[1]!)!
    const hello = { type: 'hello', labels, agent, runs: null, seen: null, status: 'UNSET' } as const
    await roster.hello({ ...hello, uid: uids[1]!, config: other })
    expect((await until(two, 'completed')).state.counts).toMatchObject({ applied: 2, waiting: 0 })
  })

  test('I12: a schema that was made stricter meanwhile does not hold up the way back', async () => {
    const { publish: release, until, domain, coordinator } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2, burst: 9 }, { kind: 'all-at-once', ...quick, bakeMs: 60_000 })
    await until(two, 'baking')
    await changeDemands(domain, config, { schema: { type: 'object', required: ['burst'] } }, 'root')
    await coordinator.control(config, two, 'abort', { by: 'ada', reason: 'errors' })
    const { state } = await until(two, 'rolled-back')
    expect(await domain.store.read((read) => read.content(config, state.rollback!.number))).toEqual({ limit: 1 })
    await expect(release({ limit: 3 })).rejects.toThrow('burst')
  })

  test('instant: in the place of what is under way, to all, waiting for nobody', async () => {
    const { publish: release, until, ran } = await fleet(await open(), three)
    await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    const two = await release({ limit: 2 }, { kind: 'staged', steps: [{ percent: 10 }], ...quick, bakeMs: 60_000 })
    await until(two, 'baking')
    await release({ limit: 3 })
    await until(two, 'superseded')
    expect((await until(3, 'completed')).strategy).toEqual(instant)
    await vi.waitFor(() => expect([...ran.values()].every((numbers) => numbers.at(-1) === 3)).toBe(true))
  })
})

describe('another coordinator takes over', () => {
  test('F2, I9: with no decision on record it is aborted; F7: what the one before still wants to write is refused', async () => {
    const [, open] = stores[1]
    const store = await open()
    const first = await fleet(store, three)
    await first.until(await first.publish({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
    first.behave.set('n2', (number) => (number === 2 ? 'hang' : 'apply'))
    const two = await first.publish({ limit: 2 }, { kind: 'two-phase', prepareMs: 60_000, applyMs: 500 })
    await first.until(two, 'preparing')
    const second = await Coordinator.start({
      domain: first.domain,
      roster: first.roster,
      monotonicMs: () => performance.now(),
      gateOf: (spec) => ({ name: spec.name, check: async () => ({ ok: true, found: '' }) }),
      moved: async () => first.wake(),
      onProblem: (error) => first.problems.push(error),
      tickMs: 5,
    })
    onTestFinished(() => second.close())
    await vi.waitFor(async () =>
      expect((await second.rollout(config, two))?.state).toMatchObject({
        phase: 'rolled-back',
        failure: { kind: 'interrupted' },
      }),
    )
    await expect(first.coordinator.control(config, two, 'abort', { by: 'ada', reason: 'late' })).rejects.toThrow(
      /taken over|rolled back|stopped/,
    )
    expect([...first.ran.values()]).toEqual([
      [1, 3],
      [1, 3],
      [1, 3],
    ])
  })
})

test('I12: what nodes said before the control plane went away is not how they are after it: they are heard again first', async () => {
  const store = await stores[1][1]()
  const first = await fleet(store, three)
  await first.until(await first.publish({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
  const two = await first.publish({ limit: 2 }, { kind: 'all-at-once', bakeMs: 150, applyMs: 30_000 })
  await first.until(two, 'baking')
  await first.coordinator.close()
  await first.roster.flush()
  const { domain, uids } = first
  const roster = await Roster.open(domain, { monotonicMs: () => performance.now(), leaseMs: 60_000 })
  const second = await Coordinator.start({
    domain,
    roster,
    monotonicMs: () => performance.now(),
    gateOf: (spec) => ({ name: spec.name, check: async () => ({ ok: true, found: '' }) }),
    moved: async () => {},
    onProblem: (error) => first.problems.push(error),
    tickMs: 5,
  })
  onTestFinished(() => second.close())
  await vi.waitFor(async () => expect((await second.rollout(config, two))!.state.spentMs).toBeGreaterThan(200))
  expect((await second.rollout(config, two))!.state).toMatchObject({ phase: 'baking', counts: { waiting: 3 } })
  for (const uid of uids) {
    const { labels, agent, runs, seen, status } = roster.node(uid)!
    await roster.hello({ type: 'hello', uid, config, labels, agent, runs, seen, status })
  }
  await vi.waitFor(async () => expect((await second.rollout(config, two))!.state.phase).toBe('completed'))
})

test('F10: a way back that cannot be written is said to be missing, and tried again until it is there', async () => {
  const inner = await stores[0][1]()
  let isFull = false
  const headIn = (tx: StoreRead): number | undefined => tx.config(config)?.head?.number
  const store: Store = {
    ...inner,
    transaction: (work) =>
      inner.transaction((tx) => {
        const before = headIn(tx)
        const result = work(tx)
        if (isFull && headIn(tx) !== before) throw new StoreError('full', 'store.db', 'is full', 'make room')
        return result
      }),
  }
  const { publish: release, until, problems, roster, uids, rollout, ran } = await fleet(store, three)
  await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
  const two = await release({ limit: 2 }, { kind: 'all-at-once', ...quick, bakeMs: 60_000 })
  await until(two, 'baking')
  isFull = true
  const { runs } = roster.node(uids[0] as string) as NodeRecord
  roster.heartbeat(uids[0] as string, { runs, status: 'APPLIED', health: { ok: false, release: two } })
  await vi.waitFor(() => expect(problems.map(String)).toContainEqual(expect.stringContaining('is full')), 10_000)
  expect((await rollout(two)).state).toMatchObject({ phase: 'rolling-back', rollback: null })
  isFull = false
  await until(two, 'rolled-back')
  for (const numbers of ran.values()) expect(numbers.at(-1)).toBe(3)
})

test('I12: what a gate says of one step is no answer for the next', async () => {
  const answers: ((result: { ok: boolean; found: string }) => void)[] = []
  const {
    publish: release,
    until,
    coordinator,
  } = await fleet(await stores[0][1](), three, {
    gateOf: ({ name }) => ({ name, check: () => new Promise((resolve) => answers.push(resolve)) }),
  })
  await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
  const gates = [{ kind: 'webhook', name: 'g', hook: 'h' }] as const
  const steps = [{ percent: 10 }]
  const two = await release({ limit: 2 }, { kind: 'staged', steps, ...quick, bakeMs: 0, gates, gateMs: 60_000 })
  await vi.waitFor(() => expect(answers).toHaveLength(1), 10_000)
  await coordinator.control(config, two, 'promote', { by: 'ada', reason: 'it looks well' })
  await vi.waitFor(() => expect(answers).toHaveLength(2), 10_000)
  answers[0]?.({ ok: true, found: 'well' })
  answers[1]?.({ ok: false, found: 'errors' })
  expect((await until(two, 'rolled-back')).state.failure).toMatchObject({ kind: 'gate', step: 1 })
})

test('F7: time in which nobody watched makes no deadline pass', async () => {
  let skippedMs = 0
  const { publish: release, until } = await fleet(await stores[0][1](), three, {
    monotonicMs: () => performance.now() + skippedMs,
  })
  await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
  const two = await release({ limit: 2 }, { kind: 'all-at-once', bakeMs: 60_000 })
  await until(two, 'baking')
  skippedMs = 3_600_000
  await vi.waitFor(async () => expect((await until(two, 'baking')).state.spentMs).toBeGreaterThanOrEqual(2_000), 10_000)
  expect((await until(two, 'baking')).state.spentMs).toBeLessThan(60_000)
})

test('I10: a coordinator that was taken over from stops with the first thing that it may not write', async () => {
  const store = await stores[0][1]()
  let skippedMs = 0
  const {
    publish: release,
    until,
    behave,
    problems,
    coordinator,
  } = await fleet(store, three, {
    monotonicMs: () => performance.now() + skippedMs,
  })
  behave.set('n2', () => 'hang')
  const one = await release({ limit: 1 }, { kind: 'all-at-once', bakeMs: 60_000, applyMs: 600_000 })
  await until(one, 'applying')
  await store.transaction((tx) => tx.takeOver())
  // It writes how far it is now and then.
  skippedMs = 10_000
  await vi.waitFor(() => expect(problems.map(String)).toContainEqual(expect.stringContaining('taken over')), 10_000)
  const pause = coordinator.control(config, one, 'pause', { by: 'ada', reason: 'lunch' })
  await expect(pause).rejects.toThrow('this coordinator has stopped: fenced')
})

test('a rollout that could not be looked for, as the store was away, is begun when it is back', async () => {
  const [, open] = stores[0]
  const store = await open()
  let isAway = false
  const read: Store['read'] = async (work) => {
    if (isAway) throw new StoreError('io', 'disk', 'is away', 'wait')
    return await store.read(work)
  }
  const { publish: release, until, coordinator } = await fleet({ ...store, read }, three)
  await until(await release({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
  isAway = true
  const changes = [{ config, content: { limit: 2 } }]
  const strategy = strategyOf({ kind: 'all-at-once' }, () => [])
  await publish(domainOf({ store }), { changes, author: 'ada', rolloutOf: () => ({ strategy }) })
  await expect(coordinator.published(config)).rejects.toThrow('is away')
  isAway = false
  await until(2, 'completed')
})

test('I9: a coordinator that could not write that it has taken over goes on with nothing', async () => {
  const [, open] = stores[0]
  const store = await open()
  const first = await fleet(store, three)
  await first.until(await first.publish({ limit: 1 }, { kind: 'all-at-once' }), 'completed')
  first.behave.set('n2', (number) => (number === 2 ? 'hang' : 'apply'))
  const two = await first.publish({ limit: 2 }, { kind: 'two-phase', prepareMs: 60_000 })
  await first.until(two, 'preparing')
  await first.coordinator.close()
  let writes = 0
  const transaction: Store['transaction'] = async (work) => {
    if (writes++ > 0) throw new StoreError('full', 'disk', 'is full', 'make room')
    return await store.transaction(work)
  }
  const ticks: (() => void)[] = []
  let ended = 0
  const turns = { every: (_: number, turn: () => void) => (ticks.push(turn), () => void ended++), soon: () => {} }
  const domain = domainOf({ store: { ...store, transaction } })
  const options = { domain, roster: first.roster, monotonicMs: () => performance.now(), turns }
  const gateOf: CoordinatorOptions['gateOf'] = ({ name }) => ({ name, check: async () => ({ ok: true, found: '' }) })
  const problems: unknown[] = []
  const started = Coordinator.start({
    ...options,
    gateOf,
    moved: async () => {},
    onProblem: (one) => problems.push(one),
  })
  await expect(started).rejects.toThrow('is full')
  expect(ended).toBe(1)
  const before = writes
  for (const tick of ticks) tick()
  await new Promise((resolve) => setImmediate(resolve))
  expect({ writes, problems }).toEqual({ writes: before, problems: [] })
})
