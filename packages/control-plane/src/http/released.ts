/** After a publish: it is counted, and whoever looks on is told. Nodes are told by the hub, which the store's answer waits for no longer. */
import type { Json } from 'midflight'
import { ConflictError, RefusedError } from '../release.ts'
import type { PublishResult } from '../publish.ts'
import type { Parts } from './route.ts'

export async function counted(
  { metrics }: Parts,
  kind: 'publish' | 'rollback',
  work: () => Promise<PublishResult>,
): Promise<PublishResult> {
  const began = performance.now()
  const taken = (): number => (performance.now() - began) / 1000
  try {
    const result = await work()
    const created = result.published.some((one) => one.created)
    metrics.publish(kind, result.replayed ? 'replayed' : created ? 'released' : 'unchanged', taken())
    return result
  } catch (error) {
    const refused = error instanceof RefusedError || error instanceof ConflictError
    metrics.publish(kind, refused ? 'refused' : 'failed', taken())
    throw error
  }
}

export function announce(
  { live, hub, coordinator, log }: Pick<Parts, 'live' | 'hub' | 'coordinator' | 'log'>,
  { published, replayed }: PublishResult,
): void {
  if (replayed) return
  for (const { config, release, created } of published) {
    if (!created) continue
    live.add('release', config, release as unknown as Json)
    // The answer does not wait for the fleet: a release is one when it is durable.
    const failed = (error: unknown): void => log.error({ err: error, config }, 'announcing failed')
    hub.announce(config).catch(failed)
    coordinator.published(config).catch(failed)
  }
}

/** Of a release that a rollout made to go back: the coordinator itself sees to the nodes. */
export function announceWayBack(
  { live, domain, log }: Pick<Parts, 'live' | 'domain' | 'log'>,
  config: string,
  number: number,
): void {
  const told = domain.store.read((read) => live.add('release', config, read.release(config, number) as unknown as Json))
  told.catch((error: unknown) => log.error({ err: error, config }, 'announcing failed'))
}
