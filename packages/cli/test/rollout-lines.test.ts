/** What is printed of a rollout, by the record alone. With a control plane and agents it is `cli-rollout.test.ts`. */
import { expect, test } from 'vitest'
import type { RolloutView } from '../src/fleet/rollout.ts'
import { rolloutLines } from '../src/show/rollout.ts'
import type { Paint } from '../src/terminal.ts'

const paint = new Proxy({}, { get: () => (text: string) => text }) as Paint
const look = { paint, columns: 100, wrapAt: Infinity }
const digest = `sha256:${'1'.repeat(64)}`

function rolledBack(counts: Record<string, number>): RolloutView {
  return {
    config: 'shop/gateway',
    number: 2,
    kind: 'staged',
    phase: 'rolled-back',
    step: 0,
    steps: 1,
    by: 'ada',
    createdAt: '2026-11-20T09:00:00.000Z',
    startedAt: '2026-11-20T09:00:00.000Z',
    endedAt: '2026-11-20T09:00:01.000Z',
    pauses: [],
    failure: { kind: 'nodes', step: 0, found: '1 node failed', nodes: [] },
    from: { number: 1, digest },
    rollback: { number: 3, digest },
    mixedMs: 0,
    strategy: { twoPhase: false, gates: [], confirmMs: null },
    spentMs: 0,
    confirmed: 0,
    passed: [],
    counts,
    progress: [],
  }
}

test('what was rolled back is said to be in use only where every node went back', () => {
  const last = (counts: Record<string, number>) => rolloutLines(rolledBack(counts), look).at(-1)
  expect(last({ applied: 3 })).toBe('    release 3 is in use now, which holds what release 1 held')
  expect(last({ applied: 2, failed: 1 })).toBe(
    '    release 3 is in use now, which holds what release 1 held, but not on 1 node',
  )
  expect(last({ applied: 1, waiting: 2 })).toContain(', but not on 2 nodes')
})

test('why a node failed is shown in the lines in which its program said it, and no more than eight of them', () => {
  const reason = 'rolled back: web failed in prepare: the check (promtool) ended with 1:\n  SUCCESS: a\n\n\tFAILED: b'
  const view = rolledBack({})
  const lines = (text: string) => {
    const failure = { kind: 'nodes' as const, step: 0, found: '1 node failed', nodes: [{ node: 'a', reason: text }] }
    const all = rolloutLines({ ...view, failure }, look)
    return all.slice(all.findIndex((line) => line.includes('why')) + 1, -1)
  }
  expect(lines(reason)).toEqual([
    '      a: rolled back: web failed in prepare: the check (promtool) ended with 1:',
    '          SUCCESS: a',
    '          FAILED: b',
  ])
  expect(lines('line\n'.repeat(100))).toHaveLength(8)
  // Nothing in it can move the cursor, or pass for a line of ours.
  expect(lines('x\n\u001b[2J✔ release 3 runs')).toEqual(['      a: x', '        \\u001b[2J✔ release 3 runs'])
})
