/** Two-phase commit, confirmation, poison and health, with a real engine and the wire faked: what a node does, and says. */
import { readdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { AgentStatus } from '../src/agent/index.ts'
import type { AgentMessage, ReleaseMessage, Report } from '../src/protocol/messages.ts'
import { AgentProcess } from './agent-process.ts'
import { componentsFor } from '../src/components-for.ts'
import { Rig, schema, until } from './agent-rig.ts'
import { FakeControlPlane, type FakeOptions, type Published } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())
const plane = async (options?: FakeOptions) => rig.add(await FakeControlPlane.listen(options))
const spawned = (...args: ConstructorParameters<typeof AgentProcess>) => rig.add(new AgentProcess(...args))
const folderIn = (stateDir: string) => join(stateDir, 'agent', 'shop+gateway+prod')

/** A release that is not the head: only those who are sent it know of it. */
function asked(published: Published, prepare?: ReleaseMessage['prepare'], more: Partial<ReleaseMessage> = {}): object {
  const { release, content } = published
  return { type: 'release', release, body: { kind: 'whole', content }, ...(prepare && { prepare }), ...more }
}

function decision({ release }: Published, epoch: number, what: 'commit' | 'abort') {
  return { type: 'decision', number: release.number, digest: release.digest, epoch, decision: what }
}

const is = (number: number, status: string) => (report: Report) => report.number === number && report.status === status
/** Without what is not said where the result comes at once. */
const statuses = (fake: FakeControlPlane, number: number) => fake.reports(number).filter((one) => one !== 'APPLYING')
const last = <T extends AgentMessage['type']>(fake: FakeControlPlane, type: T) =>
  fake.said.findLast(({ message }) => message.type === type)?.message as Extract<AgentMessage, { type: T }> | undefined

/** A program that runs release 1, and release 2 as it would be. */
async function begun(options: Parameters<Rig['program']>[1] = {}, fakeOptions: FakeOptions = {}) {
  const stateDir = await rig.directory()
  const fake = await plane(fakeOptions)
  fake.publish({ limit: 1 })
  const program = await rig.program(fake, { stateDir, ...options })
  await fake.heard('hello')
  await fake.heard('report', is(1, 'APPLIED'))
  return { stateDir, fake, program, second: fake.made({ limit: 2 }) }
}

const vote = { epoch: 3, voteMs: 10_000 }

describe('two-phase commit', () => {
  test('R6: prepared, nothing is visible; committed, it is in use; each step is said', async () => {
    const { fake, program, second } = await begun()
    fake.send(undefined, asked(second, vote))
    const yes = await fake.heard('report', is(2, 'PREPARED'))
    expect(yes).toMatchObject({ epoch: 3, attempt: 1 })
    expect(program.engine.live.limit).toBe(1)
    const { number, digest } = second.release
    await fake.heard('heartbeat', ({ prepared }) => prepared?.number === 2)
    expect(last(fake, 'heartbeat')).toMatchObject({ prepared: { number, digest, epoch: 3 }, runs: { number: 1 } })
    fake.send(undefined, decision(second, 3, 'commit'))
    await fake.heard('report', is(2, 'APPLIED'))
    expect(program.engine.live.limit).toBe(2)
    expect(program.applied).toEqual([1, 2])
    expect(statuses(fake, 2)).toEqual(['PREPARED', 'APPLIED'])
    expect(program.source.status()).toMatchObject({ runs: { number: 2 }, prepared: undefined, status: 'APPLIED' })
    // The next one is an ordinary one again.
    fake.releases.push(second)
    fake.publish({ limit: 3 })
    await fake.heard('report', is(3, 'APPLIED'))
  })

  test('a component that will not have it, and a schema: no, with the reason, and what is live stays', async () => {
    const { fake, program } = await begun()
    fake.send(undefined, asked(fake.made({ limit: 0 }), vote))
    expect((await fake.heard('report', is(2, 'FAILED'))).detail).toContain('limit')
    expect(program.engine.live.limit).toBe(1)
    await fake.heard('heartbeat')
    expect(last(fake, 'heartbeat')).not.toHaveProperty('prepared')
    // A heartbeat that follows at once does not take the no back.
    expect(last(fake, 'heartbeat')).toMatchObject({ status: 'FAILED', runs: { number: 1 } })
  })

  test('given up: nothing of it is left, neither in the engine nor on disk, and the same node votes again', async () => {
    const { fake, program, stateDir, second } = await begun()
    fake.send(undefined, asked(second, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    expect(await readdir(folderIn(stateDir))).toContain('prepared')
    fake.send(undefined, decision(second, 3, 'abort'))
    const { detail } = await fake.heard('report', is(2, 'ROLLED_BACK'))
    expect(detail).toBe('given up by the control plane')
    await until(() => program.source.status().status === 'APPLIED')
    expect(await readdir(folderIn(stateDir))).not.toContain('prepared')
    expect((await program.engine.reload()).kind).toBe('unchanged')
    fake.releases.push(second)
    fake.send(undefined, asked(fake.made({ limit: 3 }), { epoch: 4, voteMs: 10_000 }))
    await fake.heard('report', is(3, 'PREPARED'))
  })

  test('I8, F5: killed after its yes and decided meanwhile: it asks, and applies what was committed', async () => {
    const { fake, stateDir, second, program } = await begun()
    await program.close()
    const said = fake.said.length
    const hello = () => fake.said.slice(said).some(({ message }) => message.type === 'hello')
    const child = spawned([fake.url, stateDir])
    await until(hello)
    fake.send(undefined, asked(second, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    await child.close()
    const before = fake.said.length
    const again = spawned([fake.url, stateDir])
    await again.runs(1)
    await until(() =>
      fake.said.slice(before).some(({ message }) => message.type === 'hello' && message.prepared !== undefined),
    )
    fake.send(undefined, decision(second, 3, 'commit'))
    await again.runs(2)
    await fake.heard('report', is(2, 'APPLIED'))
    expect((await again.status()).prepared).toBeUndefined()
  })

  test('I9: killed after its yes and given up meanwhile: nothing of it is left', async () => {
    const { fake, stateDir, second, program } = await begun()
    fake.send(undefined, asked(second, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    await program.close()
    const again = await rig.program(fake, { stateDir })
    expect(again.source.status()).toMatchObject({ runs: { number: 1 }, prepared: { number: 2, epoch: 3 } })
    await until(() => fake.sockets.size > 0 && again.source.status().via === 'websocket')
    fake.send(undefined, decision(second, 3, 'abort'))
    await fake.heard('report', is(2, 'ROLLED_BACK'))
    expect(again.engine.live.limit).toBe(1)
    expect(await readdir(folderIn(stateDir))).not.toContain('prepared')
  })

  test('I10: who has a lower epoch is not listened to, also after a restart', async () => {
    const { fake, stateDir, second, program } = await begun()
    fake.send(undefined, asked(second, { epoch: 7, voteMs: 10_000 }))
    await fake.heard('report', is(2, 'PREPARED'))
    fake.send(undefined, decision(second, 6, 'commit'))
    await until(() => program.warnings.some((text) => text.includes('epoch 6 decides on release 2')))
    fake.send(undefined, decision(second, 7, 'abort'))
    await fake.heard('report', is(2, 'ROLLED_BACK'))
    await program.close()
    const again = await rig.program(fake, { stateDir })
    await until(() => again.source.status().via === 'websocket')
    fake.send(undefined, asked(second, { epoch: 6, voteMs: 10_000 }))
    await until(() => again.warnings.some((text) => text.includes('epoch 6 asks to prepare release 2')))
    expect(again.source.status().prepared).toBeUndefined()
  })

  test('I9: a decision that is lost is asked for by each heartbeat, and the old is in use until it comes', async () => {
    const { fake, program, second } = await begun({}, { pacing: { heartbeatMs: 100 } })
    fake.send(undefined, asked(second, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    const beats = () =>
      fake.said.filter(({ message }) => message.type === 'heartbeat' && message.prepared?.number === 2)
    await until(() => beats().length >= 3)
    expect(program.engine.live.limit).toBe(1)
    fake.send(undefined, decision(second, 3, 'commit'))
    await fake.heard('heartbeat', ({ runs, prepared }) => runs?.number === 2 && prepared === undefined)
  })

  test('I8, F10: what cannot be kept on disk is no yes', async () => {
    const { fake, stateDir, second, program } = await begun()
    // A file stands where the directory would be.
    await writeFile(join(folderIn(stateDir), 'prepared'), '')
    fake.send(undefined, asked(second, vote))
    const { detail } = await fake.heard('report', is(2, 'FAILED'))
    expect(detail).toContain('could not be kept on disk')
    expect((await program.engine.reload()).kind).toBe('unchanged')
  })

  test('a component that takes too long: no, in time, and the engine goes on when it returns', async () => {
    let proceed = () => {}
    const slow = new Promise<void>((resolve) => (proceed = resolve))
    const { fake, program, second } = await begun({
      engine: {
        components: [
          componentsFor(schema).value({
            name: 'slow',
            path: 'limit',
            prepare: async (next) => void (next === 2 && (await slow)),
            apply() {},
          }),
        ],
      },
    })
    fake.send(undefined, asked(second, { epoch: 3, voteMs: 200 }))
    const { detail } = await fake.heard('report', is(2, 'FAILED'))
    expect(detail).toContain('was not ready within 200 ms')
    proceed()
    expect((await program.engine.reload()).kind).toBe('unchanged')
  })

  test('the same release for all, by a poll or a push, is a decision too', async () => {
    const { fake, program, second } = await begun()
    fake.send(undefined, asked(second, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    fake.send(undefined, asked(second))
    await fake.heard('report', is(2, 'APPLIED'))
    expect(program.applied).toEqual([1, 2])
    expect(statuses(fake, 2)).toEqual(['PREPARED', 'APPLIED'])
  })

  test('a newer release for all takes the place of what is prepared', async () => {
    const { fake, program, second } = await begun()
    fake.send(undefined, asked(second, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    fake.releases.push(second)
    fake.publish({ limit: 3 })
    await fake.heard('report', is(3, 'APPLIED'))
    expect(program.applied).toEqual([1, 3])
  })

  test('what changes nothing here is a yes, and becomes what runs', async () => {
    const { fake, program } = await begun()
    const same = fake.made({ limit: 1 })
    fake.send(undefined, asked(same, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    fake.send(undefined, decision(same, 3, 'commit'))
    await fake.heard('report', is(2, 'APPLIED'))
    expect(program.source.status().runs?.number).toBe(2)
    expect(program.applied).toEqual([1])
  })

  test('a commit that a component fails is rolled back, said, and tried again', async () => {
    let fails = true
    const { fake, program, second } = await begun({ failOn: (limit) => limit === 2 && fails })
    fake.send(undefined, asked(second, vote))
    await fake.heard('report', is(2, 'PREPARED'))
    fake.send(undefined, decision(second, 3, 'commit'))
    expect((await fake.heard('report', is(2, 'ROLLED_BACK'))).detail).toContain('does not take 2')
    fails = false
    await fake.heard('report', is(2, 'APPLIED'))
    expect(program.engine.live.limit).toBe(2)
  })
})

describe('a release that has to be confirmed', () => {
  test('confirmed, it stays', async () => {
    const { fake, program, second } = await begun()
    fake.send(undefined, asked(second, undefined, { revertMs: 300 }))
    await fake.heard('report', is(2, 'APPLIED'))
    fake.send(undefined, { type: 'confirm', number: 2, digest: second.release.digest })
    await new Promise((resolve) => setTimeout(resolve, 600))
    expect(program.engine.live.limit).toBe(2)
  })

  test('cut off, the node takes it back by itself, says so when it is back, and does not take it again', async () => {
    const { fake, program, second, stateDir } = await begun()
    fake.send(undefined, asked(second, undefined, { revertMs: 300 }))
    await fake.heard('report', is(2, 'APPLIED'))
    fake.upgrades = 503
    fake.intercept = (_request, response) => (response.writeHead(503).end(), true)
    for (const socket of fake.sockets) socket.terminate()
    await until(() => program.engine.live.limit === 1)
    fake.upgrades = true
    fake.intercept = () => false
    const { detail } = await fake.heard('report', is(2, 'ROLLED_BACK'))
    expect(detail).toBe('release 2 was not confirmed within 300 ms and was taken back')
    expect(program.source.status()).toMatchObject({ runs: { number: 1 }, seen: 2, status: 'ROLLED_BACK' })
    await program.close()
    fake.releases.push(second)
    const again = await rig.program(fake, { stateDir })
    await until(() => again.source.status().via === 'websocket')
    expect(again.engine.live.limit).toBe(1)
    fake.send(undefined, asked(second, undefined, { force: true }))
    fake.publish({ limit: 3 })
    await until(() => again.engine.live.limit === 3)
    expect(again.applied).toEqual([1, 3])
  })

  test('a restart does not confirm it', async () => {
    const { fake, program, second, stateDir } = await begun()
    fake.send(undefined, asked(second, undefined, { revertMs: 1_000 }))
    await fake.heard('report', is(2, 'APPLIED'))
    await program.close()
    fake.releases.push(second)
    const again = await rig.program(fake, { stateDir })
    expect(again.engine.live.limit).toBe(2)
    await fake.heard('report', is(2, 'ROLLED_BACK'))
    expect(again.engine.live.limit).toBe(1)
  })

  test('prepared and committed, it is taken back as well', async () => {
    const { fake, program, second } = await begun()
    fake.send(undefined, asked(second, vote, { revertMs: 200 }))
    await fake.heard('report', is(2, 'PREPARED'))
    fake.send(undefined, decision(second, 3, 'commit'))
    await fake.heard('report', is(2, 'APPLIED'))
    await fake.heard('report', is(2, 'ROLLED_BACK'))
    expect(program.engine.live.limit).toBe(1)
  })
})

describe('a release that the process dies of', () => {
  const env = { MIDFLIGHT_POISON_MS: '30000' }

  async function dies(limit: number) {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const child = spawned([fake.url, stateDir], { env })
    await child.runs(1)
    await fake.heard('report', is(1, 'APPLIED'))
    fake.publish({ limit })
    await child.ended()
    return { stateDir, fake }
  }

  test.each([
    ['in the commit itself', 13],
    ['soon after it', 14],
  ])('%s: the next start begins with the one before, says so, and waits for a newer one', async (_, limit) => {
    const { stateDir, fake } = await dies(limit)
    const again = spawned([fake.url, stateDir], { env })
    await again.runs(1)
    const { detail } = await fake.heard('report', is(2, 'ROLLED_BACK'))
    expect(detail).toBe('poisoned: the process died while or soon after it took release 2')
    expect((await again.status()) satisfies AgentStatus).toMatchObject({ runs: { number: 1 }, seen: 2 })
    // Killed once more: one step back and no further.
    await again.close()
    const third = spawned([fake.url, stateDir], { env })
    await third.runs(1)
    fake.publish({ limit: 3 })
    await third.runs(3)
  })

  test('marks that are torn are no poison', async () => {
    const { stateDir, fake } = await dies(14)
    for (const slot of ['a', 'b'])
      await writeFile(join(folderIn(stateDir), 'notes', `last-good.${slot}.json`), '{"suspect":')
    fake.upgrades = 503
    fake.intercept = (_request, response) => (response.writeHead(503).end(), true)
    const again = spawned([fake.url, stateDir], { env })
    await again.runs(14)
  })

  test('a clean close, or time, clears it', async () => {
    const { fake, stateDir, program } = await begun({ poisonMs: 200 })
    fake.publish({ limit: 2 })
    await fake.heard('report', is(2, 'APPLIED'))
    await program.close()
    const again = await rig.program(fake, { stateDir })
    expect(again.engine.live.limit).toBe(2)
  })
})

describe('health', () => {
  test('is told with the release that ran when the check began, and at once when it changes', async () => {
    let well = true
    const { fake, program } = await begun({
      probe: {
        everyMs: 100,
        check: () => {
          if (!well) throw new Error('the queue is full')
        },
      },
    })
    await fake.heard('heartbeat', ({ health }) => health?.ok === true && health.release === 1)
    fake.publish({ limit: 2 })
    await fake.heard('heartbeat', ({ health }) => health?.ok === true && health.release === 2)
    well = false
    const { health } = await fake.heard('heartbeat', (beat) => beat.health?.ok === false)
    expect(health).toEqual({ ok: false, release: 2, detail: 'the queue is full' })
    expect(program.source.status().health).toEqual(health)
  })

  test('an option that cannot be used is refused at the call', async () => {
    const probe = { check: { command: [] } }
    await expect(rig.program('http://127.0.0.1:1', { probe })).rejects.toThrow(TypeError)
    await expect(rig.program('http://127.0.0.1:1', { poisonMs: -1 })).rejects.toThrow('poisonMs is -1')
  })
})
