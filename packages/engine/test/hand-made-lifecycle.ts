/** A Lifecycle whose outcomes a test chooses, with a real journal: for tests of doors, which must work with any engine. */
import { openJournal, type OpenJournal } from '../src/journal.ts'
import type { Outcome, PlanOutcome } from '../src/outcome.ts'
import type { Status } from '../src/status.ts'
import type { Lifecycle, ReloadRequest } from '../src/trigger.ts'

const base = {
  run: 1,
  triggers: ['http'],
  startedAt: '2026-11-20T10:00:00.000Z',
  durationMs: 3,
  durationsMs: {},
  retries: 0,
  pendingRestart: [],
}
const plan = {
  components: [
    {
      component: 'log',
      action: 'hot' as const,
      changes: [{ kind: 'changed' as const, path: 'log.level', before: 'info', after: 'debug' }],
      moreChanges: 0,
      restartPaths: [],
    },
  ],
  unread: [],
  changeCount: 1,
}

export const committed: Outcome = { ...base, kind: 'committed', plan, components: [], warnings: [] }
export const unchanged: Outcome = { ...base, kind: 'unchanged' }
export const ready: PlanOutcome = { ...base, kind: 'ready', plan, components: [] }
export const rejected: Outcome = {
  ...base,
  kind: 'rejected',
  phase: 'validate',
  issues: [
    {
      code: 'schema',
      path: ['server', 'port'],
      message: 'is "80a"; want an integer from 1 to 65535',
      origin: { file: 'gateway.yaml', line: 12, column: 9 },
    },
  ],
}

const status: Status = {
  state: 'running',
  healthy: true,
  startedAt: '2026-11-20T10:00:00.000Z',
  startedFrom: 'sources',
  live: { digest: 'sha256:aa', committedAt: '2026-11-20T10:00:00.000Z', ageMs: 1 },
  pendingRestart: [],
  pendingRequests: 0,
  components: [{ component: 'log', paths: ['log'], after: [], hot: 'full', restartFor: [], runs: 'live' }],
  sources: ['file gateway.yaml'],
  triggers: ['signal SIGHUP'],
  warnings: [],
  stats: { runs: 3, byOutcome: { committed: 3 }, successRate: 1, retries: 0, byPhase: {}, byComponent: {} },
}

export interface HandMade extends Lifecycle {
  readonly events: OpenJournal
  readonly requests: ReloadRequest[]
  outcome: Outcome | Promise<Outcome>
  planOutcome: PlanOutcome
  reload: Lifecycle['reload']
  status: () => Status
  with(changes: Partial<Status>): void
}

export async function handMade(): Promise<HandMade> {
  const engine: HandMade = {
    requests: [],
    outcome: committed,
    planOutcome: ready,
    events: await openJournal({ limit: 1000, onWarning: () => {} }),
    reload: async (request) => {
      engine.requests.push(request)
      return engine.outcome
    },
    plan: async () => engine.planOutcome,
    status: () => status,
    config: () => ({ log: { level: 'info' }, db: { password: '‹secret›' } }),
    metrics: () =>
      [
        '# TYPE midflight_reloads counter',
        '# HELP midflight_reloads Reloads by trigger and result.',
        'midflight_reloads_total{trigger="http",result="committed"} 3',
        'midflight_reloads_created{trigger="http",result="committed"} 1.7e9',
        '# TYPE midflight_config_hash gauge',
        '# UNIT midflight_config_hash ratio',
        'midflight_config_hash 42',
        '# EOF',
        '',
      ].join('\n'),
    with: (changes) => (engine.status = () => ({ ...status, ...changes })),
  }
  return engine
}

/** Everything a test opens, closed after it. */
export function closers() {
  const all: (() => Promise<unknown> | void)[] = []
  return {
    later: (close: () => Promise<unknown> | void) => void all.push(close),
    async close() {
      for (const close of all.splice(0).reverse()) await close()
    },
  }
}
