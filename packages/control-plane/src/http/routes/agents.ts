/** The protocol over plain HTTP, for agents that cannot hold a WebSocket. What is said, the hub decides; see docs/protocol.md. */
import type { FastifyRequest } from 'fastify'
import { agentMessage, mismatchText, type AgentMessage, type Hello, type Report } from 'midflight/protocol'
import Type from 'typebox'
import { json } from '../body.ts'
import { principalOf } from '../permit.ts'
import { noConfig, Problem } from '../problem.ts'
import type { App, Parts } from '../route.ts'
import { answers, AnyJson, NameParams, Uuid } from '../schemas.ts'

const tags = ['agents']
const maxMessageBytes = 64 * 1024

export function agentRoutes(app: App, { hub }: Parts): void {
  app.get(
    '/v1/agent/:name/poll',
    {
      config: { access: { for: 'config', permission: 'connect' } },
      schema: {
        operationId: 'pollRelease',
        summary: 'Waits for a newer release than `index`; 304 if none came',
        tags,
        params: NameParams,
        querystring: Type.Object(
          {
            uid: Type.Optional(Uuid),
            index: Type.Optional(Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })),
            wait: Type.Optional(
              Type.String({ pattern: '^(0|[1-9]\\d{0,3})s$', description: 'seconds such as 30s, at most 9999s' }),
            ),
            whole: Type.Optional(Type.Literal('1')),
            vote: Type.Optional(Type.Literal('1', { description: 'may be asked to prepare a release, and votes' })),
          },
          { additionalProperties: false },
        ),
        response: answers({ 200: AnyJson, 304: Type.Null() }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const { uid, index = 0, wait = '0s', whole, vote } = request.query
      const left = new AbortController()
      reply.raw.once('close', () => left.abort())
      const answer = await hub.poll({
        config: name,
        identity: principalOf(request),
        index,
        waitMs: Number.parseInt(wait, 10) * 1000,
        whole: whole === '1',
        votes: vote === '1',
        ifNoneMatch: request.headers['if-none-match'],
        uid,
        signal: left.signal,
      })
      if (answer.kind === 'unknown-config') throw noConfig(name)
      if (answer.kind === 'busy') throw busy(answer.retryAfterMs)
      reply.header('x-midflight-index', String(answer.index)).header('x-midflight-poll-ms', String(answer.pollMs))
      if (answer.kind === 'unchanged') return reply.code(304).send()
      return reply
        .header('etag', answer.etag)
        .header('cache-control', 'no-store')
        .type(json)
        .serializer((body: Buffer) => body as never)
        .send(answer.body)
    },
  )

  app.post(
    '/v1/agent/:name/heartbeat',
    {
      bodyLimit: maxMessageBytes,
      config: { access: { for: 'config', permission: 'connect' }, consumes: [json] },
      schema: {
        operationId: 'sayHello',
        summary: 'A node says who it is and what it runs: a `hello`, answered with a `welcome`',
        tags,
        params: NameParams,
        body: AnyJson,
        response: answers({ 200: AnyJson }),
      },
    },
    async (request) => {
      const { name } = request.params
      const hello = messageIn(request, 'hello') as Hello
      if (hello.config !== name) {
        throw new Problem('bad-request', `the hello is for ${hello.config}, and the path for ${name}`)
      }
      const told = await hub.hello(hello, principalOf(request))
      if (told.kind === 'unknown-config') throw noConfig(name)
      if (told.kind === 'duplicate-node') {
        throw new Problem('exists', `the uid ${hello.uid} is another node's; each process has its own`)
      }
      return told.welcome
    },
  )

  app.post(
    '/v1/agent/:name/report',
    {
      bodyLimit: maxMessageBytes,
      config: { access: { for: 'config', permission: 'connect' }, consumes: [json] },
      schema: {
        operationId: 'sayReport',
        summary: 'A node says how it goes with a release',
        tags,
        params: NameParams,
        querystring: Type.Object({ uid: Uuid }, { additionalProperties: false }),
        body: AnyJson,
        response: answers({ 204: Type.Null() }),
      },
    },
    async (request, reply) => {
      const { name } = request.params
      const report = messageIn(request, 'report') as Report
      const told = await hub.report(name, request.query.uid, report, principalOf(request))
      if (told === 'unknown-config') throw noConfig(name)
      if (told === 'unknown-node') {
        throw new Problem('not-found', `no node ${request.query.uid} of ${name} is known; say hello first`)
      }
      if (told !== 'ok') throw new Problem('bad-request', `release ${report.number} was never sent; nothing to report`)
      return reply.code(204).send()
    },
  )
}

function messageIn(request: FastifyRequest, type: AgentMessage['type']): AgentMessage {
  const wrong = agentMessage.mismatch(request.body, [])
  if (wrong !== undefined) throw new Problem('bad-request', mismatchText(wrong))
  const message = request.body as AgentMessage
  if (message.type !== type) throw new Problem('bad-request', `the message is a ${message.type}; want a ${type}`)
  return message
}

function busy(retryAfterMs: number): Problem {
  return new Problem('busy', 'too many come at this moment', {
    headers: { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) },
  })
}
