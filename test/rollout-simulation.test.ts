/**
 * Rollouts under crashes, partitions, reorderings, slow nodes and clock jumps, each schedule from its seed. The
 * coordinator, the roster, what nodes are to run and the nodes' part of two-phase commit are the real ones; engines,
 * disks and wires are simulated. To see one again: MIDFLIGHT_SEED=17 npx vitest run test/rollout-simulation.test.ts
 */
import { expect, test } from 'vitest'
import { simulate } from './simulation/simulate.ts'

const isLong = process.env['MIDFLIGHT_LONG'] === '1'
const only = process.env['MIDFLIGHT_SEED']
/** Seeds that once showed something, kept for ever. */
const remembered = [10_100, 5, 113, 141, 167, 215, 419, 810, 856, 1098]
const perTest = isLong ? 10_000 : 200
const many = Array.from({ length: 10 }, (_, i): readonly [from: number, count: number] => [
  10_000 + i * perTest,
  perTest,
])
const single = (only === undefined ? remembered : [Number(only)]).map((seed): readonly [number, number] => [seed, 1])

async function holds(from: number, count: number): Promise<Record<string, number>> {
  const ends: Record<string, number> = {}
  for (let seed = from; seed < from + count; seed++) {
    const { violations, log, ends: found } = await simulate(seed)
    expect(violations, `MIDFLIGHT_SEED=${seed}\n${log.join('\n')}`).toEqual([])
    for (const [phase, number] of Object.entries(found)) ends[phase] = (ends[phase] ?? 0) + number
  }
  return ends
}

test.each(only === undefined ? [...single, ...many] : single)(
  'I5, I8, I9, I10, I12: from seed %i, %i of them',
  { timeout: isLong ? 3_600_000 : 120_000 },
  async (from, count) => {
    const ends = await holds(from, count)
    // A simulation in which nothing ever happens holds everything.
    const least = count > 1 ? count / 4 : 0
    for (const phase of ['completed', 'rolled-back', 'superseded']) {
      expect(ends[phase] ?? 0).toBeGreaterThanOrEqual(least)
    }
  },
)
