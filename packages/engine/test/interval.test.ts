import { expect, test } from 'vitest'
import { every } from '../src/triggers/interval.ts'

const deaf = () => {}

test('asks first after one period, then again and again, until the abort', async () => {
  const closing = new AbortController()
  const startedAt = performance.now()
  const times: number[] = []
  for await (const request of every(100).requests(closing.signal, deaf)) {
    expect(request).toEqual({ trigger: 'interval' })
    times.push(performance.now() - startedAt)
    if (times.length === 3) closing.abort()
  }
  // 10 % of jitter, and the millisecond by which a timer may be early.
  expect(times[0]).toBeGreaterThan(88)
  expect(times[2]).toBeGreaterThan(265)
})

test('ticks that nobody takes are dropped, not queued', async () => {
  const closing = new AbortController()
  const iterator = every(100).requests(closing.signal, deaf)[Symbol.asyncIterator]()
  await iterator.next()
  await new Promise((resolve) => setTimeout(resolve, 450))
  const startedAt = performance.now()
  await iterator.next()
  await iterator.next()
  expect(performance.now() - startedAt).toBeGreaterThan(175)
  closing.abort()
})

test('the abort ends a long wait at once and leaves no timer', async () => {
  const closing = new AbortController()
  const next = every(86_400_000).requests(closing.signal, deaf)[Symbol.asyncIterator]().next()
  closing.abort()
  expect((await next).done).toBe(true)
})

test('periods out of range are refused at the call', () => {
  for (const periodMs of [0, 99, 86_400_001, NaN, -1, Infinity]) {
    expect(() => every(periodMs)).toThrow(
      new RangeError(`every: periodMs is ${periodMs}; want 100 to 86400000 milliseconds`),
    )
  }
})
