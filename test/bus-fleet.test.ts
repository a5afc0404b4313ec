/** Releases over a message bus, end to end: real buses, the real control plane, real engines. What a bus itself promises is `bus-conformance`. */
import { createHmac, generateKeyPairSync, randomUUID, sign } from 'node:crypto'
import { natsBus } from 'midflight/buses/nats'
import { busFormat, encode, reportFormat, reportTopic, seal, toProve, unseal } from 'midflight/protocol'
import type { ReleaseMessage } from 'midflight/protocol'
import { afterEach, describe, expect, test } from 'vitest'
import { NatsServer } from '../packages/engine/test/source-nats-rig.ts'
import { config, kinds, nats, rarely, Rig, until, type Program } from './bus-fleet-rig.ts'

const rig = new Rig()
afterEach(() => rig.close())

const slowMs = 120_000
const limits = { hub: rarely }

for (const kind of kinds) {
  describe(`${kind.name}${kind.missing === undefined ? '' : ` (skipped: ${kind.missing})`}`, () => {
    test.skipIf(kind.missing)(
      'R7: the same release by WebSocket, by bus and by poll is one apply',
      async () => {
        const { spy, plane, connected } = await rig.fleet(kind, { hub: { pollMs: 100 } })
        const { applied, runs } = await connected()
        await until(() => runs() === 1)
        for (let number = 2; number <= 6; number++) {
          await plane.publish({ limit: number })
          await until(() => spy.whole(number) !== undefined)
          // And once more by bus, before or after the others.
          await spy.say(spy.whole(number) as Uint8Array)
          await until(() => runs() === number)
        }
        // What was said before comes again, out of order.
        for (const number of [4, 2, 6, 3]) await spy.say(spy.whole(number) as Uint8Array)
        await plane.publish({ limit: 7 })
        await until(() => runs() === 7)
        expect(applied).toEqual([1, 2, 3, 4, 5, 6, 7])
      },
      slowMs,
    )

    test.skipIf(kind.missing)(
      'a node that the control plane cannot reach has its releases from the bus',
      async () => {
        const { spy, plane, connected } = await rig.fleet(kind)
        const node = await connected()
        plane.cutOff()
        await until(() => node.source.status().via !== 'websocket')
        await plane.publish({ limit: 2 })
        await until(() => spy.whole(2) !== undefined && node.runs() === 2)
        expect(node.applied).toEqual([1, 2])
        expect(node.source.status().via).toBe('nothing')
      },
      slowMs,
    )

    test.skipIf(kind.missing)(
      'R7: back at 4 while the server is at 7, and late words of 5 and 6: lands on 7',
      async () => {
        const { spy, plane, connected } = await rig.fleet(kind)
        for (let number = 2; number <= 4; number++) await plane.publish({ limit: number })
        const stateDir = await rig.directory()
        const before = await connected({ stateDir })
        await until(() => before.runs() === 4)
        await before.engine.close()
        for (let number = 5; number <= 7; number++) await plane.publish({ limit: number })
        await until(() => spy.whole(7) !== undefined)
        const node = await connected({ stateDir })
        for (const { bytes } of spy.heard.slice()) await spy.say(bytes)
        await plane.publish({ limit: 8 })
        await until(() => node.runs() === 8)
        expect(node.applied).toEqual([7, 8])
      },
      slowMs,
    )

    test.skipIf(kind.missing)(
      'a node without a connection asks for what is its own, and a canary stays one',
      async () => {
        const { spy, plane, listening } = await rig.fleet(kind)
        const given = [{ canary: 'yes' }, {}, { canary: 'no' }, {}] as readonly Record<string, string>[]
        const all = await Promise.all(given.map((labels) => listening({ labels })))
        const [canary, ...others] = all as [Program, ...Program[]]
        await until(async () => (await plane.nodes()).filter(({ status }) => status === 'APPLIED').length === 4)
        const strategy = { kind: 'staged', steps: [{ labels: { canary: 'yes' } }], bakeMs: 2_000, gates: [] }
        await plane.publish({ limit: 2 }, strategy)
        await until(() => canary.runs() === 2)
        const rollout = `/v1/configs/${encodeURIComponent(config)}/rollouts/2`
        await plane.call('POST', `${rollout}/pause`, { reason: 'to look' })
        // Each of the others may ask as often as it likes, and is answered that there is nothing.
        for (const { source } of others) {
          expect(await plane.polled(source.status().uid ?? '', 1)).toEqual({ status: 304, number: undefined })
        }
        expect(others.map(({ applied }) => applied)).toEqual([[1], [1], [1]])
        expect(spy.whole(2)).toBeUndefined()
        expect(spy.heard.map(({ message }) => message.type)).toContain('moved')
        await plane.call('POST', `${rollout}/resume`, { reason: 'to look' })
        await until(() => others.every(({ runs }) => runs() === 2))
        await until(() => spy.whole(2) !== undefined)
        expect(all.map(({ applied }) => applied)).toEqual([
          [1, 2],
          [1, 2],
          [1, 2],
          [1, 2],
        ])
      },
      slowMs,
    )
  })
}

const skip = nats.missing

describe(`whatever the bus does${skip === undefined ? '' : ` (skipped: ${skip})`}`, () => {
  test.skipIf(skip)(
    'a bus that is down fails no publish; what was published meanwhile is said when it is back',
    async () => {
      const { server, plane, listening } = await rig.fleet(nats)
      const byBus = await listening()
      const bySocket = await rig.program(plane.url, { token: plane.token })
      await until(() => bySocket.source.status().via === 'websocket')
      await server.stop()
      await until(() => byBus.warnings.some((text) => text.includes('the bus is not heard')))
      await plane.publish({ limit: 2 })
      await plane.publish({ limit: 3 })
      // By WebSocket, and by the long poll in place of the bus.
      await until(() => bySocket.runs() === 3 && byBus.runs() === 3)
      await until(() => plane.log.includes('the bus is away'))
      expect((await plane.call('GET', '/metrics')).text).toMatch(/midflight_bus_away\{bus="nats:[^}]*\} 1/)
      await server.start()
      await until(() => byBus.source.status().via === 'bus' && plane.log.includes('the bus is reached again'))
      expect(byBus.warnings.join('\n')).toContain('the bus is heard again')
      const spy = await rig.spy(server)
      await plane.publish({ limit: 4 })
      await until(() => byBus.runs() === 4 && spy.whole(4) !== undefined)
      expect(plane.log.match(/the bus is away/g)).toHaveLength(1)
      expect((await plane.call('GET', '/metrics')).text).toMatch(/midflight_bus_away\{bus="nats:[^}]*\} 0/)
    },
    slowMs,
  )

  test.skipIf(skip)(
    'nothing is believed that the control plane has not signed, and nothing twice',
    async () => {
      const { spy, plane, connected } = await rig.fleet(nats)
      await plane.publish({ limit: 2 })
      await until(() => spy.whole(2) !== undefined)
      const node = await connected()
      await until(() => node.runs() === 2)
      // Nothing can be put right by another way.
      plane.cutOff()
      await until(() => node.source.status().via !== 'websocket')

      const true2 = unseal(spy.whole(2) as Uint8Array, busFormat)
      const forger = generateKeyPairSync('ed25519').privateKey
      const text = Buffer.from(true2.body).toString()
      const newer = Buffer.from(text.replaceAll('"number":2', '"number":9').replace('"limit":2', '"limit":9'))
      const forged = sign(null, toProve(busFormat, [], newer), forger).toString('base64url')
      await spy.say(seal(busFormat, [], forged, newer)) // signed by somebody else
      await spy.say(seal(busFormat, [], true2.proof, newer)) // with the signature of another
      await spy.say(newer) // without one
      await spy.say(seal(busFormat, [], '', newer))
      await spy.say('')
      await spy.say(Buffer.alloc(900_000, 0x61))
      const word = Buffer.from(encode({ type: 'moved', config, number: 99, spreadMs: 0 }))
      await spy.say(seal(busFormat, [], sign(null, word, forger).toString('base64url'), word))
      // Signed, and old.
      await spy.say(spy.whole(2) as Uint8Array)
      // Signed, and of another config.
      await plane.call('POST', '/v1/configs', { name: 'shop/other' })
      const other = Buffer.from(text.replaceAll(config, 'shop/other').replaceAll('"number":2', '"number":9'))
      const { keys } = plane.served
      await spy.say(seal(busFormat, [], keys.signBytes(toProve(busFormat, [], other)), other))
      // Signed, with a content that is not that of its digest.
      const torn = Buffer.from(text.replaceAll('"number":2', '"number":8').replace('"limit":2', '"limit":8'))
      await spy.say(seal(busFormat, [], keys.signBytes(toProve(busFormat, [], torn)), torn))
      // What comes last is true.
      await plane.publish({ limit: 3 })
      await until(() => spy.whole(3) !== undefined)
      plane.proxy.refuse = false
      await until(() => node.source.status().via === 'websocket')
      await plane.publish({ limit: 4 })
      await until(() => node.runs() === 4)
      expect(node.applied.filter((limit) => limit !== 3)).toEqual([2, 4])
      expect(node.warnings.join('\n')).toContain('not signed by the control plane')
    },
    slowMs,
  )

  test.skipIf(skip)(
    'a large release is announced, and fetched',
    async () => {
      const { spy, plane, listening } = await rig.fleet(nats, { maxWholeBytes: 10_000_000 })
      const node = await listening()
      // More than NATS takes, and then less again.
      await plane.publish({ limit: 2, text: 'x'.repeat(1_500_000) })
      await until(() => node.runs() === 2)
      await plane.publish({ limit: 3 })
      await until(() => node.runs() === 3 && spy.whole(3) !== undefined)
      expect(spy.whole(2)).toBeUndefined()
      expect(plane.served.hub.buses()).toMatchObject([{ failed: 0, isAway: false }])
    },
    slowMs,
  )

  test.skipIf(skip)(
    'nothing is put on the bus whole where that is not wanted',
    async () => {
      const { spy, plane, listening } = await rig.fleet(nats, { maxWholeBytes: 0 })
      await until(() => spy.heard.length > 0)
      const node = await listening()
      await plane.publish({ limit: 2, text: 'canary-secret' })
      await until(() => node.runs() === 2)
      expect(spy.heard.map(({ message }) => message.type)).toEqual(['moved', 'moved'])
      expect(Buffer.concat(spy.heard.map(({ bytes }) => bytes)).includes('canary-secret')).toBe(false)
    },
    slowMs,
  )

  test.skipIf(skip)(
    'after the control plane was restarted its word is believed as before',
    async () => {
      const { server, plane, connected } = await rig.fleet(nats)
      const node = await connected()
      plane.cutOff()
      await plane.close()
      await plane.start({ buses: [server.newBus()] })
      await plane.publish({ limit: 2 })
      await until(() => node.runs() === 2)
      expect(node.applied).toEqual([1, 2])
    },
    slowMs,
  )

  test.skipIf(skip)(
    'nodes report over the bus, each for itself, and each report counts once',
    async () => {
      const { spy, plane, listening } = await rig.fleet(nats, { takesReports: true })
      const node = await listening({ acks: 'bus' })
      await plane.publish({ limit: -1 })
      await until(async () => (await plane.nodes())[0]?.status === 'FAILED')
      const uid = node.source.status().uid as string
      const seen = spy.reports.map((bytes) => JSON.parse(Buffer.from(unseal(bytes, reportFormat).body).toString()))
      expect(seen).toContainEqual(expect.objectContaining({ number: 2, status: 'FAILED', detail: expect.any(String) }))
      await plane.publish({ limit: 3 })
      await until(async () => (await plane.nodes())[0]?.status === 'APPLIED')

      // Another node, which may speak for itself.
      const other = randomUUID()
      const hello = { ...{ type: 'hello', uid: other, config, labels: {} }, agent: { name: 'other', version: '1' } }
      const { body } = await plane.call('POST', `/v1/agent/${encodeURIComponent(config)}/heartbeat`, {
        ...{ ...hello, runs: null, seen: null, status: 'UNSET' },
      })
      const { reportKey } = (body as unknown as { bus: { reportKey: string } }).bus
      const digest = (spy.heard.at(-1)?.message as ReleaseMessage).release.digest
      const said = Buffer.from(
        encode({ type: 'report', number: 3, digest, status: 'DEGRADED', attempt: 9, at: '2026-11-20T09:30:00.000Z' }),
      )
      const report = (of: string, count: number, key: string) => {
        const fields = [of, String(count)]
        const hmac = createHmac('sha256', Buffer.from(key, 'base64url')).update(toProve(reportFormat, fields, said))
        return seal(reportFormat, fields, hmac.digest('base64url'), said)
      }
      // For the first one: with its own key, with none, with the proof of another report, and what was said before.
      await spy.bus.publish(reportTopic, report(uid, 1_000, reportKey))
      await spy.bus.publish(reportTopic, report(uid, 1_000, ''))
      const { proof, fields } = unseal(spy.reports[0] as Uint8Array, reportFormat)
      await spy.bus.publish(reportTopic, seal(reportFormat, fields, proof, said))
      for (const bytes of spy.reports.slice()) await spy.bus.publish(reportTopic, bytes)
      // For itself. What was said before it has been looked at before it.
      await spy.bus.publish(reportTopic, report(other, 1, reportKey))
      const of = async (which: string) => (await plane.nodes()).find((one) => one.uid === which)
      await until(async () => (await of(other))?.status === 'DEGRADED')
      expect(await of(uid)).toMatchObject({ status: 'APPLIED', runs: { number: 3 } })
      expect(plane.served.hub.busReports()).toMatchObject({ refused: expect.any(Number) })
      expect(plane.served.hub.busReports()?.refused).toBeGreaterThanOrEqual(4)
    },
    slowMs,
  )

  test.skipIf(skip)(
    'where the control plane may not hear reports on the bus it says so, and nodes report by HTTP',
    async () => {
      const server = await NatsServer.start({
        users: [
          '{ user: plane, password: p, permissions: { publish: "midflight.releases.>", subscribe: "else" } }',
          '{ user: node, password: n }',
        ].join('\n'),
      })
      rig.add(() => server.close())
      const as = (user: string, password: string) => natsBus({ servers: server.url, user, password })
      const plane = await rig.plane({ buses: [as('plane', 'p')], takesReports: true }, { limits })
      await plane.publish({ limit: 1 })
      await until(() => plane.log.includes('what nodes report over the bus is not heard'))
      const node = await rig.program(plane.url, {
        ...{ token: plane.token, bus: as('node', 'n'), websocket: false, acks: 'bus' },
      })
      await until(() => node.source.status().via === 'bus')
      await plane.publish({ limit: -1 })
      await until(async () => (await plane.nodes())[0]?.status === 'FAILED')
      expect(plane.log).toMatch(/permissions violation for subscription/i)
      expect(plane.served.hub.busReports()).toEqual({ taken: 0, refused: 0 })
    },
    slowMs,
  )

  test.skipIf(skip)(
    'of two control planes that share a prefix by mistake each is heard by its own nodes only',
    async () => {
      const server = await rig.bus(nats)
      const spy = await rig.spy(server)
      const fleets = []
      for (const contents of [
        [1, 2, 3],
        [101, 102, 103, 104, 105],
      ]) {
        const plane = await rig.plane({ buses: [server.newBus()], takesReports: true }, { limits })
        await plane.publish({ limit: contents[0] })
        const node = await rig.program(plane.url, {
          ...{ token: plane.token, bus: server.newBus(), websocket: false, acks: 'bus' },
        })
        await until(() => node.source.status().via === 'bus' && node.runs() === 1)
        fleets.push({ plane, node, contents })
      }
      for (const { plane, node, contents } of fleets) {
        for (const limit of contents.slice(1)) {
          await plane.publish({ limit })
          await until(() => node.applied.at(-1) === limit)
        }
      }
      for (const { bytes } of spy.heard.slice()) await spy.say(bytes)
      for (const { plane, node, contents } of fleets) {
        await plane.publish({ limit: 9 })
        await until(() => node.applied.at(-1) === 9)
        expect(node.applied).toEqual([...contents, 9])
        await until(async () => (await plane.nodes())[0]?.runs?.number === contents.length + 1)
        expect(await plane.nodes()).toHaveLength(1)
        expect(node.warnings.join('\n')).toContain('not signed by the control plane')
      }
    },
    slowMs,
  )
})
