/**
 * Series of publishes, rollbacks, drafts and crashes, against a model. Every run has a seed of its own, which is printed;
 * `MIDFLIGHT_SEED` repeats one, `MIDFLIGHT_LONG` makes more of them. Seeds that ever failed are kept in `model-seeds.json`.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { commands, Model, Real } from './model.ts'

const kept = fileURLToPath(new URL('model-seeds.json', import.meta.url))
const failedBefore = JSON.parse(readFileSync(kept, 'utf8')) as number[]
const given = process.env['MIDFLIGHT_SEED']
const fresh = given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given)
const long = process.env['MIDFLIGHT_LONG'] !== undefined

async function play(seed: number, numRuns: number): Promise<void> {
  const result = await fc.check(
    fc.asyncProperty(fc.commands(commands, { maxCommands: 40, size: 'max' }), async (given_) => {
      const real = await Real.open()
      try {
        await fc.asyncModelRun(() => ({ model: new Model(), real }), given_)
      } finally {
        await real.store.close()
        for (const directory of real.used) rmSync(directory, { recursive: true, force: true })
      }
    }),
    { seed, numRuns, endOnFailure: false },
  )
  if (!result.failed) return
  if (!failedBefore.includes(seed)) writeFileSync(kept, `${JSON.stringify([...failedBefore, seed])}\n`)
  expect.fail(`seed ${seed}: ${String(result.errorInstance)}\n${fc.defaultReportMessage(result)}`)
}

test.each(failedBefore)('seed %i, which failed once', { timeout: 120_000 }, async (seed) => {
  await play(seed, 40)
})

test(
  `property: I3, I4, I5: what is published, rolled back, drafted and killed comes to what the model says (seed ${fresh})`,
  { timeout: 600_000 },
  async () => {
    await play(fresh, long ? 1_000 : 40)
  },
)
