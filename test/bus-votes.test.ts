/** Two-phase rollouts with nodes that hold no connection: real buses, the real control plane, real engines. */
import { unseal, reportFormat } from 'midflight/protocol'
import { afterEach, describe, expect, test } from 'vitest'
import { config, kinds, nats, Rig, until, type Plane, type Program } from './bus-fleet-rig.ts'

const rig = new Rig()
afterEach(() => rig.close())

const slowMs = 120_000
/** So rarely that nothing in a test comes by it. */
const hub = { heartbeatMs: 600_000, leaseMs: 1_800_000, pollMs: 600_000 }
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

for (const { name, missing, ...kind } of kinds) {
  test.skipIf(missing)(
    `${name}: nodes that only listen to a bus vote over it, and commit when all have said yes${missing === undefined ? '' : ` (skipped: ${missing})`}`,
    async () => {
      const server = await rig.bus({ name, missing, ...kind })
      const spy = await rig.spy(server)
      const plane = await rig.plane({ buses: [server.newBus()], takesReports: true }, { limits: { hub } })
      await plane.publish({ limit: 1 })
      const prepared: number[] = []
      const at = { token: plane.token, prepare: (limit: number) => void prepared.push(limit) }
      const byBus = { ...at, websocket: false, acks: 'bus' } as const
      const nodes = [
        await rig.program(plane.url, { ...byBus, bus: server.newBus() }),
        await rig.program(plane.url, { ...byBus, bus: server.newBus() }),
        await rig.program(plane.url, at),
      ]
      await allRun(plane, nodes, 1)
      await until(() => nodes.map(({ source }) => source.status().via).join() === 'bus,bus,websocket')
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
    const server = await rig.bus(nats)
    const plane = await rig.plane({ buses: [server.newBus()], takesReports: true }, { limits: { hub } })
    await plane.publish({ limit: 1 })
    const nodes: Program[] = []
    for (const [i, prepare] of prepares.entries()) {
      const way = { websocket: false, acks: 'bus', bus: server.newBus() } as const
      // The first can be cut off from all but the bus.
      const { url } = i === 0 ? plane.proxy : plane
      nodes.push(await rig.program(url, { ...way, token: plane.token, prepare }))
    }
    await allRun(plane, nodes, 1)
    await until(() => nodes.every(({ source }) => source.status().via === 'bus'))
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
      plane.proxy.refuse = true
      plane.proxy.reset()
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
      const server = await rig.bus(nats)
      const spy = await rig.spy(server)
      const plane = await rig.plane({ buses: [server.newBus()] }, { limits: { hub } })
      await plane.publish({ limit: 1 })
      const join = (canary: string) =>
        rig.program(plane.url, { token: plane.token, websocket: false, bus: server.newBus(), labels: { canary } })
      const nodes = [await join('yes'), await join('no')]
      await allRun(plane, nodes, 1)
      await until(() => nodes.every(({ source }) => source.status().via === 'bus'))
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
      const server = await rig.bus(nats)
      const plane = await rig.plane({ buses: [server.newBus()] }, { limits: { hub } })
      await plane.publish({ limit: 1 })
      let letGo = () => {}
      const held = new Promise<void>((resolve) => (letGo = resolve))
      const at = { token: plane.token, websocket: false } as const
      const kept = { ...at, stateDir: await rig.directory() }
      const first = await rig.program(plane.url, { ...kept, bus: server.newBus() })
      const polls = await rig.program(plane.url, { ...at, prepare: (limit) => (limit === 2 ? held : undefined) })
      await allRun(plane, [first, polls], 1)
      await until(() => first.source.status().via === 'bus')
      await plane.publish({ limit: 2 }, { kind: 'two-phase', prepareMs })
      await until(async () => (await plane.nodes()).some(({ status }) => status === 'PREPARED'))
      await first.engine.close()
      letGo()
      await until(() => polls.runs() === 2)
      const again = await rig.program(plane.url, { ...kept, bus: server.newBus() })
      expect(await ended(plane, 2)).toMatchObject({ phase: 'completed' })
      expect([first.applied, again.applied, polls.applied]).toEqual([[1], [2], [1, 2]])
    },
    slowMs,
  )
})
