/** The way back from a rollout that failed: the old content as a new release, for all nodes and at once. */
import type { Runs } from 'midflight/protocol'
import type { Domain } from './domain.ts'
import { release } from './publish.ts'
import { RefusedError } from './release.ts'
import type { Failure } from './rollout-state.ts'
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
