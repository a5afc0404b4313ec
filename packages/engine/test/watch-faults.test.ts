import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { configMap, rig, saveAsVim, temporaryDirectory, watchHandles } from './watch-rig.ts'

test('F44 each of 100 ConfigMap swaps is seen, and no watch is left behind', async () => {
  const mount = configMap(temporaryDirectory(), 'a: 0\n')
  const watched = await rig([mount.file])
  const before = watchHandles()
  for (let i = 1; i <= 100; i++) {
    mount.update(`a: ${i}\n`)
    await watched.loaded(`a: ${i}\n`)
  }
  expect(new Set(watched.texts).size).toBe(100)
  expect(watched.texts).not.toContain(undefined)
  expect(watchHandles()).toBeLessThanOrEqual(before + 2)
})

test("F45 an editor's delete and rename, over and over: the content of each save is seen", async () => {
  const file = join(temporaryDirectory(), 'config.yaml')
  writeFileSync(file, 'a: 0\n')
  const watched = await rig([file])
  for (let i = 1; i <= 20; i++) {
    if (i % 2 === 0) {
      saveAsVim(file, `a: ${i}\n`)
    } else {
      writeFileSync(`${file}.new`, `a: ${i}\n`)
      unlinkSync(file)
      renameSync(`${file}.new`, file)
    }
    await watched.loaded(`a: ${i}\n`)
  }
})

test('F46 the inotify queue overflows, and the poll finds the change whose event was dropped', async () => {
  const directory = temporaryDirectory()
  const file = join(directory, 'config.yaml')
  writeFileSync(file, 'a: 1\n')
  const watched = await rig([file])
  const queued = Number(readFileSync('/proc/sys/fs/inotify/max_queued_events', 'utf8'))
  // Another process makes more events than the queue holds, and then the change, while this one cannot read any.
  const noise = `const { writeFileSync, unlinkSync } = require('node:fs')
    for (let i = 0; i < ${queued / 2}; i++) { writeFileSync('noise', ''); unlinkSync('noise') }
    writeFileSync('config.yaml', 'a: 2\\n')`
  expect(spawnSync(process.execPath, ['-e', noise], { cwd: directory }).status).toBe(0)
  await watched.loaded('a: 2\n')
  writeFileSync(file, 'a: 3\n')
  await watched.loaded('a: 3\n')
})

test('F47 the watched directory is replaced by another, and what happens in the new one is seen', async () => {
  const root = temporaryDirectory()
  const directory = join(root, 'etc', 'gateway')
  const file = join(directory, 'config.yaml')
  mkdirSync(directory, { recursive: true })
  writeFileSync(file, 'a: 1\n')
  const watched = await rig([file])

  const next = join(root, 'next')
  mkdirSync(next)
  writeFileSync(join(next, 'config.yaml'), 'a: 2\n')
  renameSync(directory, `${directory}.old`)
  renameSync(next, directory)
  await watched.loaded('a: 2\n')
  writeFileSync(file, 'a: 3\n')
  await watched.loaded('a: 3\n')
  // What was replaced is of no interest any more.
  expect(await watched.yieldsOf(() => writeFileSync(join(`${directory}.old`, 'config.yaml'), 'a: 9\n'))).toBe(0)

  // The same one level up, and with the same content: nothing to tell, but the next edit counts.
  mkdirSync(join(root, 'etc.next', 'gateway'), { recursive: true })
  writeFileSync(join(root, 'etc.next', 'gateway', 'config.yaml'), 'a: 3\n')
  const swap = (): void => {
    renameSync(join(root, 'etc'), join(root, 'etc.old'))
    renameSync(join(root, 'etc.next'), join(root, 'etc'))
  }
  expect(await watched.yieldsOf(swap)).toBe(0)
  expect(await watched.yieldsOf(() => writeFileSync(file, 'a: 4\n'))).toBe(1)
  expect(watched.texts.at(-1)).toBe('a: 4\n')
})

/** A user namespace has its own count of inotify watches, so that running out of them is real and nobody else's. */
const inNamespace = (limit: number, args: readonly string[]): ReturnType<typeof spawnSync> => {
  const limited = `echo ${limit} > /proc/sys/user/max_inotify_watches && exec "$0" "$@"`
  return spawnSync('unshare', ['--user', '--map-root-user', 'sh', '-c', limited, process.execPath, ...args], {
    encoding: 'utf8',
    timeout: 25_000,
  })
}
const namespaces = inNamespace(2, ['-e', '']).status === 0

test.skipIf(!namespaces)(
  `F48 no inotify watches left: polling takes over and says so once, and gives back when there are some${
    namespaces ? '' : ' (skipped: user namespaces are not to be had here)'
  }`,
  () => {
    const file = join(temporaryDirectory(), 'config.yaml')
    writeFileSync(file, 'a: 1\n')
    const run = inNamespace(2, [join(import.meta.dirname, 'watch-out-of-watches.ts'), file])
    const lines = String(run.stdout).trim().split('\n')
    expect(lines[0]).toMatch(/^cannot watch files \(ENOSPC.*; looking at them every 250 ms instead$/)
    expect(lines.slice(1)).toEqual(['a: 2', 'a: 3', 'files are watched again', 'a: 4'])
    expect(run.stderr).toBe('')
    expect(run.status).toBe(0)
  },
)
