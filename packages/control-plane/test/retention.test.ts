/** What goes by itself, and what stays whatever the clock says. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { answerTo } from '../src/idempotency.ts'
import { defaultRetention, prune, pruning } from '../src/retention.ts'
import { at, hello, rig } from './http-rig.ts'
import { config, HandClock, headContent, memory, publishOne, ready, sqlite } from './domain-rig.ts'

test('what a node tried is bounded without anybody asking: the newest attempts stay', async () => {
  const here = await rig({ retention: { attemptsPerNode: 3, everyMs: 20 } })
  try {
    const name = 'shop/a'
    await here.ask('/v1/configs', { method: 'POST', body: { name } })
    const put = { method: 'PUT', body: { a: 1 }, headers: { 'if-none-match': '*' } }
    const { release } = (await here.ask(at(name, '/content'), put)).json()
    const uid = '00000000-0000-4000-8000-0000000000b1'
    const agent = `/v1/agent/${encodeURIComponent(name)}`
    await here.ask(`${agent}/heartbeat`, { method: 'POST', body: hello(uid, name, null) })
    for (let attempt = 1; attempt <= 20; attempt++) {
      const what = { number: 1, digest: release.digest, status: 'ROLLED_BACK', detail: `try ${attempt}` }
      const body = { type: 'report', ...what, attempt, at: new Date().toISOString() }
      expect((await here.ask(`${agent}/report?uid=${uid}`, { method: 'POST', body })).status).toBe(204)
    }
    const attempts = async (): Promise<{ detail: string }[]> => {
      await here.plane.hub.flush()
      return (await here.ask(`/v1/nodes/${uid}`)).json().attempts
    }
    while ((await attempts()).length > 3) await new Promise((resolve) => setTimeout(resolve, 20))
    expect((await attempts()).map(({ detail }) => detail)).toEqual(['try 20', 'try 19', 'try 18'])
  } finally {
    await here.close()
  }
})

test.each([
  ['memory', memory],
  ['SQLite', sqlite],
])(
  'F31, F32 on %s: a clock that jumps 400 days ahead, or an hour back, takes no content that is in use',
  async (_, open) => {
    const clock = new HandClock()
    const domain = await ready(await open(), {}, { now: clock.now })
    await publishOne(domain, { content: { n: 1 } }, { idempotencyKey: 'first' })
    for (let n = 2; n <= 5; n++) await publishOne(domain, { mergePatch: { n } })
    const right = clock.atMs
    clock.atMs = right + 400 * 86_400_000
    // By default the newest 1,000 contents stay, however old the clock makes them.
    expect(await prune(domain, defaultRetention)).toMatchObject({ contents: 0, idempotency: 1 })
    expect(await prune(domain, { ...defaultRetention, keepNewest: 1 })).toMatchObject({ contents: 4 })
    expect(await headContent(domain)).toEqual({ n: 5 })
    expect(await answerTo(domain, 'ada', 'first')).toBeUndefined()
    clock.atMs = right - 3_600_000
    await publishOne(domain, { mergePatch: { n: 6 } }, { idempotencyKey: 'early' })
    expect(await prune(domain, { ...defaultRetention, keepNewest: 2 })).toMatchObject({ contents: 0, idempotency: 0 })
    // Numbers go by the head and not by the clock.
    expect((await publishOne(domain, { mergePatch: { n: 7 } })).release).toMatchObject({ config, number: 7, parent: 6 })
  },
)

beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'], shouldAdvanceTime: true }))
afterEach(() => vi.useRealTimers())

test('a process that is never up for an hour prunes too, and one that is closed does not', async () => {
  const domain = await ready(await memory(), {})
  let pruned = 0
  const stop = pruning(domain, defaultRetention, {
    settle: async () => {},
    onPruned: () => pruned++,
    onProblem: (error) => {
      throw error
    },
  })
  await vi.advanceTimersByTimeAsync(59_000)
  expect(pruned).toBe(0)
  await vi.advanceTimersByTimeAsync(1_000)
  expect(pruned).toBe(1)
  await vi.advanceTimersByTimeAsync(3_600_000)
  expect(pruned).toBe(2)
  stop()
  await vi.advanceTimersByTimeAsync(10_000_000)
  expect(pruned).toBe(2)
})

test('what nodes have said that they run is written before anything goes', async () => {
  const domain = await ready(await memory(), {})
  const { digest } = (await publishOne(domain, { content: { n: 1 } })).release
  for (let n = 2; n <= 3; n++) await publishOne(domain, { mergePatch: { n } })
  const uid = '00000000-0000-4000-8000-0000000000b2'
  const said = { uid, config, labels: {}, agent: { name: 't', version: '1' }, seen: 1, status: 'APPLIED' as const }
  const times = { firstSeenAt: '', lastSeenAt: '', leaseUntil: '' }
  let contents = -1
  const stop = pruning(
    domain,
    { ...defaultRetention, keepNewest: 1, keepDays: -1 },
    {
      settle: async () => {
        await domain.store.transaction((tx) => tx.putNode({ ...said, ...times, runs: { number: 1, digest } }))
      },
      onPruned: (pruned) => (contents = pruned.contents),
      onProblem: (error) => {
        throw error
      },
    },
  )
  await vi.advanceTimersByTimeAsync(60_000)
  stop()
  expect(contents).toBe(1)
  expect(await domain.store.read((read) => read.content(config, 1))).toEqual({ n: 1 })
})
