/** What all routes are made with: types that follow from their schemas, and the parts they stand on. */
import type {
  FastifyBaseLogger,
  FastifyInstance,
  FastifyTypeProvider,
  RawReplyDefaultExpression,
  RawRequestDefaultExpression,
  RawServerDefault,
} from 'fastify'
import type { Static, TSchema } from 'typebox'
import type { Batches } from '../batches.ts'
import type { Coordinator } from '../coordinator.ts'
import type { Domain } from '../domain.ts'
import type { GateSources } from '../gates/sources.ts'
import type { Hub } from '../push/delivery.ts'
import type { Roster } from '../roster.ts'
import type { Metrics } from '../metrics.ts'
import type { StrategySpec } from '../strategies/spec.ts'
import type { Deployer } from '../targets/deployer.ts'
import { defaultPage } from './schemas.ts'
import type { Identify } from './identity.ts'
import type { EventLimits, Live } from './live.ts'

export interface TypeBoxProvider extends FastifyTypeProvider {
  validator: this['schema'] extends TSchema ? Static<this['schema']> : unknown
  serializer: unknown
}

export type App = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxProvider
>

export interface Parts {
  readonly domain: Domain
  readonly live: Live
  readonly metrics: Metrics
  readonly hub: Hub
  readonly coordinator: Coordinator
  readonly deployer: Deployer
  readonly gates: GateSources
  /** How releases reach their nodes where neither the publish nor the config says it. */
  readonly defaultStrategy: StrategySpec | undefined
  readonly batches: Batches
  readonly roster: Roster
  readonly log: FastifyBaseLogger
  /** Of bodies that hold contents, in bytes. */
  readonly contentLimit: number
  readonly limits: { readonly events: EventLimits; readonly batchAnswerMs: number }
  readonly identify: Identify
  readonly isClosing: () => boolean
  /** Why no requests should come now; `undefined` if they should. */
  readonly readiness: () => Promise<string | undefined>
}

/** One page of what was read with a limit one higher, so that the last page is known to be the last. */
export function page<T, U>(
  found: readonly T[],
  limit: number | undefined,
  key: (last: T) => string | number,
  view: (one: T) => U,
): { readonly items: U[]; readonly next?: string | number } {
  const size = limit ?? defaultPage
  const items = found.slice(0, size)
  const last = items.at(-1)
  return { items: items.map(view), ...(found.length > size && last !== undefined && { next: key(last) }) }
}

export function sizeOf(limit: number | undefined): number {
  return (limit ?? defaultPage) + 1
}
