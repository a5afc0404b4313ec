/** Deployments in the memory store. */
import type { AggregateStatus, DeploymentRecord, Pointer } from '../targets/deployment.ts'
import { checkAdd, checkMove, forgotten, pointerAfter, type DeploymentsTx } from '../targets/deployments.ts'
import type { Fence, Put } from './memory-rollouts.ts'

export class MemoryDeployments implements DeploymentsTx {
  private readonly put: Put
  private readonly fence: Fence
  private readonly recordsOf = new Map<string, readonly DeploymentRecord[]>()
  private readonly pointerOf = new Map<string, Pointer>()

  constructor(put: Put, fence: Fence) {
    this.put = put
    this.fence = fence
  }

  get(config: string, number: number): DeploymentRecord | undefined {
    return this.of(config)[number - 1]
  }

  list(config: string, before: number | undefined, limit: number): DeploymentRecord[] {
    return this.of(config)
      .filter(({ number }) => before === undefined || number < before)
      .toReversed()
      .slice(0, limit)
  }

  open(config?: string): DeploymentRecord[] {
    const all =
      config === undefined ? [...this.recordsOf.keys()].sort().flatMap((one) => this.of(one)) : this.of(config)
    return all.filter(({ endedAt }) => endedAt === null)
  }

  pointer(config: string): Pointer | undefined {
    return this.pointerOf.get(config)
  }

  pointers(after: string | undefined, limit: number): Pointer[] {
    return [...this.pointerOf.values()]
      .filter(({ config }) => after === undefined || config > after)
      .sort((a, b) => (a.config < b.config ? -1 : 1))
      .slice(0, limit)
  }

  add(deployment: DeploymentRecord, epoch: number): void {
    this.fence(epoch)
    const { config } = deployment
    const all = this.of(config)
    checkAdd(deployment, all.length, this.open(config))
    const old = forgotten(this, deployment)
    const kept = old === undefined ? all : all.with(old.number - 1, old)
    this.put(this.recordsOf, config, [...kept, structuredClone(deployment)])
  }

  move(deployment: DeploymentRecord, epoch: number): void {
    this.fence(epoch)
    const { config, number } = deployment
    checkMove(deployment, this.get(config, number))
    this.put(this.recordsOf, config, this.of(config).with(number - 1, structuredClone(deployment)))
    const pointer = pointerAfter(deployment)
    if (pointer !== undefined) this.put(this.pointerOf, config, pointer ?? undefined)
  }

  found(config: string, number: number, status: AggregateStatus, epoch: number): void {
    this.fence(epoch)
    const pointer = this.pointer(config)
    if (pointer?.number !== number || this.open(config).length > 0) return
    this.put(this.pointerOf, config, { ...pointer, status })
  }

  private of(config: string): readonly DeploymentRecord[] {
    return this.recordsOf.get(config) ?? []
  }
}
