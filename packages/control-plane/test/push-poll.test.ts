/** Long polls: what they are answered, when, and that a fleet of them is no herd. */
import { digest, type Json } from 'midflight'
import { decodeFromServer, type ReleaseMessage } from 'midflight/protocol'
import { expect, test } from 'vitest'
import { createAdmission } from '../src/push/admission.ts'
import { hasText } from '../src/push/frames.ts'
import type { PollAnswer, PollRequest } from '../src/push/longpoll.ts'
import { anyAgent, config, eventually, helloOf, rig } from './push-rig.ts'

const settings = (limit: number): Json => ({ limit, pad: 'x'.repeat(2000) })
const ask = (over: Partial<PollRequest> = {}): PollRequest => ({
  config,
  identity: anyAgent,
  index: 0,
  waitMs: 0,
  whole: false,
  ...over,
})

function releaseOf(answer: PollAnswer): ReleaseMessage {
  if (answer.kind !== 'release') throw new Error(`is ${answer.kind}; want release`)
  const message = decodeFromServer(answer.body.toString())
  if (message.type !== 'release') throw new Error(`is ${message.type}; want release`)
  return message
}

test('a poll without an index gets the head whole, with its digest as ETag', async () => {
  const { hub, release } = await rig()
  expect(await hub.poll(ask())).toMatchObject({ kind: 'unchanged', index: 0 })
  const first = await release({ content: settings(1) })
  const answer = await hub.poll(ask())
  expect(answer).toMatchObject({ kind: 'release', index: 1, etag: `"${first.digest}"`, pollMs: 60_000 })
  expect(releaseOf(answer).body).toEqual({ kind: 'whole', content: settings(1) })
  expect(await hub.poll(ask({ ifNoneMatch: `"${first.digest}"` }))).toMatchObject({ kind: 'unchanged', index: 1 })
  expect(await hub.poll(ask({ ifNoneMatch: `"${digest(7)}"` }))).toMatchObject({ kind: 'release' })
})

test('a poll that holds an older release gets a delta onto just that one; with whole it gets the whole', async () => {
  const { hub, release } = await rig()
  for (let n = 1; n <= 4; n++) await release({ content: settings(n) })
  expect(releaseOf(await hub.poll(ask({ index: 2 }))).body).toMatchObject({ kind: 'delta', base: 2 })
  expect(releaseOf(await hub.poll(ask({ index: 2, whole: true }))).body).toMatchObject({ kind: 'whole' })
  expect(releaseOf(await hub.poll(ask({ index: 4, whole: true }))).release.number).toBe(4)
})

test('a long poll is answered by the next release, by its time, or when the server closes; never by nothing', async () => {
  const { hub, release } = await rig()
  await release({ content: settings(1) })
  const polls = Array.from({ length: 250 }, () => hub.poll(ask({ index: 1, waitMs: 30_000 })))
  await eventually(() => hub.nodes().polling === 250)
  await release({ content: settings(2) })
  for (const answer of await Promise.all(polls)) expect(answer).toMatchObject({ kind: 'release', index: 2 })
  expect(await hub.poll(ask({ index: 2, waitMs: 50 }))).toMatchObject({ kind: 'unchanged', index: 2 })
  const last = hub.poll(ask({ index: 2, waitMs: 30_000 }))
  await eventually(() => hub.nodes().polling === 1)
  await hub.close(100)
  expect(await last).toMatchObject({ kind: 'unchanged', index: 2 })
  expect(await hub.poll(ask({ index: 2, waitMs: 30_000 }))).toMatchObject({ kind: 'busy' })
})

test('Z5 a release between a poll and the next is answered at once', async () => {
  const { hub, release } = await rig()
  await release({ content: settings(1) })
  await hub.poll(ask())
  await release({ content: settings(2) })
  expect(await hub.poll(ask({ index: 1, waitMs: 30_000 }))).toMatchObject({ kind: 'release', index: 2 })
})

test('an index from a history that was lost is answered at once, with the lower one', async () => {
  const { hub, release } = await rig()
  await release({ content: settings(1) })
  expect(await hub.poll(ask({ index: 9, waitMs: 30_000 }))).toMatchObject({ kind: 'unchanged', index: 1 })
})

test('one who goes away is not waited for', async () => {
  const { hub, release } = await rig()
  await release({ content: settings(1) })
  const gone = new AbortController()
  const poll = hub.poll(ask({ index: 1, waitMs: 30_000, signal: gone.signal }))
  await eventually(() => hub.nodes().polling === 1)
  gone.abort()
  await poll
  expect(hub.nodes().polling).toBe(0)
})

test('I11 a config that there is not, or that one may not see, is said to be unknown, and never to be empty', async () => {
  const { hub } = await rig()
  expect(await hub.poll(ask({ config: 'shop/none' }))).toEqual({ kind: 'unknown-config' })
  expect(await hub.poll(ask({ identity: { ...anyAgent, prefix: 'bank' } }))).toEqual({ kind: 'unknown-config' })
  expect(await hub.poll(ask({ identity: { ...anyAgent, role: 'viewer' } }))).toEqual({ kind: 'unknown-config' })
})

test('a poll of a node that said hello shows that it lives', async () => {
  const { hub, roster, release } = await rig({ limits: { leaseMs: 300 } })
  await release({ content: settings(1) })
  const hello = helloOf()
  await hub.hello(hello, anyAgent)
  for (let i = 0; i < 6; i++) {
    expect(await hub.poll(ask({ index: 1, waitMs: 200, uid: hello.uid }))).toMatchObject({ kind: 'unchanged' })
  }
  expect(roster.isAway(hello.uid)).toBe(false)
  await eventually(() => roster.isAway(hello.uid))
})

test('F28 polls beyond what the server can bear are told when to come back', async () => {
  const { hub, release } = await rig({ limits: { connectsPerSecond: 10, connectBurst: 20 } })
  await release({ content: settings(1) })
  const answers = await Promise.all(Array.from({ length: 100 }, () => hub.poll(ask())))
  const busy = answers.flatMap((answer) => (answer.kind === 'busy' ? [answer.retryAfterMs] : []))
  expect(busy.length).toBeGreaterThanOrEqual(75)
  // Spread over the seconds that they will take, not all at one moment.
  expect(Math.max(...busy) - Math.min(...busy)).toBeGreaterThan(4_000)
})

test('who is sent away is told a time within the minute, however many come', () => {
  let now = 0
  const admission = createAdmission(
    { connectsPerSecond: 100, connectBurst: 10, maxConnections: 50 },
    () => now,
    () => 1,
  )
  const first = Array.from({ length: 20_000 }, () => admission.ask(0))
  expect(first.filter((ms) => ms === 0)).toHaveLength(10)
  expect(Math.max(...first)).toBeLessThanOrEqual(90_100)
  now += 1000
  expect(admission.ask(50)).toBeGreaterThan(0)
  expect(Array.from({ length: 20 }, () => admission.ask(49)).filter((ms) => ms === 0)).toHaveLength(10)
})

test('whether a text is longer is found out without making it', () => {
  const values: Json[] = [null, true, 12.5, 'text', [], {}, [1, 2, 3], { a: 1, b: ['c', { d: null }] }]
  for (const value of values) {
    const { length } = JSON.stringify(value)
    expect(hasText(value, length)).toBe(false)
    expect(hasText(value, Math.max(0, length - 3))).toBe(true)
  }
})
