/** The control plane is killed at every single write of every strategy, before it and after it, and started again. */
import { describe, expect, test } from 'vitest'
import { killedAt, type Spec } from './simulation/killed.ts'

const times = { bakeMs: 500, prepareMs: 5_000, applyMs: 5_000 }
const strategies: readonly Spec[] = [
  { kind: 'all-at-once', ...times },
  { kind: 'two-phase', ...times },
  { kind: 'staged', steps: [{ percent: 25 }, { percent: 50 }], ...times },
  { kind: 'linear', percent: 50, twoPhase: true, ...times },
  { kind: 'by-zone', twoPhase: true, ...times },
  { kind: 'instant' },
]
const moods = [
  ['a good release', {}],
  ['one that a node refuses', { n2: 'refused' }],
  ['one that makes a node sick', { n3: 'sick' }],
] as const

describe.each(strategies)('F2–F4, F63: $kind, twoPhase $twoPhase', (spec) => {
  test.each(moods)('%s comes to the same end, wherever the coordinator was killed', async (_, mood) => {
    const { rollout: undisturbed } = await killedAt(spec, mood)
    const end = undisturbed?.state.phase
    // Until it is over before it can be killed.
    let deaths = 0
    for (let transaction = 0, isOver = false; !isOver; transaction++) {
      for (const when of ['before', 'after'] as const) {
        const { rollout, runs, prepared, head, died } = await killedAt(spec, mood, { transaction, when })
        const where = `killed ${when} write ${transaction} : ${JSON.stringify(rollout?.state)}`
        if (died) deaths++
        else isOver = true
        expect(prepared, where).toBe(0)
        // Never published: whoever published has had no answer, and nothing is there.
        if (rollout === undefined)
          expect({ head, transaction, when }, where).toEqual({ head: 1, transaction: 0, when: 'before' })
        // What was not decided is given up (I9).
        else if (rollout.state.failure?.kind === 'interrupted') expect(rollout.state.phase, where).toBe('rolled-back')
        else expect(rollout.state.phase, where).toBe(end)
        const isRefused = spec.kind === 'instant' && Object.keys(mood).length > 0
        if (!isRefused) expect(runs, where).toEqual(runs.map(() => head))
      }
    }
    expect(deaths).toBeGreaterThan(3)
  })
})
