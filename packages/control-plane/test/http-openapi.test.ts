import { Ajv2020 } from 'ajv/dist/2020.js'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { App } from '../src/http/route.ts'
import { createServer, defaultHttpLimits, type ServerOptions } from '../src/http/server.ts'
import { rig, type Rig } from './http-rig.ts'

let here: Rig
// oxlint-disable-next-line typescript/no-explicit-any -- a document
let document: any

beforeAll(async () => {
  here = await rig({ limits: { http: { failures: { perSecond: 1, burst: 100 } } } })
  document = (await here.ask('/v1/openapi.json', { token: null })).json()
})
afterAll(async () => await here.close())

const routes = [
  'DELETE /v1/drafts/{id}',
  'DELETE /v1/nodes/{uid}',
  'DELETE /v1/tokens/{id}',
  'GET /-/healthy',
  'GET /-/ready',
  'GET /metrics',
  'GET /v1/agent/{name}/poll',
  'GET /v1/audit',
  'GET /v1/configs',
  'GET /v1/configs/{name}',
  'GET /v1/configs/{name}/blame',
  'GET /v1/configs/{name}/content',
  'GET /v1/configs/{name}/deployments',
  'GET /v1/configs/{name}/deployments/{number}',
  'GET /v1/configs/{name}/drafts',
  'GET /v1/configs/{name}/nodes',
  'GET /v1/configs/{name}/nodes/summary',
  'GET /v1/configs/{name}/releases',
  'GET /v1/configs/{name}/releases/{from}/diff/{to}',
  'GET /v1/configs/{name}/releases/{number}',
  'GET /v1/configs/{name}/risk-report',
  'GET /v1/configs/{name}/rollout-policy',
  'GET /v1/configs/{name}/rollouts',
  'GET /v1/configs/{name}/rollouts/{number}',
  'GET /v1/configs/{name}/schema',
  'GET /v1/configs/{name}/targets',
  'GET /v1/configs/{name}/targets/status',
  'GET /v1/drafts/{id}',
  'GET /v1/drafts/{id}/content',
  'GET /v1/events',
  'GET /v1/nodes/{uid}',
  'GET /v1/openapi.json',
  'GET /v1/tokens',
  'PATCH /v1/configs/{name}/content',
  'PATCH /v1/drafts/{id}',
  'POST /v1/agent/{name}/heartbeat',
  'POST /v1/agent/{name}/report',
  'POST /v1/audit/verify',
  'POST /v1/configs',
  'POST /v1/configs/{name}/batch',
  'POST /v1/configs/{name}/drafts',
  'POST /v1/configs/{name}/plan',
  'POST /v1/configs/{name}/rollback',
  'POST /v1/configs/{name}/rollouts/{number}/abort',
  'POST /v1/configs/{name}/rollouts/{number}/confirm',
  'POST /v1/configs/{name}/rollouts/{number}/pause',
  'POST /v1/configs/{name}/rollouts/{number}/promote',
  'POST /v1/configs/{name}/rollouts/{number}/resume',
  'POST /v1/configs/{name}/targets/plan',
  'POST /v1/configs/{name}/targets/retry',
  'POST /v1/configs/{name}/targets/revoke',
  'POST /v1/configs/{name}/targets/rollback',
  'POST /v1/configs/{name}/targets/rollback/plan',
  'POST /v1/configs/{name}/targets/start',
  'POST /v1/configs/{name}/targets/stop',
  'POST /v1/configs/{name}/targets/uninstall',
  'POST /v1/drafts/{id}/approve',
  'POST /v1/drafts/{id}/publish',
  'POST /v1/publish',
  'POST /v1/tokens',
  'PUT /v1/configs/{name}/content',
  'PUT /v1/configs/{name}/rollout-policy',
  'PUT /v1/configs/{name}/schema',
  'PUT /v1/configs/{name}/targets',
]

describe('the OpenAPI document', () => {
  test('is OpenAPI 3.1, names every operation once, and every schema in it is a JSON Schema', () => {
    expect(document.openapi).toMatch(/^3\.1\.\d$/)
    const ajv = new Ajv2020({ strict: false })
    const operations = Object.values(document.paths).flatMap((path) => Object.values(path as object))
    const ids = operations.map(({ operationId }) => operationId)
    expect(new Set(ids).size).toBe(ids.length)
    const schemas: object[] = []
    const collect = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return
      for (const [key, inner] of Object.entries(value)) {
        if (key === 'schema' && typeof inner === 'object' && !Array.isArray(inner)) schemas.push(inner as object)
        else collect(inner)
      }
    }
    collect(document.paths)
    expect(schemas.length).toBeGreaterThan(100)
    for (const schema of schemas) expect(ajv.validateSchema(schema), JSON.stringify(schema)).toBe(true)
  })

  test('has every route that is served, and no other', () => {
    const documented = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods as object).map((method) => `${method.toUpperCase()} ${path}`),
    )
    expect(documented.sort()).toEqual(routes)
  })

  test('says for every operation which parameters its path has, what it answers, and its problems', () => {
    for (const [path, methods] of Object.entries(document.paths)) {
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name).sort()
      // oxlint-disable-next-line typescript/no-explicit-any -- a document
      for (const [method, operation] of Object.entries(methods as Record<string, any>)) {
        const { parameters = [], responses, summary, requestBody } = operation
        const declared = (parameters as { in: string; name: string }[]).filter((one) => one.in === 'path')
        expect(declared.map(({ name }) => name).sort(), path).toEqual(inPath)
        expect(
          Object.keys(responses).some((status) => status.startsWith('2')),
          `${method} ${path}`,
        ).toBe(true)
        const problem = responses['4XX']
        expect(Object.keys(problem?.content ?? {}), `${method} ${path}`).toEqual(['application/problem+json'])
        expect(summary).toBeTruthy()
        if (requestBody !== undefined) {
          const types = Object.keys((requestBody as { content: object }).content)
          const wanted =
            (method === 'patch' && path.endsWith('/content')) || path.endsWith('/batch')
              ? /^application\/(json-patch|merge-patch)\+json$/
              : /^application\/json$/
          for (const type of types) expect(type, `${method} ${path}`).toMatch(wanted)
        }
      }
    }
  })

  test('health, and this document, are open; nothing else is without a token', async () => {
    const open: string[] = []
    for (const route of routes) {
      const [method = '', path = ''] = route.split(' ')
      const url = path.replace(/\{name\}/, 'shop').replace(/\{\w+\}/g, '1')
      const { status } = await here.ask(url, { method, token: null })
      if (status !== 401) open.push(`${route} ${status}`)
    }
    expect(open).toEqual(['GET /-/healthy 200', 'GET /-/ready 200', 'GET /v1/openapi.json 200'])
  })
})

describe('routes', () => {
  const server = async (more: (app: App) => void): Promise<App> =>
    await createServer({
      parts: { limits: { events: {} } } as never,
      logger: pino({ level: 'silent' }),
      http: defaultHttpLimits,
      body: { gzip: false, maxDepth: 100 },
      gate: { screen() {}, count() {}, admit: async () => ({ name: 'x', role: 'admin', prefix: '' }) },
      more,
    } satisfies ServerOptions)
  test('one that declares no permission is not opened', async () => {
    const open = server((app) => {
      app.get('/v1/forgotten', { schema: { operationId: 'forgotten' } as never }, async () => 'open')
    })
    await expect(open).rejects.toThrow('GET /v1/forgotten declares no access')
  })

  test('one without a schema is not opened', async () => {
    const open = server((app) => {
      app.get('/v1/bare', { config: { access: { for: 'everyone' } } }, async () => 'open')
    })
    await expect(open).rejects.toThrow('GET /v1/bare has no schema')
  })
})
