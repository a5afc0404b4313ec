/** What a node keeps on disk, when the process is killed, the disk is full, or somebody else is there. */
import { once } from 'node:events'
import { link, mkdir, readdir, readFile, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { diskIn } from '../src/agent/disk.ts'
import { lockDirectory, LockedError } from '../src/agent/lock.ts'
import type { Held } from '../src/agent/node-state.ts'
import { digest } from '../src/digest.ts'
import type { Report } from '../src/protocol/messages.ts'
import { AgentProcess, unshares } from './agent-process.ts'
import { Rig, until } from './agent-rig.ts'
import { FakeControlPlane, type FakeOptions } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())
const plane = async (options?: FakeOptions) => rig.add(await FakeControlPlane.listen(options))
const spawned = (...args: ConstructorParameters<typeof AgentProcess>) => rig.add(new AgentProcess(...args))
const applied = (number: number) => (report: Report) => report.number === number && report.status === 'APPLIED'

const config = 'shop/gateway/prod'
const folderIn = (stateDir: string) => join(stateDir, 'agent', 'shop+gateway+prod')

function held(number: number): Held {
  const content = { limit: number }
  const release = { config, number, digest: digest(content), parent: null, author: '', message: '' }
  return { release: { ...release, createdAt: '2026-11-20T09:30:00Z', kind: 'publish' }, content }
}

describe('one process to a state directory', () => {
  test('a second one is refused by the name of the first, damages nothing, and joins when that one is killed', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const first = spawned([fake.url, stateDir])
    await first.runs(1)
    await fake.heard('report', applied(1))
    const kept = await readFile(join(folderIn(stateDir), 'last-good.a.json'))
    await expect(rig.program(fake, { stateDir })).rejects.toThrow(`is in use by process ${first.pid} on `)
    const { engine, warnings } = await rig.program(fake, { stateDir, engine: { bundled: { limit: 9 } } })
    expect(engine.live.limit).toBe(9)
    expect(warnings.join()).toContain('end that one, or give each process a stateDir of its own')
    expect(await readFile(join(folderIn(stateDir), 'last-good.a.json'))).toEqual(kept)
    await first.close()
    await until(() => engine.live.limit === 1)
  })

  test('one that is stopped, and says nothing, has it all the same', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const first = spawned([fake.url, stateDir])
    await first.runs(1)
    first.kill('SIGSTOP')
    await expect(rig.program(fake, { stateDir })).rejects.toThrow('is in use by another process')
  })

  test('two agents of one process are two; another config is another directory; a closed one has let go', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const first = await rig.program(fake, { stateDir })
    await expect(rig.program(fake, { stateDir })).rejects.toThrow(`is in use by process ${process.pid} on `)
    const other = await plane({ config: 'shop/other' })
    other.publish({ limit: 2 })
    await rig.program(other, { stateDir, config: 'shop/other' })
    await first.close()
    await rig.program(fake, { stateDir })
  })

  test('of many that begin at once where one was killed, exactly one gets it', async () => {
    for (let round = 0; round < 20; round++) {
      const directory = await rig.directory()
      // A socket that nobody listens on any more, under the name that outlives it.
      const dead = createServer().listen(join(directory, 'dead'))
      await once(dead, 'listening')
      await link(join(directory, 'dead'), join(directory, 'lock.7'))
      await new Promise((resolve) => dead.close(resolve))
      const results = await Promise.allSettled(Array.from({ length: 8 }, () => lockDirectory(directory)))
      const locks = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
      for (const result of results) if (result.status === 'rejected') expect(result.reason).toBeInstanceOf(LockedError)
      expect(locks).toHaveLength(1)
      expect(await readdir(directory)).toEqual(['lock.8'])
      await locks[0]?.release()
    }
  })

  test(
    'a path that is too long for the address of a socket is locked too',
    { skip: process.platform !== 'linux' },
    async () => {
      const directory = join(await rig.directory(), 'x'.repeat(150))
      await mkdir(directory)
      const lock = await lockDirectory(directory)
      await expect(lockDirectory(directory)).rejects.toThrow(LockedError)
      expect(await readdir(directory)).toEqual(['lock.1'])
      await lock.release()
      expect(await readdir(directory)).toEqual([])
    },
  )

  const pids = unshares('-pf', '--kill-child')
  test.skipIf(!pids.can)(`containers in which every process is 1${pids.note}`, async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const within = ['unshare', '-pf', '--kill-child']
    const first = spawned([fake.url, stateDir], { within })
    await first.runs(1)
    await expect(spawned([fake.url, stateDir], { within }).runs(1)).rejects.toThrow('is in use by process 1 on ')
    await first.close()
    await spawned([fake.url, stateDir], { within }).runs(1)
  })

  test('the control plane has another of the same uid: it is said, no poll goes behind its back, and the release stays', async () => {
    const stateDir = await rig.directory()
    const fake = await plane({ pacing: { pollMs: 100 } })
    fake.publish({ limit: 1 })
    await (await rig.program(fake, { stateDir })).close()
    const refusal = { type: 'error', code: 'duplicate-node', message: 'the uid is connected already' }
    fake.frames = () => [JSON.stringify(refusal)]
    const { engine, source, warnings } = await rig.program(fake, { stateDir })
    await until(() => warnings.some((text) => text.includes('Two processes have the same uid')))
    let asked = 0
    fake.intercept = () => (asked++, false)
    await new Promise((resolve) => setTimeout(resolve, 1_500))
    expect(asked).toBe(0)
    expect(fake.sockets.size).toBe(0)
    expect(engine.live.limit).toBe(1)
    expect(source.status()).toMatchObject({ via: 'nothing', runs: { number: 1 } })
    expect(warnings.filter((text) => text.includes('does not take this node'))).toHaveLength(1)
  })
})

describe('a last good that is spoilt', () => {
  async function kept() {
    const stateDir = await rig.directory()
    const disk = diskIn(stateDir, config)
    const uid = await disk.claim().then(() => disk.uid())
    await disk.save(held(1), undefined)
    await disk.save(held(2), undefined)
    await disk.release()
    const path = join(folderIn(stateDir), 'last-good.b.json')
    return { stateDir, uid, path, whole: await readFile(path) }
  }

  test('F15: truncated at every byte, the release before it is found, and it is said', async () => {
    const { stateDir, path, whole } = await kept()
    for (let length = 0; length < whole.length; length++) {
      await writeFile(path, whole.subarray(0, length))
      const found = await diskIn(stateDir, config).load()
      expect(found.held, `cut to ${length} bytes`).toEqual(held(1))
      expect(found.damaged.join()).toContain('last-good.b.json')
    }
  })

  test('F16: with a bit flipped in any byte, what is found is a release that was kept, whole', async () => {
    const { stateDir, path, whole } = await kept()
    for (let at = 0; at < whole.length; at++) {
      const bad = Buffer.from(whole)
      bad.writeUInt8(bad.readUInt8(at) ^ (1 << (at % 8)), at)
      await writeFile(path, bad)
      const found = await diskIn(stateDir, config).load()
      expect([held(1), held(2)], `byte ${at}`).toContainEqual(found.held)
    }
  })

  test('F15, F16: a uid that is no uid any more: a new node, and it is said', async () => {
    const { stateDir, uid } = await kept()
    const fake = await plane()
    fake.publish({ limit: 1 })
    await writeFile(join(folderIn(stateDir), 'uid'), uid.uid.slice(0, 20))
    const { source, warnings } = await rig.program(fake, { stateDir })
    expect(warnings.join()).toContain('held no uid, so this node is a new one')
    expect(source.status().uid).not.toBe(uid.uid)
    expect(await readFile(join(folderIn(stateDir), 'uid'), 'utf8')).toBe(`${source.status().uid}\n`)
  })
})

test(
  'F6: killed at any moment, also while it is saving: what it said was in use is found, or what came after',
  { timeout: 240_000 },
  async () => {
    const rounds = process.env['MIDFLIGHT_LONG'] === undefined ? 8 : 100
    const stateDir = await rig.directory()
    const fake = await plane()
    let number = 1
    fake.publish({ limit: number, text: 'x'.repeat(100_000) })
    for (let round = 0; round < rounds; round++) {
      const child = spawned([fake.url, stateDir])
      await child.runs(number)
      const endMs = performance.now() + Math.random() * 100
      while (performance.now() < endMs) {
        fake.publish({ limit: ++number, text: 'x'.repeat(100_000) })
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      await child.close()
      const said = fake.said.flatMap(({ message }) =>
        message.type === 'report' && message.status === 'APPLIED' ? [message.number] : [],
      )
      const found = await diskIn(stateDir, config).load()
      // Killed in its very first save it has said nothing, and there need be nothing.
      expect(found.held?.release.number ?? 0).toBeGreaterThanOrEqual(Math.max(0, ...said))
      if (found.held) expect(found.held.content).toMatchObject({ limit: found.held.release.number })
      fake.publish({ limit: ++number })
    }
  },
)

describe('a state directory that cannot be written: the node runs, and says so in its status', () => {
  const mounts = unshares('-m')
  /** Runs the agent where `script` has changed the mounts, for it alone. */
  const mounted = (script: string) => ({ within: ['unshare', '-m', 'sh', '-c', `${script} && exec "$@"`, 'sh'] })

  test.skipIf(!mounts.can)(`F10: full${mounts.note}`, async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const child = spawned([fake.url, stateDir], mounted(`mount -t tmpfs -o size=64k none ${stateDir}`))
    await child.runs(1)
    await fake.heard('report', applied(1))
    expect((await child.status()).diskProblem).toBeUndefined()
    fake.publish({ limit: 2, text: 'x'.repeat(500_000) })
    const report = await fake.heard('report', applied(2))
    expect(report.detail).toMatch(/release 2 could not be kept on disk: .*ENOSPC/)
    expect((await child.status()).diskProblem).toBe(report.detail)
    fake.publish({ limit: 3 })
    expect((await fake.heard('report', applied(3))).detail).toBeUndefined()
    expect((await child.status()).diskProblem).toBeUndefined()
  })

  test.skipIf(!mounts.can)(`F13: read-only${mounts.note}`, async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    await (await rig.program(fake, { stateDir })).close()
    const { uid } = await fake.heard('hello')
    const child = spawned(
      [fake.url, stateDir],
      mounted(`mount --bind ${stateDir} ${stateDir} && mount -o remount,bind,ro ${stateDir}`),
    )
    await child.runs(1)
    await child.warns('a second process in the state directory would not be noticed')
    fake.publish({ limit: 2 })
    const report = await fake.heard('report', applied(2))
    expect(report.detail).toMatch(/release 2 could not be kept on disk: .*EROFS/)
    expect(await child.status()).toMatchObject({ uid, runs: { number: 2 }, diskProblem: report.detail })
  })

  const isRoot = process.getuid?.() === 0
  test.skipIf(!isRoot)(`F12: denied${isRoot ? '' : ' (skipped: only root can become somebody else)'}`, async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const child = spawned([fake.url, stateDir, '65534'])
    await child.runs(1)
    await child.warns('the uid cannot be kept on disk')
    fake.publish({ limit: 2 })
    const report = await fake.heard('report', applied(2))
    expect(report.detail).toMatch(/release 2 could not be kept on disk: .*EACCES/)
    expect(await child.status()).toMatchObject({ runs: { number: 2 }, diskProblem: report.detail })
  })
})
