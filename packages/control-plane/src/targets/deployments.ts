/** What a store keeps of deployments: each with its targets and its steps, and the pointer of each config. */
import type { AggregateStatus, DeploymentRecord, Pointer } from './deployment.ts'

export interface DeploymentsRead {
  get(config: string, number: number): DeploymentRecord | undefined
  /** Newest first, below the number `before`. */
  list(config: string, before: number | undefined, limit: number): DeploymentRecord[]
  /** Those that have not ended, by config; of all configs if `config` is undefined. A config has one at most. */
  open(config?: string): DeploymentRecord[]
  /** What the config has in the field. */
  pointer(config: string): Pointer | undefined
  /** By config. */
  pointers(after: string | undefined, limit: number): Pointer[]
}

export interface DeploymentsTx extends DeploymentsRead {
  /**
   * The targets of the deployment `targetsKept` before it are forgotten, unless they hold, or did before those that hold.
   * @throws RangeError for a number that is not the next, or while another of the config has not ended. FencedError
   */
  add(deployment: DeploymentRecord, epoch: number): void
  /**
   * Replaces a deployment that has not ended. When it ends as `applied`, the pointer of its config becomes its `after`
   * in the same write.
   * @throws RangeError if it has ended, or is not there. FencedError if another coordinator has taken over (I10).
   */
  move(deployment: DeploymentRecord, epoch: number): void
  /** How its nodes were last found, while the pointer is this one and nothing is under way; else nothing happens. */
  found(config: string, number: number, status: AggregateStatus, epoch: number): void
}

/** Targets may be large, and nobody goes back so far. That there was the deployment stays for ever. */
export const targetsKept = 100

/** The deployment without its targets, when a newer one is added; `undefined`: there are none, or they are needed. */
export function forgotten(read: DeploymentsRead, { config, number }: DeploymentRecord): DeploymentRecord | undefined {
  const old = read.get(config, number - targetsKept)
  const holds = read.pointer(config)?.number
  const before = holds === undefined ? undefined : read.get(config, holds)?.parent
  if (old?.targets == null || old.number === holds || old.number === before) return undefined
  return { ...old, targets: null }
}

/** @throws RangeError */
export function checkAdd(deployment: DeploymentRecord, newest: number, open: readonly DeploymentRecord[]): void {
  const { config, number } = deployment
  if (number !== newest + 1) throw new RangeError(`deployment ${config} #${number} cannot follow ${newest}`)
  if (open.length > 0) throw new RangeError(`deployment ${config} #${open[0]?.number} has not ended`)
}

/** @throws RangeError */
export function checkMove({ config, number }: DeploymentRecord, before: DeploymentRecord | undefined): void {
  if (before === undefined) throw new RangeError(`there is no deployment ${config} #${number}`)
  if (before.endedAt !== null) throw new RangeError(`deployment ${config} #${number} has ended`)
}

/** What the pointer becomes with this write; `undefined`: it stays. */
export function pointerAfter({ after, state, endedAt, before, config }: DeploymentRecord): Pointer | null | undefined {
  if (endedAt === null || state.phase !== 'applied') return undefined
  return after && { ...after, config, status: before?.status ?? 'UNKNOWN', at: endedAt }
}
