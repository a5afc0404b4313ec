/**
 * Rollback: a new release with the content of an older one. Only to a release that some node has run: one that nobody
 * ever applied is no known good. Reviewers are not asked again for what has been in use, so that nothing holds up the
 * way back.
 */
import type { Domain } from './domain.ts'
import { configIn, release, releaseIn, type RolloutOrder } from './publish.ts'
import { RefusedError, type IfMatch, type PublishResult } from './release.ts'

export interface RollbackRequest {
  readonly config: string
  /** The release whose content comes back. */
  readonly to: number
  readonly author: string
  readonly message?: string
  readonly ifMatch?: IfMatch
  /** Whose idempotency keys these are; by default the author's. */
  readonly caller?: string
  readonly idempotencyKey?: string
  /** Makes a release even if the head holds the same. */
  readonly force?: boolean
  /** How it is brought to the nodes. Without one: to all at once, in the place of what is under way. */
  readonly rollout?: RolloutOrder
  /** Also to a release that no node ever applied. The reason goes into the audit log. */
  readonly breakGlass?: { readonly reason: string }
}

/** @throws as `publish` does; RefusedError `not-applied` if no node ever ran that release. */
export async function rollback(domain: Domain, request: RollbackRequest): Promise<PublishResult> {
  const { config, to, author, caller, message, ifMatch, idempotencyKey, force, breakGlass, rollout } = request
  if (!Number.isSafeInteger(to) || to < 1) throw new RefusedError('invalid', `to is ${to}; want a release number`)
  const content = await domain.store.read((read) => {
    configIn(read, config)
    releaseIn(read, config, to)
    if (breakGlass === undefined && read.appliedAt(config, to) === undefined) {
      throw new RefusedError(
        'not-applied',
        `${config} ${to} was never applied by a node, so it is not known to work; publish its content, or break the glass`,
      )
    }
    return read.content(config, to)
  })
  if (content === undefined) throw new RefusedError('not-found', `the content of ${config} ${to} is no longer kept`)
  return await release(domain, {
    author,
    actor: author,
    caller,
    idempotencyKey,
    breakGlass,
    reviewed: true,
    parts: [
      {
        config,
        kind: 'rollback',
        rollbackOf: to,
        edit: { content },
        rollout,
        message: message ?? `back to release ${to}`,
        ...(ifMatch === undefined ? {} : { ifMatch }),
        ...(force === undefined ? {} : { force }),
      },
    ],
  })
}
