/** Targets and deployments as a control plane tells of them, and one followed to its end. */
import type { Json } from 'midflight'
import type { Address } from '../admin/address.ts'
import { pause } from '../pause.ts'
import { call, configPath } from './call.ts'

export interface PlannedNode {
  readonly key: string
  readonly id?: string
  readonly ip?: string
  readonly cloud?: string
  readonly by?: string
  readonly unknown?: true
}

interface Section<T> {
  readonly before: T | null
  readonly after: T | null
  readonly changed: boolean
}

interface Host {
  readonly id?: string
  readonly ip?: string
  readonly cloud?: string
}

export interface TargetsPlan {
  readonly operation: { readonly kind: 'create' | 'update' | 'replace' | 'nothing'; readonly why: string }
  readonly diff: {
    readonly version: Section<string>
    readonly parameters: Section<Json>
    readonly remoteHost: Section<Host>
    readonly targets: Section<{ readonly kind: string }>
    readonly nodes: Readonly<Record<'added' | 'updated' | 'removed' | 'unchanged', readonly PlannedNode[]>>
  }
}

export interface DeploymentView {
  readonly config: string
  readonly number: number
  readonly action: string
  readonly why: string
  readonly phase: 'going' | 'returning' | 'applied' | 'failed' | 'revoked'
  readonly held: string | null
  readonly note: string | null
  readonly failure: string | null
  readonly steps: readonly { readonly step: string; readonly state: 'done' | 'begun' | 'waiting' }[]
  readonly by: string
  readonly message: string
}

export interface DeployedNode {
  readonly node: string
  readonly state: 'success' | 'running' | 'pending' | 'failed' | 'absent'
  readonly detail?: string
}

export interface TargetsView {
  readonly number: number | null
  readonly targets: Json
  readonly subscription: string | null
  readonly enabled: boolean
  readonly inspected: boolean
  readonly status: string
  readonly underWay: DeploymentView | null
}

export interface DeployStatus extends TargetsView {
  readonly nodes: readonly DeployedNode[] | null
  readonly trouble: string | null
  readonly last: DeploymentView | null
}

export interface Deployed {
  readonly plan: TargetsPlan
  readonly deployment: DeploymentView | null
}

const everyMs = 200

/** Until nothing is under way, or it is held, or `signal` aborts. @returns how it is then. */
export async function followDeployment(address: Address, config: string, signal: AbortSignal): Promise<DeployStatus> {
  for (;;) {
    const { body } = await call<DeployStatus>(address, configPath(config, '/targets/status'), { signal })
    const { underWay } = body
    if (underWay === null || underWay.held !== null || signal.aborted) return body
    await pause(everyMs, signal)
  }
}

/** 0 it is as it is to be, 1 it failed, is held or not well on every node, 2 under way. */
export function exitCodeOf({ underWay, last, status, number }: DeployStatus): 0 | 1 | 2 {
  if (underWay !== null) return underWay.held === null ? 2 : 1
  if (last?.phase === 'failed' || last?.phase === 'revoked') return 1
  return number === null || status === 'SUCCESS' ? 0 : 1
}
