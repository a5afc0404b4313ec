/** Any program: in order with others, with every kind of reload and probe, within its limits, and without a trace in a dry run. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chownSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { preview, program, type Probe, type ProgramOptions, type Reload } from '../src/program/index.ts'
import { freePort } from '../../../test/rig/free-ports.ts'
import { closeEngines, engineOf, leftIn, tree, until } from './program-rig.ts'

const made: string[] = []
const servers: Server[] = []
const children: ChildProcess[] = []

afterEach(async () => {
  await closeEngines()
  for (const server of servers.splice(0)) server.close()
  for (const child of children.splice(0)) child.kill('SIGKILL')
  for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true })
})

function place(files: Readonly<Record<string, string>> = {}): string {
  const directory = tree(files)
  made.push(directory)
  return directory
}

/** A program that reads its file when it is told to, by POST; `/` says what it runs. A text with `bad` it refuses. */
async function reader(path: string) {
  const seen = { runs: '', told: 0 }
  const server = createServer((request, response) => {
    if (request.method === 'POST') {
      seen.told++
      const text = existsSync(path) ? readFileSync(path, 'utf8') : ''
      if (text.includes('bad')) response.statusCode = 500
      else seen.runs = text
      response.end(text.includes('bad') ? `cannot use ${text}` : '')
    } else response.end(seen.runs)
  }).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return { seen, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/` }
}

const files = (path: string, from: string) => [{ path, from, as: 'raw' }] as const
const shortly = { reloadMs: 1_000, probeMs: 500 }

async function oneOf(name: string, more: Partial<ProgramOptions> = {}) {
  const directory = place()
  const path = join(directory, 'x.conf')
  const { seen, url } = await reader(path)
  const reload: Reload = { http: { url } }
  const component = program({ name, directory, files: files('x.conf', name), reload, limits: shortly, ...more })
  return { component, seen, url, path, directory, live: () => readFileSync(path, 'utf8') }
}

describe('several programs in one change', () => {
  test('are told in their order, and the earlier get their old files back, and are told, when a later one fails', async () => {
    const [first, second] = [await oneOf('first'), await oneOf('second', { after: ['first'] })]
    const rig = await engineOf([second.component, first.component], { first: '1', second: '1' })
    expect([first.seen, second.seen]).toEqual([
      { runs: '1', told: 1 },
      { runs: '1', told: 1 },
    ])
    const outcome = await rig.set({ first: '2', second: 'bad' })
    expect(outcome).toMatchObject({ kind: 'rolled-back', failed: 'second', phase: 'commit' })
    expect(outcome).toMatchObject({ cause: expect.stringContaining('answered with 500:\ncannot use bad') })
    expect(outcome).toMatchObject({
      components: [{ component: 'first', result: 'rolled-back' }, { component: 'second' }],
    })
    expect([first.live(), first.seen.runs, second.live(), second.seen.runs]).toEqual(['1', '1', '1', '1'])
    expect(first.seen.told).toBe(3)
    expect([first.directory, second.directory].map(leftIn)).toEqual([['x.conf'], ['x.conf']])
  })

  test('only those whose files change are told', async () => {
    const [first, second] = [await oneOf('first'), await oneOf('second')]
    const rig = await engineOf([first.component, second.component], { first: '1', second: '1' })
    await rig.set({ first: '2', second: '1' })
    expect([first.seen.told, second.seen.told]).toEqual([2, 1])
  })

  test('a check that refuses the last of them leaves all as they are', async () => {
    const first = await oneOf('first')
    const second = await oneOf('second', { after: ['first'], check: ['grep', '-q', 'good', '{file:x.conf}'] })
    const rig = await engineOf([first.component, second.component], { first: '1', second: 'good' })
    expect(await rig.set({ first: '2', second: 'other' })).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
    expect([first.live(), first.seen.told, second.live()]).toEqual(['1', 1, 'good'])
  })
})

test('a file that passes the check and fails in the reload: restored and told again', async () => {
  const one = await oneOf('p')
  const rig = await engineOf([one.component], { p: 'good' })
  expect(await rig.set({ p: 'bad' })).toMatchObject({ kind: 'rolled-back', phase: 'commit' })
  expect([one.live(), one.seen.runs, one.seen.told]).toEqual(['good', 'good', 3])
  // F66: good → bad → the same good.
  expect(await rig.set({ p: 'good' })).toMatchObject({ kind: 'unchanged' })
  expect(await rig.set({ p: 'better' })).toMatchObject({ kind: 'committed' })
  expect(one.seen.runs).toBe('better')
})

test('a program that is given its configuration is sent what is in place, also on the way back', async () => {
  const sent: string[] = []
  const server = createServer(async (request, response) => {
    let text = ''
    for await (const part of request) text += String(part)
    sent.push(`${request.method} ${request.headers['content-type']} ${request.headers['cache-control']} ${text}`)
    response.writeHead(text.includes('bad') ? 400 : 200).end()
  }).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/load`
  const reload = { http: { url, method: 'PUT', file: 'x.conf', contentType: 'text/caddyfile' } } as const
  const rig = await engineOf([program({ name: 'p', directory: place(), files: files('x.conf', 'p'), reload })], {
    p: '1',
  })
  expect(await rig.set({ p: 'bad' })).toMatchObject({ kind: 'rolled-back', phase: 'commit' })
  expect(sent).toEqual(['1', 'bad', '1'].map((text) => `PUT text/caddyfile must-revalidate ${text}`))
})

test('no file is left where there was none before', async () => {
  const one = await oneOf('p')
  await expect(engineOf([one.component], { p: 'bad' })).rejects.toThrow('answered with 500')
  expect(leftIn(one.directory)).toEqual([])
})

test('a place in the configuration that is not there refuses the change; nothing is emptied or removed', async () => {
  const one = await oneOf('p')
  const rig = await engineOf([one.component], { p: 'good' })
  expect(await rig.set({ other: 1 })).toMatchObject({ kind: 'rejected', phase: 'check' })
  expect(one.live()).toBe('good')
})

test('a dry run renders and checks, and leaves nothing behind', async () => {
  const one = await oneOf('p', { check: ['grep', '-q', 'good', '{staged}/x.conf'] })
  const rig = await engineOf([one.component], { p: 'good' })
  const before = statSync(one.path)
  const prepared = await rig.engine.prepare({ p: 'also good' })
  expect(prepared.kind).toBe('prepared')
  if (prepared.kind === 'prepared') await prepared.rollback()
  expect(await rig.engine.prepare({ p: 'not' })).toMatchObject({ kind: 'rolled-back', phase: 'prepare' })
  expect(statSync(one.path).ino).toBe(before.ino)
  expect([leftIn(one.directory), one.seen.told]).toEqual([['x.conf'], 1])
})

test('a preview shows what would be written next to what is in place, and touches nothing', async () => {
  const directory = place({ 'x.conf': 'old' })
  const options = { name: 'p', directory, files: [...files('x.conf', 'a.b'), ...files('y.conf', 'c')] }
  expect(await preview(options, { a: { b: 'new' }, c: 'first' })).toEqual([
    { path: 'x.conf', before: 'old', after: 'new' },
    { path: 'y.conf', before: undefined, after: 'first' },
  ])
  await expect(preview(options, { a: {}, c: 'first' })).rejects.toThrow('x.conf: a.b is not there')
  expect(leftIn(directory)).toEqual(['x.conf'])
  expect(existsSync(join(directory, '.midflight-p'))).toBe(false)
})

test('a preview of more files than this process may open', () => {
  const directory = place(Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`f${i}`, 'old'])))
  const module = new URL('../src/program/index.ts', import.meta.url).href
  const script = `
    const { preview } = await import(${JSON.stringify(module)})
    const files = Array.from({ length: 400 }, (_, i) => ({ path: 'f' + i, from: 'x', as: 'raw' }))
    const all = await preview({ name: 'p', directory: ${JSON.stringify(directory)}, files }, { x: 'new' })
    console.log(all.filter(({ before, after }) => before === 'old' && after === 'new').length)`
  const flags = ['--conditions=midflight-source', '--disable-warning=ExperimentalWarning', '--input-type=module']
  const shell = ['-c', 'ulimit -n 200; exec "$0" "$@"', process.execPath, ...flags, '-e', script]
  expect(spawnSync('bash', shell, { encoding: 'utf8', timeout: 60_000 })).toMatchObject({ stdout: '400\n', stderr: '' })
})

test('forced, it is told although its files are what they should be', async () => {
  const one = await oneOf('p')
  const rig = await engineOf([one.component], { p: 'good' })
  expect(await rig.engine.reload({ force: true })).toMatchObject({ kind: 'committed' })
  expect(one.seen.told).toBe(2)
})

test('without a reload, files are written before the program runs', async () => {
  const directory = place()
  await engineOf([program({ name: 'p', directory, files: files('x.conf', 'p') })], { p: 'first' })
  expect(readFileSync(join(directory, 'x.conf'), 'utf8')).toBe('first')
})

test('a thousand files in one change', async () => {
  const directory = place()
  const all = Array.from({ length: 1_000 }, (_, i) => ({ path: `f${i}`, from: 'p', as: 'raw' }) as const)
  const check = ['/bin/sh', '-c', 'cat "$0"/f* | sort -u | grep -qx v[12]', '{staged}'] as const
  const rig = await engineOf([program({ name: 'p', directory, files: all, check })], { p: 'v1\n' })
  expect(await rig.set({ p: 'v2\n' })).toMatchObject({ kind: 'committed' })
  expect(new Set(all.map(({ path }) => readFileSync(join(directory, path), 'utf8')))).toEqual(new Set(['v2\n']))
  expect(leftIn(directory)).toHaveLength(1_000)
}, 120_000)

describe('the check sees the tree as it is going to be', () => {
  test('what is declared is new, what is not is as it is, and what did not change is there', async () => {
    const directory = place({ 'mime.types': 'types', 'sub/other': 'other', 'sub/x': 'old', 'far/away': 'far' })
    const list = 'cd "$0" && for f in mime.types sub/other sub/x y far/away; do echo "$f $(cat $f)"; done > "$1"'
    const said = join(place(), 'said')
    const declared = [...files('sub/x', 'x'), ...files('y', 'y')]
    const check = ['/bin/sh', '-c', list, '{staged}', said] as const
    const others = ['mime.types', 'sub/other', 'far/away'].map((path) => statSync(join(directory, path)))
    const rig = await engineOf([program({ name: 'p', directory, files: declared, check })], { x: 'x1', y: 'y1' })
    await rig.set({ x: 'x2', y: 'y1' })
    // Not even the time of their last change, which a hard link would move.
    const after = ['mime.types', 'sub/other', 'far/away'].map((path) => statSync(join(directory, path)))
    expect(after.map(({ ctimeMs }) => ctimeMs)).toEqual(others.map(({ ctimeMs }) => ctimeMs))
    expect(readFileSync(said, 'utf8')).toBe('mime.types types\nsub/other other\nsub/x x2\ny y1\nfar/away far\n')
    expect(readFileSync(join(directory, 'mime.types'), 'utf8')).toBe('types')
  })

  test('what is there under a name that is no UTF-8 is there too', async () => {
    const directory = place({ 'sub/x': 'old' })
    writeFileSync(Buffer.concat([Buffer.from(`${directory}/sub/`), Buffer.from([0x63, 0xe9])]), 'latin')
    const check = ['/bin/sh', '-c', 'cat "$0"/sub/c?', '{staged}'] as const
    const rig = await engineOf([program({ name: 'p', directory, files: files('sub/x', 'x'), check })], { x: 'new' })
    expect(rig.engine.status().lastOutcome).toMatchObject({ kind: 'committed' })
  })

  const isRoot = process.geteuid?.() === 0
  test.skipIf(!isRoot)(
    `what did not change and belongs to another user is there too${isRoot ? '' : ' (skipped: needs root)'}`,
    async () => {
      const directory = place({ y: 'y1' })
      chownSync(directory, 65_534, 65_534)
      const check = ['/bin/sh', '-c', 'test "$(cat "$0/x" "$0/y")" = x1y1', '{staged}'] as const
      process.seteuid?.(65_534)
      try {
        await engineOf([program({ name: 'p', directory, files: [...files('x', 'x'), ...files('y', 'y')], check })], {
          x: 'x1',
          y: 'y1',
        })
        await closeEngines()
      } finally {
        process.seteuid?.(0)
      }
      expect([readFileSync(join(directory, 'x'), 'utf8'), statSync(join(directory, 'y')).uid]).toEqual(['x1', 0])
    },
  )
})

describe('probes', () => {
  test.for<[string, (url: string, port: number) => Probe, (url: string, port: number) => Probe]>([
    ['http', (url) => ({ http: { url } }), (url) => ({ http: { url, status: 418 } })],
    ['tcp', (url) => ({ tcp: { port: Number(new URL(url).port) } }), (_url, port) => ({ tcp: { port } })],
    ['command', () => ({ command: ['true'] }), () => ({ command: ['/bin/sh', '-c', 'echo why; exit 4'] })],
  ])('%s: a yes commits; without one the old files are back', async ([, yes, no]) => {
    const closed = await freePort()
    const good = await oneOf('good')
    const options = { name: 'p', limits: shortly, reload: { http: { url: good.url } } }
    const base = { ...options, directory: good.directory, files: files('x.conf', 'p') }
    const rig = await engineOf([program({ ...base, probes: [yes(good.url, closed)] })], { p: 'one' })
    expect(await rig.set({ p: 'two' })).toMatchObject({ kind: 'committed' })
    await closeEngines()
    const started = engineOf([program({ ...base, probes: [yes(good.url, closed), no(good.url, closed)] })], {
      p: 'three',
    })
    await expect(started).rejects.toThrow(
      /the probe did not say yes within 500 ms: .*(want 418|ECONNREFUSED|ended with 4)/,
    )
    expect(good.live()).toBe('two')
  })
})

describe('limits', () => {
  test('a reload that never ends on the way back either: that is what is told of it', async () => {
    const directory = place({ 'x.conf': 'old' })
    const command = ['/bin/sh', '-c', 'test ! -e hang || exec sleep 1000; touch hang'] as const
    const limits = { reloadMs: 300, probeMs: 400 }
    const component = program({ name: 'p', directory, files: files('x.conf', 'p'), reload: { command }, limits })
    const rig = await engineOf([component], { p: 'first' })
    const outcome = await rig.set({ p: 'new' })
    expect(outcome).toMatchObject({ kind: 'degraded', failed: 'p' })
    expect(outcome).toMatchObject({
      cause: expect.stringMatching(/did not take them: the reload did not finish within 300 ms/),
    })
    rmSync(join(directory, 'hang'))
    expect(await rig.set({ p: 'newer' })).toMatchObject({ kind: 'committed' })
  })

  test('a reload that never ends is ended with all it has started, and the old files are back', async () => {
    const directory = place({ 'x.conf': 'old' })
    const command = ['/bin/sh', '-c', `grep -q old x.conf || { sleep 1000 & echo $! > pid; wait; }`] as const
    const limits = { reloadMs: 400, probeMs: 400 }
    const component = program({ name: 'p', directory, files: files('x.conf', 'p'), reload: { command }, limits })
    const rig = await engineOf([component], { p: 'old' })
    const outcome = await rig.set({ p: 'new' })
    expect(outcome).toMatchObject({
      kind: 'rolled-back',
      cause: expect.stringContaining('the reload did not finish within 400 ms'),
    })
    expect(readFileSync(join(directory, 'x.conf'), 'utf8')).toBe('old')
    expect(await rig.set({ p: 'old ' })).toMatchObject({ kind: 'committed' })
  })

  test.for([{ checkMs: 0 }, { reloadMs: -1 }, { probeMs: Number.NaN }, { checkMs: 3_600_001 }])(
    '%j is refused at once',
    (limits) => {
      expect(() => program({ name: 'p', directory: '/etc/p', files: files('x', 'p'), limits })).toThrow(RangeError)
    },
  )
})

test('a signal goes to the process in the file, by its name', async () => {
  const directory = place()
  const run = place()
  const script = `trap 'cp "$0" "$1"' HUP; echo $$ > "$2"; while :; do sleep 0.05; done`
  const args = ['-c', script, join(directory, 'x.conf'), join(run, 'taken'), join(run, 'pid')]
  children.push(spawn('/bin/sh', args, { stdio: 'ignore' }))
  // There and written: in between it is empty.
  await until('its number is in the file', () => existsSync(join(run, 'pid')) && statSync(join(run, 'pid')).size > 0)
  const reload = { signal: 'SIGHUP', pidFile: join(run, 'pid'), process: 'sh' } as const
  const probes = [{ command: ['cmp', 'x.conf', join(run, 'taken')] }] satisfies Probe[]
  const component = program({ name: 'p', directory, files: files('x.conf', 'p'), reload, probes })
  const rig = await engineOf([component], { p: 'one' })
  expect(await rig.set({ p: 'two' })).toMatchObject({ kind: 'committed' })
  expect(readFileSync(join(run, 'taken'), 'utf8')).toBe('two')
})
