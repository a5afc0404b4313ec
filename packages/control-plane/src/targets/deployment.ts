/**
 * THE path of one deployment: a pure machine. Its steps are fixed when it is made and stand on record before they are
 * taken, so that after a crash it is known which one may have happened; the pointer moves with the last of them.
 *
 *   create   create new, up, auto-inspection, pointer
 *   update   update, up, auto-inspection, pointer
 *   replace  create new, up, disable old, uninstall old, delete old, auto-inspection, pointer
 *
 * Until the old is touched it can go back: what was begun is undone, and the old is what it was. After that it only
 * goes forward. Who calls the outside, and asks it first after a crash, is `deployer.ts`.
 */
import type { Operation } from './diff.ts'
import type { NodeState } from './installer.ts'
import type { Targets } from './targets.ts'

export type Action = Operation['kind'] | 'start' | 'stop' | 'uninstall' | 'retry'

export interface Subscription {
  readonly id: string
  /** By which installer. */
  readonly installer: string
}

/** What a config has in the field: moved by the last step of a deployment, and by nothing else. */
export interface Pointer {
  readonly config: string
  /** The deployment whose targets hold. */
  readonly number: number
  readonly subscription: Subscription
  readonly enabled: boolean
  readonly inspected: boolean
  /** As it was last known with nothing under way. */
  readonly status: AggregateStatus
  readonly at: string
}

export type StepKind = 'create' | 'up' | 'update' | 'enable' | 'disable' | 'inspect' | 'uninstall' | 'delete' | 'point'

export interface Step {
  readonly kind: StepKind
  /** Which subscription; none for `point`. */
  readonly on: Subscription
  readonly of: 'new' | 'old'
  /** `up`: nothing goes on before every node has it. `inspect`: on or off. */
  readonly must?: boolean
  /** `update`: to the targets of this deployment. */
  readonly to?: number
  /** `update`: only these nodes. */
  readonly only?: 'unsuccessful'
}

export interface DeploymentState {
  /**
   * `going` forward, `returning` (undoing), `applied`, `failed` (undone: what was there before is there), `revoked` (the
   * same, because somebody wanted it)
   */
  readonly phase: 'going' | 'returning' | 'applied' | 'failed' | 'revoked'
  /** Forward, or those that undo. */
  readonly steps: readonly Step[]
  /** The one that comes next, or is being taken. */
  readonly step: number
  /** It may have happened. */
  readonly begun: boolean
  /** Counts the lists of steps: part of the key of each step. */
  readonly round: number
  /** Nothing goes on until somebody says so: it was refused, and cannot be undone. */
  readonly held: string | null
  /** What was last found to be in the way; for people. */
  readonly note: string | null
  /** Why it went back. */
  readonly failure: string | null
  readonly revokedBy: string | null
  /** With what was found at its end, for people: who was away, who had failed. */
  readonly done: readonly { readonly step: string; readonly at: string; readonly note?: string }[]
}

export interface DeploymentRecord {
  readonly config: string
  /** 1, 2, 3 … within a config. */
  readonly number: number
  readonly action: Action
  readonly why: string
  /** What is to hold from then on; `null`: those of the deployment before. */
  readonly targets: Targets | null
  /** The deployment whose targets held before. */
  readonly parent: number | null
  readonly rollbackOf?: number
  readonly before: Pointer | null
  /** What the pointer is to be; `null`: nothing is left. */
  readonly after: Omit<Pointer, 'at' | 'status'> | null
  readonly by: string
  readonly message: string
  readonly createdAt: string
  readonly endedAt: string | null
  readonly state: DeploymentState
}

export type DeploymentEvent =
  /** The step is about to be taken. */
  | { readonly kind: 'begun' }
  | { readonly kind: 'done'; readonly note?: string }
  /** It did not happen, and never will by trying again. */
  | { readonly kind: 'refused'; readonly why: string }
  /** It may not have happened; it is tried again. */
  | { readonly kind: 'hindered'; readonly why: string }
  | { readonly kind: 'revoked'; readonly by: string }
  | { readonly kind: 'retried' }

/** @param at now, as a time on the wall: for people. */
export function next(record: DeploymentRecord, event: DeploymentEvent, at: string): DeploymentRecord {
  const { state } = record
  if (hasEnded(state)) return record
  const moved = (to: Partial<DeploymentState>): DeploymentRecord =>
    settled({ ...record, state: { ...state, ...to } }, at)
  switch (event.kind) {
    case 'begun':
      return state.begun || state.held !== null ? record : moved({ begun: true })
    case 'done': {
      if (!state.begun) return record
      const { note } = event
      const done = [...state.done, { step: stepText(stepOf(state)), at, ...(note !== undefined && { note }) }]
      return moved({ done, step: state.step + 1, begun: false, note: left({ ...state, done }) })
    }
    case 'refused':
      if (!state.begun) return record
      if (mayReturn(state)) return moved(back(record, { failure: event.why }))
      return moved({ held: event.why, note: event.why })
    case 'hindered':
      return state.note === event.why ? record : moved({ note: event.why })
    case 'revoked':
      return mayReturn(state) ? moved(back(record, { failure: `revoked by ${event.by}`, revokedBy: event.by })) : record
    case 'retried':
      return state.held === null ? record : moved({ held: null })
  }
}

/** What was in the way of a step is over with it; what it has left behind is not, until it is undone. */
function left({ phase, done }: DeploymentState): string | null {
  return phase === 'going' ? (done.findLast(({ note }) => note !== undefined)?.note ?? null) : null
}

function settled(record: DeploymentRecord, at: string): DeploymentRecord {
  const { state } = record
  if (state.step < state.steps.length) return record
  const undone = state.revokedBy === null ? 'failed' : 'revoked'
  return { ...record, endedAt: at, state: { ...state, phase: state.phase === 'going' ? 'applied' : undone } }
}

export function hasEnded({ phase }: DeploymentState): boolean {
  return phase !== 'going' && phase !== 'returning'
}

/** The one that comes next, or is being taken. @throws Error once it has ended. */
export function stepOf({ steps, step }: DeploymentState): Step {
  const found = steps[step]
  if (found === undefined) throw new Error(`a deployment has no step ${step}`)
  return found
}

/** `disable old`, for people. */
export function stepText({ kind, of, must }: Step): string {
  if (kind === 'inspect') return `auto-inspection ${must === true ? 'on' : 'off'}`
  return kind === 'point' ? 'pointer' : `${kind} ${of}`
}

/** The same after a crash. */
export function keyOf({ config, number, state }: DeploymentRecord): string {
  return `${config}#${number}.${state.round}.${state.step}-${stepOf(state).kind}`
}

/** Whether what was begun can still be undone, so that what was there before is whole. */
export function mayReturn({ phase, steps, step, begun }: DeploymentState): boolean {
  if (phase !== 'going') return false
  const taken = steps.slice(0, begun ? step + 1 : step)
  return !taken.some(
    ({ kind, of }) => of === 'old' && (kind === 'disable' || kind === 'uninstall' || kind === 'delete'),
  )
}

/** What undoes the steps that were begun, last first. */
function back({ before, state }: DeploymentRecord, why: Partial<DeploymentState>): Partial<DeploymentState> {
  const { steps, step, begun } = state
  const undo = steps
    .slice(0, begun ? step + 1 : step)
    .reverse()
    .flatMap((taken): Step[] => {
      const { kind, on } = taken
      if (kind === 'create')
        return [
          { kind: 'uninstall', on, of: 'new' },
          { kind: 'delete', on, of: 'new' },
        ]
      if (before === null) return []
      // Also for nodes that were only to try again: they get what holds, which they should have anyway.
      if (kind === 'update') return [{ kind: 'update', on, of: 'old', to: before.number }]
      if (kind === 'enable') return [{ kind: 'disable', on, of: 'new' }]
      if (kind === 'disable') return [{ kind: 'enable', on, of: 'new' }]
      const inspects = on.id === before.subscription.id && kind === 'inspect'
      return inspects ? [{ kind: 'inspect', on, of: 'old', must: before.inspected }] : []
    })
  return { ...why, phase: 'returning', steps: undo, step: 0, begun: false, round: state.round + 1, note: null }
}

/** The steps of an action, in their order. */
export function stepsOf(
  action: Action,
  reaches: boolean,
  number: number,
  before: Pointer | null,
  after: DeploymentRecord['after'],
): Step[] {
  const old = before?.subscription
  const own = after?.subscription ?? old
  if (own === undefined) throw new Error(`there is nothing to ${action}`)
  const point: Step = { kind: 'point', on: own, of: 'new' }
  const inspect: Step[] =
    after === null || (before !== null && before.subscription.id === own.id && before.inspected === after.inspected)
      ? []
      : [{ kind: 'inspect', on: own, of: 'new', must: after.inspected }]
  const up = (must: boolean): Step => ({ kind: 'up', on: own, of: 'new', must })
  switch (action) {
    case 'create':
      return [{ kind: 'create', on: own, of: 'new' }, up(false), ...inspect, point]
    case 'update':
      return [
        ...(reaches ? [{ kind: 'update', on: own, of: 'new', to: number } as const, up(false)] : []),
        ...inspect,
        point,
      ]
    case 'replace': {
      if (old === undefined) throw new Error('there is nothing to replace')
      // One that was stopped is not started by being replaced: but it must be up before the old may go.
      const stopped: Step[] = after?.enabled === false ? [{ kind: 'disable', on: own, of: 'new' }] : []
      return [
        { kind: 'create', on: own, of: 'new' },
        up(true),
        { kind: 'disable', on: old, of: 'old' },
        { kind: 'uninstall', on: old, of: 'old' },
        { kind: 'delete', on: old, of: 'old' },
        ...stopped,
        ...inspect,
        point,
      ]
    }
    case 'start':
      return [{ kind: 'enable', on: own, of: 'new' }, up(false), ...inspect, point]
    case 'stop':
      return [{ kind: 'disable', on: own, of: 'new' }, up(false), ...inspect, point]
    case 'uninstall':
      return [{ kind: 'uninstall', on: own, of: 'old' }, { kind: 'delete', on: own, of: 'old' }, point]
    case 'retry':
      return [
        { kind: 'update', on: own, of: 'new', to: before?.number ?? number, only: 'unsuccessful' },
        up(false),
        point,
      ]
    case 'nothing':
      return []
  }
}

export const firstState = (steps: readonly Step[]): DeploymentState => ({
  phase: 'going',
  steps,
  step: 0,
  begun: false,
  round: 0,
  held: null,
  note: null,
  failure: null,
  revokedBy: null,
  done: [],
})

export type AggregateStatus = 'UNKNOWN' | 'SUCCESS' | 'WARNING' | 'FAILED'

/** No failure is a success, nothing but failures a failure; while any node is at it or waits, nothing new is known. */
export function aggregate(before: AggregateStatus, nodes: readonly NodeState[]): AggregateStatus {
  if (nodes.some(({ state }) => state === 'running' || state === 'pending')) return before
  const failed = nodes.filter(({ state }) => state === 'failed' || state === 'absent').length
  if (failed === 0) return 'SUCCESS'
  return failed === nodes.length ? 'FAILED' : 'WARNING'
}
