import { expect, test } from 'vitest'
import { componentsFor, jsonSchema, start, type Json } from '../src/index.ts'
import { memory } from '../src/testing/index.ts'

const schema = jsonSchema<{ size: number; name: string; fail?: string }>({ type: 'object' })

interface Pool {
  size: number
  open: boolean
}

async function started() {
  const { value } = componentsFor(schema)
  const pools: Pool[] = []
  let live: Pool | undefined
  const pool = value({
    name: 'pool',
    path: ['size', 'name'],
    prepare([size], before, _signal, running: Pool | undefined) {
      // Another name needs no other pool.
      if (running && before?.[0] === size) return running
      const made = { size, open: true }
      pools.push(made)
      return made
    },
    apply: (_next, built) => void (live = built),
    discard: (built) => void (built.open = false),
  })
  const last = value({
    name: 'last',
    path: 'fail',
    after: ['pool'],
    apply(message) {
      if (message) throw new Error(message)
    },
  })
  const source = memory({ size: 1, name: 'a' })
  const engine = await start({
    schema,
    sources: [source],
    components: [pool, last],
    logger: false,
  })
  const set = (config: Json) => {
    source.set(config)
    return engine.reload()
  }
  return { engine, set, pools, live: () => live }
}

test('what was built for the old value is let go after the new is live; what was built for nothing is let go too', async () => {
  const { engine, set, pools, live } = await started()
  expect(await set({ size: 2, name: 'a' })).toMatchObject({ kind: 'committed' })
  expect(pools).toEqual([
    { size: 1, open: false },
    { size: 2, open: true },
  ])
  expect(await set({ size: 3, name: 'a', fail: 'no' })).toMatchObject({ kind: 'rolled-back' })
  expect(live()).toEqual({ size: 2, open: true })
  expect(pools[2]).toEqual({ size: 3, open: false })
  await engine.close()
  expect(pools[1]?.open).toBe(false)
})

test('what is returned again is kept: over a change that needs nothing new, a rollback, and a forced reload', async () => {
  const { engine, set, pools, live } = await started()
  expect(await set({ size: 1, name: 'b' })).toMatchObject({ kind: 'committed' })
  expect(await set({ size: 1, name: 'c', fail: 'no' })).toMatchObject({ kind: 'rolled-back' })
  await set({ size: 1, name: 'b' })
  expect(await engine.reload({ force: true })).toMatchObject({ kind: 'committed' })
  expect(pools).toEqual([{ size: 1, open: true }])
  expect(live()).toBe(pools[0])
  await engine.close()
  expect(pools[0]?.open).toBe(false)
})
