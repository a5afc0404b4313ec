import { describe, expect, test, vi } from 'vitest'
import { debounced, paced } from '../src/debounce.ts'
import { start } from '../src/engine.ts'
import { jsonSchema } from '../src/schema.ts'
import { memory } from '../src/testing/index.ts'
import type { ReloadRequest, Trigger } from '../src/trigger.ts'

/** A source of requests that the test pushes, one by one. */
function pushed() {
  const queue: ReloadRequest[] = []
  let wake = () => {}
  let ended = false
  let failure: Error | undefined
  const requests = async function* (signal?: AbortSignal): AsyncGenerator<ReloadRequest> {
    signal?.addEventListener('abort', () => wake(), { once: true })
    while (!signal?.aborted) {
      const next = queue.shift()
      if (next) yield next
      else if (failure) throw failure
      else if (ended) return
      else await new Promise<void>((resolve) => (wake = resolve))
    }
  }
  return {
    requests,
    trigger: { name: 'pushed', requests } satisfies Trigger,
    push(request: ReloadRequest = { trigger: 'file' }) {
      queue.push(request)
      wake()
    },
    end() {
      ended = true
      wake()
    },
    fail(error: Error) {
      failure = error
      wake()
    },
  }
}

/** Everything that passes, with the time since the start of the test in milliseconds. */
function taken(requests: AsyncIterable<ReloadRequest>) {
  const startedAt = performance.now()
  const passed: { readonly request: ReloadRequest; readonly atMs: number }[] = []
  let wake = () => {}
  const over = (async () => {
    for await (const request of requests) {
      passed.push({ request, atMs: performance.now() - startedAt })
      wake()
    }
  })()
  over.catch(() => undefined)
  const count = async (n: number) => {
    while (passed.length < n) await new Promise<void>((resolve) => (wake = resolve))
  }
  return { passed, over, count }
}

const wait = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms))

describe('debounced', () => {
  test('Z3: five requests 50 ms apart with a 200 ms debounce pass as one', async () => {
    const source = pushed()
    const closing = new AbortController()
    const { passed, over, count } = taken(
      debounced(source.trigger, { quietMs: 200 }).requests(closing.signal, () => {}),
    )
    for (let i = 0; i < 5; i++) {
      source.push()
      await wait(50)
    }
    await count(1)
    await wait(300)
    expect(passed).toHaveLength(1)
    expect(passed[0]?.atMs).toBeGreaterThan(190)
    closing.abort()
    await over
  })

  test('a force among the held requests is kept, and the newest says who asked', async () => {
    const source = pushed()
    const closing = new AbortController()
    const { passed, count } = taken(debounced(source.trigger, { quietMs: 30 }).requests(closing.signal, () => {}))
    source.push({ trigger: 'file', force: true })
    source.push({ trigger: 'interval' })
    await count(1)
    expect(passed[0]?.request).toEqual({ trigger: 'interval', force: true })
    closing.abort()
  })

  test('a trigger that is never quiet passes after maxMs', async () => {
    const source = pushed()
    const closing = new AbortController()
    const { passed, count } = taken(
      debounced(source.trigger, { quietMs: 100, maxMs: 250 }).requests(closing.signal, () => {}),
    )
    const noise = setInterval(() => source.push(), 20)
    await count(2)
    clearInterval(noise)
    expect(passed[0]?.atMs).toBeGreaterThan(240)
    closing.abort()
  })

  test('I13: what is held when the trigger ends is not lost', async () => {
    const source = pushed()
    const { passed, over } = taken(
      debounced(source.trigger, { quietMs: 60_000 }).requests(new AbortController().signal, () => {}),
    )
    source.push()
    await wait(20)
    source.end()
    await over
    expect(passed).toHaveLength(1)
  })

  test('options out of range are refused at the call', () => {
    const { trigger } = pushed()
    expect(() => debounced(trigger, { quietMs: 0 })).toThrow('debounced: quietMs is 0; want 1 to 86400000')
    expect(() => debounced(trigger, { quietMs: 100, maxMs: 50 })).toThrow(RangeError)
    expect(() => debounced(trigger, { quietMs: NaN })).toThrow(RangeError)
  })
})

describe('paced', () => {
  const options = { firstMs: 0, growth: 2, maxMs: 200 }

  test('an isolated request passes at once', async () => {
    const source = pushed()
    const closing = new AbortController()
    const { passed, count } = taken(
      paced(source.requests(closing.signal), { ...options, maxMs: 60_000 }, closing.signal),
    )
    source.push()
    await count(1)
    expect(passed[0]?.atMs).toBeLessThan(5000)
    closing.abort()
  })

  test('I13: of a storm few pass, the last of them is the newest, and no force is lost', async () => {
    const source = pushed()
    const closing = new AbortController()
    const { passed, count, over } = taken(paced(source.requests(closing.signal), options, closing.signal))
    for (let i = 0; i < 300; i++) {
      source.push({ trigger: `n${i}`, ...(i === 150 && { force: true }) })
      if (i % 10 === 0) await wait(10)
    }
    while (passed.at(-1)?.request.trigger !== 'n299') await count(passed.length + 1)
    expect(passed.length).toBeLessThan(20)
    expect(passed.some(({ request }) => request.force)).toBe(true)
    closing.abort()
    await over
  })

  test('the gap between two requests grows in a storm, and never beyond its upper bound', async () => {
    const source = pushed()
    const closing = new AbortController()
    const { passed, count } = taken(paced(source.requests(closing.signal), options, closing.signal))
    const noise = setInterval(() => source.push(), 2)
    await count(10)
    clearInterval(noise)
    closing.abort()
    const gaps = passed.slice(1).map(({ atMs }, i) => atMs - (passed[i]?.atMs ?? 0))
    expect(gaps.at(-1)).toBeGreaterThan(150)
    expect(gaps[0]).toBeLessThan(gaps.at(-1) ?? 0)
    // Without a bound the ninth gap would be 2560 ms.
    expect(gaps.at(-1)).toBeLessThan(2000)
  })

  test('a steady trickle after a storm is not held back for good', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
    try {
      const source = pushed()
      const closing = new AbortController()
      const { passed } = taken(paced(source.requests(closing.signal), { ...options, maxMs: 2_000 }, closing.signal))
      const pass = async (ms: number, everyMs: number) => {
        const atMs = performance.now()
        const before = passed.length
        let longestMs = 0
        let waitsSince: number | undefined
        while (performance.now() < atMs + ms) {
          const nowMs = performance.now() - atMs
          if (nowMs % everyMs === 0) {
            source.push()
            waitsSince ??= nowMs
          }
          const seen = passed.length
          vi.advanceTimersByTime(1)
          for (let turns = 0; turns < 3; turns++) await new Promise((resolve) => setImmediate(resolve))
          if (passed.length === seen || waitsSince === undefined) continue
          longestMs = Math.max(longestMs, performance.now() - atMs - waitsSince)
          waitsSince = undefined
        }
        return { count: passed.length - before, longestMs }
      }
      const storm = await pass(10_000, 5)
      expect(storm.count).toBeLessThan(15)
      // What the storm has left behind is gone within one gap of it.
      await pass(3_000, 100)
      const trickle = await pass(5_000, 100)
      expect(trickle.longestMs).toBeLessThanOrEqual(150)
      expect(trickle.count).toBeGreaterThan(30)
      closing.abort()
    } finally {
      vi.useRealTimers()
    }
  })

  test('after a quiet spell the next request passes at once again', async () => {
    const source = pushed()
    const closing = new AbortController()
    const { passed, count } = taken(
      paced(source.requests(closing.signal), { firstMs: 0, growth: 2, maxMs: 60_000 }, closing.signal),
    )
    const noise = setInterval(() => source.push(), 1)
    await count(8)
    clearInterval(noise)
    // The gap has grown to 640 ms or more; twice that takes all growth back.
    await wait(2_600)
    const before = passed.length
    source.push()
    await count(before + 1)
    source.push()
    await count(before + 2)
    // Were nothing taken back, the last gap would be 1280 ms.
    expect((passed.at(-1)?.atMs ?? 0) - (passed.at(-2)?.atMs ?? 0)).toBeLessThan(1000)
    closing.abort()
  })

  test('what a consumer is too slow to take is merged into one', async () => {
    const source = pushed()
    const closing = new AbortController()
    const iterator = paced(source.requests(closing.signal), options, closing.signal)[Symbol.asyncIterator]()
    source.push({ trigger: 'first' })
    expect(await iterator.next()).toMatchObject({ value: { trigger: 'first' } })
    for (let i = 0; i < 100; i++) source.push({ trigger: `n${i}` })
    await wait(50)
    expect(await iterator.next()).toMatchObject({ value: { trigger: 'n99' } })
    const nothing = await Promise.race([iterator.next(), wait(300).then(() => 'nothing')])
    expect(nothing).toBe('nothing')
    closing.abort()
  })

  test('a trigger that can never ask again is heard of, after what it asked for has passed', async () => {
    const source = pushed()
    const { passed, over } = taken(paced(source.requests(), options, new AbortController().signal))
    source.push()
    source.fail(new Error('the watched folder is gone for good'))
    await expect(over).rejects.toThrow('the watched folder is gone for good')
    expect(passed).toHaveLength(1)
  })

  test('the abort ends it in the middle of a wait, and a source that answers late is not waited for', async () => {
    const closing = new AbortController()
    const deaf = (async function* (): AsyncGenerator<ReloadRequest> {
      yield { trigger: 'file' }
      yield { trigger: 'file' }
      await new Promise(() => {})
    })()
    const { over, count } = taken(paced(deaf, { firstMs: 0, growth: 2, maxMs: 60_000 }, closing.signal))
    await count(1)
    closing.abort()
    await over
  })

  test('options out of range are refused at the call', () => {
    const { signal } = new AbortController()
    const none = pushed().requests()
    expect(() => paced(none, { firstMs: -1, growth: 2, maxMs: 100 }, signal)).toThrow(
      'paced: firstMs is -1; want 0 to 100',
    )
    expect(() => paced(none, { firstMs: 0, growth: 0.5, maxMs: 100 }, signal)).toThrow(RangeError)
    expect(() => paced(none, { firstMs: 0, growth: 2, maxMs: Infinity }, signal)).toThrow(RangeError)
  })
})

test('a trigger that asks again and again without waiting leaves the rest of the process its turns, and can be ended', async () => {
  let asked = 0
  const greedy = {
    name: 'greedy',
    async *requests() {
      for (;;) {
        asked++
        yield { trigger: 'greedy' }
      }
    },
  }
  const schema = jsonSchema({ type: 'object' })
  const engine = await start({ schema, sources: [memory({})], triggers: [greedy], logger: false })
  await wait(50)
  expect(asked).toBeGreaterThan(1)
  // What it asked for was merged, not queued.
  expect(engine.stats().runs).toBeLessThan(asked)
  await engine.close()
})
