/** How long a vote may hold up an engine (agent/voting.ts), by a clock that the test turns. */
import { afterEach, expect, test, vi } from 'vitest'
import type { Held, NodeEvent } from '../src/agent/node-state.ts'
import { Voting } from '../src/agent/voting.ts'
import type { PreparedReload } from '../src/outcome.ts'

afterEach(() => void vi.useRealTimers())

const held: Held = {
  release: {
    config: 'shop',
    number: 2,
    digest: 'sha256:2',
    parent: 1,
    createdAt: '',
    author: '',
    message: '',
    kind: 'publish',
  },
  content: {},
}

function voting() {
  vi.useFakeTimers()
  const said: string[] = []
  const node: NodeEvent[] = []
  const one = new Voting({
    document: async () => ({ config: {} }),
    keep: async (ballot) => void said.push(ballot ? 'kept' : 'forgotten'),
    noteEpoch() {},
    begin: async () => {},
    report: (_, status) => void said.push(status),
    node: (event) => void node.push(event),
    changed() {},
    warn: (message) => void said.push(message),
  })
  const end = (what: string) => async () => (said.push(what), { kind: 'unchanged', pendingRestart: [] }) as never
  const plan = { components: [], unread: [], changeCount: 0 }
  const prepared: PreparedReload = {
    kind: 'prepared',
    plan,
    digest: '',
    commit: end('commit'),
    rollback: end('rollback'),
  }
  one.attach({ support: [], prepare: async () => prepared, redact: (text) => text })
  return { one, said, node }
}

test('a minute after the vote was due the engine is let go; the release stays prepared, and is taken when it is committed', async () => {
  const { one, said, node } = voting()
  one.prepare(held, 3, 1_000)
  await vi.advanceTimersByTimeAsync(60_000)
  expect(said).toEqual(['kept', 'PREPARED'])
  await vi.advanceTimersByTimeAsync(2_000)
  expect(said.slice(2)).toEqual([expect.stringContaining('no decision came on what is prepared'), 'rollback'])
  expect(one.prepared).toEqual({ number: 2, digest: 'sha256:2', epoch: 3 })
  await vi.advanceTimersByTimeAsync(86_400_000)
  expect(one.prepared).toBeDefined()
  one.decide({ type: 'decision', number: 2, digest: 'sha256:2', epoch: 3, decision: 'commit' })
  await vi.advanceTimersByTimeAsync(0)
  expect(node).toEqual([{ kind: 'release', held, force: false }])
  expect(one.prepared).toBeUndefined()
})

test('decided in time, nothing is let go later', async () => {
  const { one, said } = voting()
  one.prepare(held, 3, 1_000)
  await vi.advanceTimersByTimeAsync(500)
  one.decide({ type: 'decision', number: 2, digest: 'sha256:2', epoch: 3, decision: 'commit' })
  await vi.advanceTimersByTimeAsync(100_000)
  expect(said).toEqual(['kept', 'PREPARED', 'APPLYING', 'commit', 'forgotten'])
})
