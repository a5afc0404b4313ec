/** Rollouts end to end: the real control plane, real engines, real sockets. What a node by itself does is `agent-vote-engine`. */
import type { ControlPlaneOptions } from 'midflight/agent'
import { expect, test } from 'vitest'
import { allRun, directory, fresh, program, until, type Plane } from './agent-fleet-rig.ts'

async function connected(fleet: Plane, more: Partial<ControlPlaneOptions> = {}) {
  const one = await program(fleet, await directory(), more)
  await until(() => one.source.status().via === 'websocket')
  return one
}

const twoPhase = { kind: 'two-phase', bakeMs: 0, gates: [] }

test('R6: all vote yes, and all run it', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const programs = await Promise.all([1, 2, 3].map(async () => connected(fleet)))
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 2 }, twoPhase)
  await until(async () => (await fleet.phase(2)) === 'completed')
  await until(() => allRun(fleet, 2))
  for (const { applied } of programs) expect(applied).toEqual([1, 2])
})

test('R6: one says no, and nobody has ever run it', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const programs = await Promise.all([1, 2, 3].map(async () => connected(fleet)))
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 13 }, twoPhase)
  await until(async () => (await fleet.phase(2)) === 'rolled-back')
  await until(() => programs.every(({ source }) => source.status().runs?.number === 3))
  for (const { engine, applied } of programs) {
    expect(applied).toEqual([1])
    expect(engine.live.limit).toBe(1)
  }
})

test('what is to be confirmed is confirmed once the rollout is through, and stays', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const one = await connected(fleet)
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 2 }, { ...twoPhase, revertMs: 2_000 })
  await until(async () => (await fleet.phase(2)) === 'completed')
  await new Promise((resolve) => setTimeout(resolve, 2_500))
  expect(one.engine.live.limit).toBe(2)
  expect(one.source.status().status).toBe('APPLIED')
})

test('a node that is not well with it takes all back', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  let limit = () => 0
  const check = () => {
    if (limit() === 2) throw new Error('the queue is full')
  }
  const one = await connected(fleet, { probe: { check, everyMs: 200 } })
  limit = () => one.engine.live.limit
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 2 }, { ...twoPhase, bakeMs: 5_000 })
  await until(async () => (await fleet.phase(2)) === 'rolled-back')
  expect(one.applied).toEqual([1, 2, 1])
  await until(async () => (await fleet.nodes()).every(({ health }) => health?.ok === true))
})
