/**
 * Rollouts under crashes, partitions, reorderings, slow nodes and clock jumps, each schedule from its seed. The
 * coordinator, the roster, what nodes are to run and the nodes' part of two-phase commit are the real ones; engines,
 * disks and wires are simulated. To see one again: MIDFLIGHT_SEED=17 npx vitest run test/rollout-simulation.test.ts
 */
import { expect, test } from 'vitest'
import { simulate } from './simulation/simulate.ts'

const isLong = process.env['MIDFLIGHT_LONG'] === '1'
const only = process.env['MIDFLIGHT_SEED']
const seeds = only === undefined ? (isLong ? 100_000 : 2_000) : 1
const perTest = Math.max(1, seeds / 10)

/** Seeds that once showed something, kept for ever. */
const remembered = [10_100, 5, 113, 141, 167, 215, 419, 810, 856, 1098]

async function holds(from: number, count: number): Promise<Record<string, number>> {
  const ends: Record<string, number> = {}
  for (let seed = from; seed < from + count; seed++) {
    const { violations, log, ends: found } = await simulate(seed)
    expect(violations, `MIDFLIGHT_SEED=${seed}\n${log.join('\n')}`).toEqual([])
    for (const [phase, number] of Object.entries(found)) ends[phase] = (ends[phase] ?? 0) + number
  }
  return ends
}

if (only !== undefined) test(`seed ${only}`, async () => void (await holds(Number(only), 1)))
else {
  test.each(remembered)('I5, I8, I9, I10, I12: seed %i', async (seed) => void (await holds(seed, 1)))
  test.each(Array.from({ length: 10 }, (_, i) => 10_000 + i * perTest))(
    `I5, I8, I9, I10, I12: ${perTest} seeds from %i`,
    { timeout: isLong ? 3_600_000 : 120_000 },
    async (from) => {
      const ends = await holds(from, perTest)
      // A simulation in which nothing ever happens holds everything.
      for (const phase of ['completed', 'rolled-back', 'superseded']) expect(ends[phase]).toBeGreaterThan(perTest / 4)
    },
  )
}
