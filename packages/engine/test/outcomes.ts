/** Outcomes for the tests of what counts and reports them. */
import type { ReloadEvent } from '../src/notify.ts'
import type { ComponentResult, Outcome, Plan } from '../src/outcome.ts'

type Kind = Outcome['kind']
export const plan: Plan = { components: [], unread: [], changeCount: 1 }

const details: Record<Kind, object> = {
  committed: { plan, components: [], warnings: [] },
  unchanged: {},
  rejected: { phase: 'validate', issues: [] },
  'restart-required': { paths: ['plugins.auth.enabled'], plan },
  'rolled-back': { failed: 'http', phase: 'commit', cause: 'port is taken', plan, components: [] },
  degraded: { failed: 'http', cause: 'cannot go back', plan, components: [] },
  closed: {},
}

export const kinds = Object.keys(details) as Kind[]

export function outcome(kind: Kind, more: object = {}): Outcome {
  return {
    kind,
    run: 1,
    triggers: ['signal'],
    startedAt: '2026-11-20T10:00:00.000Z',
    durationMs: 12,
    durationsMs: { load: 5, commit: 2 },
    retries: 0,
    pendingRestart: [],
    ...details[kind],
    ...more,
  } as Outcome
}

export function component(
  name: string,
  result: ComponentResult['result'],
  durationsMs: ComponentResult['durationsMs'] = {},
): ComponentResult {
  return { component: name, result, runs: result === 'committed' ? 'new' : 'old', durationsMs }
}

export function reloadEvent(kind: Kind, more: object = {}, id = 1): ReloadEvent {
  return { id, at: '2026-11-20T10:00:00.012Z', kind: 'reload', outcome: outcome(kind, more) }
}
