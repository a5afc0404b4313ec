/**
 * THE path of one rollout: a pure machine, `next(rollout, state, event) → [state, commands]`.
 *
 *   queued → each step: (two-phase: preparing →) applying → baking → … → confirming → completed
 *   on any failure: rolling-back → rolled-back; failed, where there is nothing to go back to
 *
 * It knows how many nodes are how far, not which; which release a node is to run follows from the state (`desired.ts`),
 * so that nothing is sent that was not durable before, and nothing that was sent need be remembered. Time is what the
 * coordinator has seen pass: neither a clock that jumps nor a night without a coordinator makes a deadline pass.
 * Who counts, waits, asks and writes is `coordinator.ts`.
 */
import {
  hasEnded,
  noCounts,
  type Counts,
  type Failure,
  type Phase,
  type Rollout,
  type RolloutEvent,
  type RolloutState,
} from './rollout-state.ts'
import { mayBeMissing } from './strategy.ts'

export type RolloutCommand =
  /** Make a release with the content of this one. */
  | { readonly kind: 'make-rollback'; readonly to: number; readonly failure: Failure }
  /** The next in the queue may begin. */
  | { readonly kind: 'ended' }

export type RolloutStep = readonly [RolloutState, readonly RolloutCommand[]]

export function next(rollout: Rollout, state: RolloutState, event: RolloutEvent): RolloutStep {
  if (hasEnded(state)) return [state, []]
  switch (event.kind) {
    case 'began': {
      if (state.phase !== 'queued') return [state, []]
      const { epoch, from, cuts, counts } = event
      const begun = { ...state, epoch: Math.max(epoch, state.epoch), from, cuts }
      return judged(rollout, entered(rollout, begun, 0, counts))
    }
    case 'recovered':
      return recovered(rollout, state, event.epoch)
    case 'counted':
      return state.phase === 'queued' ? [state, []] : judged(rollout, { ...state, counts: event.counts })
    case 'elapsed':
      return elapsed(rollout, state, event.ms)
    case 'gate':
      return gate(rollout, state, event)
    case 'paused':
      if (problemOf(state, 'pause') !== undefined || state.pauses.some(({ reason }) => reason === event.reason))
        return [state, []]
      return [{ ...state, pauses: [...state.pauses, { reason: event.reason, by: event.by }] }, []]
    case 'resumed': {
      const pauses = state.pauses.filter(({ reason }) => reason !== event.reason)
      return pauses.length === state.pauses.length ? [state, []] : judged(rollout, { ...state, pauses })
    }
    case 'aborted':
      if (problemOf(state, 'abort') !== undefined) return [state, []]
      if (state.phase === 'queued') return givenUp(state, event)
      return fail(state, { kind: 'aborted', found: `aborted by ${event.by}: ${event.reason}` })
    case 'promoted':
      return problemOf(state, 'promote') === undefined ? advanced(rollout, { ...state, pauses: [] }) : [state, []]
    case 'confirmed':
      return problemOf(state, 'confirm') === undefined ? completed(state) : [state, []]
    case 'rollback-made':
      if (state.phase !== 'rolling-back' || state.rollback !== null) return [state, []]
      return [{ ...state, rollback: event.release, spentMs: 0, counts: noCounts }, []]
    case 'rollback-impossible':
      if (state.phase !== 'rolling-back' || state.rollback !== null) return [state, []]
      return [{ ...state, phase: 'failed', failure: withNote(state.failure, event.reason) }, []]
    case 'superseded':
      if (state.phase !== 'rolling-back') return superseded(state, event.reason)
      // A way back is there before anything takes its place; whoever would not go back is not waited for then.
      return state.rollback === null ? [state, []] : wentBack(state)
  }
}

export type Control = 'pause' | 'resume' | 'abort' | 'promote' | 'confirm'

const controllable: Readonly<Record<Control, readonly Phase[]>> = {
  pause: ['queued', 'preparing', 'applying', 'baking', 'confirming'],
  resume: ['queued', 'preparing', 'applying', 'baking', 'confirming'],
  abort: ['queued', 'preparing', 'applying', 'baking', 'confirming'],
  promote: ['baking'],
  confirm: ['confirming'],
}

/** Why this cannot be done to it now; `undefined` if it can. */
export function problemOf(state: RolloutState, control: Control): string | undefined {
  if (controllable[control].includes(state.phase)) return undefined
  return `is ${phaseText[state.phase]}; to ${control} it, it has to be ${controllable[control].map((phase) => phaseText[phase]).join(' or ')}`
}

const phaseText: Readonly<Record<Phase, string>> = {
  queued: 'queued',
  preparing: 'preparing',
  applying: 'applying',
  baking: 'baking',
  confirming: 'waiting for a confirmation',
  'rolling-back': 'rolling back',
  failed: 'failed',
  completed: 'completed',
  'rolled-back': 'rolled back',
  superseded: 'superseded',
}

function entered(rollout: Rollout, state: RolloutState, step: number, counts: Counts): RolloutState {
  const { twoPhase } = rollout.strategy
  return {
    ...state,
    phase: twoPhase ? 'preparing' : 'applying',
    step,
    decided: twoPhase ? step : step + 1,
    spentMs: 0,
    passed: [],
    counts,
  }
}

/** A decision that is not on record was not made (I9). */
function recovered(rollout: Rollout, state: RolloutState, epoch: number): RolloutStep {
  const now = { ...state, epoch: Math.max(epoch, state.epoch) }
  if (state.phase === 'preparing') {
    return fail(now, { kind: 'interrupted', found: 'the coordinator was lost before it had decided' })
  }
  if (state.phase === 'rolling-back' && state.rollback === null) return [now, [makeRollback(now)]]
  // Nodes have to be heard of again before anything is over, and have the time for it that they had at first.
  const spentMs = { applying: 0, baking: Math.min(now.spentMs, bakeMsOf(rollout, now)) }
  const known = state.phase === 'applying' || state.phase === 'baking' ? { spentMs: spentMs[state.phase] } : {}
  return [{ ...now, ...known, passed: [] }, []]
}

function elapsed(rollout: Rollout, state: RolloutState, ms: number): RolloutStep {
  const isHeld = state.pauses.length > 0 && (state.phase === 'baking' || state.phase === 'confirming')
  if (state.phase === 'queued' || state.phase === 'failed' || isHeld) return [state, []]
  const mixedMs = isMixed(rollout, state) ? state.mixedMs + ms : state.mixedMs
  return judged(rollout, { ...state, spentMs: state.spentMs + ms, mixedMs })
}

function isMixed({ strategy }: Rollout, { phase }: RolloutState): boolean {
  return strategy.twoPhase && phase === 'applying'
}

function gate(rollout: Rollout, state: RolloutState, event: RolloutEvent & { kind: 'gate' }): RolloutStep {
  if (state.phase !== 'baking') return [state, []]
  const { gate: name, ok, noData, found } = event
  const isOver = state.spentMs >= bakeMsOf(rollout, state)
  if (!ok && (isOver || noData !== true))
    return fail(state, { kind: 'gate', gate: name, found: `gate ${name}: ${found}` })
  // What was well in the middle of the bake time has to be so at its end.
  if (!ok || !isOver || state.passed.includes(name)) return [state, []]
  return judged(rollout, { ...state, passed: [...state.passed, name] })
}

/** What follows from the counts and the time that has passed. */
function judged(rollout: Rollout, state: RolloutState): RolloutStep {
  const { strategy } = rollout
  const { counts, spentMs } = state
  switch (state.phase) {
    case 'preparing': {
      if (counts.failed > 0)
        return fail(state, { kind: 'refused', found: `${nodes(counts.failed)} would not prepare it` })
      // One that was asked and is gone has not voted either.
      const missing = counts.waiting + counts.away + counts.lost
      const total = missing + counts.prepared + counts.applied + counts.unhealthy
      // What would fail as soon as it was decided is not decided.
      const enough =
        mayBeMissing(strategy.absent, missing, total, counts.missingInZone) && counts.lost <= strategy.maxFailed
      if (total === 0) return advanced(rollout, { ...state, decided: state.step + 1 })
      const inTime = spentMs < strategy.prepareMs
      if (enough && (counts.waiting === 0 || !inTime) && counts.prepared + counts.applied > 0) {
        return judged(rollout, { ...state, phase: 'applying', decided: state.step + 1, spentMs: 0 })
      }
      if (inTime) return [state, []]
      return fail(state, { kind: 'absent', found: `${nodes(missing)} did not vote within ${strategy.prepareMs} ms` })
    }
    case 'applying': {
      if (tooMany(rollout, counts)) return fail(state, failedNodes(counts))
      const missing = counts.waiting + counts.prepared
      if (missing === 0) {
        if (counts.applied + counts.failed + counts.unhealthy + counts.lost === 0) {
          // Nobody is there who could show that it is well: others are not to have it before that is known.
          if (counts.away > 0 && strategy.steps.length > 1) return [state, []]
          return advanced(rollout, state)
        }
        return judged(rollout, { ...state, phase: 'baking', spentMs: 0, passed: [] })
      }
      if (spentMs < strategy.applyMs) return [state, []]
      if (tooMany(rollout, counts, missing)) {
        return fail(state, {
          kind: 'timeout',
          found: `${nodes(missing)} did not say within ${strategy.applyMs} ms that they run it`,
        })
      }
      return judged(rollout, { ...state, phase: 'baking', spentMs: 0, passed: [] })
    }
    case 'baking': {
      if (tooMany(rollout, counts)) return fail(state, failedNodes(counts))
      const bakeMs = bakeMsOf(rollout, state)
      if (spentMs < bakeMs || state.pauses.length > 0) return [state, []]
      // Whoever ran it may run something else by now: a new process without its disk, a content that has drifted.
      const missing = counts.waiting + counts.prepared
      if (missing > 0 && tooMany(rollout, counts, missing)) {
        if (spentMs < bakeMs + strategy.applyMs) return [state, []]
        return fail(state, {
          kind: 'timeout',
          found: `${nodes(missing)} did not say at the end of its time that they run it`,
        })
      }
      const silent = strategy.gates.filter(({ name }) => !state.passed.includes(name))
      if (silent.length === 0) return advanced(rollout, state)
      if (spentMs < bakeMs + strategy.gateMs) return [state, []]
      const names = silent.map(({ name }) => name).join(', ')
      return fail(state, { kind: 'gate', gate: names, found: `gate ${names}: no answer, which counts as a failure` })
    }
    case 'confirming': {
      if (tooMany(rollout, counts)) return fail(state, failedNodes(counts))
      const { confirmMs } = strategy
      if (confirmMs === null || spentMs < confirmMs) return [state, []]
      return fail(state, { kind: 'unconfirmed', found: `nobody confirmed it within ${confirmMs} ms` })
    }
    case 'rolling-back': {
      if (state.rollback === null) return [state, []]
      const done = counts.waiting + counts.prepared === 0 && counts.applied + counts.failed > 0
      return done || spentMs >= (strategy.applyMs || backMs) ? wentBack(state) : [state, []]
    }
    default:
      return [state, []]
  }
}

/** How long nodes have to go back from what waited for nothing on its way to them. */
const backMs = 60_000

function bakeMsOf({ strategy }: Rollout, { step }: RolloutState): number {
  return strategy.steps[step]?.bakeMs ?? 0
}

function tooMany({ strategy }: Rollout, { failed, unhealthy, lost }: Counts, missing = 0): boolean {
  return failed + unhealthy + lost + missing > strategy.maxFailed
}

function failedNodes({ failed, unhealthy, lost }: Counts): Pick<Failure, 'kind' | 'found'> {
  const parts = [
    failed > 0 && `${nodes(failed)} failed`,
    unhealthy > 0 && `${nodes(unhealthy)} unhealthy`,
    lost > 0 && `${nodes(lost)} not heard of since`,
  ]
  return { kind: 'nodes', found: parts.filter((part) => part !== false).join(', ') }
}

/** So many nodes are named in a failure. */
const maxNamed = 10

function nodes(count: number): string {
  return count === 1 ? '1 node' : `${count} nodes`
}

/** The step is through. */
function advanced(rollout: Rollout, state: RolloutState): RolloutStep {
  const { steps, confirmMs } = rollout.strategy
  const through = { ...state, confirmed: state.step + 1 }
  // Of the next step nothing is known yet; the nodes of the earlier ones are counted with it.
  if (state.step + 1 < steps.length) return [entered(rollout, through, state.step + 1, unknown(state.counts)), []]
  return confirmMs === null ? completed(through) : [{ ...through, phase: 'confirming', spentMs: 0 }, []]
}

/** Until it has been counted anew, a step is not over: one node waits. */
function unknown(counts: Counts): Counts {
  return { ...counts, waiting: Math.max(1, counts.waiting) }
}

function completed(state: RolloutState): RolloutStep {
  return ended({ ...state, confirmed: state.step + 1 }, 'completed')
}

function fail(state: RolloutState, why: Omit<Failure, 'step' | 'nodes'>): RolloutStep {
  const { reasons, missing } = state.counts
  const isSilence = why.kind === 'absent' || why.kind === 'timeout'
  const silent = isSilence ? missing.map((node) => ({ node, reason: 'has not said anything' })) : []
  const failure: Failure = { ...why, step: state.step, nodes: [...reasons, ...silent].slice(0, maxNamed) }
  const now = { ...state, failure, pauses: [], spentMs: 0 }
  if (state.from === null) return [{ ...now, phase: 'failed' }, []]
  const back: RolloutState = { ...now, phase: 'rolling-back' }
  return [back, [makeRollback(back)]]
}

function makeRollback({ from, failure }: RolloutState): RolloutCommand {
  return { kind: 'make-rollback', to: from?.number ?? 0, failure: failure as Failure }
}

function withNote(failure: Failure | null, reason: string): Failure | null {
  return failure && { ...failure, found: `${failure.found}; it could not be rolled back: ${reason}` }
}

/** What nodes run that would not go back is not what the fleet is said to run. */
function wentBack(state: RolloutState): RolloutStep {
  const { waiting, prepared, failed, reasons } = state.counts
  const left = waiting + prepared + failed
  if (left === 0 || state.failure === null) return ended(state, 'rolled-back')
  const found = `${state.failure.found}; ${nodes(left)} did not go back`
  const failure = { ...state.failure, found, nodes: [...state.failure.nodes, ...reasons] }
  return ended({ ...state, failure }, 'rolled-back')
}

function superseded(state: RolloutState, found: string): RolloutStep {
  const failure: Failure = { kind: 'superseded', step: state.step, found, nodes: [] }
  return ended({ ...state, failure: state.failure ?? failure }, 'superseded')
}

/** Nobody was given it, and nobody is to be. */
function givenUp(state: RolloutState, { by, reason, back }: RolloutEvent & { kind: 'aborted' }): RolloutStep {
  const found = `given up by ${by}: ${reason}`
  if (back === undefined) return superseded(state, found)
  const failure: Failure = { kind: 'aborted', step: 0, found, nodes: [] }
  const now = { ...state, failure, pauses: [] }
  if (back === null) return [{ ...now, phase: 'failed' }, []]
  return ended({ ...now, from: back.from, rollback: back.release }, 'rolled-back')
}

function ended(state: RolloutState, phase: Phase): RolloutStep {
  return [{ ...state, phase, pauses: [] }, [{ kind: 'ended' }]]
}
