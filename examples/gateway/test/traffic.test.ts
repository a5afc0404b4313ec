/** What the gateway says of its own health: from how its requests end, and from nothing else. */
import { expect, test } from 'vitest'
import { trafficUnder, type Ending } from '../src/traffic.ts'
import { config, latch, running, upstream } from './running.ts'

function counted(endings: readonly Ending[], live = {}) {
  let nowMs = 0
  const versions = { live }
  const traffic = trafficUnder(
    () => versions.live,
    () => nowMs,
  )
  const count = (all: readonly Ending[], met: object = versions.live) => all.forEach((one) => traffic.count(met, one))
  count(endings)
  return { traffic, versions, count, wait: (ms: number) => void (nowMs += ms) }
}

const times = (n: number, ending: Ending) => Array.from({ length: n }, () => ending)

test('more than half of them refused or failed is not well, and says what was found and what is wanted', () => {
  const { traffic, count } = counted([...times(3, 'answered'), ...times(3, 'refused')])
  expect(traffic.shown().unwell).toBeNull()
  count(['failed'])
  expect(traffic.shown().unwell).toBe('of the last 7 requests 3 refused with 429, 1 failed; want at most 50 %')
})

test('too few requests are no bad news, nor are none at all', () => {
  const { traffic, count } = counted([])
  expect(traffic.shown().unwell).toBeNull()
  count(times(4, 'refused'))
  expect(traffic.shown().unwell).toBeNull()
  count(['refused'])
  expect(traffic.shown().unwell).toBe('of the last 5 requests 5 refused with 429; want at most 50 %')
})

test('what is long over is not judged, and is counted all the same', () => {
  const { traffic, wait } = counted(times(20, 'failed'))
  wait(9_999)
  expect(traffic.shown().recent).toEqual({ answered: 0, refused: 0, failed: 20 })
  wait(1)
  expect(traffic.shown()).toEqual({
    total: { answered: 0, refused: 0, failed: 20 },
    recent: { answered: 0, refused: 0, failed: 0 },
    unwell: null,
  })
})

test('a configuration does not answer for the one before it, nor for requests that met that and ended late', () => {
  const { traffic, versions, count } = counted(times(20, 'refused'))
  const old = versions.live
  versions.live = {}
  expect(traffic.shown().unwell).toBeNull()
  count(times(20, 'refused'), old)
  expect(traffic.shown()).toMatchObject({ total: { refused: 40 }, recent: { refused: 0 }, unwell: null })
})

test('a gateway under too low a limit is not well, and is well again as soon as that is changed', async () => {
  const first = config(await upstream())
  const { gateway, edit, statuses, get } = await running(first)
  expect(await statuses('/api/users', 6)).toEqual([200, 200, 200, 200, 200, 200])
  const [rule] = first.rules
  await edit({ ...first, rules: [{ ...rule, limit: 1 }] })
  expect(gateway.traffic.shown()).toMatchObject({ total: { answered: 6 }, unwell: null })
  expect(await statuses('/api/users', 5)).toEqual([429, 429, 429, 429, 429])
  await expect.poll(() => gateway.traffic.shown().unwell).toContain('5 refused with 429')
  expect(await (await get('/_traffic')).json()).toEqual({ release: null, ...gateway.traffic.shown() })
  await edit(first)
  expect(gateway.traffic.shown().unwell).toBeNull()
})

test('an upstream that fails, breaks off or is not there counts; a path without a route and a caller who leaves do not', async () => {
  const held = latch()
  const url = await upstream((request, response) => {
    if (request.url?.endsWith('500')) response.writeHead(500).end()
    else if (request.url?.endsWith('404')) response.writeHead(404).end()
    else if (request.url?.endsWith('cut')) response.write('half', () => response.destroy())
    else held.resolve()
  })
  const { gateway, get } = await running({
    ...config(url),
    upstreams: { users: { url }, gone: { url: 'http://127.0.0.1:1' } },
    routes: [
      { path: '/api/users', upstream: 'users' },
      { path: '/gone', upstream: 'gone' },
    ],
  })
  const total = () => gateway.traffic.shown().total
  await get('/api/users/500')
  await get('/gone')
  await (await get('/api/users/cut')).text().catch(() => 'cut off')
  await get('/api/users/404')
  await expect.poll(total).toEqual({ answered: 1, refused: 0, failed: 3 })
  expect((await get('/nowhere')).status).toBe(404)
  const leaving = new AbortController()
  const left = get('/api/users/held', { signal: leaving.signal })
  await held.promise
  leaving.abort()
  await expect(left).rejects.toThrow()
  await get('/api/users/404')
  await expect.poll(total).toEqual({ answered: 2, refused: 0, failed: 3 })
})
