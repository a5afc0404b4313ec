/** For those who run it: health, metrics, and the document that describes all of this. */
import Type from 'typebox'
import { Problem } from '../problem.ts'
import type { App, Parts } from '../route.ts'
import { answers } from '../schemas.ts'

const tags = ['operations']
const Alive = Type.Object({ status: Type.Literal('ok') })

export function operationRoutes(app: App, { metrics, readiness }: Parts): void {
  app.get(
    '/-/healthy',
    {
      config: { access: { for: 'everyone' } },
      schema: {
        operationId: 'healthy',
        summary: 'The process runs',
        tags,
        security: [],
        response: answers({ 200: Alive }),
      },
    },
    async () => ({ status: 'ok' }),
  )

  app.get(
    '/-/ready',
    {
      config: { access: { for: 'everyone' } },
      schema: {
        operationId: 'ready',
        summary: 'Requests are taken: the store answers, and nobody is closing',
        tags,
        security: [],
        response: answers({ 200: Alive }),
      },
    },
    async () => {
      const why = await readiness()
      if (why !== undefined) throw new Problem('unavailable', why, { headers: { 'retry-after': '1' } })
      return { status: 'ok' }
    },
  )

  app.get(
    '/metrics',
    {
      config: { access: { for: 'all', permission: 'read-metrics' } },
      schema: {
        operationId: 'metrics',
        summary: 'For Prometheus',
        tags,
        produces: ['text/plain'],
        response: answers({ 200: Type.String() }),
      },
    },
    async (_request, reply) => {
      reply.type(metrics.registry.contentType)
      return await metrics.registry.metrics()
    },
  )

  app.get(
    '/v1/openapi.json',
    {
      config: { access: { for: 'everyone' } },
      schema: {
        operationId: 'openapi',
        summary: 'This document',
        tags,
        security: [],
        response: answers({ 200: Type.Object({ openapi: Type.String() }) }),
      },
    },
    async () => app.swagger(),
  )
}
