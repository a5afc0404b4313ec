/** Packages on a node: what is in their folders, and that it is old or new, whatever fails. */
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jsonSchema, start, type Component, type Json } from 'midflight'
import { packages, type InstalledPackage, type PackagesOptions } from 'midflight/agent'
import { expect, onTestFinished, test } from 'vitest'

interface Here {
  readonly directory: string
  readonly log: string[]
  /** What is to be there from now on. */
  bring(deployments: Json): Promise<string>
}

async function folder(): Promise<string> {
  const made = await mkdtemp(join(tmpdir(), 'midflight-packages-'))
  onTestFinished(() => rm(made, { recursive: true, force: true }))
  return made
}

async function node(directory: string, first: Json, more: Partial<PackagesOptions> = {}): Promise<Here> {
  const log: string[] = []
  const said = (verb: string) => (one: InstalledPackage) => void log.push(`${verb} ${one.name} ${one.version}`)
  const component = packages({ directory, start: said('start'), stop: said('stop'), ...more })
  let content: Json = { deployments: first }
  const engine = await start({
    schema: jsonSchema<Json>(true),
    sources: [{ name: 'test', load: async () => ({ config: content }) }],
    components: [component as Component],
    logger: false,
  })
  onTestFinished(() => engine.close().then(() => {}))
  return {
    directory,
    log,
    async bring(deployments) {
      content = { deployments }
      return (await engine.reload()).kind
    },
  }
}

const one = (version: string, files: Record<string, string> = {}, over: object = {}): Json => ({
  enabled: true,
  inspected: false,
  package: { name: 'mysql', version, files },
  parameters: { password: 'x' },
  ...over,
})
const id = 'monitor/mysql#1'
const place = encodeURIComponent(id)

test('a package is brought, changed, stopped, started and taken away; what does not change is not touched', async () => {
  const here = await node(await folder(), {})
  expect(await here.bring({ [id]: one('1', { 'a/b.conf': 'x' }), other: one('7') })).toBe('committed')
  expect(await readFile(join(here.directory, place, 'files/a/b.conf'), 'utf8')).toBe('x')
  expect((await stat(join(here.directory, place, 'parameters.json'))).mode & 0o777).toBe(0o600)
  here.log.length = 0
  await here.bring({ [id]: one('2', { 'c.conf': 'y' }), other: one('7') })
  expect(await readdir(join(here.directory, place, 'files'))).toEqual(['c.conf'])
  await here.bring({ [id]: one('2', { 'c.conf': 'y' }, { enabled: false }), other: one('7') })
  await here.bring({ [id]: one('2', { 'c.conf': 'y' }, { enabled: false, inspected: true }), other: one('7') })
  await here.bring({ [id]: one('2', { 'c.conf': 'y' }), other: one('7') })
  await here.bring({ other: one('7') })
  expect(here.log).toEqual(['stop mysql 1', 'start mysql 2', 'stop mysql 2', 'start mysql 2', 'stop mysql 2'])
  expect(await readdir(here.directory)).toEqual(['other'])
})

test('one that does not start is undone with all that came with it: files and what works are the old', async () => {
  const log: string[] = []
  const here = await node(
    await folder(),
    { [id]: one('1', { 'a.conf': 'old' }) },
    {
      start({ name, version }) {
        log.push(`start ${name} ${version}`)
        if (version === 'bad') throw new Error('it does not start')
      },
      stop: ({ name, version }) => void log.push(`stop ${name} ${version}`),
    },
  )
  log.length = 0
  expect(await here.bring({ [id]: one('2', { 'a.conf': 'new' }), other: one('bad') })).toBe('rolled-back')
  expect(await readFile(join(here.directory, place, 'files/a.conf'), 'utf8')).toBe('old')
  expect(await readdir(here.directory)).toEqual([place])
  expect(log.filter((line) => !line.includes('bad'))).toEqual([
    'stop mysql 1',
    'start mysql 2',
    'stop mysql 2',
    'start mysql 1',
  ])
})

test('what another process left, whole or half, is gone at the start', async () => {
  const directory = await folder()
  for (const left of ['shop%2Fold%231', '.new-1', '.old-2', '%']) await mkdir(join(directory, left))
  await mkdir(join(directory, place))
  await writeFile(join(directory, place, 'stray'), '')
  await node(directory, { [id]: one('1') })
  expect(await readdir(directory)).toEqual([place])
  expect(await readdir(join(directory, place))).toEqual(['parameters.json'])
})

test.each(['../x', '/etc/x', 'a/../../x', 'a//b', '.', 'a/..', 'a\\b', ''])(
  'a path that leads out of the folder is refused, and nothing is touched: %j',
  async (path) => {
    const here = await node(await folder(), {})
    expect(await here.bring({ [id]: one('1', { [path]: 'x' }) })).toBe('rejected')
    expect(await readdir(here.directory)).toEqual([])
  },
)

test('auto-inspection writes again what was changed or removed, of those that are inspected', async () => {
  const repaired: string[] = []
  const files = { 'a.conf': 'x', 'b.conf': 'y' }
  const here = await node(
    await folder(),
    { [id]: one('1', files, { inspected: true }), other: one('1', files) },
    { inspectMs: 10, onRepair: (which, paths) => repaired.push(`${which} ${paths.join()}`) },
  )
  const changed = (name: string) => join(here.directory, name, 'files/a.conf')
  await writeFile(changed('other'), 'z')
  await writeFile(changed(place), 'z')
  await rm(join(here.directory, place, 'files/b.conf'))
  while (repaired.length === 0) await new Promise((resolve) => setTimeout(resolve, 5))
  while ((await readdir(join(here.directory, place, 'files'))).length < 2)
    await new Promise((resolve) => setTimeout(resolve, 5))
  expect(await readFile(changed(place), 'utf8')).toBe('x')
  expect(await readFile(changed('other'), 'utf8')).toBe('z')
  expect(repaired.join()).not.toContain('other')
})
