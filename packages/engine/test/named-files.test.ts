import { mkdtemp, rm, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { componentsFor, jsonSchema, start } from '../src/index.ts'
import { file } from '../src/sources/file.ts'

const schema = jsonSchema<{
  groups: { id: string; rules: string }[]
  other: number
}>({ type: 'object' })

async function started() {
  const dir = await mkdtemp(join(tmpdir(), 'midflight-named-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const write = (name: string, text: string) => writeFile(join(dir, name), text)
  await write('a.rules', 'one')
  await write('b.rules', 'one')
  await write('main.yaml', 'groups: [{id: a, rules: a.rules}, {id: b, rules: b.rules}]\nother: 1\n')
  const taken: string[] = []
  const { keyed, value } = componentsFor(schema)
  const groups = keyed({
    name: 'groups',
    path: 'groups',
    key: 'id',
    start: (_group, id) => ({ id }),
    update: (_running, _group, _before, id) => void taken.push(id),
  })
  const other = value({ name: 'other', path: 'other', apply: () => void taken.push('other') })
  const source = file(join(dir, 'main.yaml'), { named: ['groups.*.rules'] })
  const engine = await start({ schema, sources: [source], components: [groups, other], logger: false })
  onTestFinished(() => engine.close())
  taken.length = 0
  return { dir, write, engine, taken }
}

test('P6: only a file that the config names is edited: the entry that names it is taken anew, and nothing else', async () => {
  const { write, engine, taken } = await started()
  await write('b.rules', 'two')
  await vi.waitFor(() => expect(taken).toEqual(['b']), { timeout: 10_000 })
  const last = engine.events.recent().findLast((event) => event.kind === 'reload')
  expect(last).toMatchObject({
    outcome: {
      kind: 'committed',
      plan: {
        components: [
          { component: 'groups', changes: [{ path: 'groups.b.rules', note: expect.stringContaining('new content') }] },
        ],
      },
    },
  })
  expect(await engine.reload()).toMatchObject({ kind: 'unchanged' })
})

test('P6: a touch without a change is no reload', async () => {
  const { dir, engine, taken } = await started()
  await utimes(join(dir, 'b.rules'), new Date(), new Date())
  expect(await engine.reload()).toMatchObject({ kind: 'unchanged' })
  expect(taken).toEqual([])
})

test('P6: an edit whose reload failed is still a change at the next one', async () => {
  const { write, engine, taken } = await started()
  await write('main.yaml', 'groups: [')
  await write('a.rules', 'two')
  expect(await engine.reload()).toMatchObject({ kind: 'rejected' })
  await write('main.yaml', 'groups: [{id: a, rules: a.rules}, {id: b, rules: b.rules}]\nother: 1\n')
  await engine.reload()
  await vi.waitFor(() => expect(taken).toEqual(['a']), { timeout: 10_000 })
})
