/** What a node that votes does about time, and about what its engine could only do later. The machine is `agent-vote.test.ts`. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Held } from '../src/agent/node-state.ts'
import { Voting } from '../src/agent/voting.ts'
import type { Outcome, PreparedReload } from '../src/outcome.ts'

beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] }))
afterEach(() => vi.useRealTimers())

const held: Held = {
  release: {
    config: 'shop',
    number: 5,
    digest: `sha256:${'5'.repeat(64)}`,
    parent: 4,
    createdAt: '',
    author: '',
    message: '',
    kind: 'publish',
  },
  content: { number: 5 },
}

/** What the node does and says, in order; its engine holds a reload ready that would need a restart for these paths. */
function node(restartPaths: readonly string[] = []) {
  const done: string[] = []
  const ended = (what: string) => async (): Promise<Outcome> => {
    done.push(what)
    return { kind: 'closed' } as unknown as Outcome
  }
  const voting = new Voting({
    document: async ({ content }) => ({ config: content }),
    keep: async (ballot) => void done.push(ballot ? 'kept' : 'forgotten'),
    noteEpoch: () => {},
    begin: async () => {},
    report: (_, status) => void done.push(status),
    node: ({ kind }) => void done.push(kind),
    changed: () => {},
    warn: () => void done.push('warned'),
  })
  const plan = { components: [{ name: 'all', restartPaths }] } as unknown as PreparedReload['plan']
  voting.attach({
    support: [],
    prepare: async () => ({
      kind: 'prepared',
      plan,
      digest: '',
      commit: ended('committed'),
      rollback: ended('let go'),
    }),
    redact: (text) => text,
  })
  return { voting, done }
}

test('what is prepared does not hold up reloads for ever: the engine lets it go, and the decision is taken all the same', async () => {
  const { voting, done } = node()
  voting.prepare(held, 3, 1_000)
  await vi.advanceTimersByTimeAsync(900)
  expect(done).toEqual(['kept', 'PREPARED'])
  await vi.advanceTimersByTimeAsync(120_000)
  expect(done.slice(2).sort()).toEqual(['let go', 'warned'])
  expect(voting.prepared).toMatchObject({ number: 5, epoch: 3 })
  const { number, digest } = held.release
  voting.decide({ type: 'decision', number, digest, epoch: 3, decision: 'commit' })
  expect(done.slice(4)).toEqual(['release', 'forgotten'])
})

test('what would be held until a restart is a no', async () => {
  const { voting, done } = node(['port'])
  voting.prepare(held, 3, 1_000)
  await vi.advanceTimersByTimeAsync(500)
  expect([done[0], done.at(-1)]).toEqual(['let go', 'RESTART_REQUIRED'])
  expect(done).not.toContain('PREPARED')
  expect([voting.prepared, voting.status]).toEqual([undefined, 'RESTART_REQUIRED'])
})
