/** Packages on a node: what is in their folders, and that it is old or new, whatever fails. */
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { jsonSchema, start, type Component, type Json } from 'midflight'
import { packages, type InstalledPackage, type PackagesOptions } from 'midflight/agent'
import { expect, onTestFinished, test } from 'vitest'

/** Besides what says that the directory belongs to packages. */
const namesIn = async (directory: string): Promise<string[]> =>
  (await readdir(directory)).filter((name) => name !== '.midflight-packages')

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
  expect(await namesIn(here.directory)).toEqual(['other'])
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
  expect(await namesIn(here.directory)).toEqual([place])
  expect(log.filter((line) => !line.includes('bad'))).toEqual([
    'stop mysql 1',
    'start mysql 2',
    'stop mysql 2',
    'start mysql 1',
  ])
})

test('what another process left, whole or half, is gone at the start', async () => {
  const directory = await folder()
  await writeFile(join(directory, '.midflight-packages'), '')
  for (const left of ['shop%2Fold%231', '.new-1', '.old-2', '%']) await mkdir(join(directory, left))
  await mkdir(join(directory, place))
  await writeFile(join(directory, place, 'stray'), '')
  await node(directory, { [id]: one('1') })
  expect(await namesIn(directory)).toEqual([place])
  expect(await readdir(join(directory, place))).toEqual(['parameters.json'])
})

test.each(['../x', '/etc/x', 'a/../../x', 'a//b', '.', 'a/..', 'a\\b', ''])(
  'a path that leads out of the folder is refused, and nothing is touched: %j',
  async (path) => {
    const here = await node(await folder(), {})
    expect(await here.bring({ [id]: one('1', { [path]: 'x' }) })).toBe('rejected')
    expect(await namesIn(here.directory)).toEqual([])
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

test('a directory that holds anything else is not taken: nothing in it is touched', async () => {
  const directory = await folder()
  await writeFile(join(directory, 'precious'), 'x')
  await expect(node(directory, { [id]: one('1') })).rejects.toThrow(
    /holds what is no package; want a directory that is/,
  )
  expect(await readdir(directory)).toEqual(['precious'])
})

test.each(['.', '..', '.new-1', '', '\ud800'])(
  'an id that is no name for a folder is refused, and nothing is touched: %j',
  async (wrong) => {
    const above = await folder()
    const here = await node(join(above, 'packages'), {})
    expect(await here.bring({ [wrong]: one('1', { a: 'x' }) })).toBe('rejected')
    expect(await namesIn(here.directory)).toEqual([])
    expect(await readdir(above)).toEqual(['packages'])
  },
)

test('names and versions that are none, and a file below a file, are refused', async () => {
  const here = await node(await folder(), {})
  const named = (over: object) => ({ [id]: one('1', {}, { package: { name: 'a', version: '1', files: {}, ...over } }) })
  for (const over of [
    { name: '--help' },
    { name: '' },
    { version: '1 2' },
    { version: { a: 1 } },
    { files: { a: '', 'a/b': '' } },
  ]) {
    expect(await here.bring(named(over) as Json)).toBe('rejected')
  }
  expect(await namesIn(here.directory)).toEqual([])
})

test('ids that are longer than a file name may be, and those that objects have by birth, have a folder each', async () => {
  const long = Array.from({ length: 8 }, () => 'x'.repeat(64)).join('/')
  const ids = [`${long}#1`, `${long}#12`, 'constructor', 'toString']
  const here = await node(await folder(), {})
  const entries = ids.map((which): [string, Json] => [which, one('1', { valueOf: 'x' })])
  expect(await here.bring(Object.fromEntries(entries))).toBe('committed')
  expect(await namesIn(here.directory)).toHaveLength(4)
  expect(await here.bring({})).toBe('committed')
  expect(await namesIn(here.directory)).toEqual([])
})

test('a file becomes a folder and a folder a file from one version to the next', async () => {
  const here = await node(await folder(), { [id]: one('1', { a: 'file', 'b/c': 'below' }) })
  expect(await here.bring({ [id]: one('2', { 'a/c': 'below', b: 'file' }) })).toBe('committed')
  expect(await readFile(join(here.directory, place, 'files/a/c'), 'utf8')).toBe('below')
  expect(await readFile(join(here.directory, place, 'files/b'), 'utf8')).toBe('file')
})

test('auto-inspection follows no link out of the folder: it is replaced, and what it led to stays as it is', async () => {
  const repaired: string[] = []
  const outside = await folder()
  await writeFile(join(outside, 'a.conf'), 'theirs')
  const here = await node(
    await folder(),
    { [id]: one('1', { 'etc/a.conf': 'x', 'b.conf': 'y', 'c.conf': 'z' }, { inspected: true }) },
    { inspectMs: 10, onRepair: (_, paths, failure) => repaired.push(...paths, ...(failure ? [failure] : [])) },
  )
  const files = join(here.directory, place, 'files')
  for (const name of ['etc', 'b.conf', 'c.conf']) await rm(join(files, name), { recursive: true })
  await symlink(outside, join(files, 'etc'))
  await symlink(join(outside, 'a.conf'), join(files, 'b.conf'))
  await mkdir(join(files, 'c.conf/d'), { recursive: true })
  while (new Set(repaired).size < 3) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(new Set(repaired)).toEqual(new Set(['files/etc/a.conf', 'files/b.conf', 'files/c.conf']))
  expect(await readFile(join(outside, 'a.conf'), 'utf8')).toBe('theirs')
  expect(await readFile(join(files, 'etc/a.conf'), 'utf8')).toBe('x')
  expect((await lstat(join(files, 'etc'))).isDirectory()).toBe(true)
  expect(await readFile(join(files, 'c.conf'), 'utf8')).toBe('z')
})

test('what cannot be stopped is said with its name, and at the end the others are stopped all the same', async () => {
  const stopped: string[] = []
  const component = packages({
    directory: await folder(),
    stop({ id: which }) {
      if (which === 'a') throw new Error('it is busy')
      stopped.push(which)
    },
  })
  const change = { before: undefined, after: { a: one('1'), b: one('1') }, forced: false } as never
  const prepared = await component.prepare(change, AbortSignal.timeout(10_000))
  await prepared.commit()
  await prepared.dispose()
  await expect(component.close?.()).rejects.toThrow('package a does not stop: it is busy')
  expect(stopped).toEqual(['b'])
})
