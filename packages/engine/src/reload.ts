/**
 * THE path of one reload, top to bottom; nothing else decides anything:
 *
 *   load all sources → merge → check limits → validate the whole → share structure with the live snapshot and diff →
 *   unchanged? stop → plan (touched components in order; restart-only paths) → each component's own validate →
 *   prepare in order → commit in order → swap the live snapshot → write last good → dispose → record
 *
 * Up to `prepare` nothing is visible from outside. Returns an Outcome; throws only on bugs. One reload at a time, and
 * who waits for which, is `engine.ts`; the calls to components are `transaction.ts`.
 */
import type { Component, Deadlines } from './component.ts'
import { backoffMs, DeadlineError, errorText, inTime, pause, StoppedError } from './deadline.ts'
import { contentChanges } from './contents.ts'
import { changes as flat, diff, type Change } from './diff.ts'
import type { EventBody } from './event.ts'
import { heldBack } from './held.ts'
import type { Issue } from './issue.ts'
import { pathText, type Json, type Path } from './json.ts'
import type { LastGoodStore } from './last-good.ts'
import { load, tellSources, type Instead, type Loaded } from './load.ts'
import { checkMember, membersOf } from './members.ts'
import { merge, type Merged } from './merge.ts'
import type { ComponentResult, Outcome, Plan, PlanOutcome } from './outcome.ts'
import { heldParts, touchedBy, unreadRestarts, type Touched } from './plan.ts'
import type { Redactor } from './redact.ts'
import type { Validator } from './schema.ts'
import { placedIssue } from './placed-issue.ts'
import { redactorFor } from './secrets.ts'
import type { Retries } from './settings.ts'
import { listed, listedIssues, shownError, shownPlan } from './shown.ts'
import { check, share, type Limits } from './snapshot.ts'
import type { Document, Source } from './source.ts'
import { sinceMs, timed, type DurationsMs } from './timing.ts'
import { commitAll, disposeAll, prepareAll, resultOf, rollBackAll } from './transaction.ts'
import type { ComponentState, Failure, Member, Transaction } from './transaction.ts'

/** The configuration that every component runs. */
export interface Live {
  readonly config: Json
  /** What it was made of, as the sources gave it except for what is held back: for origins, for secrets, for the last good. */
  readonly merged: Merged
  readonly committedAt: Date
}

/** An engine, as far as a reload is concerned. */
export interface Core {
  readonly sources: readonly Source[]
  readonly validator: Validator
  /** In the order in which they are prepared. */
  readonly components: readonly Component<unknown>[]
  readonly states: ReadonlyMap<string, ComponentState>
  readonly keys: Readonly<Record<string, string>>
  readonly secretPatterns: readonly string[]
  readonly limits: Limits
  readonly deadlines: Deadlines
  readonly retries: Retries
  readonly restartPolicy: 'refuse' | 'hold'
  readonly lastGood: LastGoodStore | undefined
  readonly closing: AbortSignal
  readonly record: (event: EventBody) => void
  /** The one reference that readers see is swapped in here. */
  readonly swap: (live: Live) => void
  live: Live | undefined
  attempted: { readonly config: Json; readonly at: Date } | undefined
  /** Restart-only changes that wait for the next start (policy `hold`). */
  pendingRestart: readonly string[]
}

/** One run of the path: who asked, and what it has cost so far. */
export interface Run {
  readonly number: number
  readonly triggers: readonly string[]
  readonly force: boolean
  /** Aborts when a newer request comes: no further tries then. */
  readonly superseded: AbortSignal
  readonly startedAt: Date
  /** A reading of `performance.now()`. */
  readonly began: number
  readonly durationsMs: DurationsMs
  retries: number
}

/** What a run ended with, before it has its dress of numbers. */
type Body<O = Outcome> = O extends Outcome | PlanOutcome ? Omit<O, keyof Dress> : never
type Dress = Pick<
  Outcome,
  'run' | 'triggers' | 'startedAt' | 'durationMs' | 'durationsMs' | 'retries' | 'pendingRestart'
>

export interface Ended {
  readonly ended: Body
  readonly transient: boolean
}

/** Everything is prepared; nothing is visible yet. */
export interface Staged {
  readonly run: Run
  readonly live: Live
  /** As it is shown. Made when it is first asked for: nobody's commit waits for it. */
  readonly plan: () => Plan
  readonly members: readonly Member[]
  readonly tx: Transaction
  readonly pendingRestart: readonly string[]
  readonly save: boolean
}

export async function reload(core: Core, run: Run): Promise<Outcome> {
  const outcome = await tryOften(core, run)
  tellSources(core.sources, outcome, (message) => core.record({ kind: 'warning', about: 'source', message }))
  return outcome
}

async function tryOften(core: Core, run: Run): Promise<Outcome> {
  for (;;) {
    const staged = await stage(core, run)
    const result = 'ended' in staged ? staged : await commit(core, staged)
    if (!result.transient || run.retries >= core.retries.limit) return dressed(core, run, result.ended)
    const waitMs = backoffMs(run.retries, core.retries.firstMs, core.retries.maxMs)
    if ((await pause(waitMs, run.superseded, core.closing)) === 'stopped') return dressed(core, run, result.ended)
    run.retries++
  }
}

/** Dry run: everything up to and including `prepare`, then abort. */
export async function plan(core: Core, run: Run): Promise<PlanOutcome> {
  // A copy, which keeps what is found out about the sources: a dry run must leave no trace in the next reload.
  const dry = { ...core }
  const staged = await stage(dry, run)
  tellSources(core.sources, undefined, (message) => core.record({ kind: 'warning', about: 'source', message }))
  if ('ended' in staged) return dressed(dry, run, staged.ended) as PlanOutcome
  const { ended } = await abort(dry, staged)
  dry.pendingRestart = staged.pendingRestart
  const failed = staged.members.some((member) => member.result === 'failed')
  return dressed(dry, run, failed ? ended : ready(staged)) as PlanOutcome
}

/** A document from elsewhere than the sources: a caller's, the last good, the bundled one. */
export interface Given {
  readonly kind: 'documents'
  readonly documents: readonly [Document]
  /** Whether it becomes the last good once it is committed. */
  readonly save: boolean
}

export async function stage(core: Core, run: Run, given?: Given | Instead): Promise<Ended | Staged> {
  const { live } = core

  const instead = given?.kind === 'instead' ? given : undefined
  const loaded =
    given?.kind === 'documents'
      ? given
      : await timed(run.durationsMs, 'load', () => load(core.sources, core.deadlines.loadMs, core.closing, instead))
  if (loaded.kind === 'stopped') return closed()
  if (loaded.kind === 'failed') return notLoaded(core, loaded)
  const merged = merge(loaded.documents)
  const redact = redactorFor(core, live?.merged, merged)
  const uncertain = (component: Component<unknown>) => run.force || core.states.get(component.name)?.runs === 'unknown'
  const settled = !core.components.some(uncertain) && !run.force
  const sameContents = contentChanges(live, merged.config, merged, core.keys).length === 0
  if (live && settled && sameContents && merged.config === live.merged.config && core.pendingRestart.length === 0) {
    return unchanged(core, { ...live, merged }, [])
  }

  const bad = check(merged.config, live?.merged.config, core.limits)
  if (bad.length > 0) return rejected(core, 'validate', bad, merged, redact)
  core.attempted = { config: merged.config, at: new Date() }
  const valid = await timed(run.durationsMs, 'validate', () => validate(core, merged.config))
  if ('ended' in valid) return valid
  if ('issues' in valid) return rejected(core, 'validate', valid.issues, merged, redact)

  let taken = merged
  let config = share(valid.config, live?.config, core.keys)
  core.attempted = { config, at: new Date() }
  let { changes, touched } = compare(core, config, merged, uncertain)
  let held: readonly Touched[] = []

  const restart = restartsIn(core, touched, changes, config)
  const pendingRestart = restart.map((path) => redact.text(pathText(path)))
  if (live && restart.length > 0) {
    const planned = shownPlan(touched, changes, redact, core.restartPolicy)
    if (core.restartPolicy === 'refuse') return restartRequired(pendingRestart, planned)
    held = heldParts(touched)
    taken = heldBack(merged, live.merged, touched, restart, core.keys)
    const rest = await validate(core, taken.config)
    if ('ended' in rest) return rest
    if ('issues' in rest) return rejected(core, 'validate', rest.issues, merged, redact)
    config = share(rest.config, live.config, core.keys)
    ;({ changes, touched } = compare(core, config, taken, uncertain))
    // Not everything can be held: the content of a file that is named, or a value that the schema has moved.
    if (restartsIn(core, touched, changes, config).length > 0) return restartRequired(pendingRestart, planned)
    if (changes.length === 0 && settled && pendingRestart.join() !== core.pendingRestart.join()) {
      core.pendingRestart = pendingRestart
      return restartRequired(pendingRestart, planned)
    }
  }
  if (live && settled && changes.length === 0) return unchanged(core, { ...live, merged: taken }, pendingRestart)

  const { members, issues } = membersOf(touched, live?.config, config, core.states, run.force)
  const limitMs = core.deadlines.validateMs
  const checkAll = () => [...issues, ...members.flatMap((member) => checkMember(member, limitMs))]
  const refused = await timed(run.durationsMs, 'check', checkAll)
  if (refused.length > 0) return rejected(core, 'check', refused, merged, redact)

  const tx: Transaction = {
    deadlines: core.deadlines,
    record: core.record,
    redact: (said) => shownError(redact.text(said)),
  }
  let shown: Plan | undefined
  const staged: Staged = {
    run,
    live: { config, merged: taken, committedAt: new Date() },
    plan: () => (shown ??= shownPlan([...touched, ...held], changes, redact, core.restartPolicy)),
    members,
    tx,
    pendingRestart,
    save: given?.kind === 'documents' ? given.save : true,
  }
  const failed = await timed(run.durationsMs, 'prepare', () => prepareAll(tx, members, core.closing))
  return failed ? rolledBack(core, staged, 'prepare', failed) : staged
}

export async function commit(core: Core, staged: Staged): Promise<Ended> {
  const { run, members, tx } = staged
  const failed = await timed(run.durationsMs, 'commit', () => commitAll(tx, members))
  if (failed) return rolledBack(core, staged, 'commit', failed)

  core.pendingRestart = staged.pendingRestart
  core.swap({ ...staged.live, committedAt: new Date() })
  const warnings = await timed(run.durationsMs, 'save', () => saveLastGood(core, staged))
  warnings.push(...(await timed(run.durationsMs, 'dispose', () => disposeAll(tx, members))))
  const components = members.map(resultOf)
  return { ended: { kind: 'committed', plan: staged.plan(), components, warnings }, transient: false }
}

/** Gives up what was staged. `rolled-back`, or `degraded` where even that failed. */
export function abort(core: Core, staged: Staged): Promise<Ended> {
  return rolledBack(core, staged, 'prepare', { component: '', cause: 'given up', transient: false, stopped: false })
}

/** The outcome as everyone sees it. */
export function dressed(core: Core, run: Run, body: Body | Body<PlanOutcome>): Outcome {
  return {
    ...body,
    run: run.number,
    triggers: run.triggers,
    startedAt: run.startedAt.toISOString(),
    durationMs: sinceMs(run.began),
    durationsMs: run.durationsMs,
    retries: run.retries,
    pendingRestart: listed(core.pendingRestart),
  } as Outcome
}

function ready(staged: Staged): Body<PlanOutcome> {
  const components: ComponentResult[] = staged.members.map(resultOf)
  return { kind: 'ready', plan: staged.plan(), components }
}

function notLoaded(core: Core, { issues, transient }: Loaded & { kind: 'failed' }): Ended {
  const redact = redactorFor(core, core.live?.merged)
  return { ended: { kind: 'rejected', phase: 'load', issues: issues.map((issue) => redact.issue(issue)) }, transient }
}

async function validate(core: Core, config: Json): Promise<Ended | { config: Json } | { issues: readonly Issue[] }> {
  try {
    return await inTime(core.deadlines.validateMs, core.closing, () =>
      core.validator.validate(config, core.live?.config),
    )
  } catch (error) {
    if (error instanceof StoppedError) return closed()
    const code = error instanceof DeadlineError ? 'timeout' : 'internal'
    return { issues: [{ code, path: [], message: `the schema's validation ${errorText(error)}` }] }
  }
}

/** What differs from the live configuration, and whom it touches. At the first start nothing differs, and all are touched. */
function compare(core: Core, config: Json, merged: Merged, always: (component: Component<unknown>) => boolean) {
  const { live, keys, components } = core
  const changes = live ? [...flat(diff(live.config, config, keys)), ...contentChanges(live, config, merged, keys)] : []
  const { restartPaths } = core.validator
  return { changes, touched: touchedBy(components, live?.config, config, changes, { always, restartPaths }) }
}

function restartsIn(core: Core, touched: readonly Touched[], changes: readonly Change[], config: Json): Path[] {
  if (!core.live) return []
  const paths = [
    ...touched.flatMap((t) => t.restart),
    ...unreadRestarts(changes, core.live.config, config, core.validator.restartPaths),
  ]
  return [...new Map(paths.map((path) => [pathText(path), path])).values()]
}

async function rolledBack(core: Core, staged: Staged, phase: 'prepare' | 'commit', failed: Failure): Promise<Ended> {
  const { run, members, tx } = staged
  const failures = await timed(run.durationsMs, 'rollback', () => rollBackAll(tx, members))
  const components = members.map(resultOf)
  const base = { failed: failed.component, plan: staged.plan(), components }
  // Also of an earlier reload: whoever may run something else is a member of every one until it is mended.
  if (components.some(({ runs }) => runs === 'unknown')) {
    return { ended: { ...base, kind: 'degraded', cause: [failed.cause, ...failures].join('; ') }, transient: false }
  }
  if (failed.stopped) return closed()
  return { ended: { ...base, kind: 'rolled-back', phase, cause: failed.cause }, transient: failed.transient }
}

async function saveLastGood(core: Core, { live, save }: Staged): Promise<string[]> {
  if (!core.lastGood || !save) return []
  try {
    // Not what the schema has made of it: that is done again at the start.
    await core.lastGood.save(live.merged.config, live.merged.secrets)
    return []
  } catch (error) {
    const message = `the last good configuration could not be written: ${errorText(error)}`
    core.record({ kind: 'warning', about: 'last-good', message })
    return [message]
  }
}

function unchanged(core: Core, live: Live, pendingRestart: readonly string[]): Ended {
  core.pendingRestart = pendingRestart
  core.live = live
  return { ended: { kind: 'unchanged' }, transient: false }
}

function restartRequired(paths: readonly string[], planned: Plan): Ended {
  return { ended: { kind: 'restart-required', paths: listed(paths), plan: planned }, transient: false }
}

function closed(): Ended {
  return { ended: { kind: 'closed' }, transient: false }
}

function rejected(
  core: Core,
  phase: 'validate' | 'check',
  issues: readonly Issue[],
  merged: Merged,
  redact: Redactor,
): Ended {
  const placed = listedIssues(issues).map((issue) => redact.issue(placedIssue(issue, merged, core.keys)))
  return { ended: { kind: 'rejected', phase, issues: placed }, transient: false }
}
