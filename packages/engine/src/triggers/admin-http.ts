/**
 * The HTTP door: asks for reloads and shows what runs, for people with curl, for `midflight` on the command line, for
 * Prometheus. Here is how it listens, whom it lets in and how it reads and answers; what can be asked is in
 * `admin-http/routes.ts`. It is plain HTTP: where others should reach it, TLS goes before it.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { Endpoint, Lifecycle, OpenEndpoint } from '../trigger.ts'
import { bearerCheck, checkPort, hostPort } from './access.ts'
import { refusal, type Listening } from './admin-http/caller.ts'
import { streamEvents } from './admin-http/event-stream.ts'
import { closeServer, listenTcp, listenUnix } from './admin-http/listen.ts'
import { askedReloads } from './admin-http/reloads.ts'
import { problemReply, type Reply } from './admin-http/reply.ts'
import { BadQuery, checkQuery, routeFor, type Doorway, type StreamFrom } from './admin-http/routes.ts'

export interface AdminHttpOptions {
  /** TCP port, 0 to 65535; 0 takes a free one. Without it the door is on `socket` only. */
  readonly port?: number
  /** Where `port` is bound; `127.0.0.1` by default. Anything that is not loopback needs a `token`. */
  readonly host?: string
  /** Path of a unix socket, made with mode 0600. */
  readonly socket?: string
  /** Whether `/-/reload` and `/-/plan` work. Off by default: then they answer 403. */
  readonly lifecycle?: boolean
  /** Needed as `Authorization: Bearer …` for all but `/-/healthy` and `/-/ready`. Visible ASCII, no spaces. */
  readonly token?: string
  /** Further names by which callers may address this door: `admin.example.com`, `pod-7:8443`. */
  readonly allowedHosts?: readonly string[]
  /** Milliseconds that `close()` waits for running requests before it cuts them; 5000 by default. */
  readonly closeDeadlineMs?: number
  readonly limits?: Partial<AdminHttpLimits>
}

export interface AdminHttpLimits {
  /** Connections at once; more are not taken. 100. */
  readonly connections: number
  /** Readers of `/events` at once; more get 503. 32. */
  readonly eventStreams: number
  /** For the headers, from the first byte. 10 000 ms. */
  readonly headersTimeoutMs: number
  /** For the whole request with its body, and for a reader that takes nothing of its answer. 30 000 ms. */
  readonly requestTimeoutMs: number
  /** Distance of the comments that keep an event stream open. 15 000 ms. */
  readonly heartbeatMs: number
}

const defaultLimits: AdminHttpLimits = {
  connections: 100,
  eventStreams: 32,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  heartbeatMs: 15_000,
}

const maxBodyBytes = 64 * 1024
const maxHeaderBytes = 16 * 1024
const maxUrlLength = 2048

/**
 * An endpoint for HTTP on `port`, on `socket`, or on both.
 * @throws TypeError or RangeError at the call, for options that make no sense. Opening rejects if an address is
 *   taken, or if others could reach it and there is no token.
 */
export function adminHttp(options: AdminHttpOptions): Endpoint {
  const { port, host = '127.0.0.1', socket } = options
  if (port === undefined && socket === undefined) throw new TypeError('adminHttp: want a port, a socket or both')
  if (port !== undefined) checkPort('adminHttp', port)
  if (host === '' || socket === '') throw new TypeError(`adminHttp: ${host === '' ? 'host' : 'socket'} is empty`)
  const permits = bearerCheck('adminHttp', options.token)
  return { name: 'admin HTTP', open: (engine) => open(engine, options, permits) }
}

async function open(
  engine: Lifecycle,
  options: AdminHttpOptions,
  permits: (authorization: string | undefined) => boolean,
): Promise<OpenEndpoint> {
  const { port, host = '127.0.0.1', socket, token } = options
  const limits = { ...defaultLimits, ...options.limits }
  const doorway: Doorway = { engine, asked: askedReloads(), lifecycle: options.lifecycle ?? false }
  const streams = new Set<ServerResponse>()
  let closing = false

  const answer = async (request: IncomingMessage, at: Listening): Promise<Reply | StreamFrom> => {
    const foreign = refusal(request, at, options.allowedHosts ?? [])
    if (foreign !== undefined) return problemReply(403, 'foreign-host-or-origin', foreign)
    const { url = '', method = '' } = request
    if (url.length > maxUrlLength)
      return problemReply(414, 'uri-too-long', `the URL has ${url.length} characters; want at most ${maxUrlLength}`)
    if (!url.startsWith('/')) return problemReply(400, 'bad-request', 'want a path that starts with "/"')

    const [path = '', search = ''] = url.split(/\?(.*)/s)
    const route = routeFor(path)
    if (route?.open === undefined && !permits(request.headers.authorization)) {
      return problemReply(401, 'unauthorized', 'want Authorization: Bearer and the token', {
        headers: { 'www-authenticate': 'Bearer' },
      })
    }
    if (route === undefined) return problemReply(404, 'not-found', 'nothing is here; / lists what there is')
    if (!route.methods.includes(method)) {
      const allow = route.methods.join(', ')
      return problemReply(405, 'method-not-allowed', `${method} does nothing here; want ${allow}`, {
        headers: { allow },
      })
    }
    const query = new URLSearchParams(search)
    checkQuery(query, route.query)
    const lastEventId = request.headers['last-event-id']
    return route.answer(
      {
        path,
        query,
        accept: request.headers.accept,
        lastEventId: typeof lastEventId === 'string' ? lastEventId : undefined,
      },
      doorway,
    )
  }

  const serve = async (request: IncomingMessage, response: ServerResponse, at: Listening): Promise<void> => {
    response.setHeader('x-content-type-options', 'nosniff')
    response.setHeader('cache-control', 'no-store')
    if (!(await bodyTaken(request))) {
      if (request.destroyed) return
      return refuseBody(request, response)
    }
    const reply = await answer(request, at).catch((error: unknown) => {
      if (error instanceof BadQuery) return problemReply(400, 'bad-request', error.message)
      return problemReply(500, 'internal', error instanceof Error ? error.message : String(error))
    })
    if ('status' in reply) return send(response, reply, limits.requestTimeoutMs, closing)
    if (closing || streams.size >= limits.eventStreams) {
      const busy = problemReply(503, 'busy', `there are ${streams.size} readers of events already`, {
        headers: { 'retry-after': '5' },
      })
      return send(response, busy, limits.requestTimeoutMs, closing)
    }
    if (request.method === 'HEAD')
      return send(response, { status: 200, type: 'text/event-stream', body: '' }, limits.requestTimeoutMs, closing)
    streams.add(response)
    const times = { heartbeatMs: limits.heartbeatMs, stallMs: limits.requestTimeoutMs }
    await streamEvents(response, engine.events, reply.streamAfter, times).finally(() => streams.delete(response))
  }

  const serverAt = (at: () => Listening): Server => {
    const server = createServer(
      {
        maxHeaderSize: maxHeaderBytes,
        headersTimeout: Math.min(limits.headersTimeoutMs, limits.requestTimeoutMs),
        requestTimeout: limits.requestTimeoutMs,
        connectionsCheckingInterval: Math.min(limits.headersTimeoutMs, 2000),
      },
      // What is thrown here is a bug or a reader that went away in the middle; either way this connection is over.
      (request, response) => void serve(request, response, at()).catch((error: Error) => response.destroy(error)),
    )
    server.maxConnections = limits.connections
    return server
  }

  const addresses: string[] = []
  const closers: (() => Promise<void>)[] = []
  const close = async () => {
    closing = true
    for (const stream of streams) stream.end()
    await Promise.all(closers.map((closer) => closer()))
  }
  try {
    if (port !== undefined) {
      let boundPort = port
      const server = serverAt(() => ({ port: boundPort, host }))
      boundPort = await listenTcp(server, host, port, token)
      closers.push(() => closeServer(server, options.closeDeadlineMs ?? 5000))
      addresses.push(`http://${hostPort(host, boundPort)}`)
    }
    if (socket !== undefined) {
      const server = serverAt(() => ({}))
      closers.push(() => closeServer(server, options.closeDeadlineMs ?? 5000))
      const remove = await listenUnix(server, socket)
      closers.push(remove)
      addresses.push(`unix:${socket}`)
    }
  } catch (error) {
    await close()
    throw error
  }
  return { address: addresses.join(', '), close }
}

/** No route takes a body. A small one is read and ignored; resolves with `false` if it is too large or breaks off. */
async function bodyTaken(request: IncomingMessage): Promise<boolean> {
  if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) return false
  return new Promise((resolve) => {
    let sizeBytes = 0
    request.on('data', (chunk: Buffer) => {
      sizeBytes += chunk.length
      if (sizeBytes > maxBodyBytes) resolve(false)
    })
    request.once('end', () => resolve(true))
    request.once('close', () => resolve(false))
  })
}

const lingerMs = 500

/**
 * Answers while the caller is still sending, and reads on for a moment before it closes: closed at once, the
 * connection would be reset, and the caller might never see why.
 */
function refuseBody(request: IncomingMessage, response: ServerResponse): void {
  const { status, type, body } = problemReply(
    413,
    'too-large',
    `the body is larger than ${maxBodyBytes} bytes; none is needed`,
  )
  response.writeHead(status, { 'content-type': type, 'content-length': Buffer.byteLength(body), connection: 'close' })
  response.write(body)
  request.resume()
  const timer = setTimeout(() => response.end(), lingerMs)
  request.once('end', () => response.end())
  response.once('close', () => clearTimeout(timer))
}

function send(response: ServerResponse, reply: Reply, stallMs: number, last: boolean): void {
  // A reader that takes nothing of its answer must not hold a connection for ever. Node resets this for the next request.
  response.socket?.setTimeout(stallMs)
  if (last) response.setHeader('connection', 'close')
  response.writeHead(reply.status, {
    ...reply.headers,
    'content-type': reply.type,
    'content-length': Buffer.byteLength(reply.body),
  })
  response.end(reply.body)
}
