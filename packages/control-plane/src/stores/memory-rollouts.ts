/** Rollouts in the memory store. How what a failed transaction did is undone is `memory.ts`: it is given the one way to write. */
import type { RolloutEvent } from '../rollout-state.ts'
import type { RolloutEventRecord, RolloutRecord, RolloutsTx } from '../store.ts'
import { checkRollout } from './preconditions.ts'

/** Sets or removes an entry so that it can be undone. */
export type Put = <K, V>(map: Map<K, V>, key: K, value: V | undefined) => void

/** @throws FencedError if a coordinator with a higher epoch has taken over. */
export type Fence = (epoch: number) => void

export class MemoryRollouts implements RolloutsTx {
  private readonly put: Put
  private readonly fence: Fence
  private readonly hasRelease: (config: string, number: number) => boolean
  private readonly records = new Map<string, RolloutRecord>()
  private readonly eventsOf = new Map<string, readonly RolloutEventRecord[]>()

  constructor(put: Put, fence: Fence, hasRelease: (config: string, number: number) => boolean) {
    this.put = put
    this.fence = fence
    this.hasRelease = hasRelease
  }

  get(config: string, number: number): RolloutRecord | undefined {
    return this.records.get(key(config, number))
  }

  list(config: string, before: number | undefined, limit: number): RolloutRecord[] {
    return [...this.records.values()]
      .filter((rollout) => rollout.config === config && (before === undefined || rollout.number < before))
      .sort((a, b) => b.number - a.number)
      .slice(0, limit)
  }

  open(config?: string): RolloutRecord[] {
    return [...this.records.values()]
      .filter((rollout) => rollout.endedAt === null && (config === undefined || rollout.config === config))
      .sort((a, b) => (a.config < b.config ? -1 : a.config > b.config ? 1 : a.number - b.number))
  }

  events(config: string, number: number, after: number | undefined, limit: number): RolloutEventRecord[] {
    return (this.eventsOf.get(key(config, number)) ?? []).slice(after ?? 0, (after ?? 0) + limit)
  }

  add(rollout: RolloutRecord): void {
    const { config, number } = rollout
    checkRollout(rollout, this.hasRelease(config, number), this.get(config, number) !== undefined)
    this.put(this.records, key(config, number), copy(rollout))
  }

  move(rollout: RolloutRecord, event: RolloutEvent | null, epoch: number, at: string): void {
    this.fence(epoch)
    const name = key(rollout.config, rollout.number)
    const events = this.eventsOf.get(name) ?? []
    this.put(this.records, name, copy(rollout))
    if (event !== null) this.put(this.eventsOf, name, [...events, copy({ seq: events.length + 1, at, epoch, event })])
  }

  /** Removes the events of rollouts up to this one that have ended. */
  prune(config: string, last: number): void {
    for (const { number, endedAt } of this.list(config, last + 1, Infinity)) {
      if (endedAt !== null) this.put(this.eventsOf, key(config, number), undefined)
    }
  }
}

function key(config: string, number: number): string {
  return `${config} ${number}`
}

function copy<T>(record: T): T {
  return structuredClone(record)
}
