/**
 * Puts the HTTP side together. The order in which a request is looked at, each step before anything of the next is done:
 *
 *   path → Host and Origin → how often → who → what they may → content type → body, within its limit → schema → route
 */
import type { IncomingMessage } from 'node:http'
import type { ServerOptions as TlsServerOptions } from 'node:https'
import type { Socket } from 'node:net'
import swagger from '@fastify/swagger'
import Fastify, { LogController, type FastifyBaseLogger, type FastifyReply, type FastifyRequest } from 'fastify'
import { takeBodies, type BodyOptions } from './body.ts'
import { requestId } from './caller.ts'
import type { Gate, Rates } from './gate.ts'
import { describeApi } from './openapi.ts'
import { requireAccess } from './permit.ts'
import { Problem, problemOf } from './problem.ts'
import type { App, Parts } from './route.ts'
import { agentRoutes } from './routes/agents.ts'
import { auditRoutes } from './routes/audit.ts'
import { batchRoutes } from './routes/batch.ts'
import { configRoutes } from './routes/configs.ts'
import { contentRoutes } from './routes/content.ts'
import { draftRoutes } from './routes/drafts.ts'
import { eventRoutes } from './routes/events.ts'
import { nodeRoutes } from './routes/nodes.ts'
import { operationRoutes } from './routes/operations.ts'
import { releaseRoutes } from './routes/releases.ts'
import { rolloutRoutes } from './routes/rollouts.ts'
import { targetRoutes } from './routes/targets.ts'
import { tokenRoutes } from './routes/tokens.ts'
import { refuse } from './upgrade.ts'
import { compileAnswerCheck, compileValidator } from './validate.ts'

export interface HttpLimits extends Rates {
  /** Of bodies that hold no content, in bytes. */
  readonly bodyBytes: number
  readonly connections: number
  /** From the start of the connection, or of a further request in it, to the end of the headers; also of an upgrade. */
  readonly headersTimeoutMs: number
  /** From the first byte to the last of a request. */
  readonly requestTimeoutMs: number
  readonly keepAliveMs: number
  /** So long an update waits to be in a release; afterwards it is told that it is not known. */
  readonly batchAnswerMs: number
}

export const defaultHttpLimits: HttpLimits = {
  bodyBytes: 1024 * 1024,
  connections: 20_000,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 120_000,
  keepAliveMs: 65_000,
  batchAnswerMs: 30_000,
  perAddress: { perSecond: 2_000, burst: 4_000 },
  perToken: { perSecond: 500, burst: 1_000 },
  perAgentToken: { perSecond: 10_000, burst: 20_000 },
  failures: { perSecond: 1, burst: 30 },
}

export interface ServerOptions {
  readonly parts: Parts
  readonly logger: FastifyBaseLogger
  readonly http: HttpLimits
  readonly body: BodyOptions
  readonly tls?: TlsServerOptions | undefined
  readonly gate: Gate
  /** Addresses of proxies whose X-Forwarded-For is believed. */
  readonly proxies?: readonly string[]
  /** For tests: further routes. */
  readonly more?: (app: App) => void
  /** For tests: every answer is checked against its schema. */
  readonly checkAnswers?: boolean
}

export async function createServer(options: ServerOptions): Promise<App> {
  const { parts, logger, http, tls } = options
  const bounds = {
    maxHeaderSize: 16 * 1024,
    // How often it is looked whether a request takes too long.
    connectionsCheckingInterval: Math.min(1_000, http.headersTimeoutMs),
  }
  const app = Fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true, requestIdLogLabel: 'requestId' }),
    ...(options.proxies === undefined ? {} : { trustProxy: [...options.proxies] }),
    genReqId: requestId,
    requestIdHeader: false,
    bodyLimit: http.bodyBytes,
    connectionTimeout: 0,
    requestTimeout: http.requestTimeoutMs,
    keepAliveTimeout: http.keepAliveMs,
    forceCloseConnections: 'idle',
    return503OnClosing: false,
    exposeHeadRoutes: false,
    routerOptions: { maxParamLength: 4096, ignoreTrailingSlash: false },
    frameworkErrors: (error, request, reply) => void answerProblem(error, request, reply),
    clientErrorHandler: answerBadClient,
    ...(tls === undefined
      ? { http: bounds }
      : { https: { ...tls, ...bounds, handshakeTimeout: http.headersTimeoutMs } }),
  }) as unknown as App
  app.server.maxConnections = http.connections
  app.server.headersTimeout = http.headersTimeoutMs
  app.setValidatorCompiler(compileValidator as never)
  app.setSerializerCompiler(answerWriter(options.checkAnswers === true))
  app.setErrorHandler(answerProblem)
  app.decorateRequest('principal', undefined)
  guard(app, options)
  permit(app)
  takeBodies(app as never, options.body)
  const paths = routesByPath(app)
  app.setNotFoundHandler((request, reply) => answerNoRoute(paths, request, reply))
  await app.register(swagger as never, describeApi() as never)
  await app.register(async (routes) => {
    const all = routes as unknown as App
    configRoutes(all, parts)
    contentRoutes(all, parts)
    batchRoutes(all, parts)
    releaseRoutes(all, parts)
    rolloutRoutes(all, parts)
    targetRoutes(all, parts)
    draftRoutes(all, parts)
    nodeRoutes(all, parts)
    tokenRoutes(all, parts)
    auditRoutes(all, parts)
    eventRoutes(all, parts)
    agentRoutes(all, parts)
    operationRoutes(all, parts)
    options.more?.(all)
  })
  await app.ready()
  return app
}

function guard(app: App, { parts, gate }: ServerOptions): void {
  app.addHook('onRequest', async (request, reply) => {
    reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff')
    gate.screen(request.raw)
    gate.count(request.ip)
    const { access } = request.routeOptions.config
    if (access === undefined || access.for === 'everyone') return
    if (parts.isClosing()) {
      throw new Problem('unavailable', 'it is closing', {
        holds: 'nothing was changed',
        headers: { 'retry-after': '1', connection: 'close' },
      })
    }
    request.principal = await gate.admit(request.raw, request.ip)
  })
  app.addHook('onResponse', async (request, reply) => {
    const route = request.routeOptions.url ?? 'none'
    parts.metrics.http(request.method, route, reply.statusCode, reply.elapsedTime / 1000)
    request.log.info(
      {
        method: request.method,
        route,
        config: (request.params as { name?: string } | undefined)?.name,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime * 10) / 10,
        by: request.principal?.name,
        address: request.ip,
      },
      'answered',
    )
  })
}

/** The permission is asked for before the body is read: nobody uploads what they may not publish. */
function permit(app: App): void {
  app.addHook('preParsing', async (request, _reply, payload) => {
    const { access } = request.routeOptions.config
    if (access !== undefined) requireAccess(request, access)
    return payload
  })
}

/** A route that does not say who may use it is not opened. */
function routesByPath(app: App): Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }> {
  const paths = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method, config, schema }) => {
    const methods = [method].flat()
    if (config?.access === undefined) throw new Error(`${methods.join(', ')} ${url} declares no access`)
    if (schema?.operationId === undefined) throw new Error(`${methods.join(', ')} ${url} has no schema`)
    const pattern = new RegExp(`^${url.replace(/[.\\]/g, '\\$&').replace(/:\w+/g, '[^/]+')}$`)
    const known = paths.get(url) ?? { pattern, methods: new Set() }
    for (const one of methods) known.methods.add(one)
    paths.set(url, known)
  })
  return paths
}

function answerNoRoute(
  paths: ReturnType<typeof routesByPath>,
  request: FastifyRequest,
  reply: FastifyReply,
): FastifyReply {
  const path = request.raw.url?.split('?', 1)[0] ?? ''
  const methods = [...paths.values()].filter(({ pattern }) => pattern.test(path)).flatMap((known) => [...known.methods])
  if (methods.length === 0) {
    // Who types a path for the first time takes the slashes of a name for those of the path.
    const hint = /^\/v1\/configs\/[^/]+\/[^/]/.test(path) ? '; in the name of a config slashes are %2F' : ''
    return send(reply, request, new Problem('not-found', `there is nothing under this path${hint}`))
  }
  const allow = [...new Set(methods)].sort().join(', ')
  const problem = new Problem('method-not-allowed', `the method is ${request.method}; want ${allow}`, {
    headers: { allow },
  })
  return send(reply, request, problem)
}

function answerProblem(error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const problem = problemOf(error)
  if (problem === undefined || problem.status >= 500) request.log.error({ err: error }, 'failed')
  return send(
    reply,
    request,
    problem ?? new Problem('internal', 'this should not have happened; the log has it under the request id'),
  )
}

function send(reply: FastifyReply, request: FastifyRequest, problem: Problem): FastifyReply {
  const text = JSON.stringify(problem.body(request.id, request.method))
  // What is left of a body that was refused is not read.
  if (problem.status === 413) reply.header('connection', 'close')
  return reply
    .code(problem.status)
    .headers(problem.extras.headers ?? {})
    .header('x-request-id', request.id)
    .header('cache-control', 'no-store')
    .type('application/problem+json')
    .serializer((payload: unknown) => payload as string)
    .send(text)
}

/** What is no HTTP request at all, or came too slowly: there is no route and no reply. */
function answerBadClient(error: Error & { code?: string }, socket: Socket): void {
  // Who has not come through the handshake of TLS cannot be told anything.
  const isHttp = /^(?:HPE_|ERR_HTTP_)/.test(error.code ?? '')
  if (!isHttp || !socket.writable) return void socket.destroy()
  const problem = problemOf(error) ?? new Problem('bad-request', 'this is not HTTP/1.1 as it must be')
  refuse(socket, { headers: {} } as IncomingMessage, problem)
}

function answerWriter(checkAnswers: boolean): Parameters<App['setSerializerCompiler']>[0] {
  return ({ schema, url, method, httpStatus }) => {
    if (!checkAnswers) return (answer) => JSON.stringify(answer)
    const wrong = compileAnswerCheck(schema as object)
    return (answer) => {
      const why = wrong(answer)
      if (why !== undefined) throw new Error(`${method} ${url} ${httpStatus}: the answer is not as documented: ${why}`)
      return JSON.stringify(answer)
    }
  }
}
