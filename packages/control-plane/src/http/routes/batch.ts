/** Small updates that are made one release with others that come at about the same time. How: `batch.ts`. */
import type { Batched } from '../../batch.ts'
import { RefusedError } from '../../release.ts'
import { jsonPatch, mergePatch } from '../body.ts'
import { etagOf } from '../precondition.ts'
import { Problem } from '../problem.ts'
import type { App, Parts } from '../route.ts'
import { answers, BatchedUpdate, NameParams, PatchBody } from '../schemas.ts'
import { patchIn, whose } from './content.ts'

export function batchRoutes(app: App, { batches, metrics, limits }: Parts): void {
  app.post(
    '/v1/configs/:name/batch',
    {
      config: { access: { for: 'config', permission: 'publish' }, consumes: [jsonPatch, mergePatch] },
      schema: {
        operationId: 'batchUpdate',
        consumes: [jsonPatch, mergePatch],
        summary: 'Change a part, in one release with what else comes now; answered when that release is durable',
        tags: ['content'],
        params: NameParams,
        body: PatchBody,
        response: answers({ 200: BatchedUpdate, 201: BatchedUpdate }),
      },
    },
    async (request, reply) => {
      const { headers, params } = request
      if (headers['if-match'] !== undefined || headers['if-none-match'] !== undefined) {
        throw new Problem('bad-request', 'there is a condition; an update is made on whichever head there is then')
      }
      const batched = await counted(batches.add(params.name, { ...patchIn(request), ...whose(request) }))
      reply.header('etag', etagOf(batched.release.digest)).code(batched.created ? 201 : 200)
      return batched
    },
  )

  async function counted(work: Promise<Batched>): Promise<Batched> {
    try {
      const batched = await inTime(work)
      metrics.batched('released')
      return batched
    } catch (error) {
      metrics.batched(error instanceof RefusedError ? 'refused' : 'unknown')
      throw error
    }
  }

  /** It goes on waiting when nobody waits for it any more: what was taken is not taken back. */
  async function inTime(work: Promise<Batched>): Promise<Batched> {
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(
      () =>
        late.reject(
          new Problem('unknown', 'the store takes nothing now, and the update waits for it', {
            holds: 'it may yet be published; the same request with the same Idempotency-Key tells',
            headers: { 'retry-after': '5' },
          }),
        ),
      limits.batchAnswerMs,
    )
    try {
      return await Promise.race([work, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }
}
