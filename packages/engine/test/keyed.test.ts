import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { componentsFor, jsonSchema, start, TransientError, type Json } from '../src/index.ts'
import { memory } from '../src/testing/index.ts'

const schema = jsonSchema({
  type: 'object',
  required: ['jobs'],
  properties: {
    fail: { type: 'string' },
    jobs: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name'],
        properties: {
          name: { type: 'string' },
          interval: { type: 'integer' },
          timeout: { type: 'integer' },
          path: { type: 'string' },
        },
      },
    },
  },
})

interface Loop {
  readonly id: string
  interval: number | undefined
  count: number
  stopped: boolean
}

interface Faults {
  start?: (id: string) => void
  update?: (id: string) => void
}

/** A scrape loop per job: a new interval is taken in place, a new path means a new loop. */
async function scraping(jobs: Json, faults: Faults = {}) {
  const calls: string[] = []
  const { keyed, value } = componentsFor(schema)
  const loops = keyed({
    name: 'jobs',
    path: 'jobs',
    key: 'name',
    replaceFor: ['path'],
    validate: ({ timeout, interval }) =>
      timeout !== undefined && interval !== undefined && timeout > interval
        ? ['scrape timeout greater than scrape interval']
        : [],
    start(job, id): Loop {
      faults.start?.(id)
      calls.push(`start ${id}`)
      return { id, interval: job.interval, count: 0, stopped: false }
    },
    update(loop, job, _before, id) {
      faults.update?.(id)
      calls.push(`update ${id}`)
      loop.interval = job.interval
    },
    stop(loop, id) {
      calls.push(`stop ${id}`)
      loop.stopped = true
    },
  })
  const last = value({
    name: 'last',
    path: 'fail',
    after: ['jobs'],
    apply(message) {
      if (message) throw new Error(message)
    },
  })
  const source = memory({ jobs })
  const engine = await start({
    schema,
    sources: [source],
    components: [loops, last],
    logger: false,
    retries: { limit: 0 },
  })
  calls.length = 0
  const set = (next: Json, more: object = {}) => {
    source.set({ jobs: next, ...more } as Json)
    return engine.reload()
  }
  return { engine, loops, calls, set }
}

const prometheus = { name: 'prometheus', interval: 15, path: '/metrics' }
const node = { name: 'node', interval: 15, path: '/metrics' }

describe('exactly the changed keys', () => {
  test('P1: a job is added; the running one is the same object', async () => {
    const { engine, loops, calls, set } = await scraping([prometheus])
    const before = loops.running.get('prometheus')
    expect(await set([node, prometheus])).toMatchObject({ kind: 'committed' })
    expect(calls).toEqual(['start node'])
    expect(loops.running.get('prometheus')).toBe(before)
    await engine.close()
  })

  test('P2: a changed interval keeps the state; a changed path drops it, the new started before the old is stopped', async () => {
    const { engine, loops, calls, set } = await scraping([prometheus])
    const loop = loops.running.get('prometheus') as Loop
    loop.count = 7
    await set([{ ...prometheus, interval: 30 }])
    expect(loops.running.get('prometheus')).toBe(loop)
    expect([loop.interval, loop.count]).toEqual([30, 7])
    await set([{ ...prometheus, interval: 30, path: '/metrics2' }])
    expect(loops.running.get('prometheus')).not.toBe(loop)
    expect(loops.running.get('prometheus')?.count).toBe(0)
    expect(calls).toEqual(['update prometheus', 'start prometheus', 'stop prometheus'])
    await engine.close()
  })

  test('P3: a removed job is stopped and gone', async () => {
    const { engine, loops, calls, set } = await scraping([prometheus, node])
    await set([prometheus])
    expect(calls).toEqual(['stop node'])
    expect([...loops.running.keys()]).toEqual(['prometheus'])
    await engine.close()
  })

  test('P4: a timeout greater than the interval is refused; nothing changes', async () => {
    const { engine, calls, set } = await scraping([prometheus])
    const successAt = () => /last_reload_success_timestamp_seconds (\S+)/.exec(engine.metrics())?.[1]
    const before = successAt()
    const issues = [{ path: ['jobs', 'prometheus'], message: 'scrape timeout greater than scrape interval' }]
    expect(await set([{ ...prometheus, interval: 5, timeout: 10 }])).toMatchObject({ kind: 'rejected', issues })
    expect(calls).toEqual([])
    expect(engine.metrics()).toMatch(/last_reload_successful 0/)
    expect(successAt()).toBe(before)
    await engine.close()
  })

  test('P5: a job name twice is refused, at the start and later, with the name', async () => {
    await expect(scraping([prometheus, prometheus])).rejects.toThrow(/"prometheus"/)
    const { engine, calls, set } = await scraping([prometheus, node])
    const issues = [{ code: 'duplicate-key', path: ['jobs', 2, 'name'] }]
    expect(await set([prometheus, node, { ...node, interval: 20 }])).toMatchObject({ kind: 'rejected', issues })
    expect(calls).toEqual([])
    await engine.close()
  })

  test('K2: three fields of one entry are one update', async () => {
    const { engine, calls, set } = await scraping([{ ...prometheus, timeout: 5 }])
    expect(await set([{ ...prometheus, interval: 20, timeout: 10 }])).toMatchObject({ kind: 'committed' })
    expect(calls).toEqual(['update prometheus'])
    await engine.close()
  })

  test('moved entries are not touched', async () => {
    const { engine, calls, set } = await scraping([prometheus, node])
    await set([node, prometheus])
    expect(calls).toEqual([])
    await engine.close()
  })
})

describe('undoing', () => {
  test('when a later component fails, starts are stopped, updates and removals taken back, the same objects run', async () => {
    const third = { name: 'third', interval: 1, path: '/' }
    const { engine, loops, calls, set } = await scraping([prometheus, node, third])
    const before = new Map(loops.running)
    const next = [
      { ...prometheus, interval: 30 },
      { ...third, path: '/x' },
      { name: 'new', interval: 1 },
    ]
    expect(await set(next, { fail: 'no' })).toMatchObject({ kind: 'rolled-back', failed: 'last' })
    expect([...loops.running.keys()].toSorted()).toEqual([...before.keys()].toSorted())
    for (const [id, loop] of before) {
      expect(loops.running.get(id)).toBe(loop)
      expect(loop.stopped).toBe(false)
    }
    expect(before.get('prometheus')?.interval).toBe(15)
    const expected = ['start new', 'start third', 'stop new', 'stop third', 'update prometheus', 'update prometheus']
    expect(calls.toSorted()).toEqual(expected)
    await engine.close()
  })

  test('a start that fails stops the others that were started, and names its key', async () => {
    const { engine, loops, calls, set } = await scraping([prometheus], {
      start: (id) => {
        if (id === 'bad') throw new TransientError('CA file missing')
      },
    })
    const outcome = await set([{ ...prometheus, path: '/x' }, { name: 'good' }, { name: 'bad' }])
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'prepare', cause: 'bad: CA file missing' })
    const told = (what: string) =>
      calls.flatMap((call) => (call.startsWith(what) ? [call.slice(what.length)] : [])).toSorted()
    expect(told('start ')).toContain('good')
    expect(told('stop ')).toEqual(told('start '))
    expect([...loops.running.keys()]).toEqual(['prometheus'])
    await engine.close()
  })

  test('an update that fails takes back the ones before it', async () => {
    let fail = true
    const { engine, loops, set } = await scraping([prometheus, node], {
      update: (id) => {
        if (id !== 'node' || !fail) return
        fail = false
        throw new Error('no')
      },
    })
    const outcome = await set([
      { ...prometheus, interval: 1 },
      { ...node, interval: 1 },
    ])
    expect(outcome).toMatchObject({ kind: 'rolled-back', phase: 'commit' })
    expect([...loops.running.values()].map((loop) => loop.interval)).toEqual([15, 15])
    await engine.close()
  })

  test('property: after any series of changes, some of which fail, what runs is what is live', async () => {
    const name = fc.constantFrom('a', 'b', 'c', 'd')
    const entry = fc.record({ name, interval: fc.integer({ min: 1, max: 3 }), path: fc.constantFrom('/', '/x') })
    const jobs = fc.uniqueArray(entry, { selector: (e) => e.name, maxLength: 4 })
    const step = fc.record({ jobs, fault: fc.constantFrom('none', 'start', 'update', 'after') })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 8 }), async (steps) => {
        let fault = 'none'
        const once = (kind: string) => {
          if (fault !== kind) return
          fault = 'none'
          throw new Error(kind)
        }
        const { engine, loops, set } = await scraping([], { start: () => once('start'), update: () => once('update') })
        for (const [i, { jobs: next, fault: wanted }] of steps.entries()) {
          fault = wanted
          await set(next, wanted === 'after' ? { fail: `no ${i}` } : {})
          fault = 'none'
          const live = engine.live.jobs
          expect([...loops.running.keys()].toSorted()).toEqual(live.map((job) => job.name).toSorted())
          for (const job of live)
            expect(loops.running.get(job.name)).toMatchObject({ interval: job.interval, stopped: false })
        }
        await engine.close()
      }),
      { numRuns: 60 },
    )
  })
})

const plugins = jsonSchema({
  type: 'object',
  required: ['plugins'],
  properties: {
    plugins: {
      type: 'object',
      additionalProperties: {
        type: 'object',
        required: ['enabled', 'workers'],
        properties: { enabled: { type: 'boolean' }, workers: { type: 'integer' } },
      },
    },
  },
})

test('an object is a keyed collection too, by its own keys; a restart-only field of an entry is named with it', async () => {
  const { keyed } = componentsFor(plugins)
  const pool = keyed({
    name: 'plugins',
    path: 'plugins',
    restartFor: ['enabled'],
    start: (plugin) => ({ workers: plugin.workers }),
    update: (running, plugin) => void (running.workers = plugin.workers),
  })
  const source = memory({ plugins: { a: { enabled: true, workers: 1 } } })
  const engine = await start({
    schema: plugins,
    sources: [source],
    components: [pool],
    logger: false,
  })
  source.set({ plugins: { a: { enabled: true, workers: 2 }, b: { enabled: true, workers: 1 } } })
  expect(await engine.reload()).toMatchObject({ kind: 'committed' })
  expect(pool.running.get('a')).toEqual({ workers: 2 })
  source.set({ plugins: { a: { enabled: false, workers: 2 } } })
  expect(await engine.reload()).toMatchObject({ kind: 'restart-required', paths: ['plugins.a.enabled'] })
  await engine.close()
})

test('the key field may stand in the schema, and an issue may name a field of an entry with its place', async () => {
  const marked = jsonSchema({
    type: 'object',
    properties: {
      rules: {
        type: 'array',
        'x-midflight-key': 'id',
        items: { type: 'object', required: ['id'], properties: { id: { type: 'string' }, limit: { type: 'integer' } } },
      },
    },
  })
  const { keyed } = componentsFor(marked)
  const rules = keyed({
    name: 'rules',
    path: 'rules',
    validate: (rule) => (rule.limit === 13 ? [{ field: 'limit', message: 'is 13; want another number' }] : []),
    start: (rule) => rule,
  })
  const source = memory({ rules: [{ id: 'a', limit: 1 }] })
  const engine = await start({
    schema: marked,
    sources: [source],
    components: [rules],
    logger: false,
  })
  expect([...rules.running.keys()]).toEqual(['a'])
  source.set({ rules: [{ id: 'b' }, { id: 'a', limit: 13 }] })
  expect(await engine.reload()).toMatchObject({ kind: 'rejected', issues: [{ path: ['rules', 'a', 'limit'] }] })
  await engine.close()
})
