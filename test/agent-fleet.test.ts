/** Both agents, the one in `midflight/agent` and the one in Python, with the real control plane: the page holds for all three. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cp, readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { allRun, closeLater, config, directory, fresh, plane, program, until } from './agent-fleet-rig.ts'

const python = fileURLToPath(new URL('python-agent/agent.py', import.meta.url))
const hasPython = spawnSync('python3', ['-c', 'import sys; sys.exit(sys.version_info < (3, 8))']).status === 0

test('R1: one publish reaches three programs, and the control plane knows that it is in use', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1000 })
  const programs = await Promise.all([1, 2, 3].map(async () => program(fleet, await directory())))
  await until(() => programs.every(({ source }) => source.status().via === 'websocket'))
  await fleet.publish({ limit: 500 })
  await until(() => allRun(fleet, 2))
  expect(await fleet.nodes()).toHaveLength(3)
  for (const { engine, applied } of programs) {
    expect(engine.live.limit).toBe(500)
    expect(applied).toEqual([1000, 500])
  }
})

test('R2, R3: a refusal and its reason are known, and a program that was away lands on the newest', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const stateDir = await directory()
  const first = await program(fleet, stateDir)
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 0 })
  await until(async () => (await fleet.nodes()).every(({ status, runs }) => status === 'FAILED' && runs?.number === 1))
  expect(first.engine.live.limit).toBe(1)
  await first.close()
  await fleet.publish({ limit: 3 })
  await fleet.publish({ limit: 4 })
  const second = await program(fleet, stateDir)
  expect(second.engine.live.limit).toBe(4)
  await until(() => allRun(fleet, 4))
  expect(await fleet.nodes()).toHaveLength(1)
})

test('I7: the control plane ends and begins anew: programs run on, start without it, and find it again', async () => {
  let fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const { dataDir, port } = fleet
  const secret = fleet.token()
  const stateDir = await directory()
  const running = await program(fleet, await directory())
  const stopped = await program(fleet, stateDir)
  await until(() => allRun(fleet, 1))
  await stopped.close()
  await fleet.close()

  const without = await program(fleet, stateDir)
  expect(without.engine.live.limit).toBe(1)
  expect(running.engine.live.limit).toBe(1)

  fleet = await plane(dataDir, port)
  fleet.useToken(secret)
  await fleet.publish({ limit: 2 })
  await until(() => allRun(fleet, 2))
  for (const { engine } of [running, without]) expect(engine.live.limit).toBe(2)
})

test('a state directory that was copied: the second node is turned away, says so, runs on', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const stateDir = await directory()
  const first = await program(fleet, stateDir)
  await until(() => allRun(fleet, 1))
  const copy = await directory()
  // As from another machine: what is copied is files; a socket is none.
  await cp(join(stateDir, 'agent'), join(copy, 'agent'), {
    recursive: true,
    filter: async (path) => !(await stat(path)).isSocket(),
  })
  const second = await program(fleet, copy)
  expect(second.source.status().uid).toBe(first.source.status().uid)
  await until(() => second.engine.status().warnings.some((text) => text.includes('Two processes have the same uid')))
  await fleet.publish({ limit: 2 })
  await until(() => allRun(fleet, 2))
  expect(first.source.status().via).toBe('websocket')
  expect(second.source.status()).toMatchObject({ via: 'nothing', runs: { number: 1 } })
  expect(second.engine.live.limit).toBe(1)
  expect(await fleet.nodes()).toHaveLength(1)
})

test('the control plane knows what the components of a node can take while they run', async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const { source } = await program(fleet, await directory())
  await until(() => allRun(fleet, 1))
  await until(() => source.status().via === 'websocket')
  expect(await fleet.nodes()).toMatchObject([{ components: [{ name: 'limit', hot: 'full', restartFor: [] }] }])
})

const skipped = hasPython ? '' : ' (skipped: there is no python3 of 3.8 or later here)'
test.skipIf(!hasPython)(`the agent in Python takes releases from it by long poll${skipped}`, async () => {
  const fleet = await fresh()
  await fleet.publish({ limit: 1 })
  const folder = await directory()
  const out = join(folder, 'config.json')
  const files = ['--out', out, '--state', join(folder, 'state.json')]
  const args = ['-B', python, '--url', fleet.url, '--config', config, '--token', fleet.token(), ...files]
  const child: ChildProcess = spawn('python3', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let errors = ''
  child.stderr?.on('data', (chunk: Buffer) => (errors += chunk.toString()))
  closeLater(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  await until(() => allRun(fleet, 1))
  await fleet.publish({ limit: 2 })
  await until(() => allRun(fleet, 2))
  expect(JSON.parse(await readFile(out, 'utf8'))).toEqual({ limit: 2 })
  expect(errors).toBe('')
})
