/** References in a release are resolved on the node, within what the node allows; secrets stay on the node. */
import { execFileSync } from 'node:child_process'
import { mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import type { Report } from '../src/protocol/messages.ts'
import { Rig } from './agent-rig.ts'
import { FakeControlPlane } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())
const applied = (number: number) => (report: Report) => report.number === number && report.status === 'APPLIED'
const canary = 'canary-s3cr3t'

async function secrets() {
  const directory = await rig.directory()
  const secretsDir = join(directory, 'secrets')
  await mkdir(secretsDir)
  await writeFile(join(secretsDir, 'password'), `${canary}\n`)
  await writeFile(join(directory, 'outside'), 'not for you')
  await symlink(join(directory, 'outside'), join(secretsDir, 'link'))
  execFileSync('mkfifo', [join(secretsDir, 'fifo')])
  return { directory, secretsDir }
}

test('a secret is taken from a file of the node, and is neither said, shown nor kept', async () => {
  const { secretsDir } = await secrets()
  const stateDir = await rig.directory()
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1, text: '${file:password}' })
  const options = { stateDir, references: { secretsDir }, engine: { stateDir } }
  const { engine, warnings, close, source } = await rig.program(fake, options)
  expect(engine.live.text).toBe(canary)
  await fake.heard('hello')
  fake.publish({ limit: 0, text: 'x ${file:password} y' })
  await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
  const shown = JSON.stringify([fake.said, warnings, engine.status(), source.status()]) + engine.metrics()
  await close()
  const kept = await readdir(stateDir, { recursive: true, withFileTypes: true })
  const files = kept.filter((entry) => entry.isFile())
  expect(files.length).toBeGreaterThan(3)
  const texts = await Promise.all(files.map((entry) => readFile(join(entry.parentPath, entry.name), 'utf8')))
  expect([shown, ...texts].join('\n')).not.toContain(canary)
  expect(texts.join('\n')).toContain('${file:password}')
})

test('a secret that was changed is seen by the next reload', async () => {
  const { secretsDir } = await secrets()
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1, text: '${file:password}' })
  const { engine } = await rig.program(fake, { references: { secretsDir } })
  await writeFile(join(secretsDir, 'password'), 'another')
  expect((await engine.reload()).kind).toBe('committed')
  expect(engine.live.text).toBe('another')
  expect((await engine.reload()).kind).toBe('unchanged')
})

test.each([
  ['${file:../outside}', 'is not in'],
  ['${file:link}', 'is not in'],
  ['${file:/etc/passwd}', 'is not in'],
  ['${file:.}', 'is not in'],
  ['${file:nowhere}', 'cannot be read'],
  ['${file:fifo}', 'is no regular file'],
  ['${HOME}', 'the variable HOME, which this node does not allow'],
])('%s is refused, with its place, and what is live stays live', async (text, why) => {
  const { secretsDir } = await secrets()
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1 })
  const { engine } = await rig.program(fake, { references: { secretsDir, variables: ['MIDFLIGHT_ZONE'] } })
  await fake.heard('hello')
  fake.publish({ limit: 2, text })
  const report = await fake.heard('report', (r) => r.number === 2 && r.status === 'FAILED')
  expect(report.detail).toContain('shop/gateway/prod release 2 text refers to')
  expect(report.detail).toContain(why)
  expect(report.detail).not.toContain('not for you')
  expect(engine.live.limit).toBe(1)
})

test('variables that are allowed, and defaults', async () => {
  process.env['MIDFLIGHT_ZONE'] = 'b'
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1, text: '${MIDFLIGHT_ZONE}-${MIDFLIGHT_NONE:-x}-$$' })
  const variables = ['MIDFLIGHT_ZONE', 'MIDFLIGHT_NONE']
  const { engine } = await rig.program(fake, { references: { variables } })
  expect(engine.live.text).toBe('b-x-$')
  delete process.env['MIDFLIGHT_ZONE']
})

test('what a reference comes to is text, also where it looks like a number; `$${` is one that is meant as text', async () => {
  const { secretsDir } = await secrets()
  await writeFile(join(secretsDir, 'limit'), '5')
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1, text: '${file:limit} $${file:limit}' })
  const { engine } = await rig.program(fake, { references: { secretsDir } })
  expect(engine.live.text).toBe('5 ${file:limit}')
  fake.publish({ limit: '${file:limit}' as never })
  const report = await fake.heard('report', (said) => said.number === 2 && said.status === 'FAILED')
  expect(report.detail).toContain('limit is ‹secret›; want a number of at least 1')
  expect(engine.live.limit).toBe(1)
})

test('without the option they are text like any other', async () => {
  const fake = rig.add(await FakeControlPlane.listen())
  fake.publish({ limit: 1, text: '${file:/etc/passwd} ${HOME}' })
  const { engine } = await rig.program(fake)
  expect(engine.live.text).toBe('${file:/etc/passwd} ${HOME}')
  fake.publish({ limit: 2 })
  await fake.heard('report', applied(2))
})
