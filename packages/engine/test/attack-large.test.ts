import { expect, test } from 'vitest'
import { componentsFor, start, jsonSchema, type Json } from '../src/index.ts'

/** An engine on `count` plug-ins, all of which change at once. */
async function plugins(count: number, restartPolicy: 'refuse' | 'hold', secrets: readonly string[] = []) {
  const faults = { refuse: false, stop: false }
  const component = componentsFor(jsonSchema<Json>({ type: 'object' })).keyed({
    name: 'plugins',
    path: 'plugins',
    key: 'id',
    restartFor: ['enabled'],
    validate: () => (faults.refuse ? ['is refused'] : []),
    start: (_entry, id) => id,
    update: () => {},
    stop(_running, id) {
      if (faults.stop) throw new Error(`${id} cannot be stopped, for a reason that takes some words`)
    },
  })
  const make = (length: number, enabled: number, n: number): { config: Json } => ({
    config: {
      plugins: Array.from({ length }, (_, i) => ({ id: `plugin ${i}`, token: `token of ${i} & more`, enabled, n })),
    },
  })
  let document = make(count, 1, 1)
  const source = { name: 'made', load: async () => document }
  const engine = await start({
    schema: jsonSchema<Json>({ type: 'object' }),
    sources: [source],
    components: [component],
    secrets,
    restartPolicy,
    logger: false,
  })
  const set = (...of: Parameters<typeof make>) => {
    document = make(...of)
    return engine.reload()
  }
  return { engine, faults, set }
}

const count = 20_000
/** Far from what it takes, and far from the minutes that the square of the number takes. */
const limitMs = 15_000
const largest = 100_000

test(
  'an outcome stays small, and comes soon, whatever is refused, held or not let go',
  { timeout: 120_000 },
  async () => {
    for (const policy of ['refuse', 'hold'] as const) {
      const { engine, faults, set } = await plugins(count, policy)
      const timed = async (...of: Parameters<typeof set>) => {
        const began = performance.now()
        const outcome = await set(...of)
        expect(performance.now() - began).toBeLessThan(limitMs)
        expect(JSON.stringify(outcome).length).toBeLessThan(largest)
        return outcome
      }
      const held = await timed(count, 2, 2)
      expect(held.kind).toBe(policy === 'hold' ? 'committed' : 'restart-required')
      if (policy === 'hold') expect(held.pendingRestart).toHaveLength(101)
      faults.refuse = true
      const refused = await timed(count, 1, 3)
      expect(refused).toMatchObject({ kind: 'rejected' })
      if (refused.kind === 'rejected') expect(refused.issues.at(-1)?.message).toContain(`${count - 100} more issues`)
      Object.assign(faults, { refuse: false, stop: true })
      expect(await timed(1, 1, 1)).toMatchObject({ kind: 'committed', warnings: [expect.any(String)] })
      await engine.close()
    }
  },
)

test('with a secret in every entry an unchanged configuration costs no more than one without', async () => {
  const { engine } = await plugins(count, 'refuse', ['plugins.*.token'])
  const began = performance.now()
  for (let i = 0; i < 20; i++) expect(await engine.reload()).toMatchObject({ kind: 'unchanged' })
  expect((performance.now() - began) / 20).toBeLessThan(50)
  await engine.close()
})
