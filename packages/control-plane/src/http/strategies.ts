/** Strategies as requests bring them, made into orders, and what an answer says of a rollout. */
import type { Json } from 'midflight'
import { orderOf } from '../order.ts'
import type { RolloutOrder } from '../publish.ts'
import type { Edit, PublishResult } from '../release.ts'
import type { RolloutEvent } from '../rollout-state.ts'
import type { RolloutRecord, StoreRead } from '../store.ts'
import type { StrategySpec } from '../strategies/spec.ts'
import { Problem } from './problem.ts'
import { specKinds, Strategy } from './rollout-schemas.ts'
import type { Parts } from './route.ts'
import { compileValidator } from './validate.ts'

const checked = compileValidator({ schema: Strategy, httpPart: 'strategy', method: '', url: '' })

/** @param text one word, or JSON. @throws Problem */
export function specIn(text: string | undefined): StrategySpec | undefined {
  if (text === undefined) return undefined
  const word = specKinds.find((kind) => kind === text)
  if (word !== undefined) return { kind: word }
  const found = checked(jsonIn(text)) as { readonly value?: unknown; readonly error?: Error }
  if (found.error !== undefined) throw found.error
  return found.value as StrategySpec
}

function jsonIn(text: string): Json {
  try {
    return JSON.parse(text) as Json
  } catch {
    const shown = JSON.stringify(text.slice(0, 80))
    throw new Problem('bad-request', `the query: strategy is ${shown}; want one of ${specKinds.join(', ')}, or JSON`)
  }
}

interface Asked {
  readonly config: string
  readonly spec: StrategySpec | undefined
  readonly edit: Edit
  readonly author: string
  readonly isRollback?: boolean
}

/** For what is spread into a request. @throws RefusedError */
export async function ordered(parts: Parts, asked: Asked): Promise<{ readonly rollout?: RolloutOrder }> {
  const rollout = await orderOf(parts, asked)
  return rollout === undefined ? {} : { rollout }
}

/** The rollout of what was published, if it has one. */
export async function rolloutIn({ domain }: Parts, published: PublishResult['published'][number]): Promise<object> {
  const { config, release } = published
  return await domain.store.read((read) => rolloutOf(read, config, release.number))
}

function rolloutOf(read: StoreRead, config: string, number: number): object {
  const found = read.rollouts.get(config, number)
  if (found === undefined) return {}
  const { strategy, state, advice } = found
  const shown = { number, kind: strategy.kind, steps: strategy.steps.length, phase: state.phase }
  return { rollout: { ...shown, ...(advice && { advice }) } }
}

/** A rollout in a list. */
export function summaryOf(rollout: RolloutRecord): object {
  const { config, number, digest, strategy, by, createdAt, startedAt, endedAt, state, advice, urgent } = rollout
  const { phase, step, pauses, failure, from, rollback, mixedMs } = state
  return {
    config,
    number,
    digest,
    kind: strategy.kind,
    phase,
    step,
    steps: strategy.steps.length,
    by,
    createdAt,
    startedAt,
    endedAt,
    pauses,
    failure,
    from,
    rollback,
    mixedMs,
    ...(advice && { advice }),
    ...(urgent && { urgent }),
  }
}

/** A rollout that has moved, for those who look on: small, whatever its strategy and its nodes. */
export function newsOf({ config, number, strategy, state }: RolloutRecord, { kind }: RolloutEvent): object {
  const { phase, step, pauses, failure, rollback, counts } = state
  const { reasons: _, missing: __, missingInZone: ___, ...nodes } = counts
  return {
    config,
    number,
    event: kind,
    phase,
    step,
    steps: strategy.steps.length,
    nodes,
    pauses: pauses.map(({ reason }) => reason),
    failure: failure && { kind: failure.kind, found: failure.found },
    rollback: rollback && rollback.number,
  }
}
