/** A program in a fleet on a bad wire, with a wrong clock, and out of file descriptors. Real processes and sockets. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { afterEach, describe, expect, test } from 'vitest'
import type { Report } from '../src/protocol/messages.ts'
import { AgentProcess } from './agent-process.ts'
import { Rig, until } from './agent-rig.ts'
import { FakeControlPlane, type FakeOptions } from './fake-control-plane.ts'
import { TcpProxy } from './tcp-proxy.ts'

const rig = new Rig()
afterEach(() => rig.close())
const plane = async (options?: FakeOptions) => rig.add(await FakeControlPlane.listen(options))
const proxied = async (fake: FakeControlPlane) => rig.add(await TcpProxy.listen(fake.port))
const spawned = (...args: ConstructorParameters<typeof AgentProcess>) => rig.add(new AgentProcess(...args))
const applied = (number: number) => (report: Report) => report.number === number && report.status === 'APPLIED'

describe('a wire that is bad', () => {
  test('F23: half a second each way', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    proxy.delayMs = 500
    const { source, warnings } = await rig.program(proxy.url)
    await fake.heard('hello')
    fake.publish({ limit: 2 })
    await fake.heard('report', applied(2))
    await until(() => source.status().via === 'websocket')
    expect(warnings).toEqual([])
  })

  test('F24: one piece in ten is late or ends its connection, as TCP shows lost packets: numbers only go up, and the newest is reached', async () => {
    const fake = await plane({ pacing: { heartbeatMs: 100, leaseMs: 1_000, pollMs: 200 } })
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    const { source, applied: limits } = await rig.program(proxy.url)
    const fates = { stall: 0, reset: 0 }
    proxy.fate = () => {
      if (Math.random() >= 0.1) return 'pass'
      const fate = Math.random() < 0.5 ? 'stall' : 'reset'
      fates[fate]++
      return fate
    }
    for (let limit = 2; limit <= 40 || fates.reset < 2 || fates.stall < 2; limit++) {
      fake.publish({ limit })
      await new Promise((resolve) => setTimeout(resolve, 25))
    }
    await until(() => source.status().runs?.number === fake.head?.release.number)
    expect(limits).toEqual([...new Set(limits)].toSorted((a, b) => a - b))
  })

  test('F25: at 1 kB/s a release comes, and is reported', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    const { engine } = await rig.program(proxy.url)
    proxy.bytesPerSecond = 1_000
    fake.publish({ limit: 2, text: 'x'.repeat(2_000) })
    await fake.heard('report', applied(2))
    expect(engine.live.text).toHaveLength(2_000)
  })

  test('F25: a release that takes longer than the lease is a sign of life, and is not begun again', async () => {
    const fake = await plane({ pacing: { heartbeatMs: 100, leaseMs: 400 } })
    fake.publish({ limit: 1 })
    const proxy = await proxied(fake)
    const { source, warnings } = await rig.program(proxy.url)
    await until(() => source.status().via === 'websocket')
    proxy.bytesPerSecond = 100_000
    fake.publish({ limit: 2, text: 'x'.repeat(150_000) })
    await fake.heard('report', applied(2))
    expect(warnings).toEqual([])
    expect(fake.upgradeHeaders).toHaveLength(1)
  })
})

describe('a clock that is wrong', () => {
  const day = 86_400_000
  const hour = 3_600_000
  const imports = [fileURLToPath(new URL('programs/wrong-clock.ts', import.meta.url))]
  const wrong = (clockMs: number) => ({ imports, env: { MIDFLIGHT_CLOCK_MS: String(clockMs) } })

  test.each([
    ['F31, F33: 400 days ahead', 400 * day],
    ['F32, F33: an hour behind', -hour],
  ])('%s: releases come and are kept, by numbers and not by dates', async (_, clockMs) => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const right = spawned([fake.url, stateDir])
    await right.runs(1)
    await fake.heard('report', applied(1))
    await right.close()
    const child = spawned([fake.url, stateDir], wrong(clockMs))
    await child.runs(1)
    fake.publish({ limit: 2 })
    const { at } = await fake.heard('report', applied(2))
    expect(Math.abs(Date.parse(at) - Date.now() - clockMs)).toBeLessThan(hour / 2)
    await child.close()
    fake.intercept = (_request, response) => (response.writeHead(503).end(), true)
    fake.upgrades = 503
    // Kept by a wrong clock, or found by one: the newest.
    const again = spawned([fake.url, stateDir], wrong(-clockMs))
    await again.runs(2)
    expect((await again.status()).staleMs).toBeGreaterThanOrEqual(0)
  })

  test('F31, F32: it jumps while it runs: no connection is lost, and the age of what runs is never negative', async () => {
    const fake = await plane({ pacing: { heartbeatMs: 100, leaseMs: 1_000 } })
    fake.publish({ limit: 1 })
    const child = spawned([fake.url, await rig.directory()], wrong(0))
    await child.runs(1)
    await fake.heard('hello')
    let limit = 1
    for (const clockMs of [400 * day, 0, -hour]) {
      await child.tell({ clockMs })
      const heard = fake.said.length
      await until(() => fake.said.slice(heard).filter(({ message }) => message.type === 'heartbeat').length >= 5)
      fake.publish({ limit: ++limit })
      await fake.heard('report', applied(limit))
      const { via, staleMs } = await child.status()
      expect(via).toBe('websocket')
      expect(staleMs).toBeGreaterThanOrEqual(0)
    }
    expect(fake.upgradeHeaders).toHaveLength(1)
  })

  const faked = spawnSync('faketime', ['-f', '+400d', 'true']).status === 0
  const note = faked ? '' : ' (skipped: faketime is not installed here)'
  test.skipIf(!faked)(`F31: the same for the whole process, with libfaketime${note}`, async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const child = spawned([fake.url, await rig.directory()], { within: ['faketime', '-m', '-f', '+400d'] })
    await child.runs(1)
    fake.publish({ limit: 2 })
    await fake.heard('report', applied(2))
  })
})

const hasUlimit = process.platform !== 'win32'
test.skipIf(!hasUlimit)(
  'F14: no file descriptors: what is live stays live, it is said what is not kept, and it heals',
  async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const within = ['sh', '-c', 'ulimit -n 200 && exec "$@"', 'sh']
    const child = spawned([fake.url, await rig.directory()], { within })
    await child.runs(1)
    await fake.heard('report', applied(1))
    await fake.heard('hello')
    await child.tell('open-files')
    fake.publish({ limit: 2 })
    const report = await fake.heard('report', applied(2))
    expect(report.detail).toMatch(/release 2 could not be kept on disk: .*EMFILE/)
    for (const ws of fake.sockets) ws.terminate()
    await child.warns('cannot be reached')
    expect(await child.status()).toMatchObject({ runs: { number: 2 }, diskProblem: report.detail })
    await child.tell('close-files')
    fake.publish({ limit: 3 })
    expect((await fake.heard('report', applied(3))).detail).toBeUndefined()
    expect((await child.status()).diskProblem).toBeUndefined()
  },
)
