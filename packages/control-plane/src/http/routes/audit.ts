/** The audit log: read, and checked link by link. */
import Type from 'typebox'
import { verifyAudit } from '../../audit.ts'
import { page, sizeOf, type App, type Parts } from '../route.ts'
import { answers, AuditEntry, AuditReport, pageOf, pageQuery } from '../schemas.ts'

const tags = ['audit']

export function auditRoutes(app: App, { domain }: Parts): void {
  app.get(
    '/v1/audit',
    {
      config: { access: { for: 'all', permission: 'read-audit' } },
      schema: {
        operationId: 'listAudit',
        summary: 'The audit log, oldest first; `after` is the number of the last entry seen',
        tags,
        querystring: pageQuery({ after: Type.Optional(Type.Integer({ minimum: 0 })) }),
        response: answers({ 200: pageOf(AuditEntry, Type.Integer()) }),
      },
    },
    async ({ query: { after, limit } }) => {
      const found = await domain.store.read((read) => read.audit(after, sizeOf(limit)))
      return page(
        found,
        limit,
        (last) => last.number,
        (entry) => entry,
      )
    },
  )

  app.post(
    '/v1/audit/verify',
    {
      config: { access: { for: 'all', permission: 'read-audit' } },
      schema: {
        operationId: 'verifyAudit',
        summary: 'Check the whole log: every entry follows from the one before',
        tags,
        response: answers({ 200: AuditReport }),
      },
    },
    async () => await verifyAudit(domain),
  )
}
