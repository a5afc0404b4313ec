/** The file source under a real engine: what a user of both sees. */
import { writeFile } from 'node:fs/promises'
import { expect, onTestFinished, test, vi } from 'vitest'
import { componentsFor, jsonSchema, start } from '../src/index.ts'
import type { FileOptions } from '../src/sources/file.ts'
import { tree, type Tree } from './file-tree.ts'

interface Gateway {
  port: number
  db: { password: string }
  jobs?: { name: string }[]
}
const schema = jsonSchema<Gateway>({
  type: 'object',
  required: ['port', 'db'],
  additionalProperties: false,
  properties: {
    port: { type: 'integer', minimum: 1 },
    db: { type: 'object', properties: { password: { type: 'string' } } },
    jobs: { type: 'array' },
  },
})

const { value } = componentsFor(schema)

async function started(dir: Tree, options: FileOptions = {}) {
  const applied: number[] = []
  const engine = await start({
    schema,
    sources: [dir.source('gateway.yaml', options)],
    components: [value({ name: 'port', path: 'port', apply: (next) => void applied.push(next) })],
    stateDir: dir.at('state'),
    logger: false,
  })
  onTestFinished(() => engine.close())
  return { engine, applied }
}

const gateway = 'include: base.yaml\nport: ${PORT}\n'
const base = 'db: { password: "${file:secret}" }\n'

test('an edit is live by itself, a mistake in an included file is refused with its place, and mended', async () => {
  const dir = await tree({ 'gateway.yaml': gateway, 'base.yaml': base, secret: 'hunter2\n' })
  const variables = { PORT: '80' }
  const { engine, applied } = await started(dir, { variables })
  expect(engine.live).toEqual({ port: 80, db: { password: 'hunter2' } })

  await writeFile(dir.at('gateway.yaml'), 'include: base.yaml\nport: 81\n')
  await vi.waitFor(() => expect(engine.live.port).toBe(81), { timeout: 10_000 })

  await writeFile(dir.at('base.yaml'), `${base}jobs: none\n`)
  await vi.waitFor(() => expect(engine.status().lastOutcome?.kind).toBe('rejected'), { timeout: 10_000 })
  const outcome = engine.status().lastOutcome
  expect(outcome).toMatchObject({
    phase: 'validate',
    issues: [{ path: ['jobs'], origin: { file: 'base.yaml', line: 2, column: 7 } }],
  })
  expect(engine.live.port).toBe(81)

  await writeFile(dir.at('base.yaml'), `${base}jobs: []\n`)
  await vi.waitFor(() => expect(engine.live.jobs).toEqual([]), { timeout: 10_000 })
  expect(applied).toEqual([80, 81])
  expect(JSON.stringify(engine.events.recent())).not.toContain('hunter2')
})

test('a key that is there twice (P5) and an empty file (Z2) are refused, what is live stays', async () => {
  const dir = await tree({ 'gateway.yaml': gateway, 'base.yaml': base, secret: 's' })
  const { engine } = await started(dir, { variables: { PORT: '80' } })
  await writeFile(dir.at('gateway.yaml'), 'include: base.yaml\nport: 81\nport: 82\n')
  const twice = await engine.reload()
  expect(twice).toMatchObject({
    kind: 'rejected',
    phase: 'load',
    issues: [{ code: 'duplicate-key', origin: { file: 'gateway.yaml', line: 3 }, related: [{ line: 2 }] }],
  })
  await writeFile(dir.at('gateway.yaml'), '')
  expect(await engine.reload()).toMatchObject({ kind: 'rejected', issues: [{ code: 'empty' }] })
  expect(engine.live.port).toBe(80)
})

test('a start from the last good reads its secrets again', async () => {
  const dir = await tree({ 'gateway.yaml': gateway, 'base.yaml': base, secret: 'old' })
  const first = await started(dir, { variables: { PORT: '80' } })
  await first.engine.close()
  await dir.write({ 'gateway.yaml': 'port: [\n', secret: 'new' })
  const { engine } = await started(dir, { variables: { PORT: '90' } })
  expect(engine.status().startedFrom).toBe('last-good')
  expect(engine.live).toEqual({ port: 80, db: { password: 'new' } })
})
