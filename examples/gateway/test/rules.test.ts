/** Rate limits: what a reload changes takes effect, what it does not keeps its counters, expiry holds by the clock. */
import { describe, expect, test } from 'vitest'
import { config, running, upstream } from './running.ts'

const base = async () => config(await upstream())

describe('a reload of the rules', () => {
  test('R1: a lower limit is in force with the next request', async () => {
    const given = await base()
    const { edit, get } = await running(given)
    expect((await get('/api/users')).headers.get('x-ratelimit-limit')).toBe('1000')
    given.rules[0]!.limit = 500
    expect(await edit(given)).toMatchObject({ kind: 'committed', plan: { changeCount: 1 } })
    expect((await get('/api/users')).headers.get('x-ratelimit-limit')).toBe('500')
  })

  test('R3: limit 0 is refused with its path, and the old limit stays', async () => {
    const given = await base()
    const { edit, get, engine } = await running(given)
    given.rules[0]!.limit = 0
    expect(await edit(given)).toMatchObject({ kind: 'rejected', phase: 'validate', issues: [{ code: 'schema' }] })
    expect((await get('/api/users')).headers.get('x-ratelimit-limit')).toBe('1000')
    expect(engine.live.rules[0]?.limit).toBe(1000)
  })

  test('R4: a deleted rule is gone from enforcement and from the list', async () => {
    const given = await base()
    given.rules[0]!.limit = 1
    const { edit, statuses, get, limits } = await running(given)
    expect(await statuses('/api/users', 2)).toEqual([200, 429])
    given.rules.shift()
    expect(await edit(given)).toMatchObject({ kind: 'committed' })
    expect(await statuses('/api/users', 3)).toEqual([200, 200, 200])
    expect((await get('/api/users')).headers.has('x-ratelimit-limit')).toBe(false)
    expect((await limits()).map((rule) => rule['id'])).toEqual(['r2'])
  })

  test('counters survive, of unchanged rules and of one whose limit changes', async () => {
    const given = await base()
    given.routes.push({ path: '/api/posts', upstream: 'users' })
    given.rules.push({ id: 'posts', resource: 'api:GET:/api/posts', limit: 3, per: 'hour' })
    const { edit, statuses, limits } = await running(given)
    await statuses('/api/users', 4)
    await statuses('/api/posts', 2)

    given.rules[0]!.limit = 5
    given.rules.reverse()
    expect(await edit(given)).toMatchObject({ kind: 'committed' })

    expect(await limits()).toContainEqual(expect.objectContaining({ id: 'r1', counted: 4, remaining: 1, limit: 5 }))
    expect(await statuses('/api/posts', 2)).toEqual([200, 429])
    expect(await statuses('/api/users', 2)).toEqual([200, 429])
  })

  test('another resource or another period is another counter', async () => {
    const given = await base()
    const { edit, statuses, limits } = await running(given)
    await statuses('/api/users', 4)
    given.rules[0]!.per = 'hour'
    expect(await edit(given)).toMatchObject({ kind: 'committed' })
    expect(await limits()).toContainEqual(expect.objectContaining({ id: 'r1', counted: 0, per: 'hour' }))
    expect(await statuses('/api/users', 1)).toEqual([200])
  })

  test('a rule that was started for a reload that was rolled back was never enforced', async () => {
    const given = await base()
    given.rules = []
    given.upstreams['late'] = { url: 'http://127.0.0.1:9' }
    const { edit, statuses, limits, get } = await running(given)
    const bad = structuredClone(given)
    bad.rules.push({ id: 'strict', resource: 'api:GET:/api/users', limit: 1, per: 'hour' })
    bad.log.destination = 'no/such/directory/gateway.log'
    expect(await edit(bad)).toMatchObject({ kind: 'rolled-back', failed: 'log' })
    expect(await limits()).toEqual([])
    expect(await statuses('/api/users', 3)).toEqual([200, 200, 200])
    expect((await get('/api/users')).headers.has('x-ratelimit-limit')).toBe(false)
  })

  test('a prepared rule is invisible until the commit, and gone after a rollback', async () => {
    const given = await base()
    given.rules = []
    const { engine, statuses, limits } = await running(given)
    const next = structuredClone(given)
    next.rules.push({ id: 'strict', resource: 'api:GET:/api/users', limit: 1, per: 'hour' })

    const first = await engine.prepare(next as never)
    if (first.kind !== 'prepared') throw new Error(first.kind)
    expect(await statuses('/api/users', 3)).toEqual([200, 200, 200])
    await first.rollback()
    expect(await statuses('/api/users', 3)).toEqual([200, 200, 200])

    const second = await engine.prepare(next as never)
    if (second.kind !== 'prepared') throw new Error(second.kind)
    expect(await second.commit()).toMatchObject({ kind: 'committed' })
    expect(await statuses('/api/users', 2)).toEqual([200, 429])
    expect(await limits()).toHaveLength(1)
  })

  test('two rules on one request: the one that leaves least decides', async () => {
    const given = await base()
    given.rules = [
      { id: 'path', resource: 'api:GET:/api/users', limit: 100, per: 'hour' },
      { id: 'all', resource: 'service:users', limit: 2, per: 'hour' },
    ]
    const { statuses, get } = await running(given)
    expect((await get('/api/users')).headers.get('x-ratelimit-limit')).toBe('2')
    expect(await statuses('/api/users/7', 2)).toEqual([200, 429])
    const refused = await get('/api/users')
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(await refused.text()).toBe('rule all allows 2\n')
  })
})

describe('R5: expiry', () => {
  test('eleven minutes without an update: the rules are still enforced', async () => {
    let time = Date.parse('2026-11-20T10:00:00Z')
    const given = await base()
    given.rules[0] = { ...given.rules[0]!, limit: 2, per: 'hour', expiresAt: '2026-11-20T11:00:00Z' }
    const { statuses, limits } = await running(given, { now: () => time })
    expect(await statuses('/api/users', 1)).toEqual([200])
    time += 11 * 60_000
    expect(await statuses('/api/users', 2)).toEqual([200, 429])
    expect(await limits()).toHaveLength(2)
  })

  test('a rule that expires in 2 s is not enforced at 3 s, without any update', async () => {
    let time = Date.parse('2026-11-20T10:00:00Z')
    const given = await base()
    given.rules[0] = { ...given.rules[0]!, limit: 1, per: 'hour', expiresAt: '2026-11-20T10:00:02Z' }
    const { statuses, limits, engine } = await running(given, { now: () => time })
    expect(await statuses('/api/users', 2)).toEqual([200, 429])
    time += 3000
    expect(await statuses('/api/users', 2)).toEqual([200, 200])
    expect(await limits()).toContainEqual(expect.objectContaining({ id: 'r1', expired: true }))
    expect(engine.status().stats.runs).toBe(1)
  })

  test('an expired rule whose expiry is moved is in force again, with its counter', async () => {
    let time = Date.parse('2026-11-20T10:00:00Z')
    const given = await base()
    given.rules[0] = { ...given.rules[0]!, limit: 1, per: 'hour', expiresAt: '2026-11-20T10:00:02Z' }
    const { statuses, edit } = await running(given, { now: () => time })
    expect(await statuses('/api/users', 1)).toEqual([200])
    time += 3000
    expect(await statuses('/api/users', 1)).toEqual([200])
    given.rules[0].expiresAt = '2026-11-20T12:00:00Z'
    expect(await edit(given)).toMatchObject({ kind: 'committed' })
    expect(await statuses('/api/users', 1)).toEqual([429])
  })
})

describe('a rule is refused', () => {
  test.each([
    ['a day that is not in the calendar', { expiresAt: '2026-02-30T10:00:00Z' }],
    ['no date at all', { expiresAt: 'tomorrow' }],
    ['a resource of no known kind', { resource: '/api/users' }],
    ['a resource with a method in lower case', { resource: 'api:get:/api/users' }],
    ['a limit that is not whole', { limit: 1.5 }],
    ['a limit that is text', { limit: '5' }],
    ['another effect', { effect: 503 }],
    ['an unknown period', { per: 'day' }],
    ['a field that does not exist', { limits: 5 }],
  ])('with %s', async (_, change) => {
    const given = await base()
    const { edit, get } = await running(given)
    Object.assign(given.rules[0]!, change)
    const outcome = await edit(given)
    expect(outcome.kind).toBe('rejected')
    expect((await get('/api/users')).headers.get('x-ratelimit-limit')).toBe('1000')
  })

  test('P5: an id twice, with both places', async () => {
    const given = await base()
    const { edit } = await running(given)
    given.rules[1]!.id = 'r1'
    const outcome = await edit(given)
    expect(outcome).toMatchObject({
      kind: 'rejected',
      issues: [{ code: 'duplicate-key', origin: expect.anything(), related: [expect.anything()] }],
    })
  })
})

test('among 10,000 rules one change starts and stops nothing else', async () => {
  const given = await base()
  for (let i = 0; i < 10_000; i++) {
    given.rules.push({ id: `bulk-${i}`, resource: `api:GET:/bulk/${i}`, limit: 10, per: 'minute' })
  }
  const { edit, statuses, get } = await running(given)
  await statuses('/api/users', 3)
  given.rules[0]!.limit = 700
  expect(await edit(given)).toMatchObject({ kind: 'committed', plan: { changeCount: 1 } })
  const response = await get('/api/users')
  expect(response.headers.get('x-ratelimit-limit')).toBe('700')
  expect(response.headers.get('x-ratelimit-remaining')).toBe('696')
})
