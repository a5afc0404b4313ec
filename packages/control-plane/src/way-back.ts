/** The way back from a rollout that failed: the old content as a new release, for all nodes and at once. */
import type { Runs } from 'midflight/protocol'
import { asRollout, handedOver, movedAt, toBeLeftBy, type Wanting } from './course.ts'
import type { Domain } from './domain.ts'
import { release } from './publish.ts'
import { RefusedError } from './release.ts'
import { next } from './rollout.ts'
import type { Back, Failure, RolloutEvent } from './rollout-state.ts'
import type { RolloutRecord, StoreTx } from './store.ts'

/** Who makes releases that nobody asked for. */
export const author = 'midflight'

const longestMessage = 1000

/**
 * Makes the release; `also` is written in the same transaction, so that there is never one without the other.
 * @throws RefusedError if the old content is not kept any more; StoreError.
 */
export async function wayBack(
  domain: Domain,
  { config, state }: RolloutRecord,
  failure: Failure,
  also: (tx: StoreTx, made: Runs) => void,
): Promise<void> {
  const to = state.from?.number ?? 0
  const content = await domain.store.read((read) => read.content(config, to))
  if (content === undefined) throw new RefusedError('not-found', `the content of ${config} ${to} is no longer kept`)
  const message = `back to release ${to}: ${failure.found}`
  await release(domain, {
    author,
    actor: author,
    reviewed: true,
    // The schema may ask since for what came with the release that has failed (I12).
    wasInUse: true,
    parts: [
      {
        config,
        kind: 'rollback',
        rollbackOf: to,
        edit: { content },
        force: true,
        message: message.length <= longestMessage ? message : `${message.slice(0, longestMessage - 1).toWellFormed()}…`,
        rollout: 'none',
      },
    ],
    also: (tx, [published]) => {
      if (published === undefined) throw new Error(`going back to ${config} ${to} came to nothing`)
      also(tx, { number: published.release.number, digest: published.release.digest })
    },
  })
}

/**
 * Gives up what waits in the queue. If it is the newest release, it would be for all as soon as nothing is under way: what
 * is before it in the queue comes back as a newer one.
 * @param write puts on record, in the same transaction, what has become of it.
 * @throws RefusedError `conflict` if there is a newer one by now; as `wayBack`; StoreError.
 */
export async function giveUp(
  domain: Domain,
  record: RolloutRecord,
  { by, reason }: Wanting,
  write: (tx: StoreTx, record: RolloutRecord, event: RolloutEvent) => void,
): Promise<{ readonly record: RolloutRecord; readonly event: RolloutEvent }> {
  const { config, number, state } = record
  const { head, from } = await domain.store.read((read) => {
    const newest = read.config(config)?.head?.number ?? 0
    // It may be what was to come back in place of one behind it.
    const isNewest = newest === number || read.release(config, newest)?.rollbackOf === number
    const ahead = read.rollouts.open(config).findLast((one) => one.number < number)
    const before = ahead ? toBeLeftBy(ahead) : state.from
    return { head: newest, from: isNewest ? (before ?? handedOver(read, config, number)) : undefined }
  })
  let event: RolloutEvent = { kind: 'aborted', by, reason }
  let given = record
  const put = (tx: StoreTx, newest: number | null | undefined, back?: Back | null): void => {
    if (back !== undefined && newest !== head) {
      throw new RefusedError(
        'conflict',
        `a release of ${config} came just now; look whether it is to be given up still`,
      )
    }
    if (back !== undefined) event = { ...event, back } as RolloutEvent
    given = movedAt(domain.now().toISOString(), record, next(asRollout(record), state, event)[0])
    write(tx, given, event)
  }
  if (from) {
    const found = `release ${number} was given up by ${by}: ${reason}`
    const failure: Failure = { kind: 'aborted', step: 0, found, nodes: [] }
    await wayBack(domain, { ...record, state: { ...state, from } }, failure, (tx, release) => {
      put(tx, tx.release(config, release.number)?.parent, { from, release })
    })
  } else await domain.store.transaction((tx) => put(tx, tx.config(config)?.head?.number, from))
  return { record: given, event }
}
