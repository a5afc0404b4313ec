/** One step of a deployment, taken: asks the outside what there is where that is not known, calls, and waits for nodes. */
import { keyOf, type DeploymentEvent, type DeploymentRecord, type Step } from './deployment.ts'
import { InstallerError, type Installer, type NodeState, type SubscriptionStatus, type Wanted } from './installer.ts'
import { NodeDirectory, type KnownNode } from './node-directory.ts'
import { pause, type Pace } from './pace.ts'
import { statesOf, wantedOf } from './plan.ts'
import { scrubber } from './secrets.ts'
import type { Targets } from './targets.ts'

interface Around {
  readonly record: DeploymentRecord
  readonly step: Step
  /** What held before. */
  readonly before: Targets | null
  /** What the subscription of this step is to be. */
  readonly wanted: Targets | null
  readonly nodes: readonly KnownNode[]
  /** `undefined`: it is not configured any more. */
  readonly installer: Installer | undefined
  readonly pace: Pace
  readonly stop: AbortSignal
  /** When it was first taken here, in milliseconds that only grow: errors between do not make a wait longer. */
  readonly sinceMs: number
  /** Somebody wants something else: waiting ends, a call does not, so that it cannot come after what undoes it. */
  readonly hurry: AbortSignal
}

export class Taking {
  private readonly around: Around
  private readonly scrub: (text: string) => string

  constructor(around: Around) {
    this.around = around
    this.scrub = scrubber(around.before, around.wanted, around.record.targets)
  }

  /** @returns `undefined` if it was not waited for to the end. */
  async result(known: boolean): Promise<DeploymentEvent | undefined> {
    const { installer, step, stop, pace } = this.around
    if (installer === undefined) {
      return { kind: 'refused', why: `the installer ${JSON.stringify(step.on.installer)} is not configured any more` }
    }
    try {
      if (step.kind === 'up') return await this.up(installer)
      const status = known || step.only !== undefined ? await this.status(installer) : undefined
      if (status === undefined || !isDone(step, status, this.wanted)) await this.call(installer, status ?? null)
      return step.kind === 'uninstall' ? await this.gone(installer) : { kind: 'done' }
    } catch (error) {
      if (stop.aborted) return undefined
      const isRefused = error instanceof InstallerError && !error.transient
      const why = this.scrub(`${step.kind}: ${error instanceof Error ? error.message : String(error)}`)
      if (step.kind !== 'up' || !this.isOver(pace.upMs)) return { kind: isRefused ? 'refused' : 'hindered', why }
      return step.must === true ? { kind: 'refused', why } : { kind: 'done', note: why }
    }
  }

  private get wanted(): Wanted | undefined {
    const { record, wanted, before, nodes } = this.around
    return wanted === null ? undefined : wantedOf(record.config, wanted, new NodeDirectory(nodes, before, wanted))
  }

  private async call(installer: Installer, status: SubscriptionStatus | null): Promise<void> {
    const { record, step, pace } = this.around
    const { id } = step.on
    const call = { key: keyOf(record), signal: this.bound(pace.callMs) }
    switch (step.kind) {
      case 'create':
      case 'update': {
        const { wanted } = this
        if (wanted === undefined) throw new InstallerError('has no targets to bring', false)
        const left = step.only && unsuccessful(status, wanted)
        // To some APIs a list of none may be no list.
        if (left?.length === 0 && status !== null && hasArrived(status, wanted)) return
        const only = left && { only: left, again: true as const }
        return await installer[step.kind](id, { ...wanted, ...only }, call)
      }
      case 'inspect':
        return await installer.inspect(id, step.must === true, call)
      case 'enable':
      case 'disable':
      case 'uninstall':
      case 'delete':
        return await installer[step.kind](id, call)
      case 'up':
      case 'point':
        throw new Error(`${step.kind} is no call`)
    }
  }

  /** Every node has it; or has not, and that is for people where it need not. */
  private async up(installer: Installer): Promise<DeploymentEvent | undefined> {
    const { step, pace } = this.around
    const { wanted } = this
    for (;;) {
      const nodes = statesOf(await this.status(installer), wanted)
      // One that has nothing yet may be about to get it.
      const missing = of(nodes, 'running', 'pending', 'absent')
      // Before the old may go, all must be here. Otherwise who is away holds up nobody: it is on record for them.
      const waiting = step.must === true ? missing : missing.filter(({ away }) => away !== true)
      const failed = of(nodes, 'failed')
      const late = this.isOver(pace.upMs)
      if (step.must === true && (failed.length > 0 || (late && waiting.length > 0))) {
        return { kind: 'refused', why: this.found('up', [...failed, ...waiting]) }
      }
      if (waiting.length === 0 || late) {
        const rest = [...failed, ...missing]
        return { kind: 'done', ...(rest.length > 0 && { note: this.found('up', rest) }) }
      }
      if (!(await this.pollAgain())) return undefined
    }
  }

  /** What is still on a node must not be forgotten. */
  private async gone(installer: Installer): Promise<DeploymentEvent | undefined> {
    const { pace } = this.around
    for (;;) {
      const left = (await this.status(installer))?.nodes.filter(({ state }) => state !== 'absent') ?? []
      if (left.length === 0) return { kind: 'done' }
      if (this.isOver(pace.goneMs)) return { kind: 'refused', why: this.found('uninstall', left) }
      if (!(await this.pollAgain())) return undefined
    }
  }

  private async pollAgain(): Promise<boolean> {
    const { pace, stop, hurry, sinceMs } = this.around
    // What takes long is looked at less often.
    const waitedMs = performance.now() - sinceMs
    return await pause(Math.min(Math.max(pace.pollMs, waitedMs / 10), pace.pollMs * 10), stop, hurry)
  }

  private isOver(limitMs: number): boolean {
    return performance.now() - this.around.sinceMs >= limitMs
  }

  /** @throws InstallerError, always transient: nothing that is there was refused by not saying how it is. */
  private async status(installer: Installer): Promise<SubscriptionStatus | null> {
    try {
      return await installer.status(this.around.step.on.id, this.bound(this.around.pace.callMs))
    } catch (error) {
      if (!(error instanceof InstallerError) || error.transient) throw error
      throw new InstallerError(error.message, true, error)
    }
  }

  private found(what: string, nodes: readonly NodeState[]): string {
    const named = nodes
      .slice(0, 10)
      .map(({ node, state, detail }) => `${node} ${state}${detail === undefined ? '' : ` (${detail})`}`)
    const more = nodes.length > named.length ? ` and ${nodes.length - named.length} more` : ''
    return this.scrub(`${what}: ${named.join(', ')}${more}`)
  }

  private bound(ms: number): AbortSignal {
    return AbortSignal.any([this.around.stop, AbortSignal.timeout(ms)])
  }
}

/** Whether what the step is for holds already. */
function isDone(step: Step, status: SubscriptionStatus | null, wanted: Wanted | undefined): boolean {
  switch (step.kind) {
    case 'create':
    case 'update':
      return step.only === undefined && wanted !== undefined && status !== null && hasArrived(status, wanted)
    case 'enable':
      return status?.enabled === true
    case 'disable':
      return status === null || !status.enabled
    case 'inspect':
      return status?.inspected === (step.must === true)
    case 'uninstall':
      return status === null || status.nodes.every(({ state }) => state === 'absent')
    case 'delete':
      return status === null
    default:
      return false
  }
}

/** Of all nodes: an installer may have come half way. */
function hasArrived({ digest, nodes }: SubscriptionStatus, wanted: Wanted): boolean {
  const there = new Set(nodes.map(({ node }) => node))
  return digest === wanted.digest && wanted.nodes.every(({ key, unknown }) => unknown === true || there.has(key))
}

/** The failed and the pending, and those that nothing is known of. */
export function unsuccessful(status: SubscriptionStatus | null, wanted: Wanted): string[] {
  const well = new Set(status?.nodes.filter(({ state }) => state === 'success').map(({ node }) => node))
  return wanted.nodes.map(({ key }) => key).filter((key) => !well.has(key))
}

function of(nodes: readonly NodeState[] = [], ...states: readonly NodeState['state'][]): NodeState[] {
  return nodes.filter(({ state }) => states.includes(state))
}
