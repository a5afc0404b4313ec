/** What a rollout's state lets through to nodes, by socket and by poll. The states are set by hand; who moves them is `coordinator.test.ts`. */
import { randomUUID } from 'node:crypto'
import { decodeFromServer, type ReleaseInfo, type ServerMessage } from 'midflight/protocol'
import { describe, expect, test } from 'vitest'
import { publish } from '../src/publish.ts'
import type { RolloutState } from '../src/rollout-state.ts'
import { staged } from '../src/strategies/staged.ts'
import { twoPhase } from '../src/strategies/two-phase.ts'
import { cutsOf, stepOf, type Strategy } from '../src/strategy.ts'
import { anyAgent, config, eventually, helloOf, rig, TestNode, type Rig } from './push-rig.ts'

interface Rolling extends Rig {
  readonly first: ReleaseInfo
  readonly second: ReleaseInfo
  readonly nodes: readonly TestNode[]
  /** Writes the state that the rollout is in now, and announces it. */
  move(over: Partial<RolloutState>): Promise<void>
}

/** Nodes that run release 1 and do nothing by themselves, and a release 2 with a rollout that has not begun. */
async function rolling(strategy: Strategy, count = 1): Promise<Rolling> {
  const here = await rig()
  const { domain, store, hub } = here
  const first = await here.release({ content: { limit: 1 } })
  const nodes: TestNode[] = []
  for (let i = 0; i < count; i++) {
    const hello = { runs: { number: 1, digest: first.digest }, seen: 1, status: 'APPLIED' as const }
    nodes.push(await new TestNode(here.url, { hello, applies: false }).welcomed())
  }
  const content = { limit: 2 }
  const { published } = await publish(domain, {
    author: 'ada',
    changes: [{ config, content }],
    rolloutOf: () => ({ strategy }),
  })
  await store.transaction((tx) => tx.takeOver())
  return {
    ...here,
    first,
    second: published[0]!.release,
    nodes,
    async move(over) {
      await store.transaction((tx) => {
        const [rollout] = tx.rollouts.open(config)
        if (rollout === undefined) throw new Error('there is no rollout under way')
        tx.rollouts.move({ ...rollout, state: { ...rollout.state, ...over } }, null, 1, new Date().toISOString())
      })
      await hub.announce(config)
    },
  }
}

const toldOf = (node: TestNode, type: ServerMessage['type']): ServerMessage[] =>
  node.got.filter((message) => message.type === type)

describe('two-phase', () => {
  const preparing = { phase: 'preparing', epoch: 1, cuts: [null] } as const

  test('a node is asked to make it ready, and told to commit it when that is decided, by the newest epoch', async () => {
    const { move, nodes, second } = await rolling(twoPhase())
    const node = nodes[0] as TestNode
    await move(preparing)
    await node.until(() => node.releases().length > 0)
    expect(node.releases()).toMatchObject([
      { release: { number: 2 }, prepare: { epoch: 1, voteMs: expect.any(Number) } },
    ])
    const { number, digest } = second
    const at = new Date().toISOString()
    node.say({ type: 'report', number, digest, status: 'PREPARED', attempt: 1, at, epoch: 1 })
    await move({ phase: 'applying', decided: 1, epoch: 2 })
    await node.until(() => toldOf(node, 'decision').length > 0)
    expect(toldOf(node, 'decision')).toEqual([{ type: 'decision', number, digest, epoch: 2, decision: 'commit' }])
    expect(node.releases()).toHaveLength(1)
  })

  test('what is given up is told to whoever has it ready, and to nobody else', async () => {
    const { move, nodes, first, second, problems } = await rolling(twoPhase(), 2)
    const [voter, other] = nodes as [TestNode, TestNode]
    await move(preparing)
    for (const node of nodes) await node.until(() => node.releases().length > 0)
    const { number, digest } = second
    const runs = { number: 1, digest: first.digest }
    voter.say({ type: 'heartbeat', runs, status: 'PREPARED', prepared: { number, digest, epoch: 1 } })
    await move({ phase: 'preparing', step: 1 })
    await voter.until(() => toldOf(voter, 'decision').length > 0)
    expect(toldOf(voter, 'decision')).toEqual([{ type: 'decision', number, digest, epoch: 1, decision: 'abort' }])
    expect([toldOf(other, 'decision'), problems]).toEqual([[], []])
  })

  test('who polls and votes is asked once to make it ready, and is given what is decided', async () => {
    const { move, hub, first, second } = await rolling(twoPhase(), 0)
    const hello = helloOf({ runs: { number: 1, digest: first.digest }, seen: 1, status: 'APPLIED' })
    await hub.hello(hello, anyAgent)
    const ask = { config, identity: anyAgent, waitMs: 0, whole: false, index: 1, uid: hello.uid, votes: true }
    await move(preparing)
    const asked = await hub.poll(ask)
    const message = asked.kind === 'release' ? decodeFromServer(asked.body.toString()) : undefined
    expect(message).toMatchObject({ release: { number: 2 }, prepare: { epoch: 1, voteMs: expect.any(Number) } })
    // Of a uid that nobody has said hello with, no vote would count.
    expect(await hub.poll({ ...ask, uid: randomUUID() })).toMatchObject({ kind: 'unchanged', index: 1 })
    const { number, digest } = second
    const at = new Date().toISOString()
    const vote = { type: 'report', number, digest, status: 'PREPARED', attempt: 1, at, epoch: 1 } as const
    expect(await hub.report(config, hello.uid, vote, anyAgent)).toBe('ok')
    expect(await hub.poll(ask)).toMatchObject({ kind: 'unchanged', index: 1 })
    await move({ phase: 'applying', decided: 1 })
    const decided = await hub.poll(ask)
    expect(decided.kind === 'release' && decodeFromServer(decided.body.toString())).not.toHaveProperty('prepare')
    expect(decided).toMatchObject({ kind: 'release', index: 2 })
  })

  test('who polls is given what is decided, and not what is only to be made ready', async () => {
    const { move, hub } = await rolling(twoPhase(), 0)
    const ask = { config, identity: anyAgent, waitMs: 0, whole: false }
    await hub.announce(config)
    expect(await hub.poll({ ...ask, index: 0 })).toMatchObject({ kind: 'release', index: 1 })
    await move(preparing)
    expect(await hub.poll({ ...ask, index: 0 })).toMatchObject({ kind: 'release', index: 1 })
    expect(await hub.poll({ ...ask, index: 1 })).toMatchObject({ kind: 'unchanged', index: 1 })
    await move({ phase: 'applying', decided: 1 })
    expect(await hub.poll({ ...ask, index: 1 })).toMatchObject({ kind: 'release', index: 2 })
  })
})

test('while the next one is held in the queue, nodes that come are given what the one before has left in use', async () => {
  const { move, domain, store, hub, url, second } = await rolling(staged([]), 0)
  await move({ phase: 'baking', epoch: 1, decided: 1, cuts: [null] })
  const order = { strategy: staged([]) }
  await publish(domain, { author: 'ada', changes: [{ config, content: { limit: 3 } }], rolloutOf: () => order })
  await store.transaction((tx) => {
    const [rollout] = tx.rollouts.open(config)
    const state: RolloutState = { ...rollout!.state, phase: 'completed', confirmed: 1 }
    tx.rollouts.move({ ...rollout!, state, endedAt: new Date().toISOString() }, null, 1, new Date().toISOString())
  })
  await hub.announce(config)
  const node = await new TestNode(url).on(2)
  expect(node.runs).toEqual({ number: 2, digest: second.digest })
})

test('step by step: a node is sent the release when its step has begun, and told that it stays when that is through', async () => {
  const strategy: Strategy = { ...staged([{ select: { percent: 50 }, bakeMs: 0 }]), revertMs: 5_000 }
  const { move, nodes, second, roster } = await rolling(strategy, 2)
  const cuts = cutsOf(
    strategy.steps,
    nodes.map(({ hello }) => ({ uid: hello.uid, labels: {} })),
  )
  const inStep = (step: number): TestNode =>
    nodes.find(({ hello }) => stepOf(strategy.steps, cuts, { uid: hello.uid, labels: {} }) === step) as TestNode
  const [early, late] = [inStep(0), inStep(1)]
  await move({ phase: 'applying', epoch: 1, cuts, decided: 1 })
  await early.until(() => early.releases().length > 0)
  expect(early.releases()).toMatchObject([{ release: { number: 2 }, revertMs: 5_000 }])
  const { number, digest } = second
  early.report('APPLIED', second)
  await eventually(() => roster.node(early.hello.uid)?.runs?.number === 2)
  await move({ phase: 'baking' })
  expect([late.releases(), toldOf(early, 'confirm')]).toEqual([[], []])
  await move({ phase: 'applying', step: 1, decided: 2, confirmed: 1 })
  await late.until(() => late.releases().length > 0)
  await early.until(() => toldOf(early, 'confirm').length > 0)
  expect(toldOf(early, 'confirm')).toEqual([{ type: 'confirm', number, digest }])
  expect(toldOf(late, 'confirm')).toEqual([])
})
