/**
 * From what somebody wants to a deployment on record: whether it may be, its number and its steps. All of it happens in
 * one transaction, and nobody outside is asked. Carrying it out is `deployer.ts`.
 */
import type { Json } from 'midflight'
import { configIn } from '../publish.ts'
import { RefusedError } from '../release.ts'
import type { AuditEntry, StoreRead, StoreTx } from '../store.ts'
import {
  firstState,
  mayReturn,
  next,
  stepOf,
  stepsOf,
  stepText,
  type Action,
  type DeploymentRecord,
  type Pointer,
} from './deployment.ts'
import type { KnownNode } from './node-directory.ts'
import { compared, planTargets, targetsOf, type TargetsPlan } from './plan.ts'
import type { Targets } from './targets.ts'

/** Who wants something, and why. */
export interface Asked {
  readonly by: string
  readonly message?: string
  /** The number of the deployment whose targets were seen; 0: that there are none. */
  readonly ifMatch?: number
  /** Whoever it is may publish the configs of agents. */
  readonly mayPublishNodes?: boolean
}

export type Control = 'start' | 'stop' | 'uninstall' | 'retry' | 'revoke'

export interface Ordered {
  readonly plan: TargetsPlan
  /** `null`: nothing is to be done. */
  readonly deployment: DeploymentRecord | null
}

/** One transaction, and what it may look at. */
export interface Around {
  readonly tx: StoreTx
  readonly config: string
  readonly epoch: number
  /** Now, for people. */
  readonly at: string
  readonly nodes: readonly KnownNode[]
  /** @throws RefusedError if nobody of that name is there. */
  readonly requireInstaller: (name: string) => void
  /** @throws RefusedError `denied` if whoever wants it may not change what is on the nodes of this installer. */
  readonly requireReach: (installer: string) => void
}

/** @throws RefusedError */
export function orderTargets(around: Around, value: unknown, asked: Asked): Ordered {
  const plan = planTargets(around.tx, around.config, value, around.nodes)
  return { plan, deployment: orderPlanned(around, plan, asked) }
}

/** @throws RefusedError `not-applied` for targets that never held; `not-found`. */
export function orderRollback(around: Around, to: number | undefined, asked: Asked): Ordered {
  const { plan, number } = planRollback(around.tx, around.config, to, around.nodes)
  return { plan, deployment: orderPlanned(around, plan, asked, number) }
}

/** @returns with the number of the deployment whose targets come back. @throws RefusedError as `orderRollback` */
export function planRollback(read: StoreRead, config: string, to: number | undefined, nodes: readonly KnownNode[]) {
  configIn(read, config)
  const pointer = read.deployments.pointer(config)
  const number = to ?? (pointer === undefined ? undefined : read.deployments.get(config, pointer.number)?.parent)
  if (number == null) throw new RefusedError('not-found', `${config} has no earlier targets to go back to`)
  const found = read.deployments.get(config, number)
  if (found?.targets == null) {
    throw new RefusedError('not-found', `${config} has no deployment ${number} that brought targets`)
  }
  if (found.state.phase !== 'applied') {
    throw new RefusedError('not-applied', `the targets of ${config} ${number} never held: it is ${found.state.phase}`)
  }
  const before = pointer === undefined ? null : targetsOf(read, config, pointer.number)
  return { plan: compared(before, found.targets, pointer, nodes), number }
}

/** @throws RefusedError `state` if that cannot be done now. */
export function orderControl(around: Around, control: Control, asked: Asked): DeploymentRecord {
  const { tx, config } = around
  configIn(tx, config)
  const [open] = tx.deployments.open(config)
  if (control === 'revoke' || (control === 'retry' && open !== undefined)) return steered(around, open, control, asked)
  const pointer = tx.deployments.pointer(config)
  if (pointer === undefined) throw new RefusedError('state', `${config} has nothing on any node`)
  around.requireReach(pointer.subscription.installer)
  return added(around, lifeCycle(control, pointer, targetsOf(tx, config, pointer.number)), asked)
}

function orderPlanned(around: Around, plan: TargetsPlan, asked: Asked, rollbackOf?: number): DeploymentRecord | null {
  const { tx, config, requireInstaller, requireReach } = around
  const { operation, after, pointer } = plan
  const seen = pointer?.number ?? 0
  if (asked.ifMatch !== undefined && asked.ifMatch !== seen) {
    const found = `the targets of ${config} are ${seen === 0 ? 'not there' : `those of deployment ${seen}`}`
    throw new RefusedError('conflict', `${found}; the request was made against ${asked.ifMatch || 'none'}`)
  }
  requireInstaller(after.installer)
  for (const name of [after.installer, pointer?.subscription.installer ?? after.installer]) requireReach(name)
  requireNothingOpen(tx, config)
  if (operation.kind === 'nothing') return null
  const number = nextNumber(tx, config)
  const isNew = pointer === undefined || operation.kind === 'replace'
  const enabled = pointer?.enabled ?? true
  const what: What = {
    action: operation.kind,
    why: operation.why,
    reaches: operation.reaches,
    targets: after,
    pointer,
    after: {
      config,
      number,
      subscription: isNew ? { id: `${config}#${number}`, installer: after.installer } : pointer.subscription,
      enabled,
      inspected: after.autoInspection && enabled,
    },
    ...(rollbackOf !== undefined && { rollbackOf }),
  }
  return added(around, what, asked)
}

interface What {
  readonly action: Action
  readonly why: string
  readonly reaches: boolean
  readonly targets: Targets | null
  readonly pointer: Pointer | undefined
  readonly after: DeploymentRecord['after']
  readonly rollbackOf?: number
}

function added(around: Around, what: What, { by, message = '' }: Asked): DeploymentRecord {
  const { tx, config, epoch, at } = around
  requireNothingOpen(tx, config)
  const { action, why, reaches, targets, pointer = null, after, rollbackOf } = what
  const number = nextNumber(tx, config)
  const record: DeploymentRecord = {
    config,
    number,
    action,
    why,
    targets,
    parent: pointer?.number ?? null,
    ...(rollbackOf !== undefined && { rollbackOf }),
    before: pointer,
    after,
    by,
    message,
    createdAt: at,
    endedAt: null,
    state: firstState(stepsOf(action, reaches, number, pointer, after)),
  }
  tx.deployments.add(record, epoch)
  tx.appendAudit(auditOf(record, at, by, `deploy-${action}`, { why, message, rollbackOf: rollbackOf ?? null }))
  return record
}

function steered(
  { tx, config, epoch, at, requireReach }: Around,
  open: DeploymentRecord | undefined,
  control: 'retry' | 'revoke',
  { by }: Asked,
): DeploymentRecord {
  if (open === undefined) throw new RefusedError('state', `${config} has no deployment under way`)
  for (const one of [open.before, open.after]) if (one !== null) requireReach(one.subscription.installer)
  const { number, state } = open
  const which = `deployment ${number} of ${config}`
  if (control === 'revoke' && !mayReturn(state)) {
    const why = state.phase === 'going' ? 'the old is being removed, so it only goes forward' : 'it goes back already'
    throw new RefusedError('state', `${which} cannot be revoked: ${why}`)
  }
  if (control === 'retry' && state.held === null) {
    throw new RefusedError('state', `${which} is under way, and tries by itself`)
  }
  const record = next(open, control === 'revoke' ? { kind: 'revoked', by } : { kind: 'retried' }, at)
  tx.deployments.move(record, epoch)
  tx.appendAudit(auditOf(record, at, by, `deploy-${control}`, {}))
  return record
}

export function auditOf(
  { config, number }: DeploymentRecord,
  at: string,
  actor: string,
  action: string,
  detail: Readonly<Record<string, Json>>,
): AuditEntry {
  return { at, actor, action, config, detail: { number, ...detail } }
}

/** @throws RefusedError `state` */
function lifeCycle(control: Exclude<Control, 'revoke'>, pointer: Pointer, targets: Targets): What {
  const { config, enabled } = pointer
  const refused = (found: string): RefusedError => new RefusedError('state', `${config} is ${found}`)
  if (control === 'start' && enabled) throw refused('started already')
  if (control === 'stop' && !enabled) throw refused('stopped already')
  if (control === 'uninstall' && enabled) throw refused('started; stop it before it is uninstalled')
  const { at: _, status: __, ...same } = pointer
  const isStart = control === 'start'
  const changed =
    control === 'retry' ? same : { ...same, enabled: isStart, inspected: isStart && targets.autoInspection }
  return {
    action: control,
    why: 'somebody wanted it',
    reaches: true,
    targets: null,
    pointer,
    after: control === 'uninstall' ? null : changed,
  }
}

/** What is under way comes to its end first, or is revoked. @throws RefusedError `state` */
function requireNothingOpen(tx: StoreTx, config: string): void {
  const [open] = tx.deployments.open(config)
  if (open === undefined) return
  const { number, action, state } = open
  const where = state.held === null ? `is at "${stepText(stepOf(state))}"` : `is held: ${state.held}`
  throw new RefusedError('state', `deployment ${number} of ${config} (${action}) is under way: it ${where}`)
}

function nextNumber(tx: StoreTx, config: string): number {
  return (tx.deployments.list(config, undefined, 1)[0]?.number ?? 0) + 1
}
