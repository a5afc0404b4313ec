/** History: releases, what changed between two of them, which one changed a path last, and the way back. */
import Type from 'typebox'
import { blame } from '../../blame.ts'
import { diffReleases } from '../../plan.ts'
import { configIn, releaseIn } from '../../publish.ts'
import { rollback } from '../../rollback.ts'
import type { StrategySpec } from '../../strategies/spec.ts'
import { json } from '../body.ts'
import { allow } from '../permit.ts'
import { etagOf, optionalIfMatchOf } from '../precondition.ts'
import { announce, counted } from '../released.ts'
import { Strategy } from '../rollout-schemas.ts'
import { page, sizeOf, type App, type Parts } from '../route.ts'
import {
  answers,
  Blame,
  Difference,
  NameParams,
  pageOf,
  pageQuery,
  Published,
  Release,
  ReleaseNumber,
  ReleaseParams,
  RollbackRequest,
} from '../schemas.ts'
import { ordered, rolloutIn } from '../strategies.ts'
import { whose } from './content.ts'

const tags = ['releases']
const number = (words: string) => Type.String({ pattern: '^(0|[1-9]\\d{0,15})$', description: words })

export function releaseRoutes(app: App, parts: Parts): void {
  const { domain } = parts

  app.get(
    '/v1/configs/:name/releases',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'listReleases',
        summary: 'The releases, newest first; `after` is the number of the last one seen',
        tags,
        params: NameParams,
        querystring: pageQuery({ after: Type.Optional(ReleaseNumber) }),
        response: answers({ 200: pageOf(Release, ReleaseNumber) }),
      },
    },
    async (request) => {
      const { name } = request.params
      const { after, limit } = request.query
      const found = await domain.store.read((read) => {
        configIn(read, name)
        return read.releases(name, after, sizeOf(limit))
      })
      return page(
        found,
        limit,
        (last) => last.number,
        (release) => release,
      )
    },
  )

  app.get(
    '/v1/configs/:name/releases/:number',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'getRelease',
        summary: 'One release, without its content',
        tags,
        params: ReleaseParams,
        response: answers({ 200: Release }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const release = await domain.store.read((read) => {
        configIn(read, name)
        return releaseIn(read, name, Number(request.params.number))
      })
      reply.header('etag', etagOf(release.digest))
      return release
    },
  )

  app.get(
    '/v1/configs/:name/releases/:from/diff/:to',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'diffReleases',
        summary: 'What makes one release of another; 0 is the state before the first',
        tags,
        params: Type.Object({
          ...NameParams.properties,
          from: number('the number of a release, or 0'),
          to: number('the number of a release'),
        }),
        response: answers({ 200: Difference }),
      },
    },
    async ({ params: { name, from, to } }) => await diffReleases(domain, name, Number(from), Number(to)),
  )

  app.get(
    '/v1/configs/:name/blame',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'blame',
        summary: 'Which release last changed what stands at a path',
        tags,
        params: NameParams,
        querystring: Type.Object(
          { path: Type.String({ minLength: 1, maxLength: 1024, description: 'dotted: rules.r1.limit' }) },
          { additionalProperties: false },
        ),
        response: answers({ 200: Blame }),
      },
    },
    async (request) => await blame(domain, request.params.name, request.query.path),
  )

  /** Whether it may go back there, the rollback itself says. */
  async function orderBack(
    config: string,
    to: number,
    spec: StrategySpec | undefined,
    author: string,
  ): ReturnType<typeof ordered> {
    if (spec === undefined) return {}
    const content = await domain.store.read((read) => read.content(config, to))
    return content === undefined
      ? {}
      : await ordered(parts, { config, spec, edit: { content }, author, isRollback: true })
  }

  app.post(
    '/v1/configs/:name/rollback',
    {
      config: { access: { for: 'config', permission: 'rollback' }, consumes: [json] },
      schema: {
        operationId: 'rollback',
        summary: 'A new release with the content of an older one, which a node has run',
        tags,
        params: NameParams,
        body: Type.Object(
          { ...RollbackRequest.properties, strategy: Type.Optional(Strategy) },
          { additionalProperties: false },
        ),
        response: answers({ 200: Published, 201: Published }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      if (request.body.breakGlass !== undefined) allow(request, 'break-glass', name)
      // What nodes have reported until now counts.
      await parts.hub.flush()
      const ifMatch = await optionalIfMatchOf(request, domain, name)
      const { strategy, ...back } = request.body
      const order = await orderBack(name, back.to, strategy as StrategySpec | undefined, whose(request).author)
      const result = await counted(parts, 'rollback', () =>
        rollback(domain, {
          ...back,
          ...order,
          config: name,
          ...whose(request),
          ...(ifMatch === undefined ? {} : { ifMatch }),
        }),
      )
      announce(parts, result)
      const [one] = result.published
      if (one === undefined) throw new Error(`a rollback of ${name} came to nothing`)
      reply.header('etag', etagOf(one.release.digest)).code(one.created ? 201 : 200)
      return { release: one.release, created: one.created, replayed: result.replayed, ...(await rolloutIn(parts, one)) }
    },
  )
}
