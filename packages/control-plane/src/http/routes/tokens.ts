/** Tokens: handed out, listed and revoked. A secret is in one answer, when it is made, and never again. */
import Type from 'typebox'
import { createToken, listTokens, revokeToken } from '../../tokens.ts'
import { json } from '../body.ts'
import { Problem } from '../problem.ts'
import { principalOf } from '../permit.ts'
import type { App, Parts } from '../route.ts'
import { answers, defaultPage, IdParams, NewToken, pageOf, pageQuery, Token, Uuid } from '../schemas.ts'
import { mayGrant } from '../../access.ts'
import type { FastifyRequest } from 'fastify'

const tags = ['tokens']

export function tokenRoutes(app: App, { domain }: Parts): void {
  app.post(
    '/v1/tokens',
    {
      config: { access: { for: 'each', permission: 'manage-tokens' }, consumes: [json] },
      schema: {
        operationId: 'createToken',
        summary: 'Make a token; its secret is in this answer only',
        tags,
        body: NewToken,
        response: answers({ 201: Type.Object({ token: Token, secret: Type.String() }) }),
      },
    },
    async (request, reply) => {
      requireGranter(request)
      reply.code(201).header('cache-control', 'no-store')
      return await createToken(domain, request.body, principalOf(request))
    },
  )

  app.get(
    '/v1/tokens',
    {
      config: { access: { for: 'each', permission: 'manage-tokens' } },
      schema: {
        operationId: 'listTokens',
        summary: 'The tokens below one’s own prefix, without secrets',
        tags,
        querystring: pageQuery({ after: Type.Optional(Uuid) }),
        response: answers({ 200: pageOf(Token) }),
      },
    },
    async (request) => {
      requireGranter(request)
      const { after, limit = defaultPage } = request.query
      const { tokens, next } = await listTokens(domain, principalOf(request), after, limit)
      return { items: tokens, ...(next === undefined ? {} : { next }) }
    },
  )

  app.delete(
    '/v1/tokens/:id',
    {
      config: { access: { for: 'each', permission: 'manage-tokens' } },
      schema: {
        operationId: 'revokeToken',
        summary: 'Revoke a token, from now on',
        tags,
        params: IdParams,
        response: answers({ 200: Token }),
      },
    },
    async (request) => {
      requireGranter(request)
      return await revokeToken(domain, request.params.id, principalOf(request))
    },
  )
}

/** Whoever may not even hand out a viewer where they are. */
function requireGranter(request: FastifyRequest): void {
  const principal = principalOf(request)
  if (mayGrant(principal, 'viewer', principal.prefix)) return
  throw new Problem('denied', `needs "manage-tokens"; the role is ${principal.role}`)
}
