/** A program in a fleet, set up as nobody should. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import { controlPlane } from '../src/agent/index.ts'
import type { Report } from '../src/protocol/messages.ts'
import { Rig } from './agent-rig.ts'
import { FakeControlPlane } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())
const plane = async () => rig.add(await FakeControlPlane.listen())
const applied = (number: number) => (report: Report) => report.number === number && report.status === 'APPLIED'

test('a state directory that cannot be written keeps nobody out of the fleet; what was not kept is said', async () => {
  const fake = await plane()
  fake.publish({ limit: 1 })
  const stateDir = join(await rig.directory(), 'state')
  await writeFile(stateDir, 'a file where a directory must be')
  const { engine, warnings } = await rig.program(fake, { stateDir })
  expect(engine.live.limit).toBe(1)
  expect(warnings.join('\n')).toContain('the uid cannot be kept on disk')
  const report = await fake.heard('report', applied(1))
  expect(report).toMatchObject({ detail: expect.stringContaining('release 1 could not be kept on disk') })
  // Once there is room, what runs is kept as ever.
  await rm(stateDir)
  await mkdir(dirname(stateDir), { recursive: true })
  fake.publish({ limit: 2 })
  expect(await fake.heard('report', applied(2))).not.toHaveProperty('detail')
})

test('a control plane that is named as a source and as a trigger is listened to once', async () => {
  const fake = await plane()
  fake.publish({ limit: 1 })
  const source = controlPlane({ url: fake.url, config: 'shop/gateway/prod' })
  const { engine } = await rig.program(fake, { engine: { sources: [source], triggers: [source] } })
  expect(engine.live.limit).toBe(1)
  fake.publish({ limit: 2 })
  await fake.heard('report', applied(2))
  expect(engine.live.limit).toBe(2)
})
