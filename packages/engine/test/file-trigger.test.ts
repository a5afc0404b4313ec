import { execFileSync } from 'node:child_process'
import { closeSync, openSync, writeSync } from 'node:fs'
import { chmod, mkdir, rename, rm, symlink, unlink, utimes, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import type { Json } from '../src/json.ts'
import { SourceError, type Document } from '../src/source.ts'
import type { FileOptions } from '../src/sources/file.ts'
import { load, tree, type Tree } from './file-tree.ts'

/** Does what an engine does with a source that is a trigger: loads, and loads again whenever it is asked to. */
async function following(dir: Tree, paths: string | readonly string[], options: FileOptions = {}) {
  const source = dir.source(paths, options)
  const closing = new AbortController()
  const warnings: string[] = []
  const state = {
    asked: 0,
    applied: 0,
    live: undefined as Json | undefined,
    document: undefined as Document | undefined,
  }
  const reload = async () => {
    for (let tries = 0; ; tries++) {
      try {
        const document = await source.load(closing.signal)
        if (document.config !== state.live) state.applied++
        state.document = document
        state.live = document.config
        return
      } catch (error) {
        if (!(error instanceof SourceError) || !error.transient || tries > 20) return
        await sleep(20)
      }
    }
  }
  await reload()
  state.applied = 0
  const listening = (async () => {
    for await (const request of source.requests(closing.signal, (message) => warnings.push(message))) {
      expect(request).toEqual({ trigger: 'file' })
      state.asked++
      await reload()
    }
  })()
  const close = async () => {
    closing.abort()
    await listening
  }
  onTestFinished(close)
  // Watching begins at the first turn of the iterator and has no mark that says so; the poll covers what comes before.
  await sleep(50)
  return {
    source,
    state,
    warnings,
    close,
    shows: (config: Json) => vi.waitFor(() => expect(state.live).toEqual(config), { timeout: 10_000, interval: 2 }),
  }
}

/** Longer than anything that would still come: settling, bursts and a poll. */
const quietMs = 1500

async function renameSave(path: string, content: string): Promise<void> {
  const beside = join(dirname(path), '.new')
  await writeFile(beside, content)
  await rename(beside, path)
}

/** As vim does it: try out the directory, move the old aside, write the new one, remove the old. */
async function vimSave(path: string, content: string): Promise<void> {
  const probe = join(dirname(path), '4913')
  await writeFile(probe, '')
  await unlink(probe)
  await rename(path, `${path}~`)
  await writeFile(path, content)
  await unlink(`${path}~`)
}

async function swap(dir: Tree, version: number, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [name, content] of Object.entries(files)) await dir.write({ [`..v${version}/${name}`]: content })
  await symlink(`..v${version}`, dir.at('..data_tmp'))
  await rename(dir.at('..data_tmp'), dir.at('..data'))
  await rm(dir.at(`..v${version - 1}`), { recursive: true, force: true })
}

describe('Z1 one reload each, and the next edit is seen too', () => {
  test.each([
    ['in-place write', (path: string, text: string) => writeFile(path, text)],
    ['rename-save', renameSave],
    ["vim's rename-save", vimSave],
    [
      'delete and create again',
      async (path: string, text: string) => {
        await unlink(path)
        await sleep(5)
        await writeFile(path, text)
      },
    ],
    ['sed -i', async (path: string, text: string) => void execFileSync('sed', ['-i', `s/.*/${text.trim()}/`, path])],
  ])('%s', async (_how, save) => {
    const dir = await tree({ 'a.yaml': 'n: 0\n' })
    const following_ = await following(dir, 'a.yaml')
    for (let n = 1; n <= 5; n++) {
      await save(dir.at('a.yaml'), `n: ${n}\n`)
      await following_.shows({ n })
    }
    expect(following_.state.applied).toBe(5)
    await following_.close()
  })

  test('a `..data` swap, 100 times (F44)', async () => {
    const dir = await tree()
    await swap(dir, 0, { 'a.yaml': 'a: 0\n', 'b.yaml': 'b: 0\n' })
    for (const name of ['a.yaml', 'b.yaml']) await symlink(`..data/${name}`, dir.at(name))
    const { shows, state } = await following(dir, '.')
    for (let n = 1; n <= 100; n++) {
      await swap(dir, n, { 'a.yaml': `a: ${n}\n`, 'b.yaml': `b: ${n}\n` })
      await shows({ a: n, b: n })
    }
    expect(state.applied).toBe(100)
  })
})

test('Z2 truncate, then write: an empty configuration is never applied, the whole one is', async () => {
  const dir = await tree({ 'a.yaml': 'n: 0\n' })
  const { shows, state } = await following(dir, 'a.yaml')
  for (let n = 1; n <= 5; n++) {
    const fd = openSync(dir.at('a.yaml'), 'w')
    await sleep(n * 40)
    expect(state.live).toEqual({ n: n - 1 })
    writeSync(fd, `n: ${n}\n`)
    closeSync(fd)
    await shows({ n })
  }
  expect(state.applied).toBe(5)
})

describe('Z3', () => {
  test('five writes 50 ms apart with a debounce of 200 ms: one reload', async () => {
    const dir = await tree({ 'a.yaml': 'n: 0\n' })
    const { shows, state } = await following(dir, 'a.yaml', { debounceMs: 200 })
    for (let n = 1; n <= 5; n++) {
      await writeFile(dir.at('a.yaml'), `n: ${n}\n`)
      await sleep(50)
    }
    await shows({ n: 5 })
    await sleep(quietMs)
    expect(state).toMatchObject({ asked: 1, applied: 1 })
  })

  test('chmod alone and touch: none; write, then chmod: one', async () => {
    const dir = await tree({ 'a.yaml': 'n: 0\n' })
    const { shows, state } = await following(dir, 'a.yaml')
    await chmod(dir.at('a.yaml'), 0o600)
    await utimes(dir.at('a.yaml'), new Date(), new Date())
    await sleep(quietMs)
    expect(state.asked).toBe(0)
    await writeFile(dir.at('a.yaml'), 'n: 1\n')
    await chmod(dir.at('a.yaml'), 0o644)
    await shows({ n: 1 })
    await sleep(quietMs)
    expect(state.asked).toBe(1)
  })
})

describe('everything that a load came by is watched', () => {
  test('layers that come and go', async () => {
    const dir = await tree({ 'a.yaml': 'n: 0\n' })
    const { shows } = await following(dir, 'a.yaml', { layers: ['prod'] })
    await dir.write({ 'a.prod.yaml': 'n: 1\n' })
    await shows({ n: 1 })
    await rm(dir.at('a.prod.yaml'))
    await shows({ n: 0 })
  })

  test('included files, and those that a pattern matches later, in directories that come later', async () => {
    const dir = await tree({ 'a.yaml': 'include: [b.yaml, rules/*.yaml]\n', 'b.yaml': 'b: 1\n' })
    const { shows } = await following(dir, 'a.yaml')
    await dir.write({ 'b.yaml': 'b: 2\n' })
    await shows({ b: 2 })
    await mkdir(dir.at('rules'))
    await dir.write({ 'rules/r.yaml': 'r: 1\n' })
    await shows({ b: 2, r: 1 })
    await dir.write({ 'rules/r.yaml': 'r: 2\n' })
    await shows({ b: 2, r: 2 })
  })

  test('secret files and .env files', async () => {
    const dir = await tree({ 'a.yaml': 'x: ${V}\ny: ${file:secret}\n', '.env': 'V=1\n', secret: 's1' })
    const { shows } = await following(dir, 'a.yaml', { env: '.env' })
    await dir.write({ secret: 's2' })
    await shows({ x: 1, y: 's2' })
    await dir.write({ '.env': 'V=2\n' })
    await shows({ x: 2, y: 's2' })
  })

  test('what a failed load did not get to, too: mending any of it is seen (F66)', async () => {
    const dir = await tree({ 'a.yaml': 'include: b.yaml\nn: 0\n', 'b.yaml': 'b: 0\n' })
    const { shows, state } = await following(dir, 'a.yaml')
    await dir.write({ 'a.yaml': 'include: [b.yaml\n' })
    await vi.waitFor(() => expect(state.asked).toBe(1), { timeout: 10_000 })
    await dir.write({ 'b.yaml': 'b: 1\n' })
    await dir.write({ 'a.yaml': 'include: b.yaml\nn: 0\n' })
    await shows({ b: 1, n: 0 })
  })

  test('P6 files that the configuration names: an edit changes their digest, a touch asks nothing', async () => {
    const dir = await tree({
      'conf/a.yaml': 'include: more/b.yaml\nrule_files: [rules/*.yml]\ntls: { ca_file: ca.pem }\n',
      'conf/more/b.yaml': 'tls: { key_file: key.pem }\n',
      'conf/rules/x.yml': 'one',
      'conf/ca.pem': 'ca',
      'conf/more/key.pem': 'key',
    })
    const { state } = await following(dir, 'conf/a.yaml', { named: ['rule_files.*', 'tls.*'] })
    const digests = () =>
      Object.fromEntries((state.document?.named ?? []).map(({ path, digest }) => [path.join('.'), digest]))
    let before = digests()
    expect(Object.keys(before).sort()).toEqual(['rule_files.0', 'tls.ca_file', 'tls.key_file'])
    for (const [name, content, path] of [
      ['conf/rules/x.yml', 'two', 'rule_files.0'],
      ['conf/rules/y.yml', 'new', 'rule_files.0'],
      ['conf/ca.pem', 'other', 'tls.ca_file'],
      ['conf/more/key.pem', 'other', 'tls.key_file'],
    ] as const) {
      await dir.write({ [name]: content })
      await vi.waitFor(() => expect(digests()[path]).not.toBe(before[path]), { timeout: 10_000 })
      const now = digests()
      expect({ ...now, [path]: '' }).toEqual({ ...before, [path]: '' })
      before = now
    }
    expect(state.applied).toBe(0)
    const { asked } = state
    await utimes(dir.at('conf/ca.pem'), new Date(), new Date())
    await sleep(quietMs)
    expect(state.asked).toBe(asked)
  })
})

test('F45 an editor that deletes and renames, again and again: the last state is live in the end', async () => {
  const dir = await tree({ 'a.yaml': 'n: 0\n' })
  const { shows } = await following(dir, 'a.yaml')
  for (let n = 1; n <= 50; n++) {
    if (n % 3 === 0) await rm(dir.at('a.yaml'))
    if (n % 3 === 1) await vimSave(dir.at('a.yaml'), `n: ${n}\n`)
    else await renameSave(dir.at('a.yaml'), `n: ${n}\n`)
  }
  await shows({ n: 50 })
})

test('F47 the watched directory is replaced, and deleted and made again', async () => {
  const dir = await tree({ 'conf/a.yaml': 'n: 0\n', 'next/a.yaml': 'n: 1\n' })
  const { shows } = await following(dir, 'conf/a.yaml')
  await rename(dir.at('conf'), dir.at('old'))
  await rename(dir.at('next'), dir.at('conf'))
  await shows({ n: 1 })
  await dir.write({ 'conf/a.yaml': 'n: 2\n' })
  await shows({ n: 2 })
  await rm(dir.at('conf'), { recursive: true })
  await sleep(100)
  await dir.write({ 'conf/a.yaml': 'n: 3\n' })
  await shows({ n: 3 })
})

test('F17 a torn write is read again by itself, without another event', async () => {
  const dir = await tree({ 'a.json': '{"n":0}' })
  const { shows, state } = await following(dir, 'a.json')
  const fd = openSync(dir.at('a.json'), 'w')
  for (const piece of ['{"n"', ':', '1', '}']) {
    writeSync(fd, piece)
    await sleep(60)
    if (piece !== '}') expect(state.live).toEqual({ n: 0 })
  }
  closeSync(fd)
  await shows({ n: 1 })
})

test('a load that nobody watched for (a dry run) does not hide the change from the trigger', async () => {
  const dir = await tree({ 'a.yaml': 'n: 0\n' })
  const { source, shows } = await following(dir, 'a.yaml')
  for (let n = 1; n <= 20; n++) {
    await writeFile(dir.at('a.yaml'), `n: ${n}\n`)
    expect((await load(source)).config).toEqual({ n })
    await shows({ n })
  }
})

test('nor does one that finds again what was away', async () => {
  const dir = await tree({ 'a.yaml': 'x: ${V}\n', '.env': 'V=1\n' })
  const { source, shows, state } = await following(dir, 'a.yaml', { env: '.env' })
  await rm(dir.at('.env'))
  await expect(load(source)).rejects.toThrow('.env is not there')
  await dir.write({ 'a.yaml': 'x: 2${V}\n', '.env': 'V=2\n' })
  expect((await load(source)).config).toEqual({ x: '22' })
  await shows({ x: '22' })
  expect(state.live).toEqual({ x: '22' })
})

test('an abort ends the requests at once, and the process has nothing left that keeps it', async () => {
  const dir = await tree({ 'a.yaml': 'n: 0\n' })
  const script = `
    import { file } from ${JSON.stringify(new URL('../src/sources/file.ts', import.meta.url).href)}
    const source = file('a.yaml')
    await source.load(new AbortController().signal)
    const closing = new AbortController()
    setTimeout(() => closing.abort(), 100)
    for await (const request of source.requests(closing.signal)) console.log(request)
    console.log('ended')
  `
  const out = execFileSync(
    process.execPath,
    ['--conditions=midflight-source', '--input-type=module-typescript', '-e', script],
    {
      cwd: dir.path,
      timeout: 20_000,
      encoding: 'utf8',
    },
  )
  expect(out).toBe('ended\n')
})
