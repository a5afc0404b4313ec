/** A deployment is killed at every write and every call that it makes, before it and after it, and gone on with. */
import { describe, expect, test } from 'vitest'
import type { Deployer } from '../src/targets/deployer.ts'
import { config, latest, live, newWorld, settled, type Death, type World } from './targets-world.ts'

const by = { by: 'ada' }
const before = {
  kind: 'INSTANCE',
  nodes: [{ id: 'h1' }, { id: 'h2' }],
  remoteHost: { ip: '10.0.1.1' },
  package: { name: 'mysql', version: '1.1' },
  parameters: { period: 60 },
  autoInspection: true,
}
const replaced = { ...before, nodes: [{ id: 'h2' }, { id: 'h3' }], remoteHost: { ip: '10.0.1.2' } }
const updated = { ...before, parameters: { period: 30 }, autoInspection: false }

interface Operation {
  /** What is there before. */
  readonly first: readonly ((deployer: Deployer) => Promise<unknown>)[]
  readonly then: (deployer: Deployer) => Promise<unknown>
  /** Something whole is there all the time. */
  readonly whole?: true
  readonly states?: Readonly<Record<string, 'failed'>>
  readonly end: string
  readonly left: readonly string[]
}

const set = (targets: object) => async (deployer: Deployer) => await deployer.set(config, targets, by)
const control = (verb: 'start' | 'stop' | 'uninstall' | 'retry') => async (deployer: Deployer) =>
  await deployer.control(config, verb, by)
const [one, two] = [`${config}#1`, `${config}#2`]

const operations: Readonly<Record<string, Operation>> = {
  create: { first: [], then: set(before), end: 'applied', left: [one] },
  update: { first: [set(before)], then: set(updated), whole: true, end: 'applied', left: [one] },
  replace: { first: [set(before)], then: set(replaced), whole: true, end: 'applied', left: [two] },
  'a replace whose new does not come up': {
    first: [set(before)],
    then: set(replaced),
    whole: true,
    states: { h3: 'failed' },
    end: 'failed',
    left: [one],
  },
  stop: { first: [set(before)], then: control('stop'), end: 'applied', left: [one] },
  start: { first: [set(before), control('stop')], then: control('start'), end: 'applied', left: [one] },
  uninstall: { first: [set(before), control('stop')], then: control('uninstall'), end: 'applied', left: [] },
  retry: { first: [set(before)], then: control('retry'), whole: true, end: 'applied', left: [one] },
  'rollback of a replace': {
    first: [set(before), set(replaced)],
    then: async (deployer) => await deployer.rollBack(config, undefined, by),
    whole: true,
    end: 'applied',
    left: [`${config}#3`],
  },
}

/** @returns what there is in the end; `undefined` if it was over before it could be killed. */
async function killed(operation: Operation, death?: Death): Promise<{ world: World; died: boolean; number: number }> {
  const world = await newWorld()
  const first = await live(world)
  for (const step of operation.first) {
    await step(first.deployer)
    await settled(world)
  }
  await first.deployer.close()
  for (const [node, state] of Object.entries(operation.states ?? {})) world.states.set(node, state)
  const number = (await latest(world))?.number ?? 0
  if (operation.whole) world.watch()
  const victim = await live(world, death)
  const asked = operation.then(victim.deployer).catch((error: unknown) => world.wrongs.push(String(error)))
  const end = async (): Promise<'over'> => {
    await asked
    await settled(world)
    return 'over'
  }
  const how = await Promise.race([end(), victim.died.then(() => 'died' as const)])
  await victim.end()
  if (how === 'died') {
    // The keys are not what it stands on.
    world.forgetKeys()
    const next = await live(world)
    await settled(world)
    await next.deployer.close()
  }
  return { world, died: how === 'died', number }
}

describe.each(Object.entries(operations))('F2–F4, F63, prior-art B4: %s', (_, operation) => {
  test('comes to the same end wherever it is killed: old or new whole, nothing orphaned, no call made twice', async () => {
    const undisturbed = await killed(operation)
    expect((await latest(undisturbed.world))?.state.phase).toBe(operation.end)
    let deaths = 0
    for (let at = 0, isOver = false; !isOver; at++) {
      for (const when of ['before', 'after'] as const) {
        const { world, died, number } = await killed(operation, { at, when })
        const where = `killed ${when} ${at}, after ${world.calls.join(', ')}`
        if (died) deaths++
        else isOver = true
        expect(world.wrongs, where).toEqual([])
        const record = await latest(world)
        // Never on record: whoever asked has had no answer, and nobody outside was asked.
        if (at === 0 && when === 'before') {
          expect(record?.number ?? 0, where).toBe(number)
          continue
        }
        expect(record, where).toMatchObject({ number: number + 1, state: { phase: operation.end, held: null } })
        expect([...world.held.keys()], where).toEqual(operation.left)
        const isRepeatable = record?.action === 'retry'
        expect(isRepeatable ? [...new Set(world.calls)] : world.calls, where).toEqual(undisturbed.world.calls)
        const pointer = await world.store.read((read) => read.deployments.pointer(config))
        expect(pointer === undefined ? [] : [pointer.subscription.id], where).toEqual(operation.left)
        const status = pointer && world.status(pointer.subscription.id)
        expect(status?.enabled, where).toBe(pointer?.enabled)
        expect(status?.inspected, where).toBe(pointer?.inspected)
      }
    }
    expect(deaths).toBeGreaterThan(6)
  })
})

test('I10: a deployer that was taken over from in the middle writes nothing more, and the new one comes to the end', async () => {
  const world = await newWorld()
  world.states.set('h2', 'pending')
  const first = await live(world)
  await first.deployer.set(config, before, by)
  while (world.calls.length === 0) await new Promise((resolve) => setTimeout(resolve, 1))
  const second = await live(world)
  world.states.clear()
  expect(await settled(world)).toMatchObject({ state: { phase: 'applied' } })
  await Promise.all([first.deployer.close(), second.deployer.close()])
  expect(world.calls).toEqual([`create ${one}`, `inspection on ${one}`])
  await expect(first.deployer.set(config, updated, by)).rejects.toThrow('has taken over')
  expect((await latest(world))?.number).toBe(1)
})

test('what was refused after the old was touched is held, and goes on when somebody says so', async () => {
  const world = await newWorld()
  const here = await live(world)
  await here.deployer.set(config, before, by)
  await settled(world)
  world.refuses.add('delete')
  await here.deployer.set(config, replaced, by)
  const held = await settled(world)
  expect(held).toMatchObject({ endedAt: null, state: { phase: 'going', held: 'delete: not today' } })
  expect(await world.store.read((read) => read.deployments.pointer(config)?.number)).toBe(1)
  await expect(here.deployer.control(config, 'revoke', by)).rejects.toThrow('the old is being removed')
  await here.deployer.close()
  const next = await live(world)
  expect(await settled(world)).toMatchObject({ state: { held: 'delete: not today' } })
  world.refuses.clear()
  await next.deployer.control(config, 'retry', by)
  while ((await latest(world))?.endedAt === null) await new Promise((resolve) => setTimeout(resolve, 1))
  expect([...world.held.keys()]).toEqual([two])
  await next.deployer.close()
})
