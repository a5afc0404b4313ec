/**
 * How a publish is to be brought to its nodes: what was asked for, else what the config says, else as ever; with what is
 * to be said of its risk, and what it would mean for the fleet. Decides before the release is made; that it still holds
 * then is looked at by `publish.ts`, in the transaction.
 */
import type { Domain } from './domain.ts'
import { fleetPlan, type FleetPlan } from './fleet-plan.ts'
import { activeFreeze, type ActiveFreeze } from './freeze.ts'
import type { GateSources } from './gates/sources.ts'
import { planPublish, type PublishPlan } from './plan.ts'
import { configIn, type RolloutOrder } from './publish.ts'
import { RefusedError, type Edit } from './release.ts'
import { riskInput, type Outcome } from './risk-history.ts'
import { recordedRisk } from './risk-report.ts'
import { riskOf, type Risk } from './risk.ts'
import type { Roster } from './roster.ts'
import type { RolloutAdvice, RolloutRecord } from './store.ts'
import { allAtOnce } from './strategies/all-at-once.ts'
import { settled } from './strategies/by-risk.ts'
import { strategyOf, type StrategySpec } from './strategies/spec.ts'
import { cutsOf, stepOf, type Step, type Strategy } from './strategy.ts'

export interface OrderParts {
  readonly domain: Domain
  readonly roster: Pick<Roster, 'all' | 'node' | 'uids' | 'isAway' | 'size'>
  readonly gates: Pick<GateSources, 'problems'>
  /** Of configs that do not say another. Without one: to all at once, and nothing watches it. */
  readonly defaultStrategy?: StrategySpec | undefined
}

export interface OrderQuestion {
  readonly config: string
  /** What was asked for. */
  readonly spec: StrategySpec | undefined
  readonly edit: Edit
  readonly author: string
  /** A way back: unless something was asked for it goes to all at once, in the place of what is under way. */
  readonly isRollback?: boolean
}

/** @returns `undefined`: as without a rollout. @throws RefusedError `not-found`; `invalid` for a strategy that cannot be used. */
export async function orderOf(parts: OrderParts, question: OrderQuestion): Promise<RolloutOrder | undefined> {
  const { config, spec: asked, edit, author, isRollback = false } = question
  const { rollout: policy } = await parts.domain.store.read((read) => configIn(read, config))
  const spec = asked ?? (isRollback ? undefined : (policy?.strategy ?? parts.defaultStrategy))
  // What somebody else watches step by step is not overtaken by one who did not know of it.
  if (spec === undefined) return isRollback ? undefined : { strategy: allAtOnce(), onlyIfBusy: true }
  const risk = await riskOfEdit(parts, config, edit, author)
  const strategy = usable(parts, config, spec, risk)
  return {
    strategy,
    ...(risk && { advice: adviceOf(risk) }),
    ...(asked && { spec: asked }),
    ...(spec.kind === 'instant' && { alone: true }),
  }
}

/** @throws RefusedError `invalid` */
export function usable(parts: OrderParts, config: string, spec: StrategySpec, risk: Risk | undefined): Strategy {
  requireGates(parts, spec)
  return strategyOf(settled(spec, risk?.recommended), (label) => valuesOf(parts, config, label))
}

/** @throws RefusedError `invalid` for gates that are wrong, or that nobody here can ask. */
export function requireGates({ gates }: Pick<OrderParts, 'gates'>, { gates: specs }: StrategySpec): void {
  const issues = specs === undefined ? [] : gates.problems(specs)
  if (issues.length === 0) return
  const placed = issues.map((issue) => ({ ...issue, path: ['gates', ...issue.path] }))
  throw new RefusedError(
    'invalid',
    `the strategy cannot be used: ${placed[0]?.path.join('.')} ${placed[0]?.message}`,
    placed,
  )
}

function valuesOf({ roster }: OrderParts, config: string, label: string): string[] {
  const values = roster.uids(config).flatMap((uid) => {
    const { labels = {} } = roster.node(uid) ?? {}
    return Object.hasOwn(labels, label) ? (labels[label] as string) : []
  })
  return [...new Set(values)].toSorted()
}

/** What cannot be published is not judged: why it cannot is said by the publish itself. */
async function riskOfEdit(parts: OrderParts, config: string, edit: Edit, author: string): Promise<Risk | undefined> {
  try {
    const plan = await planPublish(parts.domain, { ...edit, config })
    return plan.issues.length > 0 ? undefined : await riskOfPlan(parts, config, plan, author)
  } catch (error) {
    if (error instanceof RefusedError) return undefined
    throw error
  }
}

/** How many of the newest rollouts say how a release went. */
const rolloutsKnown = 50

async function riskOfPlan(
  { domain, roster }: OrderParts,
  config: string,
  plan: PublishPlan,
  author: string,
): Promise<Risk> {
  const rollouts = await domain.store.read((read) => read.rollouts.list(config, undefined, rolloutsKnown))
  const outcomes = new Map(rollouts.map((rollout) => [rollout.number, outcomeOf(rollout)]))
  const { changes, content, restartPaths } = plan
  const nodes = { affected: roster.uids(config).length, total: roster.size }
  const known = ({ number }: { readonly number: number }): Outcome | undefined => outcomes.get(number)
  return riskOf(await riskInput(domain, config, { changes, content, restartPaths, author, nodes, outcomeOf: known }))
}

/** `undefined`: that is not known yet, or another release came in its place. */
export function outcomeOf({ state }: Pick<RolloutRecord, 'state'>): Outcome | undefined {
  const { phase } = state
  if (phase === 'rolling-back') return 'rolled-back'
  return phase === 'completed' || phase === 'rolled-back' || phase === 'failed' ? phase : undefined
}

function adviceOf(risk: Risk): RolloutAdvice {
  const { factors, ...advice } = recordedRisk(risk)
  return { ...advice, factors: Object.fromEntries(factors.map(({ factor, points }) => [factor, points])) }
}

/** What a publish would mean for the fleet. */
export interface FleetForecast {
  /** `null`: it would be refused, or change nothing. */
  readonly risk: Risk | null
  readonly fleet: FleetPlan | null
  readonly rollout: RolloutForecast
}

export interface RolloutForecast {
  /** Whose strategy it is; `none`: nobody's, so to all at once. */
  readonly from: 'request' | 'config' | 'default' | 'none'
  readonly kind: string
  readonly twoPhase: boolean
  readonly steps: readonly (Step & {
    /** As many as are known now. */
    readonly nodes: number
  })[]
  readonly gates: readonly string[]
  readonly confirmMs: number | null
  /** It would be refused, unless the glass is broken. */
  readonly frozen: ActiveFreeze | null
  /** The release whose rollout is before it. */
  readonly waitsFor: number | null
}

export async function forecast(
  parts: OrderParts,
  plan: PublishPlan,
  question: { readonly config: string; readonly spec: StrategySpec | undefined; readonly author: string },
): Promise<FleetForecast> {
  const { domain, roster } = parts
  const { config, spec: asked, author } = question
  const { policy, first } = await domain.store.read((read) => ({
    policy: configIn(read, config).rollout,
    first: read.rollouts.open(config)[0],
  }))
  const isJudged = plan.issues.length === 0 && !plan.same
  const risk = isJudged ? await riskOfPlan(parts, config, plan, author) : undefined
  const { changes, restartPaths } = plan
  const spec = asked ?? policy?.strategy ?? parts.defaultStrategy
  const strategy = spec === undefined ? allAtOnce() : usable(parts, config, spec, risk)
  const isAway = (uid: string): boolean => roster.isAway(uid)
  return {
    risk: risk ?? null,
    fleet: isJudged ? fleetPlan({ config, nodes: roster.all(), isAway, changes, restartPaths }) : null,
    rollout: {
      from: asked ? 'request' : policy?.strategy ? 'config' : spec ? 'default' : 'none',
      kind: spec?.kind === 'instant' ? 'instant' : strategy.kind,
      twoPhase: strategy.twoPhase,
      steps: stepsNow(parts, config, strategy),
      gates: strategy.gates.map(({ name }) => name),
      confirmMs: strategy.confirmMs,
      frozen: activeFreeze(policy?.freezes ?? [], domain.now()) ?? null,
      waitsFor: strategy.whenBusy === 'wait' ? (first?.number ?? null) : null,
    },
  }
}

function stepsNow({ roster }: OrderParts, config: string, { steps }: Strategy): RolloutForecast['steps'] {
  const nodes = roster.uids(config).flatMap((uid) => roster.node(uid) ?? [])
  const cuts = cutsOf(steps, nodes)
  const counts = steps.map(() => 0)
  for (const node of nodes) {
    const step = stepOf(steps, cuts, node)
    counts[step] = (counts[step] ?? 0) + 1
  }
  return steps.map((step, i) => ({ ...step, nodes: counts[i] ?? 0 }))
}
