import {
  copyFileSync,
  cpSync,
  existsSync,
  rmSync,
  truncateSync,
  writeFileSync,
  readFileSync,
  chmodSync,
  mkdirSync,
} from 'node:fs'
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { configOf, publish, rulesOf, sample } from '../src/stores/conformance/samples.ts'
import { openSqlite } from '../src/stores/sqlite.ts'
import { canMount, cleanUp, folder, lost, mount, publishForever, publishIn, unmount } from './store-folders.ts'

const long = process.env['MIDFLIGHT_LONG'] !== undefined
const strace = existsSync('/usr/bin/strace')
const tmpfs = canMount('-t', 'tmpfs', '-o', 'size=1m', 'tmpfs')
const root = process.getuid?.() === 0

afterEach(cleanUp)

/** Only calls on the store's own files. */
function under(directory: string, ...args: string[]): string[] {
  const files = ['store.db', 'store.db-wal', 'store.open', ''].flatMap((name) => ['-P', join(directory, name)])
  return ['strace', '-f', '-qq', '-o', `${directory}.calls`, ...files, ...args]
}

/** How often each call is made on the files by one run of the program. */
function countCalls(directory: string, count = 3): Map<string, number> {
  expect(publishIn(directory, count, 'close', under(directory)).lines.at(-1)).toBe('closed')
  const counts = new Map<string, number>()
  for (const [, call = ''] of readFileSync(`${directory}.calls`, 'utf8').matchAll(/^\d+ +(\w+)\(/gm)) {
    counts.set(call, (counts.get(call) ?? 0) + 1)
  }
  return counts
}

const calls = ['openat', 'pread64', 'pwrite64', 'fdatasync', 'fsync', 'ftruncate', 'fcntl', 'unlink', 'close']

describe('I3: an acknowledged publish survives', () => {
  for (const first of [true, false]) {
    test.skipIf(!strace)(
      `F1: SIGKILL at each system call of ${first ? 'the first start' : 'a start after a crash'}, of publishing and of closing (skipped without strace)`,
      async () => {
        const start = join(folder(), 'data')
        const before = first ? [] : publishIn(start, 2, 'crash').acknowledged
        expect(before).toHaveLength(first ? 0 : 6)
        const newCopy = (): string => {
          const made = join(folder(), 'data')
          if (first) mkdirSync(made, { mode: 0o700 })
          else cpSync(start, made, { recursive: true })
          return made
        }
        const counted = newCopy()
        const counts = countCalls(counted)
        const places = calls.flatMap((call) =>
          Array.from({ length: counts.get(call) ?? 0 }, (_, i) => ({ call, when: i + 1 })),
        )
        expect(places.length).toBeGreaterThan(30)
        // In a short run every nth, beginning anywhere: over time all of them.
        const step = long ? 1 : Math.ceil(places.length / 9)
        let killed = 0
        for (let i = Math.floor(Math.random() * step); i < places.length; i += step) {
          const { call, when } = places[i] as { call: string; when: number }
          const directory = newCopy()
          const run = publishIn(
            directory,
            3,
            'close',
            under(directory, '-e', `inject=${call}:signal=KILL:when=${when}`),
          )
          if (run.lines.at(-1) !== 'closed') killed++
          expect(await lost(directory, [...before, ...run.acknowledged]), `${call} ${when}`).toEqual([])
        }
        expect(killed).toBeGreaterThan(long ? 30 : 4)
      },
      long ? 900_000 : 120_000,
    )
  }

  test('F1: SIGKILL at any moment, again and again', async () => {
    const directory = join(folder(), 'data')
    const acknowledged: number[] = []
    for (let round = 0; round < (long ? 50 : 4); round++) {
      const { child, output } = publishForever(directory)
      const ended = new Promise((resolve) => child.on('close', resolve))
      while (output().acknowledged.length < 3 && child.exitCode === null)
        await new Promise((next) => setTimeout(next, 5))
      await new Promise((next) => setTimeout(next, Math.random() * 30))
      child.kill('SIGKILL')
      await ended
      acknowledged.push(...output().acknowledged)
      expect(await lost(directory, acknowledged.slice(-300))).toEqual([])
    }
    expect(new Set(acknowledged).size).toBe(acknowledged.length)
  }, 240_000)

  const image = (): string => {
    const file = join(folder(), 'disk.img')
    writeFileSync(file, '')
    truncateSync(file, 64 * 2 ** 20)
    execFileSync('mkfs.ext4', ['-q', '-F', file])
    return file
  }
  const loop = root && spawnSync('mkfs.ext4', ['-V'], { stdio: 'ignore' }).status === 0 && canMountLoop()
  function canMountLoop(): boolean {
    const file = image()
    const can = canMount('-o', 'loop', file)
    cleanUp()
    return can
  }

  test.skipIf(!loop)(
    'F9: a power cut: what the disk had at that moment holds all that was acknowledged (skipped without loop devices)',
    async () => {
      const disk = image()
      const directory = join(mount(join(folder(), 'disk'), '-o', 'loop', disk), 'data')
      const { child, output } = publishForever(directory)
      const ended = new Promise((resolve) => child.on('close', resolve))
      try {
        for (let cut = 1; cut <= (long ? 20 : 4); cut++) {
          const enough = output().acknowledged.length + 50
          while (output().acknowledged.length < enough) await new Promise((next) => setTimeout(next, 5))
          // Standing still, so that the copy is of one moment; what only the system knows of is not in it.
          child.kill('SIGSTOP')
          const copy = join(folder(), 'copy.img')
          copyFileSync(disk, copy)
          const { acknowledged } = output()
          child.kill('SIGCONT')
          const after = mount(join(folder(), 'after'), '-o', 'loop', copy)
          expect(await lost(join(after, 'data'), acknowledged)).toEqual([])
          unmount(after)
          rmSync(copy)
        }
      } finally {
        child.kill('SIGKILL')
        await ended
      }
    },
    240_000,
  )
})

describe('a disk that does not do as it should', () => {
  test.skipIf(!tmpfs)(
    'F10: full: the publish fails, nothing of it is there, and with room it goes on (skipped without tmpfs)',
    async () => {
      const disk = mount(join(folder(), 'disk'), '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs')
      const directory = join(disk, 'data')
      const filler = join(disk, 'filler')
      writeFileSync(filler, Buffer.alloc(2 * 2 ** 20))
      const store = await openSqlite({ directory, wholeEvery: 1 })
      await store.transaction((tx) => tx.putConfig(configOf()))
      let told = 0
      const more = () => store.transaction((tx) => publish(tx, rulesOf(2_000, { 0: told + 1 }))).then(() => told++)
      const failing = async () => {
        for (;;) await more()
      }
      await expect(failing()).rejects.toMatchObject({
        name: 'StoreError',
        code: 'full',
        recover: expect.stringContaining('room'),
      })
      expect(told).toBeGreaterThan(0)
      await expect(more()).rejects.toMatchObject({ code: 'full' })
      expect(await store.read((tx) => tx.config(sample.config)?.head?.number)).toBe(told)
      expect((await store.verify()).problems).toEqual([])
      rmSync(filler)
      await more()
      await store.close()
      const again = await openSqlite({ directory })
      expect(await again.read((tx) => tx.content(sample.config, told))).toEqual(rulesOf(2_000, { 0: told }))
      expect((await again.verify()).problems).toEqual([])
      await again.close()
    },
  )

  test.skipIf(!tmpfs)(
    'F10: full while several publish at once: those that were acknowledged are there (skipped without tmpfs)',
    async () => {
      const disk = mount(join(folder(), 'disk'), '-t', 'tmpfs', '-o', 'size=2m', 'tmpfs')
      const store = await openSqlite({ directory: join(disk, 'data'), wholeEvery: 1 })
      await store.transaction((tx) => tx.putConfig(configOf()))
      const results = await Promise.allSettled(
        Array.from({ length: 600 }, (_, i) => store.transaction((tx) => publish(tx, rulesOf(200, { 0: i })).number)),
      )
      const numbers = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
      const codes = results.flatMap((result) =>
        result.status === 'rejected' ? [(result.reason as { code: string }).code] : [],
      )
      expect(new Set(codes)).toEqual(new Set(['full']))
      expect(await store.read((tx) => tx.config(sample.config)?.head?.number ?? 0)).toBe(numbers.length)
      expect((await store.verify()).problems).toEqual([])
      await store.close().catch(() => {}) // there may be no room to put the log into the database; it is kept then
    },
  )

  test.skipIf(!strace)(
    'F11: a flush fails: from then on nothing is acknowledged, and what was is there at the next start (skipped without strace)',
    async () => {
      const newStore = (): string => {
        const directory = join(folder(), 'data')
        publishIn(directory, 1, 'close')
        return directory
      }
      // Three publishes share a flush; without one, all are for opening, for the config and for closing.
      const opening = (countCalls(newStore(), 0).get('fsync') ?? 0) - 2
      for (let which = opening + 1; which <= opening + (long ? 5 : 2); which++) {
        // For ever; and once, after which the system says that all is on disk that it has dropped.
        for (const when of [`${which}+`, `${which}`]) {
          const directory = newStore()
          const inject = `inject=fsync:error=EIO:when=${when}`
          const { lines, acknowledged } = publishIn(directory, 8, 'close', under(directory, '-e', inject))
          const failed = lines.indexOf('failed io')
          expect(failed, `${when}: ${lines.join()}`).toBeGreaterThanOrEqual(0)
          expect(lines.slice(failed).filter((line) => line.startsWith('acknowledged'))).toEqual([])
          // SQLite has put its log away by itself, by the word of a disk that is not believed: that is for a person to accept.
          if (when === `${which}`) rmSync(join(directory, 'store.open'))
          expect(await lost(directory, [1, 2, 3, ...acknowledged])).toEqual([])
        }
      }
    },
    120_000,
  )

  const nobody = ['setpriv', '--reuid=65534', '--clear-groups']
  const asNobody = root && spawnSync('setpriv', [...nobody.slice(1), process.execPath, '-e', '0']).status === 0

  test.skipIf(root && !asNobody)(
    'F12: not allowed to write there: refused, with the file (skipped without setpriv)',
    () => {
      const above = folder()
      chmodSync(above, 0o755)
      const directory = join(above, 'data')
      mkdirSync(directory, { mode: 0o555 })
      const { lines } = publishIn(directory, 1, 'close', root ? nobody : [])
      expect(lines).toEqual([expect.stringMatching(/^refused read-only .*store\.db.*right to write/)])
    },
  )

  test.skipIf(!tmpfs)(
    'F13: a disk that became read-only: refused at the start and in the middle (skipped without tmpfs)',
    async () => {
      const disk = mount(join(folder(), 'disk'), '-t', 'tmpfs', '-o', 'size=4m', 'tmpfs')
      const directory = join(disk, 'data')
      const { acknowledged } = publishIn(directory, 2, 'close')
      execFileSync('mount', ['-o', 'remount,ro', disk])
      await expect(openSqlite({ directory })).rejects.toMatchObject({ name: 'StoreError', code: 'read-only' })
      execFileSync('mount', ['-o', 'remount,rw', disk])
      expect(await lost(directory, acknowledged)).toEqual([])
    },
  )
})
