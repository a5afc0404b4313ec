/** Drafts: contents that others look at before they become releases. */
import type { FastifyRequest } from 'fastify'
import type { Json } from 'midflight'
import Type from 'typebox'
import { callerOf, type Permission } from '../../access.ts'
import {
  approveDraft,
  createDraft,
  editDraft,
  publishDraft,
  viewOf,
  withdrawDraft,
  type DraftView,
} from '../../drafts.ts'
import { configIn } from '../../publish.ts'
import type { StrategySpec } from '../../strategies/spec.ts'
import { json } from '../body.ts'
import { allow, may, principalOf } from '../permit.ts'
import { etagOf, idempotencyKeyOf } from '../precondition.ts'
import { Problem } from '../problem.ts'
import { announce, counted } from '../released.ts'
import { Strategy } from '../rollout-schemas.ts'
import { page, sizeOf, type App, type Parts } from '../route.ts'
import {
  answers,
  AnyJson,
  Approve,
  Draft,
  EditedDraft,
  IdParams,
  NameParams,
  NewDraft,
  pageOf,
  pageQuery,
  Published,
  PublishDraftRequest,
  Uuid,
} from '../schemas.ts'
import { ordered, rolloutIn } from '../strategies.ts'

const tags = ['drafts']

export function draftRoutes(app: App, parts: Parts): void {
  const { domain, live, contentLimit } = parts

  function told(view: DraftView, change: string): unknown {
    const { id, config, author } = view.draft
    const { plan, approvedBy, missing } = view
    live.add('draft', config, { id, author, change, plan, approvedBy, missing } as unknown as Json)
    return flat(view)
  }

  /** A draft of a config that may not be seen looks like one that is not there. */
  async function draftFor(request: FastifyRequest, permission: Permission, id: string): Promise<DraftView> {
    const view = await domain.store.read((read) => {
      const draft = read.draft(id)
      return draft && viewOf(read, draft)
    })
    if (view === undefined || !may(principalOf(request), 'read', view.draft.config)) {
      throw new Problem('not-found', `there is no draft ${JSON.stringify(id)}`)
    }
    allow(request, permission, view.draft.config)
    return view
  }

  app.post(
    '/v1/configs/:name/drafts',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'config', permission: 'draft' }, consumes: [json] },
      schema: {
        operationId: 'createDraft',
        summary: 'Propose a content, made against the head as it is now',
        tags,
        params: NameParams,
        body: NewDraft,
        response: answers({ 201: Draft }),
      },
    },
    async (request, reply) => {
      const view = await createDraft(domain, {
        ...(request.body as { content: Json }),
        config: request.params.name,
        author: principalOf(request).name,
      })
      reply.code(201).header('location', `/v1/drafts/${view.draft.id}`)
      return told(view, 'created')
    },
  )

  app.get(
    '/v1/configs/:name/drafts',
    {
      config: { access: { for: 'config', permission: 'read' } },
      schema: {
        operationId: 'listDrafts',
        summary: 'The drafts of a config, by id',
        tags,
        params: NameParams,
        querystring: pageQuery({ after: Type.Optional(Uuid) }),
        response: answers({ 200: pageOf(Draft) }),
      },
    },
    async (request) => {
      const { name } = request.params
      const { after, limit } = request.query
      const found = await domain.store.read((read) => {
        configIn(read, name)
        return read.drafts(name, after, sizeOf(limit)).map((draft) => viewOf(read, draft))
      })
      return page(found, limit, ({ draft }) => draft.id, flat)
    },
  )

  app.get(
    '/v1/drafts/:id',
    {
      config: { access: { for: 'each', permission: 'read' } },
      schema: {
        operationId: 'getDraft',
        summary: 'A draft, and how far it is',
        tags,
        params: IdParams,
        response: answers({ 200: Draft }),
      },
    },
    async (request) => flat(await draftFor(request, 'read', request.params.id)),
  )

  app.get(
    '/v1/drafts/:id/content',
    {
      config: { access: { for: 'each', permission: 'read' } },
      schema: {
        operationId: 'getDraftContent',
        summary: 'What a draft holds',
        tags,
        params: IdParams,
        response: answers({ 200: AnyJson }),
      },
    },
    async (request, reply) => {
      const { draft } = await draftFor(request, 'read', request.params.id)
      const content = await domain.store.read((read) => read.draftContent(draft.id))
      if (content === undefined)
        throw new Problem('not-found', `the content of the draft ${draft.id} is no longer kept`)
      reply.header('etag', etagOf(draft.digest)).header('cache-control', 'no-store')
      return content
    },
  )

  app.patch(
    '/v1/drafts/:id',
    {
      bodyLimit: contentLimit,
      config: { access: { for: 'each', permission: 'draft' }, consumes: [json] },
      schema: {
        operationId: 'editDraft',
        summary: 'Edit a draft of one’s own; approvals so far no longer count',
        tags,
        params: IdParams,
        body: EditedDraft,
        response: answers({ 200: Draft }),
      },
    },
    async (request) => {
      const { id } = request.params
      await draftFor(request, 'draft', id)
      const edit = request.body as { content: Json }
      return told(await editDraft(domain, { ...edit, id, by: principalOf(request).name }), 'edited')
    },
  )

  app.post(
    '/v1/drafts/:id/approve',
    {
      config: { access: { for: 'each', permission: 'approve' }, consumes: [json] },
      schema: {
        operationId: 'approveDraft',
        summary: 'Approve the plan that was looked at, by its digest',
        tags,
        params: IdParams,
        body: Approve,
        response: answers({ 200: Draft }),
      },
    },
    async (request) => {
      const { id } = request.params
      await draftFor(request, 'approve', id)
      const { digest } = request.body
      return told(await approveDraft(domain, { id, digest, by: principalOf(request).name }), 'approved')
    },
  )

  app.post(
    '/v1/drafts/:id/publish',
    {
      config: { access: { for: 'each', permission: 'publish' }, consumes: [json] },
      schema: {
        operationId: 'publishDraft',
        summary: 'Release an approved draft',
        tags,
        params: IdParams,
        body: Type.Object(
          { ...PublishDraftRequest.properties, strategy: Type.Optional(Strategy) },
          { additionalProperties: false },
        ),
        response: answers({ 200: Published, 201: Published }),
      },
    },
    async (request, reply) => {
      const { id } = request.params
      const { draft } = await draftFor(request, 'publish', id)
      const { digest, breakGlass, strategy } = request.body
      if (breakGlass !== undefined) allow(request, 'break-glass', draft.config)
      const idempotencyKey = idempotencyKeyOf(request)
      const content = await domain.store.read((read) => read.draftContent(id))
      const spec = strategy as StrategySpec | undefined
      const asks = { config: draft.config, spec, edit: { content: content ?? null }, author: draft.author }
      const order = await ordered(parts, asks)
      const result = await counted(parts, 'publish', () =>
        publishDraft(domain, {
          id,
          by: principalOf(request).name,
          caller: callerOf(principalOf(request)),
          ...order,
          ...(digest === undefined ? {} : { digest }),
          ...(breakGlass === undefined ? {} : { breakGlass }),
          ...(idempotencyKey === undefined ? {} : { idempotencyKey }),
        }),
      )
      announce(parts, result)
      const [one] = result.published
      if (one === undefined) throw new Error(`the draft ${id} came to nothing`)
      live.add('draft', draft.config, { id, change: 'published' })
      reply.header('etag', etagOf(one.release.digest)).code(one.created ? 201 : 200)
      return { release: one.release, created: one.created, replayed: result.replayed, ...(await rolloutIn(parts, one)) }
    },
  )

  app.delete(
    '/v1/drafts/:id',
    {
      config: { access: { for: 'each', permission: 'draft' } },
      schema: {
        operationId: 'withdrawDraft',
        summary: 'Withdraw a draft',
        tags,
        params: IdParams,
        response: answers({ 200: Draft }),
      },
    },
    async (request) => {
      const { id } = request.params
      await draftFor(request, 'draft', id)
      return told(await withdrawDraft(domain, id, principalOf(request).name), 'withdrawn')
    },
  )
}

function flat({ draft: { approvals: _, ...draft }, plan, approvedBy, missing, stale }: DraftView): unknown {
  return { ...draft, plan, approvedBy, missing, stale }
}
