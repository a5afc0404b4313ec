/**
 * What a node was last seen to be: pure steps from one record to the next. What it says may come twice, late or out of
 * order; each step takes what is news and leaves the rest. Who keeps the records is `roster.ts`.
 */
import type { Heartbeat, Hello, NodeStatus, Report } from 'midflight/protocol'
import type { Wanted } from './desired.ts'
import type { AttemptRecord, NodeRecord } from './store.ts'

/** A node, and how far it is with what it tries now. */
export interface NodeState {
  readonly node: NodeRecord
  /** The newest that it reported of an attempt. */
  readonly trial: AttemptRecord | undefined
  /** It has said hello since, and may be a new process, which counts its attempts anew. */
  readonly greeted?: boolean
}

/** When something was heard. Of the wall clock, which is for people: leases go by another. */
export interface Heard {
  readonly at: string
  readonly leaseUntil: string
}

export interface Transition {
  readonly state: NodeState
  /** Goes into the history: one entry for each attempt, with what it came to, or how far it got if nothing came of it. */
  readonly ended: readonly AttemptRecord[]
  /** Nothing in it was news: a duplicate, or overtaken. */
  readonly stale: boolean
}

/** The node says who it is: the whole truth about it, whatever was known before. */
export function joined(before: NodeState | undefined, hello: Hello, heard: Heard): NodeState {
  const { uid, config, labels, agent, runs, status, components, auditHead, prepared, health } = hello
  const seen = highest(hello.seen, runs?.number)
  const known = before?.node.config === config ? before.node : undefined
  const isAtIt = before?.trial?.config === config && isAt(before.trial, hello.seen, status)
  const kept = known?.status === status && known.seen === seen ? known.detail : undefined
  // The whole of it is in the report, if that was here first.
  const detail = kept?.startsWith(hello.detail ?? '') ? kept : hello.detail
  return {
    node: {
      uid,
      config,
      labels,
      agent,
      runs,
      seen,
      status,
      ...(detail === undefined ? {} : { detail }),
      ...(components === undefined ? {} : { components }),
      ...(auditHead === undefined ? {} : { auditHead }),
      ...(prepared === undefined ? {} : { prepared }),
      ...(health === undefined ? {} : { health }),
      firstSeenAt: known?.firstSeenAt ?? heard.at,
      lastSeenAt: heard.at,
      leaseUntil: heard.leaseUntil,
    },
    trial: isAtIt ? before.trial : undefined,
    greeted: true,
  }
}

function isAt(trial: AttemptRecord, seen: number | null, status: NodeStatus): boolean {
  return trial.number === seen && trial.status === status
}

/** It lives, and runs this. One that says less than was known is late, and only shows that the node lives (I5). */
export function beat(
  before: NodeState,
  { runs, status, prepared, health }: Omit<Heartbeat, 'type'>,
  heard: Heard,
): Transition {
  const node = { ...before.node, lastSeenAt: heard.at, leaseUntil: heard.leaseUntil }
  const known = before.node.runs
  // One that took back what was never confirmed, or what killed it, says so; all else that goes back is late.
  const isReverted = status === 'ROLLED_BACK' && known?.number === before.node.seen
  const goesBack = known !== null && (runs === null || runs.number < known.number) && !isReverted
  if (goesBack) return { state: { ...before, node }, ended: none, stale: true }
  const same =
    runs?.number === known?.number &&
    runs?.digest === known?.digest &&
    status === node.status &&
    isSamePrepared(prepared, node.prepared) &&
    isSameHealth(health, node.health)
  if (same) return { state: { ...before, node }, ended: none, stale: true }
  const { detail, prepared: _, health: __, ...rest } = node
  const told = { ...(prepared && { prepared }), ...(health && { health }) }
  const kept = detail === undefined || (status !== node.status && !isUnderWay(status)) ? rest : { ...rest, detail }
  const seen = highest(node.seen, runs?.number)
  return { state: { ...before, node: { ...kept, ...told, runs, seen, status } }, ended: none, stale: false }
}

const none: readonly AttemptRecord[] = []

function isSamePrepared(a: Heartbeat['prepared'], b: Heartbeat['prepared']): boolean {
  return a?.number === b?.number && a?.digest === b?.digest && a?.epoch === b?.epoch
}

function isSameHealth(a: Heartbeat['health'], b: Heartbeat['health']): boolean {
  return a?.ok === b?.ok && a?.release === b?.release && a?.detail === b?.detail
}

/** How far a status is within one attempt. */
const ladder: Readonly<Record<NodeStatus, number>> = {
  UNSET: 0,
  RECEIVED: 1,
  PREPARED: 2,
  APPLYING: 3,
  APPLIED: 4,
  FAILED: 4,
  ROLLED_BACK: 4,
  RESTART_REQUIRED: 4,
  DEGRADED: 4,
}

function isUnderWay(status: NodeStatus): boolean {
  return status !== 'UNSET' && ladder[status] < ladder.APPLIED
}

/** The node tells how it goes with a release. What it says of an older one is history, and changes nothing (R2). */
export function reported(before: NodeState, report: Omit<Report, 'type'>, heard: Heard): Transition {
  const { number, digest, status, detail, attempt } = report
  const { node: known, trial, greeted = false } = before
  const { uid, config } = known
  const entry: AttemptRecord = {
    uid,
    config,
    number,
    digest,
    status,
    attempt,
    at: heard.at,
    ...(detail !== undefined && { detail }),
  }
  const older = number < Math.max(trial?.number ?? 0, known.seen ?? 0, known.runs?.number ?? 0)
  if (older || (trial?.number === number && !greeted && !isNews(trial, attempt, status))) {
    const node = { ...known, lastSeenAt: heard.at, leaseUntil: heard.leaseUntil }
    return { state: { ...before, node }, ended: older && isFinal(status) ? [entry] : none, stale: true }
  }
  const given = trial?.number === number && trial.attempt === attempt ? none : givenUp(before)
  // After a reconnect it says again what it said last.
  const isSaid = greeted && trial?.number === number && isSame(trial, entry)
  const ended = isFinal(status) && !isSaid ? [...given, entry] : given
  const node: NodeRecord = {
    ...withoutSaid(known),
    seen: number,
    status,
    runs: status === 'APPLIED' ? { number, digest } : known.runs,
    lastSeenAt: heard.at,
    leaseUntil: heard.leaseUntil,
  }
  const more = said(known, report)
  return { state: { node: more ? { ...node, ...more } : node, trial: entry }, ended, stale: false }
}

/** Nearly always there is nothing to leave out, and a copy less to make for each of thousands. */
function withoutSaid(node: NodeRecord): Omit<NodeRecord, 'detail' | 'prepared'> {
  if (node.detail === undefined && node.prepared === undefined) return node
  const { detail: _, prepared: __, ...rest } = node
  return rest
}

function said(
  known: NodeRecord,
  { number, digest, status, detail, epoch }: Omit<Report, 'type'>,
): Pick<NodeRecord, 'detail' | 'prepared'> | undefined {
  // Until the end of a retry, what failed the last time is what there is to know.
  const why = detail ?? (isUnderWay(status) && known.seen === number ? known.detail : undefined)
  // Whatever it says next of a release, it is prepared no more.
  const prepared = status === 'PREPARED' && epoch !== undefined ? { number, digest, epoch } : undefined
  if (why === undefined && prepared === undefined) return undefined
  return { ...(why !== undefined && { detail: why }), ...(prepared && { prepared }) }
}

function isSame(a: AttemptRecord, b: AttemptRecord): boolean {
  return a.digest === b.digest && a.attempt === b.attempt && a.status === b.status && a.detail === b.detail
}

/** Whether what an attempt has changed in the record need not be written: `caughtUp` makes it of the older one. */
export function follows(node: NodeRecord, newest: AttemptRecord | undefined): boolean {
  // One that has gone back since, without its disk, has said so later.
  return (
    newest?.status === 'APPLIED' &&
    newest.config === node.config &&
    newest.number > (node.seen ?? 0) &&
    newest.at >= node.lastSeenAt
  )
}

/** What is in a store: a record that may be older than the newest attempt of its node, as it is after that. */
export function caughtUp(node: NodeRecord, newest: AttemptRecord | undefined): NodeState {
  const state: NodeState = { node, trial: undefined, greeted: true }
  if (newest?.config !== node.config) return state
  if (follows(node, newest)) return reported(state, newest, { at: newest.at, leaseUntil: node.leaseUntil }).state
  return isFinal(newest.status) && isAt(newest, node.seen, node.status) ? { ...state, trial: newest } : state
}

/** The attempt that it was at, if it is not going to say any more what came of it. */
export function givenUp({ trial }: NodeState): readonly AttemptRecord[] {
  return trial === undefined || trial.attempt === 0 || isFinal(trial.status) ? none : [trial]
}

function isFinal(status: NodeStatus): boolean {
  return ladder[status] === 4
}

function isNews(trial: NonNullable<NodeState['trial']>, attempt: number, status: NodeStatus): boolean {
  if (attempt !== trial.attempt) return attempt > trial.attempt
  return ladder[status] > ladder[trial.status]
}

function highest(a: number | null, b: number | undefined): number | null {
  return a === null ? (b ?? null) : Math.max(a, b ?? 0)
}

/** Why a node does not run a release. */
export type Reason =
  | 'away' // it has not been heard of for longer than its lease
  | 'not-delivered' // it has not said that it has seen it
  | 'trying'
  | 'failed'
  | 'rolled-back'
  | 'restart-required'
  | 'degraded'
  | 'drifted' // it runs the number with another content
  | 'newer' // it runs a later one

/** Whether what it runs is what it was last known to run: it may have taken it back, which it says before what it runs now. */
export function isKept({ runs, seen, status }: Pick<NodeRecord, 'runs' | 'seen' | 'status'>): boolean {
  return status !== 'DEGRADED' && !(status === 'ROLLED_BACK' && runs?.number === seen)
}

/** `undefined`: it runs it. */
export function whyNot(wanted: Wanted, node: NodeRecord, isAway: boolean): Reason | undefined {
  const { runs, seen, status } = node
  const runsIt = runs?.number === wanted.number
  if (runsIt && runs.digest === wanted.digest && isKept(node)) return undefined
  if (runs !== null && runs.number > wanted.number) return 'newer'
  if (isAway) return 'away'
  const concerns = seen !== null && seen >= wanted.number
  if (!concerns) return 'not-delivered'
  switch (status) {
    case 'FAILED':
      return 'failed'
    case 'ROLLED_BACK':
      return 'rolled-back'
    case 'RESTART_REQUIRED':
      return 'restart-required'
    case 'DEGRADED':
      return 'degraded'
    default:
      return runsIt ? 'drifted' : 'trying'
  }
}

const reasons: Readonly<Record<Reason, string>> = {
  away: 'was last heard of at',
  'not-delivered': 'has not received it yet; runs',
  trying: 'has received it and is at it; runs',
  failed: 'refused it; runs',
  'rolled-back': 'tried it and went back; runs',
  'restart-required': 'needs a restart for it; runs',
  degraded: 'failed half-way, and its components run different releases; last known',
  drifted: 'runs another content under its number',
  newer: 'runs a newer one',
}

/** For people: `refused it; runs 5: limit is 0; want …` */
export function reasonText(reason: Reason, node: NodeRecord): string {
  if (reason === 'trying' && node.detail !== undefined)
    return `tries it again; runs ${node.runs?.number ?? 'none'}: ${node.detail}`
  const what = reason === 'away' ? node.lastSeenAt : node.runs === null ? 'none' : String(node.runs.number)
  return `${reasons[reason]} ${what}${node.detail === undefined ? '' : `: ${node.detail}`}`
}
