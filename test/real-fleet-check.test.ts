/** That the checker of the real fleet finds what it is there to find: a run in which all went well, and one lie told about it at a time. */
import { expect, test } from 'vitest'
import { allAtOnce } from '../packages/control-plane/src/strategies/all-at-once.ts'
import { byZone } from '../packages/control-plane/src/strategies/staged.ts'
import { twoPhase } from '../packages/control-plane/src/strategies/two-phase.ts'
import type { Strategy } from '../packages/control-plane/src/strategy.ts'
import { check } from './real-fleet/check.ts'
import type { ApiNode, ApiRollout, Content, Evidence, LogLine, Runs } from './real-fleet/evidence.ts'

type Writable<T> = { -readonly [K in keyof T]: T[K] extends readonly (infer I)[] ? Writable<I>[] : T[K] }
type Draft = Omit<Writable<Evidence>, 'logs'> & { logs: Map<string, LogLine[]> }

const startMs = Date.parse('2026-11-20T09:00:00.000Z')
const timeOf = (ms: number): string => new Date(startMs + ms).toISOString()
const release = (number: number, content: Partial<Content> = {}) => ({
  number,
  digest: `sha256:${number}`,
  content: { id: number * 10, moods: {}, gate: 'good', ...content } as Content,
})
const [first, second, third] = [release(1), release(2), release(3)]
const uids = { a: '00000000-0000-4000-8000-00000000000a', b: '00000000-0000-4000-8000-00000000000b' }

function at(ms: number) {
  return { wallMs: startMs + ms, monoMs: ms }
}

function did(ms: number, kind: 'prepared' | 'commit' | 'refused', id: number): LogLine {
  return { ...at(ms), kind, id }
}

function says(ms: number, node: 'a' | 'b', runs: Runs, more: Partial<LogLine & { kind: 'status' }> = {}): LogLine {
  const { number, digest } = runs
  const said = { uid: uids[node], runs: { number, digest }, status: 'APPLIED', seen: number }
  return { ...at(ms), kind: 'status', ...said, prepared: null, health: { ok: true, release: number }, ...more }
}

function node(name: 'a' | 'b', { number, digest }: Runs, more: Partial<ApiNode> = {}): ApiNode {
  const placed = { uid: uids[name], labels: { name, zone: name } }
  const here = { here: true, connected: true }
  return { ...placed, runs: { number, digest }, seen: number, status: 'APPLIED', ...here, ...more }
}

function rollout(
  { number, digest }: Runs,
  strategy: Strategy,
  fromMs: number,
  more: Partial<ApiRollout> = {},
): ApiRollout {
  const began = { at: timeOf(fromMs), epoch: 1, event: { kind: 'began' } }
  const counted = { at: timeOf(fromMs + 900), epoch: 2, event: { kind: 'counted' } }
  return {
    number,
    digest,
    kind: strategy.kind,
    phase: 'completed',
    step: strategy.steps.length - 1,
    decided: strategy.steps.length,
    strategy,
    startedAt: timeOf(fromMs),
    endedAt: timeOf(fromMs + 900),
    failure: null,
    rollback: null,
    events: [began, counted],
    ...more,
  }
}

/** Release 1 zone by zone, with 300 ms in between; 2 in two phases; 3 at once. Two nodes, one in each zone. */
function good(): Draft {
  const life: LogLine = { ...at(0), kind: 'life', pid: 1 }
  const logOf = (name: 'a' | 'b', firstMs: number): LogLine[] => [
    life,
    did(firstMs, 'prepared', 10),
    did(firstMs + 5, 'commit', 10),
    says(firstMs + 10, name, first),
    did(2_100, 'prepared', 20),
    says(2_110, name, first, { prepared: { ...second, epoch: 2 } }),
    did(2_300, 'commit', 20),
    says(2_310, name, second),
    did(10_100, 'prepared', 30),
    did(10_105, 'commit', 30),
    says(10_110, name, third),
  ]
  return {
    acknowledged: [first, second, third].map(({ number, digest, content: { id } }) => ({ number, digest, id })),
    releases: [first, second, third],
    rollouts: [
      rollout(first, byZone('zone', ['a', 'b'], 300), 0),
      rollout(second, twoPhase(), 2_000),
      rollout(third, allAtOnce(), 10_000, { endedAt: timeOf(20_000) }),
    ],
    nodes: [node('a', third), node('b', third)],
    audit: 'whole',
    samples: [
      { askedMs: startMs + 1_000, answeredMs: startMs + 1_010, nodes: [node('a', first), node('b', first)] },
      { askedMs: startMs + 3_000, answeredMs: startMs + 3_010, nodes: [node('a', second), node('b', second)] },
      { askedMs: startMs + 11_000, answeredMs: startMs + 11_010, nodes: [node('a', third), node('b', third)] },
    ],
    logs: new Map([
      ['a', logOf('a', 100)],
      ['b', logOf('b', 500)],
    ]),
    badAnswers: [],
  } as unknown as Draft
}

function log(draft: Draft, name: 'a' | 'b'): LogLine[] {
  return draft.logs.get(name) as LogLine[]
}

function without(draft: Draft, name: 'a' | 'b', is: (line: LogLine) => boolean): void {
  draft.logs.set(
    name,
    log(draft, name).filter((line) => !is(line)),
  )
}

const isOf = (id: number, kind: LogLine['kind']) => (line: LogLine) =>
  line.kind === kind && 'id' in line && line.id === id

test('where all went well it finds nothing', () => expect(check(good())).toEqual([]))

const change = (draft: Draft, i: number, more: Partial<ApiRollout>): void => {
  draft.rollouts[i] = { ...(draft.rollouts[i] as ApiRollout), ...more } as never
}
const fail = { phase: 'rolled-back', failure: { kind: 'refused', step: 0, found: '' } } as const

test.each<[string, RegExp, (draft: Draft) => void]>([
  ['an acknowledged publish is gone', /^I3: release 2 was acknowledged/, (draft) => draft.releases.splice(1, 1)],
  [
    'an acknowledged publish has another content',
    /^I3: release 2 was acknowledged/,
    (draft) => (draft.releases[1] = release(2, { id: 21 }) as never),
  ],
  [
    'a node runs what was never published',
    /^I9: a ran release 9, which is not on record/,
    (draft) => log(draft, 'a').splice(-1, 0, says(9_000, 'a', { number: 9, digest: 'sha256:9' })),
  ],
  [
    'a node runs another content under a number',
    /^I9: a ran release 2, which is not on record/,
    (draft) => log(draft, 'a').splice(-1, 0, says(9_000, 'a', { number: 2, digest: 'sha256:x' })),
  ],
  [
    'a node commits a content that was never published',
    /^I9: a ran content 99/,
    (draft) => log(draft, 'a').splice(-1, 0, did(9_000, 'commit', 99)),
  ],
  [
    'a node goes back and does not say why',
    /^I5: a ran 1 after 2, and did not say why/,
    (draft) => log(draft, 'a').splice(-3, 0, says(9_000, 'a', first)),
  ],
  [
    'a node goes back and says something of another release',
    /^I5: a ran 1 after 2, and did not say why/,
    (draft) => {
      const text = 'release 22 was not confirmed within 4000 ms and was taken back'
      log(draft, 'a').splice(-3, 0, { ...at(8_990), kind: 'warning', text }, says(9_000, 'a', first))
    },
  ],
  [
    'a node that had told of a release begins with an older one after a crash',
    /^I5: a ran 1 after 2, and did not say why/,
    (draft) => log(draft, 'a').splice(-3, 0, { ...at(8_000), kind: 'life', pid: 2 }, says(9_000, 'a', first)),
  ],
  [
    'the API has a node going back',
    /^I5: the API had a at 1 after 2/,
    (draft) => (draft.samples[2] = { ...draft.samples[2], nodes: [node('a', first)] } as never),
  ],
  [
    'a coordinator of an older epoch moves a rollout',
    /^I10: the epochs of the rollout of 2 go back: 3,2/,
    (draft) => {
      const [began, counted] = (draft.rollouts[1] as ApiRollout).events
      change(draft, 1, { events: [{ ...began, epoch: 3 }, counted] as never })
    },
  ],
  [
    'a node commits what was decided against',
    /^I8: a of step 0 ran 2, which was decided up to 0 \(rolled-back, refused\)/,
    (draft) => change(draft, 1, { ...fail, decided: 0 }),
  ],
  [
    'a node runs a release whose rollout never came to its step',
    /^I8: b of step 1 ran 1, which was decided up to 1/,
    (draft) => change(draft, 0, { ...fail, decided: 1 }),
  ],
  [
    'a node runs a release that still waits in the queue',
    /^I8: a of step 0 ran 3, which was decided up to 0 \(superseded\)/,
    (draft) => change(draft, 2, { phase: 'superseded', decided: 0, startedAt: null }),
  ],
  [
    'a node is ahead of its rollout',
    /^I8: a ran 3 before its rollout began/,
    (draft) => change(draft, 2, { startedAt: timeOf(10_500) }),
  ],
  [
    'one node of a two-phase step never had it ready when another committed',
    /^I8: of step 0 of 2 somebody committed before b had it ready/,
    (draft) => without(draft, 'b', isOf(20, 'prepared')),
  ],
  [
    'one node of a two-phase step had it ready after another committed',
    /^I8: of step 0 of 2 somebody committed before b had it ready/,
    (draft) => {
      without(draft, 'b', isOf(20, 'prepared'))
      log(draft, 'b').splice(4, 0, did(2_400, 'prepared', 20))
    },
  ],
  [
    'the second step did not wait for the bake time of the first',
    /^I12: 1 came to the nodes after step 0 when it had not baked for 300 ms/,
    (draft) => {
      without(draft, 'b', isOf(10, 'commit'))
      log(draft, 'b').splice(2, 0, did(300, 'commit', 10))
    },
  ],
  [
    'a rollout is completed over a gate that says no',
    /^I12: the rollout of 3 is completed, and its gate said no/,
    (draft) => {
      draft.releases[2] = release(3, { gate: 'bad' }) as never
      const gates = [{ kind: 'webhook', name: 'g', hook: 'g' }] as const
      change(draft, 2, { strategy: { ...allAtOnce(), gates } })
    },
  ],
  [
    'a rollout is completed over a node that would not have it',
    /^I12: the rollout of 3 is completed, and a would not have it/,
    (draft) => {
      const refused = node('a', second, { seen: 3, status: 'FAILED', detail: 'does not take 30' })
      draft.samples.splice(2, 0, { ...draft.samples[2], answeredMs: startMs + 10_500, nodes: [refused] } as never)
    },
  ],
  [
    'a rollout is completed over a node that is sick of it',
    /^I12: the rollout of 3 is completed, and a would not have it, or was sick of it/,
    (draft) => {
      const sick = node('a', third, { health: { ok: false, release: 3 } })
      draft.samples.splice(2, 0, { ...draft.samples[2], answeredMs: startMs + 10_500, nodes: [sick] } as never)
    },
  ],
  [
    'the API has something ready at a node for ever',
    /^I8: a still has 3 prepared/,
    (draft) => (draft.nodes[0] = node('a', third, { prepared: { ...third, epoch: 1 } }) as never),
  ],
  [
    'a rollout never ends',
    /^the rollout of 3 is preparing for ever/,
    (draft) => change(draft, 2, { phase: 'preparing', endedAt: null }),
  ],
  [
    'a node stays behind and does not say why',
    /^I6: b runs 2, is to run 3, and does not say why/,
    (draft) => {
      draft.nodes[1] = node('b', second) as never
      log(draft, 'b').splice(-3)
    },
  ],
  [
    'a node stays behind, and what it says for it never happened',
    /^I6: b runs 2, is to run 3, and does not say why/,
    (draft) => {
      draft.nodes[1] = node('b', second, { seen: 3, status: 'FAILED', detail: 'does not take 20' }) as never
      log(draft, 'b').splice(-3)
    },
  ],
  [
    'a node keeps something ready for ever',
    /^I8: a still has 3 prepared/,
    (draft) => log(draft, 'a').push(says(11_000, 'a', third, { prepared: { ...third, epoch: 1 } })),
  ],
  [
    'the API does not know what a node runs',
    /^the API has a at 2, and it runs 3/,
    (draft) => (draft.nodes[0] = node('a', second) as never),
  ],
  ['a node is not known at all', /^I6: nothing is known of b/, (draft) => draft.nodes.splice(1, 1)],
  ['the audit log is broken', /^audit: the log is broken/, (draft) => (draft.audit = 'broken')],
  ['the API fails', /^API: PUT/, (draft) => draft.badAnswers.push('PUT /v1/…: an internal error')],
])('found: %s', (_, violation, lie) => {
  const draft = good()
  lie(draft)
  expect(check(draft as unknown as Evidence)).toContainEqual(expect.stringMatching(violation))
})

test.each<[string, (draft: Draft) => void]>([
  [
    'a node that goes back and says which release it would not keep',
    (draft) => {
      const text = 'release 2 was not confirmed within 4000 ms and was taken back'
      log(draft, 'a').splice(-3, 0, { ...at(8_990), kind: 'warning', text }, says(9_000, 'a', first))
    },
  ],
  [
    'a node that begins with the release before one that it died of',
    (draft) => {
      const text = 'starts from release 1: poisoned: the process died while or soon after it took release 2'
      const warning: LogLine = { ...at(8_500), kind: 'warning', text }
      log(draft, 'a').splice(-3, 0, { ...at(8_000), kind: 'life', pid: 2 }, warning, says(9_000, 'a', first))
    },
  ],
  [
    'a node that was killed before anybody knew what it had taken',
    (draft) => {
      draft.samples.splice(1, 1)
      log(draft, 'a').splice(-3, 0, { ...at(8_000), kind: 'life', pid: 2 }, says(9_000, 'a', first))
    },
  ],
  [
    'a control plane that was killed and has old news of a node that has not come back',
    (draft) => {
      const old = [node('a', first, { connected: false })]
      draft.samples.splice(2, 0, { ...draft.samples[2], answeredMs: startMs + 9_000, nodes: old } as never)
    },
  ],
  [
    'a node that is left behind and says why',
    (draft) => {
      draft.nodes[1] = node('b', second, { seen: 3, status: 'FAILED', detail: 'does not take 30' }) as never
      log(draft, 'b').splice(-3, 3, did(10_100, 'refused', 30))
    },
  ],
  [
    'a person who passes over the bake time',
    (draft) => {
      log(draft, 'b').splice(1, 2, did(290, 'prepared', 10), did(300, 'commit', 10))
      const [began, counted] = (draft.rollouts[0] as ApiRollout).events
      const promoted = { ...began, event: { kind: 'promoted' } }
      change(draft, 0, { events: [began, promoted, counted] as never })
    },
  ],
])('not a violation: %s', (_, story) => {
  const draft = good()
  story(draft)
  expect(check(draft as unknown as Evidence)).toEqual([])
})
