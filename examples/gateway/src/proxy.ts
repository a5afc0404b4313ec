/**
 * One request on its way to an upstream and back, streamed in both directions. It takes the live configuration once,
 * with the rules and the pool that belong to it, and stays with that version, however many reloads come meanwhile.
 */
import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from 'node:http'
import { errors, type Dispatcher } from 'undici'
import type { Config } from './config.ts'
import type { Log } from './logging.ts'
import type { Exchange, PlugIn } from './plugins.ts'
import type { Router } from './routes.ts'
import type { Rules, Verdict } from './rules.ts'
import type { Ending, Traffic } from './traffic.ts'
import type { Upstream } from './upstreams.ts'

export interface ProxyParts {
  live(): Config
  readonly router: Router
  readonly rules: Rules
  readonly upstreams: ReadonlyMap<string, Upstream>
  readonly plugins: ReadonlyMap<string, PlugIn>
  readonly traffic: Traffic
  /** The number of the release that is live, for a node of a fleet. */
  release?(): number | undefined
  readonly log: Log
}

/** They are about one connection, not about the message (RFC 9110, 7.6.1). `expect` Node has answered already. */
const hopByHop = new Set([
  ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection'],
  ...['te', 'trailer', 'transfer-encoding', 'upgrade', 'expect'],
])

export function proxy(parts: ProxyParts): (request: IncomingMessage, response: ServerResponse) => void {
  const { log, traffic } = parts
  return (request, response) => {
    const began = performance.now()
    const live = parts.live()
    const { method = '', url = '' } = request
    response.once('close', () => {
      const ms = Math.round((performance.now() - began) * 10) / 10
      const status = response.writableFinished ? response.statusCode : 'aborted'
      log.write('info', `${method} ${url}`, { status, ms })
    })
    answer(parts, live, request, response).then(
      (ending) => {
        if (ending) traffic.count(live, ending)
      },
      (error: unknown) => {
        const message = error instanceof Error ? error.message : String(error)
        log.write('error', `${method} ${url} failed: ${message}`)
        traffic.count(live, 'failed')
        refuse(response, 500, 'the gateway failed')
      },
    )
  }
}

/** @returns how it ended, unless that says nothing of how the gateway is: it has no route, or the caller went away. */
async function answer(
  parts: ProxyParts,
  live: Config,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<Ending | undefined> {
  const { method = 'GET', url = '/' } = request
  const path = url.split('?', 1)[0] as string
  if (path === '/_limits' && method === 'GET') return show(response, await parts.rules.shown())
  if (path === '/_traffic' && method === 'GET') {
    return show(response, { release: parts.release?.() ?? null, ...parts.traffic.shown() })
  }

  const name = parts.router.upstreamFor(live.routes, path)
  const upstream = name === undefined ? undefined : parts.upstreams.get(name)
  if (!upstream) {
    refuse(response, 404, `no route for ${path}`)
    return undefined
  }
  const exchange: Exchange = { requestHeaders: requestHeaders(request, upstream), responseHeaders: {} }
  for (const plugIn of parts.plugins.values()) plugIn(exchange)

  const verdict = await parts.rules.count([`api:${method}:${path}`, `service:${upstream.name}`])
  if (verdict) Object.assign(exchange.responseHeaders, limitHeaders(verdict))
  if (verdict?.allowed === false) {
    refuse(response, 429, `rule ${verdict.ruleId} allows ${verdict.limit}`, exchange.responseHeaders)
    return 'refused'
  }
  return passOn(upstream, request, response, exchange, parts.log)
}

async function passOn(
  upstream: Upstream,
  request: IncomingMessage,
  response: ServerResponse,
  { requestHeaders: headers, responseHeaders }: Exchange,
  log: Log,
): Promise<Ending | undefined> {
  const gone = new AbortController()
  const onClose = () => {
    // With an error it was undici that closed it: the upstream broke off, and the client is still there.
    if (!response.writableFinished && !response.errored) gone.abort()
  }
  response.once('close', onClose)
  const hasBody = 'content-length' in request.headers || 'transfer-encoding' in request.headers
  try {
    await upstream.pool.stream(
      {
        method: (request.method ?? 'GET') as Dispatcher.HttpMethod,
        path: request.url ?? '/',
        headers,
        body: hasBody ? request : null,
        signal: gone.signal,
      },
      ({ statusCode, headers: answered }) => {
        response.writeHead(statusCode, { ...endToEnd(answered), ...responseHeaders })
        return response
      },
    )
    return response.statusCode < 500 ? 'answered' : 'failed'
  } catch (error) {
    if (gone.signal.aborted) return undefined
    const status =
      error instanceof errors.HeadersTimeoutError || error instanceof errors.ConnectTimeoutError ? 504 : 502
    const reason = error instanceof Error ? error.message : String(error)
    log.write('warn', `upstream ${upstream.name} failed: ${reason}`, { status })
    refuse(response, status, `upstream ${upstream.name} ${status === 504 ? 'did not answer in time' : 'failed'}`)
    return 'failed'
  } finally {
    response.off('close', onClose)
  }
}

function requestHeaders(request: IncomingMessage, { authorization }: Upstream): Exchange['requestHeaders'] {
  const { host, ...headers } = endToEnd(request.headers)
  const caller = request.socket.remoteAddress ?? 'unknown'
  const before = request.headers['x-forwarded-for']
  headers['x-forwarded-for'] = before === undefined ? caller : `${String(before)}, ${caller}`
  headers['x-forwarded-proto'] = 'http'
  if (host !== undefined) headers['x-forwarded-host'] = host
  if (authorization !== undefined) headers['authorization'] = authorization
  return headers
}

function endToEnd(headers: IncomingHttpHeaders): Record<string, string | string[]> {
  const named = headers.connection?.toLowerCase().split(/\s*,\s*/) ?? []
  const kept: Record<string, string | string[]> = {}
  for (const name in headers) {
    const value = headers[name]
    if (value !== undefined && !hopByHop.has(name) && !named.includes(name)) kept[name] = value
  }
  return kept
}

function limitHeaders({ allowed, limit, remaining, resetMs }: Verdict): Record<string, string> {
  const reset = String(Math.max(Math.ceil(resetMs / 1000), 0))
  return {
    'x-ratelimit-limit': String(limit),
    'x-ratelimit-remaining': String(remaining),
    'x-ratelimit-reset': reset,
    ...(!allowed && { 'retry-after': reset }),
  }
}

function show(response: ServerResponse, what: object): undefined {
  const body = JSON.stringify(what, null, 2)
  response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'no-store' }).end(`${body}\n`)
}

/** Once the answer has begun, all that is left is to break it off. */
function refuse(response: ServerResponse, status: number, why: string, headers: Record<string, string> = {}): void {
  if (response.headersSent) response.destroy()
  else response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...headers }).end(`${why}\n`)
}
