/** What must hold before any store does what it is asked: mistakes of the caller are RangeErrors. */
import type { ReleaseInfo } from 'midflight/protocol'
import { FencedError, type ConfigRecord, type PrunePolicy, type RolloutRecord } from '../store.ts'

/** @throws RangeError if it is not the one that comes after the head. */
export function checkNext(release: ReleaseInfo, config: ConfigRecord | undefined): asserts config is ConfigRecord {
  if (config === undefined) throw new RangeError(`there is no config ${release.config}`)
  const head = config.head?.number ?? 0
  const name = `release ${release.number} of ${release.config}`
  if (release.number !== head + 1) throw new RangeError(`${name} cannot follow release ${head}`)
  if (release.parent !== (config.head?.number ?? null)) {
    throw new RangeError(`${name} has ${release.parent} as its parent; want ${config.head?.number ?? null}`)
  }
}

/** @throws RangeError for a number that would keep nothing. */
export function checkPolicy({ keepNewest, attemptsPerNode = 0 }: PrunePolicy): void {
  if (!(Number.isSafeInteger(keepNewest) && keepNewest >= 1)) {
    throw new RangeError(`keepNewest is ${keepNewest}; want an integer of 1 or more`)
  }
  if (!(Number.isSafeInteger(attemptsPerNode) && attemptsPerNode >= 0)) {
    throw new RangeError(`attemptsPerNode is ${attemptsPerNode}; want an integer of 0 or more`)
  }
}

/** `undefined` if `value` may be the result of a transaction. */
export function promiseError(value: unknown): RangeError | undefined {
  if (typeof value !== 'object' || value === null || typeof (value as { then?: unknown }).then !== 'function') return
  return new RangeError('a transaction returned a promise; what it reads and writes must be done when it returns')
}

/** @throws RangeError if the release is not there, or is rolled out already. */
export function checkRollout({ config, number }: RolloutRecord, hasRelease: boolean, isThere: boolean): void {
  if (!hasRelease) throw new RangeError(`there is no release ${config} #${number} to roll out`)
  if (isThere) throw new RangeError(`release ${config} #${number} has a rollout already`)
}

/** @throws FencedError if this is not the epoch of the coordinator that took over last (I10). */
export function checkEpoch(epoch: number, newest: number): void {
  if (epoch !== newest) throw new FencedError(epoch, newest)
}

/** Releases whose contents an open rollout needs. */
export function neededBy({ number, state, endedAt }: RolloutRecord): number[] {
  if (endedAt !== null) return []
  return [number, state.from?.number, state.rollback?.number].filter((one) => one !== undefined)
}
