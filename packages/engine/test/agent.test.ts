/** A program in a fleet, through `controlPlane()`, against a control plane that fakes the wire. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { controlPlane } from '../src/agent/index.ts'
import type { Report } from '../src/protocol/messages.ts'
import { Rig, until } from './agent-rig.ts'
import { FakeControlPlane, type FakeOptions } from './fake-control-plane.ts'

const rig = new Rig()
afterEach(() => rig.close())
const plane = async (options?: FakeOptions) => rig.add(await FakeControlPlane.listen(options))
const final = (number: number) => (report: Report) =>
  report.number === number && !['RECEIVED', 'APPLYING'].includes(report.status)

describe('a release reaches the program', () => {
  test('the newest is there at the start, later ones come over the WebSocket as deltas, and each is reported', async () => {
    const fake = await plane()
    fake.publish({ limit: 1, text: 'x'.repeat(500) })
    const { engine, applied, source } = await rig.program(fake)
    expect(engine.live.limit).toBe(1)
    const hello = await fake.heard('hello')
    expect(hello).toMatchObject({ config: 'shop/gateway/prod', status: 'APPLIED', runs: { number: 1 }, seen: 1 })

    const sent: string[] = []
    fake.frames = (text) => (sent.push(text), [text])
    fake.publish({ limit: 2, text: 'x'.repeat(500) })
    await fake.heard('report', final(2))
    // It was applied at once: there was nothing to say on the way.
    expect(fake.reports(2)).toEqual(['APPLIED'])
    expect(applied).toEqual([1, 2])
    expect(sent.join()).toContain('"kind":"delta"')
    expect(sent.join().length).toBeLessThan(600)
    expect(source.status()).toMatchObject({ via: 'websocket', status: 'APPLIED', runs: { number: 2 }, seen: 2 })
  })

  test('R3: one that the schema refuses is reported with the reason, and what is live stays live', async () => {
    const fake = await plane()
    fake.publish({ limit: 5 })
    const { engine, source } = await rig.program(fake)
    await fake.heard('hello')
    fake.publish({ limit: 0 })
    const report = await fake.heard('report', final(2))
    expect(report.status).toBe('FAILED')
    expect(report.detail).toContain('limit')
    expect(engine.live.limit).toBe(5)
    expect(source.status()).toMatchObject({ status: 'FAILED', runs: { number: 1 }, seen: 2 })
    fake.publish({ limit: 6 })
    await fake.heard('report', (r) => r.number === 3 && r.status === 'APPLIED')
    expect(engine.live.limit).toBe(6)
  })

  test('one that a component does not take is rolled back, tried again, and reported with the number of the try', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    let broken = true
    const { engine, applied } = await rig.program(fake, { failOn: (limit) => limit === 2 && broken })
    await fake.heard('hello')
    fake.publish({ limit: 2 })
    const first = await fake.heard('report', final(2))
    expect(first).toMatchObject({ status: 'ROLLED_BACK', attempt: 1 })
    expect(first.detail).toContain('does not take 2')
    expect(engine.live.limit).toBe(1)
    broken = false
    const last = await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
    expect(last.attempt).toBeGreaterThan(1)
    expect(engine.live.limit).toBe(2)
    expect(applied.at(-1)).toBe(2)
  })

  test('a newer one cancels the retries of the one that failed', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const tried: number[] = []
    await rig.program(fake, { failOn: (limit) => (tried.push(limit), limit === 2) })
    await fake.heard('hello')
    fake.publish({ limit: 2 })
    await fake.heard('report', final(2))
    fake.publish({ limit: 3 })
    await fake.heard('report', (r) => r.number === 3 && r.status === 'APPLIED')
    const before = tried.filter((limit) => limit === 2).length
    await new Promise((resolve) => setTimeout(resolve, 1_200))
    expect(tried.filter((limit) => limit === 2).length).toBe(before)
  })

  test('I13: of those that come while one is being applied, only the newest is applied next', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    let proceed = () => {}
    const slow = new Promise<void>((resolve) => (proceed = resolve))
    const { applied } = await rig.program(fake, {
      failOn: async (limit) => {
        if (limit === 2) await slow
        return false
      },
    })
    await fake.heard('hello')
    fake.publish({ limit: 2 })
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLYING')
    for (const limit of [3, 4, 5]) fake.publish({ limit })
    await fake.heard('report', (r) => r.number === 5 && r.status === 'RECEIVED')
    proceed()
    await fake.heard('report', (r) => r.number === 5 && r.status === 'APPLIED')
    expect(applied).toEqual([1, 2, 5])
  })

  test('a dry run reports no outcome, and the release is applied afterwards all the same', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { engine, source } = await rig.program(fake, { failOn: (limit) => limit === 2 })
    await fake.heard('hello')
    fake.publish({ limit: 0 })
    await fake.heard('report', final(2))
    await engine.plan()
    expect(source.status()).toMatchObject({ status: 'FAILED', runs: { number: 1 } })
    expect(fake.reports(2).filter((status) => status === 'FAILED')).toHaveLength(1)
  })

  test('force: the operator has the failed release tried again', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    await rig.program(fake)
    await fake.heard('hello')
    fake.publish({ limit: 0 })
    await fake.heard('report', final(2))
    fake.send(undefined, { ...fake.messageFor(0), force: true })
    const again = await fake.heard('report', (r) => final(2)(r) && r.attempt === 2)
    expect(again.status).toBe('FAILED')
  })

  test('16 MiB in one frame', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { engine } = await rig.program(fake)
    await fake.heard('hello')
    fake.deltas = false
    fake.publish({ limit: 2, text: 'x'.repeat(16 * 1024 * 1024) })
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
    expect(engine.live.text).toHaveLength(16 * 1024 * 1024)
  })
})

describe('never back, never twice', () => {
  test('R7, F27: the same release by WebSocket, twice, and by poll: one apply', async () => {
    const fake = await plane({ pacing: { pollMs: 100 } })
    fake.publish({ limit: 1 })
    const { applied } = await rig.program(fake)
    await fake.heard('hello')
    fake.frames = (text) => [text, text, text]
    fake.deltas = false
    fake.publish({ limit: 2 })
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
    let polls = 0
    fake.intercept = () => (polls++, false)
    await until(() => polls >= 3)
    expect(applied).toEqual([1, 2])
    expect(fake.reports(2)).toEqual(['APPLIED'])
  })

  test('R2, F27: an older release that comes late is passed over', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { engine, applied } = await rig.program(fake)
    await fake.heard('hello')
    fake.deltas = false
    fake.publish({ limit: 2 })
    const late = fake.messageFor(0)
    fake.publish({ limit: 3 })
    await fake.heard('report', (r) => r.number === 3 && r.status === 'APPLIED')
    fake.send(undefined, late)
    fake.send(undefined, { ...late, force: true })
    fake.publish({ limit: 4 })
    await fake.heard('report', (r) => r.number === 4 && r.status === 'APPLIED')
    expect(engine.live.limit).toBe(4)
    expect(applied).not.toContain(0)
    expect(applied.toSorted((a, b) => a - b)).toEqual(applied)
  })

  test('R7: away at 4, back when the head is 7: lands on 7, once', async () => {
    let fake = await plane()
    for (const limit of [1, 2, 3, 4]) fake.publish({ limit })
    const { applied } = await rig.program(fake)
    await fake.heard('hello')
    const { port, releases } = fake
    await fake.close()
    fake = await plane({ port, releases })
    for (const limit of [5, 6, 7]) fake.publish({ limit })
    await fake.heard('report', (r) => r.number === 7 && r.status === 'APPLIED')
    expect(applied).toEqual([4, 7])
  })

  test('I5: a control plane that has lost releases is told of, and not followed', async () => {
    let fake = await plane()
    for (const limit of [1, 2, 3]) fake.publish({ limit })
    const { engine, source, warnings } = await rig.program(fake)
    await fake.heard('hello')
    const { port, releases } = fake
    await fake.close()
    fake = await plane({ port, releases: releases.slice(0, 2) })
    const hello = await fake.heard('hello', (_, via) => via === 'websocket')
    expect(hello.runs?.number).toBe(3)
    await until(() => warnings.some((text) => text.includes('newest release is 2, and 3 is known here')))
    expect(engine.live.limit).toBe(3)
    expect(source.status().runs?.number).toBe(3)
  })

  test('Z4: the same content under a new number: nothing is applied, and it counts as applied', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    const { applied, source } = await rig.program(fake)
    await fake.heard('hello')
    fake.publish({ limit: 1 })
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
    expect(applied).toEqual([1])
    expect(source.status().runs?.number).toBe(2)
  })

  test('Z5: a release between the first load and the WebSocket is not missed', async () => {
    const fake = await plane()
    fake.publish({ limit: 1 })
    fake.intercept = (request) => {
      // The poll of the start is answered with 1; at once there is 2.
      if (fake.releases.length === 1 && request.url?.includes('/poll')) setImmediate(() => fake.publish({ limit: 2 }))
      return false
    }
    await rig.program(fake)
    await fake.heard('report', (r) => r.number === 2 && r.status === 'APPLIED')
  })
})

describe('on disk', () => {
  test('I7: starts from the release in use while the control plane is away, says so, and converges when it is back', async () => {
    const stateDir = await rig.directory()
    let fake = await plane()
    fake.publish({ limit: 1 })
    fake.publish({ limit: 2 })
    const first = await rig.program(fake, { stateDir })
    const uid = (await fake.heard('hello')).uid
    await first.close()
    const { port, releases, url } = fake
    await fake.close()

    const { engine, source, warnings } = await rig.program(url, { stateDir })
    expect(engine.live.limit).toBe(2)
    expect(warnings.join()).toContain('starts from release 2, found on disk')
    expect(source.status()).toMatchObject({ via: 'nothing', runs: { number: 2 }, heardAt: undefined })
    expect(source.status().staleMs).toBeGreaterThanOrEqual(0)

    fake = await plane({ port, releases })
    fake.publish({ limit: 3 })
    expect((await fake.heard('hello')).uid).toBe(uid)
    await fake.heard('report', (r) => r.number === 3 && r.status === 'APPLIED')
    expect(engine.live.limit).toBe(3)
  })

  test('I5: across a restart an older release is passed over', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    for (const limit of [1, 2, 3]) fake.publish({ limit })
    const first = await rig.program(fake, { stateDir })
    await first.close()
    fake.releases.pop()
    const { engine } = await rig.program(fake, { stateDir })
    expect(engine.live.limit).toBe(3)
  })

  test('only the owner can read what is kept, and the uid stays the same', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    const first = await rig.program(fake, { stateDir })
    await fake.heard('hello')
    await first.close()
    const folder = join(stateDir, 'agent', 'shop+gateway+prod')
    expect((await stat(folder)).mode & 0o777).toBe(0o700)
    for (const name of ['uid', 'last-good.a.json']) {
      expect((await stat(join(folder, name))).mode & 0o777).toBe(0o600)
    }
    expect(await readFile(join(folder, 'uid'), 'utf8')).toMatch(/^[0-9a-f-]{36}\n$/)
  })

  test('F16: what was changed on disk is not used, even where its checksum was made to fit', async () => {
    const stateDir = await rig.directory()
    const fake = await plane()
    fake.publish({ limit: 1 })
    await (await rig.program(fake, { stateDir })).close()
    const path = join(stateDir, 'agent', 'shop+gateway+prod', 'last-good.a.json')
    await writeFile(path, (await readFile(path, 'utf8')).replace('"limit":1', '"limit":7'))
    const { engine, warnings } = await rig.program(fake, { stateDir })
    expect(engine.live.limit).toBe(1)
    expect(warnings.join()).toContain('damaged')
  })

  test('a process without a control plane and without a disk does not start, and says why', async () => {
    const source = controlPlane({ url: 'http://127.0.0.1:9', config: 'shop' })
    await expect(source.load(new AbortController().signal)).rejects.toMatchObject({
      name: 'SourceError',
      transient: true,
    })
    await expect(rig.program('http://127.0.0.1:9')).rejects.toThrow(/nothing was received of shop\/gateway\/prod/)
  })

  test('I11: a config that is not there is not an empty configuration', async () => {
    const fake = await plane({ config: 'shop/other' })
    await expect(rig.program(fake)).rejects.toThrow(/answers 404/)
    const { engine } = await rig.program(fake, { engine: { bundled: { limit: 9 } } })
    expect(engine.live.limit).toBe(9)
  })
})

describe('options', () => {
  test.each([
    [{ url: 'ftp://x' }, 'want http:// or https://'],
    [{ url: 'nonsense' }, 'want http:// or https://'],
    [{ url: 'http://user:secret@x' }, 'want them in "token"'],
    [{ config: '../x' }, 'config "../x"'],
    [{ labels: { zone: 'x'.repeat(257) } }, 'labels.zone has more than 256 characters'],
    [{ verify: { keys: {} } }, 'verify.keys is empty'],
    [{ verify: { keys: { a: 'nonsense' } } }, 'verify.keys["a"] is not a public key'],
    [{ labels: Object.fromEntries(Array.from({ length: 64 }, (_, i) => [`k${i}`, '😀'.repeat(256)])) }, 'bytes; want'],
  ])('%j is refused at the call', (options, message) => {
    expect(() => controlPlane({ url: 'http://127.0.0.1:9', config: 'shop', ...options })).toThrow(message)
  })
})
