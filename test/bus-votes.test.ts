/** Two-phase rollouts with nodes that hold no connection: real buses, the real control plane, real engines. */
import { unseal, reportFormat } from 'midflight/protocol'
import { afterEach, describe, expect, test } from 'vitest'
import { config, kinds, nats, Rig, until, type Plane, type Program } from './bus-fleet-rig.ts'

const rig = new Rig()
afterEach(() => rig.close())

const slowMs = 120_000
const prepareMs = 20_000

interface Rollout {
  readonly phase: string
  readonly endedAt: string | null
  readonly failure: { readonly kind: string; readonly nodes: readonly { readonly reason: string }[] } | null
}

async function rolloutOf(plane: Plane, number: number): Promise<Rollout> {
  const { body } = await plane.call('GET', `/v1/configs/${encodeURIComponent(config)}/rollouts/${number}`)
  return body as unknown as Rollout
}

async function ended(plane: Plane, number: number): Promise<Rollout> {
  await until(async () => (await rolloutOf(plane, number)).endedAt !== null)
  return await rolloutOf(plane, number)
}

async function allRun(plane: Plane, nodes: readonly Program[], number: number): Promise<void> {
  await until(() => nodes.every(({ runs }) => runs() === number))
  await until(async () =>
    (await plane.nodes()).every(({ runs, status }) => runs?.number === number && status === 'APPLIED'),
  )
}

for (const kind of kinds) {
  test.skipIf(kind.missing)(
    `${kind.name}: nodes that only listen to a bus vote over it, and commit when all have said yes${kind.missing === undefined ? '' : ` (skipped: ${kind.missing})`}`,
    async () => {
      const { spy, plane, connected, listening } = await rig.fleet(kind, { takesReports: true })
      const prepared: number[] = []
      const prepare = (limit: number) => void prepared.push(limit)
      const byBus = { acks: 'bus', prepare } as const
      const nodes = [await listening(byBus), await listening(byBus), await connected({ prepare })]
      await allRun(plane, nodes, 1)
      await plane.publish({ limit: 2 }, { kind: 'two-phase', prepareMs })
      expect(await ended(plane, 2)).toMatchObject({ phase: 'completed', failure: null })
      await allRun(plane, nodes, 2)
      expect(nodes.map(({ applied }) => applied)).toEqual([
        [1, 2],
        [1, 2],
        [1, 2],
      ])
      expect(prepared).toEqual([1, 1, 1, 2, 2, 2])
      const said = spy.reports.map((bytes) => JSON.parse(Buffer.from(unseal(bytes, reportFormat).body).toString()))
      const votes = said.filter(({ status }) => status === 'PREPARED')
      expect(votes).toMatchObject([
        { number: 2, epoch: expect.any(Number) },
        { number: 2, epoch: expect.any(Number) },
      ])
    },
    slowMs,
  )
}

const skip = nats.missing

describe(`all or none, with nodes that hold no connection${skip === undefined ? '' : ` (skipped: ${skip})`}`, () => {
  async function fleet(prepares: readonly ((limit: number) => unknown)[]) {
    const { plane, listening } = await rig.fleet(nats, { takesReports: true })
    // The first can be cut off from all but the bus.
    const urls = [plane.proxy.url]
    const nodes = await Promise.all(
      prepares.map((prepare, i) => listening({ acks: 'bus', prepare, url: urls[i] ?? plane.url })),
    )
    await allRun(plane, nodes, 1)
    return { plane, nodes }
  }

  test.skipIf(skip)(
    'one that refuses, and nobody runs it',
    async () => {
      const yes = () => {}
      const no = (limit: number) => {
        if (limit === 2) throw new Error('no room for 2')
      }
      const { plane, nodes } = await fleet([yes, no, yes])
      await plane.publish({ limit: 2 }, { kind: 'two-phase', prepareMs })
      const { phase, failure } = await ended(plane, 2)
      expect([phase, failure]).toMatchObject(['rolled-back', { kind: 'refused', nodes: [{}] }])
      // Also where what it asks next, by HTTP, overtakes what it says over the bus.
      expect(failure?.nodes[0]?.reason).toContain('no room for 2')
      await allRun(plane, nodes, 3)
      expect(nodes.map(({ applied }) => applied)).toEqual([[1], [1], [1]])
    },
    slowMs,
  )

  test.skipIf(skip)(
    'one that does not answer in time, and nobody runs it; it is there for the next',
    async () => {
      const { plane, nodes } = await fleet([() => {}, () => {}, () => {}])
      // It hears on the bus that there is something, and reaches nobody to ask.
      plane.cutOff()
      await plane.publish({ limit: 2 }, { kind: 'two-phase', prepareMs: 3_000 })
      await until(async () => (await rolloutOf(plane, 2)).failure !== null)
      expect((await rolloutOf(plane, 2)).failure).toMatchObject({ kind: 'absent' })
      await until(() => nodes.every(({ runs }) => runs() === 3))
      plane.proxy.refuse = false
      expect(await ended(plane, 2)).toMatchObject({ phase: 'rolled-back' })
      await plane.publish({ limit: 4 }, { kind: 'two-phase', prepareMs })
      expect(await ended(plane, 4)).toMatchObject({ phase: 'completed' })
      await allRun(plane, nodes, 4)
      expect(nodes.map(({ applied }) => applied)).toEqual([
        [1, 4],
        [1, 4],
        [1, 4],
      ])
    },
    slowMs,
  )

  test.skipIf(skip)(
    'step by step: those of a later step are told on the bus that it is theirs to vote on',
    async () => {
      const { spy, plane, listening } = await rig.fleet(nats)
      const nodes = [await listening({ labels: { canary: 'yes' } }), await listening({ labels: { canary: 'no' } })]
      await allRun(plane, nodes, 1)
      const steps = [{ labels: { canary: 'yes' } }]
      await plane.publish({ limit: 2 }, { kind: 'staged', twoPhase: true, steps, bakeMs: 0, prepareMs })
      expect(await ended(plane, 2)).toMatchObject({ phase: 'completed' })
      expect(nodes.map(({ applied }) => applied)).toEqual([
        [1, 2],
        [1, 2],
      ])
      // Whole only when it is decided for the last step.
      const last = spy.heard.findIndex(({ message }) => message.type === 'release' && message.release.number === 2)
      expect(spy.heard.slice(0, last).filter(({ message }) => message.type === 'moved').length).toBeGreaterThan(1)
    },
    slowMs,
  )

  test.skipIf(skip)(
    'I8: one that is gone after its yes runs it when it is back, and one without a bus votes by its polls',
    async () => {
      const { plane, listening } = await rig.fleet(nats)
      let letGo = () => {}
      const held = new Promise<void>((resolve) => (letGo = resolve))
      const stateDir = await rig.directory()
      const first = await listening({ stateDir })
      const prepare = (limit: number) => (limit === 2 ? held : undefined)
      const polls = await rig.program(plane.url, { token: plane.token, websocket: false, prepare })
      await allRun(plane, [first, polls], 1)
      await plane.publish({ limit: 2 }, { kind: 'two-phase', prepareMs })
      await until(async () => (await plane.nodes()).some(({ status }) => status === 'PREPARED'))
      await first.engine.close()
      letGo()
      await until(() => polls.runs() === 2)
      const again = await listening({ stateDir })
      expect(await ended(plane, 2)).toMatchObject({ phase: 'completed' })
      expect([first.applied, again.applied, polls.applied]).toEqual([[1], [2], [1, 2]])
    },
    slowMs,
  )
})
