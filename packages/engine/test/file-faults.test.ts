import { execFileSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  existsSync,
  openSync,
  readdirSync,
  renameSync,
  statSync,
  utimesSync,
  writeSync,
} from 'node:fs'
import { mkdir, symlink, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { describe, expect, test } from 'vitest'
import { load, refusal, tree, Tree } from './file-tree.ts'

/** Older than any "it may still be being written". */
function longAgo(path: string): void {
  const then = new Date(Date.now() - 3_600_000)
  utimesSync(path, then, then)
}

describe('is refused', () => {
  test('a file that is not there, as something that may pass', async () => {
    const dir = await tree()
    const error = await refusal(dir.load('nope/gateway.yaml'))
    expect(error).toMatchObject({
      message: 'nope/gateway.yaml is not there',
      transient: true,
      issues: [{ code: 'unreadable' }],
    })
  })

  test('a FIFO, without waiting for a writer', async () => {
    const dir = await tree()
    execFileSync('mkfifo', [dir.at('a.yaml')])
    expect((await refusal(dir.load('a.yaml'))).message).toBe('a.yaml is a FIFO; want a regular file')
  })

  test('/dev/zero, a link to it, and a directory with the name of a file', async () => {
    const dir = await tree()
    expect((await refusal(dir.load('/dev/zero', { format: 'yaml' }))).message).toBe(
      '/dev/zero is a device; want a regular file',
    )
    await symlink('/dev/zero', dir.at('zero.yaml'))
    expect((await refusal(dir.load('zero.yaml'))).message).toBe('zero.yaml is a device; want a regular file')
    await mkdir(dir.at('env'))
    await writeFile(dir.at('a.yaml'), 'a: 1\n')
    expect((await refusal(dir.load('a.yaml', { env: 'env' }))).message).toBe('env is a directory; want a regular file')
  })

  test('a link that leads to itself', async () => {
    const dir = await tree()
    await symlink('a.yaml', dir.at('a.yaml'))
    expect((await refusal(dir.load('a.yaml'))).message).toBe('a.yaml is a symbolic link that leads to itself')
  })

  test('a file that is too large, with both sizes, before it is read', async () => {
    const dir = await tree({ 'a.json': '{"a":1}', 'b.json': '{}' })
    const error = await refusal(dir.load('a.json', { limits: { maxBytes: 6 } }))
    expect(error).toMatchObject({
      message: 'a.json has 7 bytes; want at most 6 bytes',
      transient: false,
      issues: [{ code: 'limit' }],
    })
    await truncate(dir.at('b.json'), 10 * 1024 ** 3)
    expect((await refusal(dir.load('b.json'))).message).toBe(
      'b.json has 10 GiB (10737418240 bytes); want at most 128 MiB (134217728 bytes)',
    )
  })

  test.each([
    ['list', 'a.yaml', '- 1\n', 'a.yaml:1:1 is a list at the root; want a mapping at the root'],
    ['text', 'a.json', '  "x"', 'a.json:1:3 is a string at the root; want a mapping at the root'],
  ])('a %s at the root', async (_what, name, text, message) => {
    const dir = await tree({ [name]: text })
    expect((await refusal(dir.load(name))).message).toBe(message)
  })

  test.each([
    ['a.yaml', ''],
    ['a.yaml', '# only a comment\n'],
    ['a.yaml', 'null\n'],
    ['a.json', ' \n'],
    ['a.json', 'null'],
    ['a.toml', ''],
    ['.env', '\n'],
  ])('%s with %j: empty never means "nothing is configured" (Z2, I11)', async (name, text) => {
    const dir = await tree({ [name]: text })
    longAgo(dir.at(name))
    expect(await refusal(dir.load(name))).toMatchObject({
      transient: false,
      issues: [{ code: 'empty', origin: { file: name } }],
    })
  })

  test('an empty one among several', async () => {
    const dir = await tree({ 'conf.d/a.yaml': 'a: 1\n', 'conf.d/b.yaml': '' })
    expect((await refusal(dir.load('conf.d'))).message).toMatch(/^conf\.d\/b\.yaml/)
  })
})

describe('F17 a torn write', () => {
  test('does not parse: worth another try while it is fresh, a mistake once it is old', async () => {
    const dir = await tree({ 'a.json': '{"rules":[{"id":"r1","lim' })
    expect((await refusal(dir.load('a.json'))).transient).toBe(true)
    longAgo(dir.at('a.json'))
    const error = await refusal(dir.load('a.json'))
    expect(error.transient).toBe(false)
    expect(error.message).toMatch(/^a\.json:1:\d+ /)
  })

  test('is never read halfway, although each half would parse', async () => {
    const dir = await tree({ 'a.yaml': 'n: 0\n' })
    const source = dir.source('a.yaml', { settleMs: 20 })
    const lines = (n: number): string => Array.from({ length: 40 }, (_, i) => `k${i}: ${n}\n`).join('') + 'end: true\n'
    await dir.write({ 'a.yaml': lines(0) })
    let writing = true
    const writer = (async () => {
      for (let n = 1; n <= 20; n++) {
        // As `>` of a shell does it: cut to nothing, then written piece by piece.
        const fd = openSync(dir.at('a.yaml'), 'w')
        for (const line of lines(n).match(/(?:.*\n){1,10}/g) ?? []) {
          writeSync(fd, line)
          await new Promise((resolve) => setTimeout(resolve, 1))
        }
        closeSync(fd)
        await new Promise((resolve) => setTimeout(resolve, 30))
      }
      writing = false
    })()
    let loads = 0
    while (writing) {
      const config = (await load(source).catch(() => undefined))?.config as Record<string, unknown> | undefined
      if (!config) continue
      loads++
      expect(config['end']).toBe(true)
      expect(new Set(Object.values(config)).size).toBe(2)
    }
    await writer
    expect(loads).toBeGreaterThan(0)
    expect((await load(source)).config).toMatchObject({ k39: 20 })
  })

  test('that goes on and on is given up for now', async () => {
    const dir = await tree({ 'a.yaml': 'n: 0\n' })
    const timer = setInterval(() => utimesSync(dir.at('a.yaml'), new Date(), new Date()), 2)
    try {
      expect(await refusal(dir.load('a.yaml', { settleMs: 50 }))).toMatchObject({
        transient: true,
        issues: [{ code: 'unreadable' }],
      })
    } finally {
      clearInterval(timer)
    }
  })
})

test('files that are swapped together are never mixed (F44)', async () => {
  const names = Array.from({ length: 20 }, (_, i) => `${i}.yaml`)
  const version = (n: number) =>
    Object.fromEntries(names.map((name) => [`..v${n}/${name}`, `k${name.split('.')[0]}: ${n}\n`]))
  const dir = await tree({ ...version(0), ...version(1) })
  await symlink('..v0', dir.at('..data'))
  for (const name of names) await symlink(`..data/${name}`, dir.at(name))
  const source = dir.source('.')
  let swapping = true
  const swapper = (async () => {
    for (let n = 1; n <= 100; n++) {
      await symlink(`..v${n % 2}`, dir.at('..tmp'))
      renameSync(dir.at('..tmp'), dir.at('..data'))
      await new Promise((resolve) => setTimeout(resolve, 12))
    }
    swapping = false
  })()
  while (swapping) {
    const { config } = await load(source).catch((error: unknown) => {
      // It gives up for now rather than mix.
      expect(error).toMatchObject({ transient: true })
      return { config: { k0: 'none' } }
    })
    expect(new Set(Object.values(config as object)).size).toBe(1)
  }
  await swapper
  expect((await load(source)).config).toMatchObject({ k0: 0, k19: 0 })
})

const otherDevice = existsSync('/dev/shm') && statSync('/dev/shm').dev !== statSync(tmpdir()).dev

test.skipIf(!otherDevice)(
  'F18 a rename across devices, which is a copy, is read whole (skipped: /dev/shm is not another device)',
  async () => {
    const other = new Tree('/dev/shm')
    await other.write({
      'new.json': JSON.stringify({ rules: Array.from({ length: 20_000 }, (_, i) => ({ id: `r${i}` })) }),
    })
    const dir = await tree({ 'a.json': '{"rules":[]}' })
    expect(() => renameSync(other.at('new.json'), dir.at('a.json'))).toThrow('EXDEV')
    copyFileSync(other.at('new.json'), dir.at('a.json'))
    const { config } = await dir.load('a.json')
    expect((config as { rules: unknown[] }).rules).toHaveLength(20_000)
  },
)

test('an abort ends a load, and no file stays open', async () => {
  const dir = await tree({ 'a.yaml': 'a: 1\n' })
  const open = (): number => readdirSync('/proc/self/fd').length
  const before = open()
  await expect(load(dir.source('a.yaml'), AbortSignal.abort(new Error('enough')))).rejects.toThrow('enough')
  const waiting = new AbortController()
  await dir.write({ 'a.yaml': 'a: 2\n' })
  const loading = load(dir.source('a.yaml', { settleMs: 1000 }), waiting.signal)
  waiting.abort(new Error('enough'))
  await expect(loading).rejects.toThrow()
  for (let i = 0; i < 50; i++) await dir.load('a.yaml')
  expect(open()).toBeLessThanOrEqual(before + 1)
})
