/** Batches: many small updates, one release, and none of them lost. */
import type { Json } from 'midflight'
import { describe, expect, test } from 'vitest'
import { Batch, type BatchClock, type BatchOptions } from '../src/batch.ts'
import type { Domain } from '../src/domain.ts'
import { changeDemands } from '../src/configs.ts'
import { StoreError, type Store } from '../src/store.ts'
import { config, headContent, limits, memory, publishOne, ready, refusal, releaseCount, stores } from './domain-rig.ts'

/** Time passes when the test says so. */
class HandTimer implements BatchClock {
  readonly waiting: { ms: number; wake: () => void }[] = []

  after(ms: number, wake: () => void): () => void {
    const entry = { ms, wake }
    this.waiting.push(entry)
    return () => {
      const at = this.waiting.indexOf(entry)
      if (at >= 0) this.waiting.splice(at, 1)
    }
  }

  random(): number {
    return 1
  }

  pass(): number {
    const next = this.waiting.shift()
    next?.wake()
    return next?.ms ?? -1
  }
}

function batchOf(domain: Domain, over: Partial<BatchOptions> = {}): { batch: Batch; timer: HandTimer } {
  const timer = new HandTimer()
  const options = { config, author: 'batch', windowMs: 100, maxUpdates: 10, maxQueued: 100, clock: timer, ...over }
  return { batch: new Batch(domain, options), timer }
}

const set = (author: string, mergePatch: Json) => ({ author, mergePatch })

describe.each(stores)('on %s', (_name, open) => {
  test('updates in one window are one release: in order, the last write to a path wins, deletions stay', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { keep: 1, gone: 2, twice: 0 } })
    const { batch, timer } = batchOf(domain)
    const results = [
      batch.add(set('ada', { twice: 1, fresh: true })),
      batch.add(set('bob', { gone: null })),
      batch.add(set('ada', { twice: 2 })),
      batch.add({ author: 'eve', patch: [{ op: 'remove', path: '/fresh' }] }),
    ]
    expect(await releaseCount(domain)).toBe(1)
    expect(timer.pass()).toBe(100)
    const done = await Promise.all(results)
    expect(new Set(done.map(({ release, updates }) => `${release.number} ${updates}`))).toEqual(new Set(['2 4']))
    expect(done[0]?.release).toMatchObject({ author: 'batch', message: '4 updates by ada, bob, eve' })
    expect(await headContent(domain)).toEqual({ keep: 1, twice: 2 })
  })

  test('the count ends a window before its time, and what is beyond it goes with the next', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: {} })
    const { batch, timer } = batchOf(domain, { maxUpdates: 3 })
    const results = Array.from({ length: 4 }, (_, i) => batch.add(set('ada', { [`k${i}`]: i })))
    const numbers = [...(await Promise.all(results.slice(0, 3)))].map(({ release }) => release.number)
    expect(numbers).toEqual([2, 2, 2])
    await batch.flush()
    expect((await results[3])?.release.number).toBe(3)
    expect(timer.waiting).toEqual([])
    expect(Object.keys((await headContent(domain)) as object)).toEqual(['k0', 'k1', 'k2', 'k3'])
  })

  test('an update that does not fit is refused by itself, and the others go on', async () => {
    const domain = await ready(await open())
    await publishOne(domain, { content: structuredClone(limits) })
    const { batch } = batchOf(domain)
    const good = batch.add({ author: 'ada', patch: [{ op: 'replace', path: '/rules/0/limit', value: 500 }] })
    const unfit = refusal(batch.add({ author: 'bob', patch: [{ op: 'remove', path: '/nothing' }] }))
    const invalid = refusal(batch.add({ author: 'eve', patch: [{ op: 'replace', path: '/rules/1/limit', value: 0 }] }))
    const last = batch.add(set('ada', { note: 'x' }))
    await batch.flush()
    expect((await unfit).code).toBe('invalid')
    expect(await invalid).toMatchObject({ code: 'invalid', issues: [{ path: ['rules', 'r2', 'limit'] }] })
    expect([(await good).release.number, (await last).updates]).toEqual([2, 2])
    expect(await headContent(domain)).toMatchObject({ note: 'x', rules: [{ limit: 500 }, { limit: 200 }] })
  })

  test('a part is never taken for the whole: only an update that says it is the whole replaces', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: { a: 1, b: 2 } })
    const { batch } = batchOf(domain)
    const part = batch.add(set('ada', { a: 3 }))
    await batch.flush()
    await part
    expect(await headContent(domain)).toEqual({ a: 3, b: 2 })
    const whole = batch.add({ author: 'ada', content: { c: 1 } })
    const after = batch.add(set('bob', { d: 1 }))
    await batch.flush()
    await Promise.all([whole, after])
    expect(await headContent(domain)).toEqual({ c: 1, d: 1 })
  })

  test('publishes beside the batch are kept: it is made on the head as it is when it is written', async () => {
    const domain = await ready(await open(), {})
    await publishOne(domain, { content: {} })
    const { batch } = batchOf(domain)
    const work = Array.from({ length: 5 }, (_, i) => [
      batch.add(set('ada', { [`b${i}`]: i })),
      publishOne(domain, { mergePatch: { [`p${i}`]: i } }),
      batch.flush(),
    ])
    await Promise.all(work.flat())
    await batch.flush()
    expect(Object.keys((await headContent(domain)) as object)).toHaveLength(10)
  })
})

/** A store whose transactions fail as the disk would have them; `lost`: what is written is there all the same. */
function failing(store: Store): Store & { fail: 'full' | 'lost' | undefined } {
  const wrapped = {
    ...store,
    fail: undefined as 'full' | 'lost' | undefined,
    read: store.read.bind(store),
    async transaction<T>(work: Parameters<typeof store.transaction<T>>[0]): Promise<T> {
      if (wrapped.fail === 'full') throw new StoreError('full', 'disk', 'is full', 'make room')
      const result = await store.transaction(work)
      if (wrapped.fail === 'lost') throw new StoreError('io', 'disk', 'failed', 'start again')
      return result
    },
  }
  return wrapped
}

test('nothing from a failed batch is lost: it stays queued in order, and is tried again with a growing pause', async () => {
  const store = failing(await memory())
  const domain = await ready(store, {})
  await publishOne(domain, { content: {} })
  const { batch, timer } = batchOf(domain, { maxQueued: 3 })
  store.fail = 'full'
  const results = [batch.add(set('ada', { a: 1 })), batch.add(set('ada', { a: 2 }))]
  await batch.flush()
  expect(batch.queued).toBe(2)
  results.push(batch.add(set('ada', { b: 1 })))
  expect((await refusal(batch.add(set('ada', { c: 1 })))).code).toBe('busy')
  const pauses: number[] = []
  for (let i = 0; i < 4; i++) {
    pauses.push(timer.pass())
    await batch.flush()
  }
  expect(pauses[0]).toBe(500)
  expect(pauses.every((pause, i) => i === 0 || pause > (pauses[i - 1] as number))).toBe(true)
  store.fail = undefined
  timer.pass()
  await Promise.all(results)
  expect(await headContent(domain)).toEqual({ a: 2, b: 1 })
  expect([batch.queued, await releaseCount(domain)]).toEqual([0, 2])
})

test('I4: a batch whose end is unknown is found out, and not published twice', async () => {
  const store = failing(await memory())
  const domain = await ready(store, {})
  await publishOne(domain, { content: { list: [] } })
  const { batch } = batchOf(domain)
  store.fail = 'lost'
  const result = batch.add({ author: 'ada', patch: [{ op: 'add', path: '/list/-', value: 'once' }] })
  await batch.flush()
  expect(batch.queued).toBe(1)
  store.fail = undefined
  await publishOne(domain, { mergePatch: { meanwhile: true } })
  const late = batch.add(set('bob', { late: true }))
  await batch.flush()
  expect((await result).release.number).toBe(2)
  await batch.flush()
  expect((await late).release.number).toBe(4)
  expect(await headContent(domain)).toEqual({ list: ['once'], meanwhile: true, late: true })
})

test('closing writes all that waits, also if that is more than one batch', async () => {
  const domain = await ready(await memory(), {})
  await publishOne(domain, { content: {} })
  const store = failing(domain.store)
  const { batch } = batchOf({ ...domain, store }, { maxUpdates: 10 })
  store.fail = 'full'
  const results = Array.from({ length: 25 }, (_, i) => batch.add(set('ada', { [`k${i}`]: i })))
  await batch.flush()
  store.fail = undefined
  await batch.close()
  expect((await Promise.all(results)).map(({ updates }) => updates).filter((n) => n === 10)).toHaveLength(20)
  expect(Object.keys((await headContent(domain)) as object)).toHaveLength(25)
})

test('closing writes what waits; what cannot be written is refused, and says so', async () => {
  const store = failing(await memory())
  const domain = await ready(store, {})
  await publishOne(domain, { content: {} })
  const first = batchOf(domain)
  const written = first.batch.add(set('ada', { a: 1 }))
  await first.batch.close()
  expect((await written).release.number).toBe(2)
  expect((await refusal(first.batch.add(set('ada', {})))).code).toBe('busy')
  const second = batchOf(domain)
  store.fail = 'full'
  const left = refusal(second.batch.add(set('ada', { b: 1 })))
  await second.batch.close()
  expect((await left).code).toBe('busy')
  expect([first.timer.waiting, second.timer.waiting]).toEqual([[], []])
})

test('where reviewers are asked for, a batch is refused like any publish', async () => {
  const domain = await ready(await memory(), {})
  await publishOne(domain, { content: {} })
  await changeDemands(domain, config, { reviewers: 1 }, 'root')
  const { batch } = batchOf(domain)
  const result = refusal(batch.add(set('ada', { a: 1 })))
  await batch.flush()
  expect((await result).code).toBe('review')
  expect(batch.queued).toBe(0)
})
