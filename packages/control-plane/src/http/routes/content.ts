/** Contents: read, planned, published whole, as a patch, or several configs at once. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Json, PatchOperation } from 'midflight'
import Type from 'typebox'
import { callerOf } from '../../access.ts'
import { planPublish } from '../../plan.ts'
import { configIn, publish, releaseIn, type PublishRequest, type RolloutOrder } from '../../publish.ts'
import { RefusedError, type ConfigChange, type Edit } from '../../release.ts'
import { forecast } from '../../order.ts'
import type { StrategySpec } from '../../strategies/spec.ts'
import { json, jsonPatch, mediaTypeOf, mergePatch } from '../body.ts'
import { allow, principalOf } from '../permit.ts'
import { etagOf, idempotencyKeyOf, ifMatchOf, isKnown } from '../precondition.ts'
import { issueOf, Problem } from '../problem.ts'
import { announce, counted } from '../released.ts'
import { TargetsBody, TargetsPlanOf } from '../target-schemas.ts'
import { FleetOf, RiskOf, RolloutForecast, Strategy } from '../rollout-schemas.ts'
import type { App, Parts } from '../route.ts'
import { planView } from './targets.ts'
import {
  answers,
  AnyJson,
  NameParams,
  PatchBody,
  orNull,
  Plan,
  PlanRequest,
  Published,
  PublishedAll,
  PublishMany,
  PublishQuery,
  ReleaseNumber,
} from '../schemas.ts'
import { ordered, rolloutIn, specIn } from '../strategies.ts'

const tags = ['content']

export function contentRoutes(app: App, parts: Parts): void {
  const { domain, contentLimit } = parts

  app.get(
    '/v1/configs/:name/content',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getContent',
        summary: 'What a release holds; the head, if none is named',
        tags,
        params: NameParams,
        querystring: Type.Object({ release: Type.Optional(ReleaseNumber) }, { additionalProperties: false }),
        response: answers({ 200: AnyJson, 304: Type.Null() }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const { release, content } = await domain.store.read((read) => {
        const number = request.query.release ?? configIn(read, name).head?.number
        if (number === undefined) throw new RefusedError('not-found', `${name} has no release yet`)
        configIn(read, name)
        return { release: releaseIn(read, name, number), content: read.content(name, number) }
      })
      if (content === undefined) {
        throw new RefusedError('not-found', `the content of ${name} ${release.number} is no longer kept`)
      }
      reply.header('x-midflight-release', String(release.number)).header('cache-control', 'no-store')
      if (isKnown(request, reply, release.digest)) return reply.send()
      return content
    },
  )

  app.put(
    '/v1/configs/:name/content',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'config', permission: 'publish' }, consumes: [json] },
      schema: {
        operationId: 'putContent',
        summary: 'Publish a whole content; If-Match names the head it was made against',
        tags,
        params: NameParams,
        querystring: PublishQuery,
        body: AnyJson,
        response: answers({ 200: Published, 201: Published }),
      },
    },
    async (request, reply) => await publishOne(parts, request, reply, { content: request.body as Json }),
  )

  app.patch(
    '/v1/configs/:name/content',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'config', permission: 'publish' }, consumes: [jsonPatch, mergePatch] },
      schema: {
        operationId: 'patchContent',
        consumes: [jsonPatch, mergePatch],
        summary: 'Publish a change: JSON Patch or JSON Merge Patch, by the content type',
        tags,
        params: NameParams,
        querystring: PublishQuery,
        body: PatchBody,
        response: answers({ 200: Published, 201: Published }),
      },
    },
    async (request, reply) => await publishOne(parts, request, reply, patchIn(request)),
  )

  app.post(
    '/v1/configs/:name/plan',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'config', permission: 'read' }, consumes: [json] },
      schema: {
        operationId: 'planPublish',
        summary: 'What a publish would change; nothing is stored',
        tags,
        params: NameParams,
        body: Type.Object(
          { ...PlanRequest.properties, strategy: Type.Optional(Strategy), targets: Type.Optional(TargetsBody) },
          { additionalProperties: false },
        ),
        response: answers({
          200: Type.Object({
            ...Plan.properties,
            targets: orNull(TargetsPlanOf),
            risk: orNull(RiskOf),
            fleet: orNull(FleetOf),
            rollout: RolloutForecast,
          }),
        }),
      },
    },
    async (request, reply) => {
      const { strategy, targets, ...edit } = request.body
      const config = request.params.name
      const deploy = targets === undefined ? null : planView(await parts.deployer.plan(config, targets))
      const plan = await planPublish(domain, { ...edit, config } as unknown as ConfigChange)
      const spec = strategy as StrategySpec | undefined
      const meaning = await forecast(parts, plan, { config, spec, author: principalOf(request).name })
      if (plan.head.digest !== null) reply.header('etag', etagOf(plan.head.digest))
      return { ...plan, issues: plan.issues.map(issueOf), ...meaning, targets: deploy }
    },
  )

  app.post(
    '/v1/publish',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'each', permission: 'publish' }, consumes: [json] },
      schema: {
        operationId: 'publishMany',
        summary: 'Publish several configs at once: all of them or none',
        tags,
        body: Type.Object(
          { ...PublishMany.properties, strategy: Type.Optional(Strategy) },
          { additionalProperties: false },
        ),
        response: answers({ 200: PublishedAll, 201: PublishedAll }),
      },
    },
    async (request, reply) => {
      const { changes, strategy, breakGlass } = request.body
      const spec = strategy as StrategySpec | undefined
      for (const { config } of changes) {
        allow(request, 'publish', config)
        if (breakGlass !== undefined) allow(request, 'break-glass', config)
      }
      const asked = whose(request)
      const orders = new Map<string, RolloutOrder>()
      for (const { config, ...edit } of changes) {
        const asks = { config, spec, edit: edit as unknown as Edit, author: asked.author }
        const { rollout } = await ordered(parts, asks)
        if (rollout !== undefined) orders.set(config, rollout)
      }
      const result = await counted(parts, 'publish', () =>
        publish(domain, {
          rolloutOf: (config) => orders.get(config),
          changes: changes.map(({ ifMatch, ...change }) => ({ ...change, ifMatch: ifMatch ?? 'none' })) as never,
          ...asked,
          ...(breakGlass === undefined ? {} : { breakGlass }),
        }),
      )
      announce(parts, result)
      reply.code(result.published.some(({ created }) => created) ? 201 : 200)
      const published = await Promise.all(
        result.published.map(async (one) => ({ ...one, ...(await rolloutIn(parts, one)) })),
      )
      return { ...result, published }
    },
  )
}

/** The change that a body is, by its content type. */
export function patchIn(request: FastifyRequest): Edit {
  const isPatch = mediaTypeOf(request) === jsonPatch
  if (isPatch !== Array.isArray(request.body)) {
    throw new Problem('bad-request', `the body is no ${isPatch ? 'list of operations' : 'object'}, as its type says`)
  }
  return isPatch ? { patch: request.body as readonly PatchOperation[] } : { mergePatch: request.body as Json }
}

type PublishOne = FastifyRequest<{
  Params: { name: string }
  Querystring: { message?: string; force?: 'true'; breakGlass?: string; strategy?: string }
}>

async function publishOne(parts: Parts, plain: FastifyRequest, reply: FastifyReply, edit: Edit): Promise<unknown> {
  const request = plain as PublishOne
  const { name } = request.params
  const { message, force, breakGlass, strategy } = request.query
  const spec = specIn(strategy)
  if (breakGlass !== undefined) allow(request, 'break-glass', name)
  const ifMatch = await ifMatchOf(request, parts.domain, name)
  const asked = whose(request)
  const { rollout } = await ordered(parts, { config: name, spec, edit, author: asked.author })
  const { published, replayed } = await counted(parts, 'publish', () =>
    publish(parts.domain, {
      ...(rollout && { rolloutOf: () => rollout }),
      changes: [
        {
          config: name,
          ...(ifMatch === undefined ? {} : { ifMatch }),
          ...edit,
          ...(message === undefined ? {} : { message }),
          ...(force && { force: true }),
        },
      ],
      ...asked,
      ...(breakGlass === undefined ? {} : { breakGlass: { reason: breakGlass } }),
    }),
  )
  announce(parts, { published, replayed })
  const [one] = published
  if (one === undefined) throw new Error(`a publish of ${name} came to nothing`)
  reply.header('etag', etagOf(one.release.digest)).code(one.created ? 201 : 200)
  if (one.created) reply.header('location', `/v1/configs/${encodeURIComponent(name)}/releases/${one.release.number}`)
  return { release: one.release, created: one.created, replayed, ...(await rolloutIn(parts, one)) }
}

export function whose(request: FastifyRequest): Pick<PublishRequest, 'author' | 'caller' | 'idempotencyKey'> {
  const idempotencyKey = idempotencyKeyOf(request)
  const principal = principalOf(request)
  const asked = { author: principal.name, caller: callerOf(principal) }
  return { ...asked, ...(idempotencyKey === undefined ? {} : { idempotencyKey }) }
}
