/** Rollouts: how each came and comes along, and what people do with one that is under way; how a config wants its own. */
import type { FastifyRequest } from 'fastify'
import Type from 'typebox'
import { activeFreeze, freezePause } from '../../freeze.ts'
import { outcomeOf, requireGates } from '../../order.ts'
import { configIn } from '../../publish.ts'
import { RefusedError } from '../../release.ts'
import { judge, type RiskRecord } from '../../risk-report.ts'
import type { RiskLevel } from '../../risk.ts'
import { changeRolloutPolicy, policyDigest, policyOf } from '../../rollout-policy.ts'
import type { Control } from '../../rollout.ts'
import type { RolloutPolicy, RolloutRecord } from '../../store.ts'
import { json } from '../body.ts'
import { principalOf } from '../permit.ts'
import { etagOf, tagsIn } from '../precondition.ts'
import { page, sizeOf, type App, type Parts } from '../route.ts'
import {
  Control as ControlBody,
  Policy,
  PolicyChange,
  RiskReport,
  RolloutDetail,
  RolloutSummary,
} from '../rollout-schemas.ts'
import { answers, ConfigName, NameParams, pageOf, pageQuery, ReleaseNumber } from '../schemas.ts'
import { summaryOf } from '../strategies.ts'

const tags = ['rollouts']
const RolloutParams = Type.Object({
  name: ConfigName,
  number: Type.String({ pattern: '^(current|[1-9]\\d{0,15})$', description: 'the number of a release, or current' }),
})
const controls: readonly (readonly [Control, string])[] = [
  ['pause', 'Hold a rollout where it is; the reason names the pause'],
  ['resume', 'Take a pause away, by its reason'],
  ['abort', 'Give a rollout up: what has taken the release goes back'],
  ['promote', 'Pass over what is left of the bake time, its gates and pauses'],
  ['confirm', 'Say that the release stays'],
]
/** A record that grows with every reason would grow without end. */
const maxPauses = 16
const maxJudged = 1000

export function rolloutRoutes(app: App, parts: Parts): void {
  const { domain, coordinator, live } = parts

  app.get(
    '/v1/configs/:name/rollouts',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'listRollouts',
        summary: 'The rollouts, newest first; `after` is the number of the last one seen',
        tags,
        params: NameParams,
        querystring: pageQuery({ after: Type.Optional(ReleaseNumber) }),
        response: answers({ 200: pageOf(RolloutSummary, ReleaseNumber) }),
      },
    },
    async (request) => {
      const { name } = request.params
      const { after, limit } = request.query
      const found = await domain.store.read((read) => {
        configIn(read, name)
        return read.rollouts.list(name, after, sizeOf(limit))
      })
      return page(found, limit, (last) => last.number, summaryOf)
    },
  )

  /** `undefined`: the one under way. */
  async function numberIn(name: string, text: string): Promise<number> {
    if (text !== 'current') return Number(text)
    const [first] = await domain.store.read((read) => {
      configIn(read, name)
      return read.rollouts.open(name)
    })
    if (first === undefined) throw new RefusedError('not-found', `${name} has no rollout under way`)
    return first.number
  }

  async function rolloutOf(name: string, number: number): Promise<RolloutRecord> {
    await domain.store.read((read) => configIn(read, name))
    const found = await coordinator.rollout(name, number)
    if (found === undefined) throw new RefusedError('not-found', `${name} has no rollout of release ${number}`)
    return found
  }

  /** As it is now; events behind `after`. */
  async function detailOf(rollout: RolloutRecord, after?: number, limit?: number): Promise<unknown> {
    const { config, number, strategy, state } = rollout
    const counts = coordinator.steps(config, number)
    const events = await domain.store.read((read) => read.rollouts.events(config, number, after, sizeOf(limit)))
    const { epoch, spentMs, decided, confirmed, passed } = state
    return {
      ...summaryOf(rollout),
      strategy,
      epoch,
      spentMs,
      decided,
      confirmed,
      passed,
      counts: state.counts,
      progress: strategy.steps.map((step, i) => ({ ...step, counts: counts?.[i] ?? null })),
      events: page(
        events,
        limit,
        (last) => last.seq,
        (event) => event,
      ),
    }
  }

  app.get(
    '/v1/configs/:name/rollouts/:number',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getRollout',
        summary: 'A rollout as it is now, and what moved it; `after` is the last event seen',
        tags,
        params: RolloutParams,
        querystring: pageQuery({ after: Type.Optional(Type.Integer({ minimum: 0 })) }),
        response: answers({ 200: RolloutDetail }),
      },
    },
    async (request, reply) => {
      const { name, number } = request.params
      const { after, limit } = request.query
      reply.header('cache-control', 'no-store')
      return await detailOf(await rolloutOf(name, await numberIn(name, number)), after, limit)
    },
  )

  for (const [control, summary] of controls) {
    app.post(
      `/v1/configs/:name/rollouts/:number/${control}`,
      {
        config: {
          // Who may roll back may give up, which is the same.
          access: { for: 'config', permission: control === 'abort' ? 'rollback' : 'publish' },
          consumes: [json],
        },
        schema: {
          operationId: `${control}Rollout`,
          summary,
          tags,
          params: RolloutParams,
          body: ControlBody,
          response: answers({ 200: RolloutDetail }),
        },
      },
      async (request) => {
        const { name } = request.params
        const { reason } = request.body
        const number = await numberIn(name, request.params.number)
        requireSense(control, await rolloutOf(name, number), reason)
        const by = principalOf(request).name
        return await detailOf(await coordinator.control(name, number, control, { by, reason }))
      },
    )
  }

  /** What the machine would pass over without a word, said to whoever asked for it. */
  function requireSense(control: Control, { config, number, state, endedAt }: RolloutRecord, reason: string): void {
    const which = `the rollout of ${config} ${number}`
    const isFreeze = reason.startsWith(freezePause)
    if (control === 'pause') {
      if (isFreeze) throw new RefusedError('invalid', `the reason begins with "${freezePause}", as those of freezes do`)
      if (state.pauses.length >= maxPauses)
        throw new RefusedError('state', `${which} is paused for ${maxPauses} reasons`)
    }
    if (control === 'resume' && state.phase !== 'failed' && endedAt === null) {
      if (isFreeze) throw new RefusedError('frozen', `${which} goes on by itself when the freeze is over`)
      if (state.pauses.some((pause) => pause.reason === reason)) return
      const reasons = state.pauses.map((pause) => JSON.stringify(pause.reason)).join(', ')
      throw new RefusedError('state', `${which} is not paused for this; it is for ${reasons || 'nothing'}`)
    }
    if (control === 'promote' && state.pauses.some((pause) => pause.reason.startsWith(freezePause))) {
      throw new RefusedError('frozen', `${which} is held by a freeze; publish with break-glass if it cannot wait`)
    }
  }

  const viewOf = (policy: RolloutPolicy): unknown => ({
    ...policy,
    frozen: activeFreeze(policy.freezes, domain.now()) ?? null,
  })

  app.get(
    '/v1/configs/:name/rollout-policy',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getRolloutPolicy',
        summary: 'How releases are brought to the nodes where nobody says otherwise, and when nothing is to be changed',
        tags,
        params: NameParams,
        response: answers({ 200: Policy }),
      },
    },
    async (request, reply) => {
      const policy = policyOf(await domain.store.read((read) => configIn(read, request.params.name)))
      reply.header('etag', etagOf(policyDigest(policy)))
      return viewOf(policy)
    },
  )

  app.put(
    '/v1/configs/:name/rollout-policy',
    {
      config: { access: { for: 'config', permission: 'configure' }, consumes: [json] },
      schema: {
        operationId: 'putRolloutPolicy',
        summary:
          'Change the strategy or the freezes; what is left out stays. If-Match may name the ones that were seen',
        tags,
        params: NameParams,
        body: PolicyChange,
        response: answers({ 200: Policy }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const change = request.body as Partial<RolloutPolicy>
      if (change.strategy) requireGates(parts, change.strategy)
      const policy = await changeRolloutPolicy(domain, name, change, principalOf(request).name, ifMatchIn(request))
      live.add('config', name, { name, change: 'rollout-policy' })
      reply.header('etag', etagOf(policyDigest(policy)))
      return viewOf(policy)
    },
  )

  app.get(
    '/v1/configs/:name/risk-report',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'riskReport',
        summary: `What was said of the risk of the newest ${maxJudged} rollouts, beside what came of them`,
        tags,
        params: NameParams,
        response: answers({ 200: RiskReport }),
      },
    },
    async (request) => {
      const { name } = request.params
      const rollouts = await domain.store.read((read) => {
        configIn(read, name)
        return read.rollouts.list(name, undefined, maxJudged)
      })
      const records = rollouts.flatMap(recordOf)
      return {
        report: judge(records),
        records: records.map(({ config: _, outcome = null, ...record }) => ({ ...record, outcome })),
      }
    },
  )
}

function ifMatchIn(request: FastifyRequest): readonly string[] | undefined {
  const match = request.headers['if-match']
  return match === undefined || match.trim() === '*' ? undefined : tagsIn(match)
}

/** Of those in whose place another came nobody knows what would have come of them. */
function recordOf({ config, number, strategy, state, advice }: RolloutRecord): RiskRecord[] {
  if (advice === undefined || state.phase === 'superseded') return []
  const factors = Object.entries(advice.factors).map(([factor, points]) => ({ factor, points }))
  const recommended = advice.recommended as RiskRecord['risk']['recommended']
  const risk = { score: advice.score, level: advice.level as RiskLevel, recommended, factors }
  return [{ config, number, risk, strategy: strategy.kind, outcome: outcomeOf({ state }) }]
}
