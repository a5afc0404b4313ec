/**
 * Thirty real processes on a real control plane, with faults in the wires between them, and with processes that are
 * killed and stopped: 60 seconds of it, and with MIDFLIGHT_LONG=1 half an hour. What must hold is judged by
 * `real-fleet/check.ts` from what nodes wrote down and the API said. To see a schedule again: MIDFLIGHT_SEED=17.
 */
import { writeFile } from 'node:fs/promises'
import { expect, test } from 'vitest'
import { check } from './real-fleet/check.ts'
import type { Evidence } from './real-fleet/evidence.ts'
import { Fleet } from './real-fleet/fleet.ts'
import { schedule } from './real-fleet/schedule.ts'

const isLong = process.env['MIDFLIGHT_LONG'] === '1'
const seed = Number(process.env['MIDFLIGHT_SEED'] ?? Math.floor(Math.random() * 1e6))
const nodes = Number(process.env['MIDFLIGHT_FLEET_NODES'] ?? 30)
const stormMs = Number(process.env['MIDFLIGHT_FLEET_MS'] ?? (isLong ? 1_800_000 : 60_000))
const restMs = 300_000

test(
  `I3, I5, I6, I8, I10, I12: ${nodes} processes, faults for ${stormMs / 1000} s, seed ${seed}`,
  { timeout: stormMs + 1_800_000 },
  async () => {
    const fleet = await Fleet.start(nodes)
    try {
      await fleet.run(schedule(seed, fleet.names, stormMs))
      await fleet.heal(restMs)
      const calm = await fleet.evidence()
      // A run in which nothing could happen any more would hold everything.
      const first = fleet.names[0] as string
      const times = { bakeMs: 200, prepareMs: 30_000, applyMs: 30_000 }
      const ends: string[] = []
      for (const [i, kind] of (['all-at-once', 'two-phase', 'by-zone', 'two-phase'] as const).entries()) {
        const moods = i === 3 ? { [first]: 'refused' as const } : {}
        const content = { id: 1_000_000 + i, moods, gate: 'good' } as const
        ends.push(await fleet.publishAndSee(content, { kind, ...times }, restMs))
      }
      await fleet.heal(restMs)
      const evidence = await fleet.evidence()
      const tally = Object.entries(Object.groupBy(evidence.rollouts, ({ phase }) => phase))
      const sums = tally.map(([phase, all]) => `${all?.length} ${phase}`).join(', ')
      const { plane, nodes: started } = fleet.starts
      console.log(
        `seed ${seed}: ${evidence.releases.length} releases; rollouts: ${sums}; the control plane was started ${plane} times, nodes ${started} times`,
      )
      const found = [calm, evidence].map((one) => ({ one, violations: check(one) }))
      const bad = found.find(({ violations }) => violations.length > 0)
      if (bad) await keep(bad.one)
      expect(bad?.violations ?? []).toEqual([])
      expect(ends).toEqual(['completed', 'completed', 'completed', 'rolled-back'])
    } catch (error) {
      console.log(`MIDFLIGHT_SEED=${seed}\n${fleet.story.join('\n')}\n${await fleet.errors()}`)
      throw error
    } finally {
      await fleet.close()
    }
  },
)

/** For whoever wants to know more: where MIDFLIGHT_FLEET_EVIDENCE names a file. */
async function keep(evidence: Evidence): Promise<void> {
  const path = process.env['MIDFLIGHT_FLEET_EVIDENCE']
  if (path === undefined) return
  await writeFile(path, JSON.stringify({ ...evidence, logs: Object.fromEntries(evidence.logs) }))
}
