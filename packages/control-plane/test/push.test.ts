import { applyPatch, type Json } from 'midflight'
import type { Report } from 'midflight/protocol'
import { expect, test } from 'vitest'
import { openSqlite } from '../src/stores/sqlite.ts'
import { anyAgent, config, eventually, helloOf, rig, TestNode } from './push-rig.ts'
import { temporaryFolder } from './domain-rig.ts'

const big = (limit: number): Json => ({ limit, pad: 'x'.repeat(2000) })

test('a node is welcomed, gets the head whole, and what it reports is what the store says of it', async () => {
  const reports: Report[] = []
  const { url, hub, store, release } = await rig({ onReport: (_node, report) => reports.push(report) })
  const first = await release({ content: big(1) })
  const node = await new TestNode(url).on(1)
  expect(node.got[0]).toMatchObject({ type: 'welcome', head: 1, heartbeatMs: 30_000, leaseMs: 90_000 })
  expect(node.releases()).toHaveLength(1)
  expect(node.releases()[0]).toMatchObject({ release: first, body: { kind: 'whole', content: big(1) } })
  await eventually(() => reports.at(-1)?.status === 'APPLIED')
  await hub.flush()
  const record = await store.read((read) => read.node(node.hello.uid))
  expect(record).toMatchObject({ status: 'APPLIED', runs: { number: 1, digest: first.digest }, seen: 1 })
  expect(await store.read((read) => read.appliedAt(config, 1))).toBeDefined()
})

test('a small change travels as a delta onto what the node holds', async () => {
  const { url, hub, release } = await rig()
  await release({ content: big(1) })
  const node = await new TestNode(url).on(1)
  await eventually(() => hub.nodes().inFlight === 0)
  await release({ content: big(2) })
  await node.on(2)
  const { body } = node.releases()[1]!
  expect(body).toEqual({
    kind: 'delta',
    base: 1,
    baseDigest: node.releases()[0]!.release.digest,
    patch: [{ op: 'replace', path: '/limit', value: 2 }],
  })
  expect(applyPatch(big(1), body.kind === 'delta' ? body.patch : [])).toEqual(node.content)
  expect(hub.nodes()).toMatchObject({ connected: 1, sent: 2, deltas: 1 })
})

test('a node that cannot use the delta asks for the whole and gets it', async () => {
  const { url, release } = await rig()
  const first = await release({ content: big(1) })
  await release({ content: big(2) })
  // It says that it runs release 1, and has lost its content.
  const hello = { runs: { number: 1, digest: first.digest }, seen: 1, status: 'APPLIED' as const }
  const node = await new TestNode(url, { hello }).on(2)
  expect(node.releases().map(({ body }) => body.kind)).toEqual(['delta', 'whole'])
})

test('what is smaller whole goes whole, and so does what would be made onto a content that is not ours', async () => {
  const { url, release } = await rig()
  const pad = 'x'.repeat(2_000)
  const digestOf = { ours: '', other: `sha256:${'0'.repeat(64)}` }
  const kindFor = async (number: number, found: keyof typeof digestOf): Promise<string | undefined> => {
    const hello = {
      runs: { number: number - 1, digest: digestOf[found] },
      seen: number - 1,
      status: 'APPLIED' as const,
    }
    const node = new TestNode(url, { hello, applies: false })
    await node.until(() => node.releases().length > 0)
    return node.releases()[0]?.body.kind
  }
  digestOf.ours = (await release({ content: { a: 1 } })).digest
  await release({ content: { b: 2 } })
  expect(await kindFor(2, 'ours')).toBe('whole')
  digestOf.ours = (await release({ content: { limit: 1, pad } })).digest
  await release({ content: { limit: 2, pad } })
  expect([await kindFor(4, 'ours'), await kindFor(4, 'other')]).toEqual(['delta', 'whole'])
})

test('R7 reconnect at 4 while the server is at 7: lands on 7 with one message', async () => {
  const { url, release } = await rig()
  const releases = []
  for (let n = 1; n <= 7; n++) releases.push(await release({ content: big(n) }))
  const hello = { runs: { number: 4, digest: releases[3]!.digest }, seen: 4, status: 'APPLIED' as const }
  const node = new TestNode(url, { hello })
  node.remember(4, big(4))
  await node.on(7)
  expect(node.applied).toBe(1)
  expect(node.releases()).toHaveLength(1)
  expect(node.releases()[0]!.body).toMatchObject({ kind: 'delta', base: 4 })
})

test('R7 the same release by WebSocket and by poll: one apply', async () => {
  const { url, hub, release } = await rig()
  await release({ content: big(1) })
  const node = await new TestNode(url).on(1)
  const polling = hub.poll({ config, identity: anyAgent, index: 1, waitMs: 10_000, whole: false, uid: node.hello.uid })
  await eventually(() => hub.nodes().polling === 1)
  await release({ content: big(2) })
  await node.on(2)
  const polled = await polling
  expect(polled).toMatchObject({ kind: 'release', index: 2 })
  node.take(JSON.parse(polled.kind === 'release' ? polled.body.toString() : ''))
  expect(node.applied).toBe(2)
})

test('newest wins: a node that is busy with one release is sent the last of those that came meanwhile', async () => {
  const { url, hub, release } = await rig()
  await release({ content: big(1) })
  const slow = await new TestNode(url, { applies: false }).welcomed()
  const quick = await new TestNode(url).on(1)
  await slow.until(() => slow.releases().length === 1)
  for (let n = 2; n <= 9; n++) await release({ content: big(n) })
  await quick.on(9)
  expect(slow.releases()).toHaveLength(1)
  slow.take(slow.releases()[0]!)
  await slow.until(() => slow.releases().length === 2)
  expect(slow.releases()[1]!).toMatchObject({ release: { number: 9 }, body: { kind: 'delta', base: 1 } })
  expect(hub.nodes().superseded).toBeGreaterThan(0)
})

test('R2 a node that was down comes back and converges; a late report on an older release changes nothing', async () => {
  const { url, hub, roster, release } = await rig()
  const first = await release({ content: big(1) })
  const down = await new TestNode(url).on(1)
  const { uid } = down.hello
  await eventually(() => hub.nodes().inFlight === 0)
  down.ws.terminate()
  await eventually(() => hub.nodes().connected === 0)
  const second = await release({ content: big(2) })
  expect(roster.node(uid)).toMatchObject({ runs: { number: 1 } })
  const hello = { uid, runs: { number: 1, digest: first.digest }, seen: 1, status: 'APPLIED' as const }
  const back = new TestNode(url, { hello })
  back.remember(1, big(1))
  await back.on(2)
  await eventually(() => roster.node(uid)?.status === 'APPLIED' && roster.node(uid)?.runs?.number === 2)
  const late: Report = { type: 'report', ...pick(first), status: 'FAILED', attempt: 1, at: first.createdAt }
  expect(await hub.report(config, uid, late, anyAgent)).toBe('ok')
  back.say(late)
  back.report('APPLIED', second)
  await release({ content: big(3) })
  await back.on(3)
  await eventually(() => roster.node(uid)?.runs?.number === 3)
  expect(roster.node(uid)).toMatchObject({ status: 'APPLIED', seen: 3 })
})

const pick = ({ number, digest }: { number: number; digest: string }): { number: number; digest: string } => ({
  number,
  digest,
})

test('F27 reports that come twice and out of order leave the truth as it is', async () => {
  const { url, hub, roster, release } = await rig()
  const first = await release({ content: big(1) })
  const node = await new TestNode(url, { applies: false }).welcomed()
  await node.until(() => node.releases().length === 1)
  for (const status of ['APPLIED', 'RECEIVED', 'APPLYING', 'APPLIED', 'RECEIVED'] as const) node.report(status, first)
  await eventually(() => hub.nodes().reports === 5)
  expect(roster.node(node.hello.uid)).toMatchObject({ status: 'APPLIED', runs: pick(first) })
  expect(node.releases()).toHaveLength(1)
})

test('Z4 the same content again makes no release, and nobody is told anything', async () => {
  const { url, hub, release } = await rig()
  await release({ content: big(1) })
  const node = await new TestNode(url).on(1)
  await release({ content: big(1) })
  await release({ content: big(2) })
  await node.on(2)
  expect(node.releases().map((message) => message.release.number)).toEqual([1, 2])
  expect(hub.nodes().sent).toBe(2)
})

test('Z5 a release between the hello of a node and its welcome is not missed', async () => {
  const { url, release } = await rig()
  await release({ content: big(1) })
  const nodes = Array.from({ length: 20 }, () => new TestNode(url))
  for (let n = 2; n <= 10; n++) await release({ content: big(n) })
  for (const node of nodes) await node.on(10)
})

test('a lost report is healed by the next heartbeat', async () => {
  const { url, hub, roster, release } = await rig()
  const first = await release({ content: big(1) })
  const node = await new TestNode(url, { applies: false }).welcomed()
  await node.until(() => node.releases().length === 1)
  node.say({ type: 'heartbeat', runs: pick(first), status: 'APPLIED' })
  await eventually(() => hub.nodes().inFlight === 0)
  expect(roster.node(node.hello.uid)).toMatchObject({ status: 'APPLIED', runs: pick(first) })
})

test('a lost release is sent again, and drift is repaired with the whole', async () => {
  const patience = { resendMs: 100, applyMs: 1000, retry: { firstMs: 10, maxMs: 100, maxFailures: 3 } }
  const { url, release } = await rig({ patience })
  const first = await release({ content: big(1) })
  const node = await new TestNode(url, { applies: false }).welcomed()
  await node.until(() => node.releases().length === 2)
  node.take(node.releases()[1]!)
  node.say({ type: 'heartbeat', runs: { number: 1, digest: `sha256:${'1'.repeat(64)}` }, status: 'APPLIED' })
  await node.until(() => node.releases().length >= 3)
  expect(node.releases().at(-1)).toMatchObject({ release: pick(first), body: { kind: 'whole' }, force: true })
})

test('K4 a release that a node refuses is sent once, whoever reconnects; one that was rolled back is tried again', async () => {
  const patience = { resendMs: 10, applyMs: 1000, retry: { firstMs: 1, maxMs: 1, maxFailures: 20 } }
  const { url, hub, release } = await rig({ patience })
  const first = await release({ content: big(1) })
  const tell = (node: TestNode, status: 'FAILED' | 'ROLLED_BACK', attempt: number): void =>
    node.say({ type: 'report', ...pick(first), status, attempt, at: first.createdAt, detail: 'limit is 0' })
  const refuses = await new TestNode(url, { applies: false }).welcomed()
  await refuses.until(() => refuses.releases().length === 1)
  tell(refuses, 'FAILED', 1)
  await eventually(() => hub.nodes().inFlight === 0)
  const before = refuses.releases().length
  refuses.ws.close()
  await refuses.end()
  const again = await new TestNode(url, {
    applies: false,
    hello: { uid: refuses.hello.uid, seen: 1, status: 'FAILED' },
  }).welcomed()
  const rollsBack = await new TestNode(url, { applies: false }).welcomed()
  for (let attempt = 1; attempt <= 10; attempt++) {
    await rollsBack.until(() => rollsBack.releases().length >= attempt)
    tell(rollsBack, 'ROLLED_BACK', attempt)
  }
  expect([refuses.releases().length, again.releases().length]).toEqual([before, 0])
  again.ws.close()
  expect((await again.end()).error).toBeUndefined()
  const restarted = await new TestNode(url, { applies: false, hello: { uid: refuses.hello.uid } }).welcomed()
  await restarted.until(() => restarted.releases().length === 1)
})

test('many nodes: each release is made once and reaches all', async () => {
  const { url, hub, release } = await rig()
  await release({ content: big(1) })
  const nodes = Array.from({ length: 200 }, () => new TestNode(url))
  for (const node of nodes) await node.on(1)
  await eventually(() => hub.nodes().inFlight === 0)
  await release({ content: big(2) })
  for (const node of nodes) await node.on(2)
  expect(hub.nodes()).toMatchObject({ connected: 200, sent: 400, deltas: 200 })
  expect(hub.nodes().frameBytes).toBeLessThan(10_000)
})

test('what a node reports is on disk after a flush, and the hub starts again from it', async () => {
  const directory = await temporaryFolder()
  const store = await openSqlite({ directory })
  const before = await rig({ store })
  await before.release({ content: big(1) })
  const node = await new TestNode(before.url).on(1)
  await eventually(() => before.roster.node(node.hello.uid)?.status === 'APPLIED')
  await before.close()
  expect(await node.end()).toMatchObject({ code: 1001 })
  expect(node.got.at(-1)).toMatchObject({ type: 'pace' })
  await store.close()
  const reopened = await openSqlite({ directory })
  const after = await rig({ store: reopened })
  expect(after.roster.node(node.hello.uid)).toMatchObject({ status: 'APPLIED', runs: { number: 1 } })
  await after.close()
  await reopened.close()
})

test('a hello and reports by HTTP count as those by WebSocket do', async () => {
  const { hub, roster, release } = await rig()
  const first = await release({ content: big(1) })
  const hello = helloOf()
  const report: Report = { type: 'report', ...pick(first), status: 'APPLIED', attempt: 1, at: first.createdAt }
  expect(await hub.report(config, hello.uid, report, anyAgent)).toBe('unknown-node')
  expect(await hub.hello(hello, anyAgent)).toMatchObject({ kind: 'ok', welcome: { head: 1 } })
  expect(await hub.report(config, hello.uid, report, anyAgent)).toBe('ok')
  expect(await hub.report(config, hello.uid, { ...report, number: 2 }, anyAgent)).toBe('not-sent')
  // Its hello from before the report was overtaken by it.
  await hub.hello(hello, anyAgent)
  expect(roster.node(hello.uid)).toMatchObject({ status: 'APPLIED', runs: { number: 1 } })
  const elsewhere = { ...anyAgent, prefix: 'bank' }
  expect(await hub.hello(hello, elsewhere)).toEqual({ kind: 'unknown-config' })
  expect(await hub.hello({ ...hello, config: 'shop/none' }, anyAgent)).toEqual({ kind: 'unknown-config' })
})

test('a process that polls, and was started anew without its disk, is believed when it says again that it runs nothing', async () => {
  let ms = 0
  const clock = { now: () => new Date(), monotonicMs: () => ms }
  const { hub, roster, release } = await rig({ clock, limits: { heartbeatMs: 30_000 } })
  const first = await release({ content: big(1) })
  const hello = helloOf()
  await hub.hello(hello, anyAgent)
  const report: Report = { type: 'report', ...pick(first), status: 'APPLIED', attempt: 1, at: first.createdAt }
  await hub.report(config, hello.uid, report, anyAgent)
  const known = () => roster.node(hello.uid)
  const anew = { ...hello, seen: 1, status: 'FAILED' } as const
  await hub.hello(anew, anyAgent)
  expect(known()).toMatchObject({ status: 'APPLIED', runs: { number: 1 } })
  // Something better in between: it was late.
  await hub.hello({ ...hello, runs: { number: 1, digest: first.digest }, seen: 1, status: 'APPLIED' }, anyAgent)
  ms += 30_000
  await hub.hello(anew, anyAgent)
  expect(known()).toMatchObject({ status: 'APPLIED', runs: { number: 1 } })
  ms += 30_000
  await hub.hello(anew, anyAgent)
  expect(known()).toMatchObject({ status: 'FAILED', runs: null })
})

test('for a node that is connected nobody else votes, reports or says hello, or shows that it lives', async () => {
  const { url, hub, roster, release } = await rig()
  const first = await release({ content: big(1) })
  const node = await new TestNode(url, { applies: false }).welcomed()
  const { hello } = node
  const other = { ...anyAgent, name: 'another agent' }
  const report: Report = { type: 'report', ...pick(first), status: 'APPLIED', attempt: 1, at: first.createdAt }
  expect(await hub.report(config, hello.uid, report, other)).toBe('unknown-node')
  expect(await hub.hello({ ...hello, runs: pick(first) }, other)).toEqual({ kind: 'duplicate-node' })
  expect(roster.node(hello.uid)).toMatchObject({ runs: null })
  expect(await hub.report(config, hello.uid, report, anyAgent)).toBe('ok')
  roster.fellSilent(hello.uid)
  const question = { config, index: 0, waitMs: 0, whole: false, uid: hello.uid }
  await hub.poll({ ...question, identity: other })
  expect(roster.isSilent(hello.uid)).toBe(true)
  await hub.poll({ ...question, identity: anyAgent })
  expect(roster.isSilent(hello.uid)).toBe(false)
})

test('of a node whose connection is gone nothing is known at once, and it is away when its lease ends', async () => {
  const { url, roster, release } = await rig({ limits: { leaseMs: 2_000 } })
  await release({ content: big(1) })
  const node = await new TestNode(url).on(1)
  const { uid } = node.hello
  expect([roster.isSilent(uid), roster.isAway(uid)]).toEqual([false, false])
  node.ws.terminate()
  await eventually(() => roster.isSilent(uid))
  await eventually(() => roster.isAway(uid))
  const back = new TestNode(url, { hello: { ...node.hello, runs: node.runs } })
  await eventually(() => !roster.isSilent(uid) && !roster.isAway(uid))
  back.ws.terminate()
})
