/**
 * Carries deployments out: takes the steps of `deployment.ts` one by one, each on record before it is taken. After a
 * crash, or an answer that never came, the outside is asked what there is before anything is called again. One
 * deployment of a config at a time; one deployer at a time, which the store holds to by its epoch (I10).
 */
import type { Domain } from '../domain.ts'
import { RefusedError } from '../release.ts'
import { FencedError, type StoreTx } from '../store.ts'
import { Lines } from '../turns.ts'
import { aggregate, hasEnded, keyOf, next, stepOf, type DeploymentEvent, type DeploymentRecord } from './deployment.ts'
import { inspect } from './inspection.ts'
import { InstallerError, type Installer, type NodeState } from './installer.ts'
import { NodeDirectory, type KnownNode } from './node-directory.ts'
import {
  auditOf,
  orderControl,
  orderRollback,
  orderTargets,
  planRollback,
  type Around,
  type Asked,
  type Control,
  type Ordered,
} from './orders.ts'
import { again, defaultPace, type Pace } from './pace.ts'
import { planTargets, statesOf, targetsAfter, targetsOf, wantedOf, type TargetsPlan } from './plan.ts'
import { scrubber } from './secrets.ts'
import { Taking } from './step.ts'
import { ownAgents } from './targets.ts'

export interface DeployerOptions {
  readonly domain: Domain
  /** Of the coordinator that this one belongs to. */
  readonly epoch: number
  /** The nodes that are known now. */
  readonly nodes: () => readonly KnownNode[]
  /** By name. */
  readonly installers: ReadonlyMap<string, Installer>
  /** Whether the publishers of a config may use an installer. */
  readonly mayUse: (installer: string, config: string) => boolean
  /** A deployment has moved, and that is durable. Must not throw. */
  readonly onMoved?: (record: DeploymentRecord) => void
  readonly onProblem: (error: unknown) => void
  readonly pace?: Partial<Pace>
}

interface Run {
  readonly done: Promise<void>
  /** Somebody wants something else: what is waited for is not waited for any longer. */
  readonly hurry: AbortController
}

export class Deployer {
  private readonly options: DeployerOptions
  private readonly pace: Pace
  private readonly lines = new Lines()
  private readonly runs = new Map<string, Run>()
  private readonly stop = new AbortController()
  private inspections: Promise<void> = Promise.resolve()

  private constructor(options: DeployerOptions) {
    this.options = options
    this.pace = { ...defaultPace, ...options.pace }
  }

  /** Goes on with what an earlier one left. */
  static async start(options: DeployerOptions): Promise<Deployer> {
    const deployer = new Deployer(options)
    const open = await options.domain.store.read((read) => read.deployments.open())
    for (const { config } of open) deployer.go(config)
    deployer.inspections = inspect({
      ...options,
      store: options.domain.store,
      everyMs: deployer.pace.inspectMs,
      stop: deployer.stop.signal,
      bound: () => deployer.bound(),
      inTurn: (config, work) => deployer.lines.inTurn(config, work),
    })
    return deployer
  }

  /** Calls that are under way are given up: what came of them is found out by whoever goes on. */
  async close(): Promise<void> {
    this.stop.abort()
    await Promise.all([...this.runs.values()].map(({ done }) => done))
    await this.inspections
    await this.lines.idle()
  }

  /** What these targets would mean. @throws RefusedError */
  async plan(config: string, value: unknown): Promise<TargetsPlan> {
    const { domain, nodes } = this.options
    const plan = await domain.store.read((read) => planTargets(read, config, value, nodes()))
    this.requireInstaller(plan.after.installer, config)
    return plan
  }

  /** What a rollback would mean. @throws RefusedError as `rollBack` */
  async planRollback(config: string, to: number | undefined): Promise<TargetsPlan> {
    const { domain, nodes } = this.options
    return (await domain.store.read((read) => planRollback(read, config, to, nodes()))).plan
  }

  /** Puts a deployment on record that brings these targets; none, if nothing is to be done. @throws RefusedError */
  async set(config: string, value: unknown, asked: Asked): Promise<Ordered> {
    return await this.ordered(config, asked, (around) => orderTargets(around, value, asked))
  }

  /**
   * Brings back the targets of an earlier deployment; without a number those before the ones that hold.
   * @throws RefusedError `not-applied` if they never held.
   */
  async rollBack(config: string, to: number | undefined, asked: Asked): Promise<Ordered> {
    return await this.ordered(config, asked, (around) => orderRollback(around, to, asked))
  }

  /** @throws RefusedError `state` if that cannot be done now. */
  async control(config: string, control: Control, asked: Asked): Promise<DeploymentRecord> {
    const order = (around: Around) => ({ deployment: orderControl(around, control, asked) })
    return (await this.ordered(config, asked, order)).deployment
  }

  /** How the nodes are, asked now. @throws InstallerError if it cannot be found out. */
  async nodes(config: string): Promise<readonly NodeState[]> {
    const { store } = this.options.domain
    const seen = await store.read((read) => {
      const pointer = read.deployments.pointer(config)
      return pointer && { pointer, targets: targetsOf(read, config, pointer.number) }
    })
    if (seen === undefined) return []
    const { pointer, targets } = seen
    const scrub = scrubber(targets)
    const { id, installer } = pointer.subscription
    const asked = this.options.installers.get(installer)
    if (asked === undefined) {
      throw new InstallerError(`the installer ${JSON.stringify(installer)} is not configured any more`, true)
    }
    const status = await asked.status(id, this.bound()).catch((error: unknown) => {
      // It may quote what it was given.
      throw new InstallerError(scrub(error instanceof Error ? error.message : String(error)), true)
    })
    const wanted = wantedOf(config, targets, new NodeDirectory(this.options.nodes(), targets))
    const nodes = statesOf(status, wanted).map((node) => ({
      ...node,
      ...(node.detail !== undefined && { detail: scrub(node.detail) }),
    }))
    const found = aggregate(pointer.status, nodes)
    if (found !== pointer.status) {
      await store.transaction((tx) => tx.deployments.found(config, pointer.number, found, this.options.epoch))
    }
    return nodes
  }

  /** On record first; only then anything follows. */
  private async ordered<T extends { readonly deployment: DeploymentRecord | null }>(
    config: string,
    asked: Asked,
    order: (around: Around) => T,
  ): Promise<T> {
    const { domain, epoch, nodes, onMoved } = this.options
    return await this.lines.inTurn(config, async () => {
      const made = await domain.store.transaction((tx) =>
        order({
          tx,
          config,
          epoch,
          at: this.at(),
          nodes: nodes(),
          requireInstaller: (name) => this.requireInstaller(name, config),
          requireReach: (name) => this.requireReach(name, config, asked),
        }),
      )
      if (made.deployment === null) return made
      onMoved?.(made.deployment)
      this.runs.get(config)?.hurry.abort()
      this.go(config)
      return made
    })
  }

  private go(config: string): void {
    const before = this.runs.get(config)?.done ?? Promise.resolve()
    const hurry = new AbortController()
    const done = before.then(() => this.run(config, hurry.signal))
    const run = { done, hurry }
    this.runs.set(config, run)
    void done.then(() => {
      if (this.runs.get(config) === run) this.runs.delete(config)
    })
  }

  /** Never rejects. */
  private async run(config: string, hurry: AbortSignal): Promise<void> {
    const { store } = this.options.domain
    const stop = this.stop.signal
    let seen = { key: '', sinceMs: 0 }
    for (let tries = 0; !stop.aborted && !hurry.aborted;) {
      try {
        const [open] = await store.read((read) => read.deployments.open(config))
        if (open === undefined || open.state.held !== null) return
        const known = open.state.begun
        const record = known ? open : await this.move(open, { kind: 'begun' })
        // Somebody has revoked it in that moment.
        if (!record.state.begun) continue
        const key = keyOf(record)
        if (key !== seen.key) seen = { key, sinceMs: performance.now() }
        const event = await this.take(record, known, hurry, seen.sinceMs)
        if (event === undefined) continue
        await this.move(record, event)
        if (event.kind !== 'hindered') tries = 0
        else await again(this.pace, tries++, stop, hurry)
      } catch (error) {
        if (stop.aborted) return
        this.options.onProblem(error)
        if (error instanceof FencedError) return this.stop.abort()
        await again(this.pace, tries++, stop, hurry)
      }
    }
  }

  /** Writes what came of a step, unless somebody has turned round meanwhile: then the undoing finds out what came of it. */
  private async move(seen: DeploymentRecord, event: DeploymentEvent): Promise<DeploymentRecord> {
    const { config, number, state } = seen
    const { domain, epoch, onMoved } = this.options
    const record = await domain.store.transaction((tx) => {
      const now = tx.deployments.get(config, number) ?? seen
      if (now.state.round !== state.round || now.state.step !== state.step) return now
      const moved = next(now, event, this.at())
      if (moved === now) return now
      tx.deployments.move(moved, epoch)
      if (hasEnded(moved.state)) this.tellEnd(tx, moved)
      return moved
    })
    onMoved?.(record)
    return record
  }

  private tellEnd(tx: StoreTx, record: DeploymentRecord): void {
    const { phase, failure } = record.state
    tx.appendAudit(auditOf(record, this.at(), 'deployer', 'deploy-ended', { phase, failure }))
  }

  /** @param known it may have happened before: the outside is asked first. */
  private async take(
    record: DeploymentRecord,
    known: boolean,
    hurry: AbortSignal,
    sinceMs: number,
  ): Promise<DeploymentEvent | undefined> {
    const step = stepOf(record.state)
    if (step.kind === 'point') return { kind: 'done' }
    const { config, before, number } = record
    const { domain, nodes, installers } = this.options
    const around = await domain.store.read((read) => ({
      before: before && targetsOf(read, config, before.number),
      wanted: (step.to ?? number) === number ? targetsAfter(read, record) : targetsOf(read, config, step.to as number),
    }))
    const installer = installers.get(step.on.installer)
    const taking = {
      record,
      step,
      ...around,
      nodes: nodes(),
      installer,
      pace: this.pace,
      stop: this.stop.signal,
      hurry,
      sinceMs,
    }
    return await new Taking(taking).result(known)
  }

  /** One that this config may not use is as one that is not there. @throws RefusedError `invalid` */
  private requireInstaller(name: string, config: string): void {
    const { installers, mayUse } = this.options
    const there = [...installers.keys()].filter((one) => one === ownAgents || mayUse(one, config))
    if (there.includes(name)) return
    const found = `the installer ${JSON.stringify(name)} is not configured for ${config}`
    throw new RefusedError('invalid', `${found}; there is ${there.join(', ')}`)
  }

  /** What agents get they get by their configs: nobody reaches nodes by way of another one. @throws RefusedError `denied` */
  private requireReach(name: string, config: string, { mayPublishNodes }: Asked): void {
    if (name !== ownAgents || mayPublishNodes === true || this.options.mayUse(name, config)) return
    throw new RefusedError(
      'denied',
      `what is on agents is in the configs nodes/…, which this token may not publish, and ${config} is not among those whose publishers may`,
    )
  }

  private bound(): AbortSignal {
    return AbortSignal.any([this.stop.signal, AbortSignal.timeout(this.pace.callMs)])
  }

  private at(): string {
    return this.options.domain.now().toISOString()
  }
}
