/**
 * Requests to upgrade: looked at as others are, and handed to delivery or refused: with an answer as any other, written
 * by hand, since there is no reply object for it.
 */
import { STATUS_CODES, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { requestId } from './caller.ts'
import type { Principal } from '../access.ts'
import type { Hub } from '../push/delivery.ts'
import type { Gate } from './gate.ts'
import { Problem, problemOf } from './problem.ts'
import type { App } from './route.ts'

/** The one upgrade that there is; looked at as requests are. */
export function takeUpgrades(app: App, hub: Hub, gate: Gate): void {
  // Some clients offer h2c with every request (Java's does by default): RFC 9110, 7.8 lets an offer be passed over. A
  // Node that does not know this takes each for an upgrade, and they are answered with 404.
  Object.assign(app.server, {
    shouldUpgradeCallback: ({ headers }: IncomingMessage) => /\bwebsocket\b/i.test(headers.upgrade ?? ''),
  })
  app.server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    // A caller that goes away while it is looked at is nobody's mistake.
    socket.on('error', () => socket.destroy())
    admit(request).then(
      (principal) => hub.attach(request, socket, head, principal),
      (error: unknown) => {
        const problem = problemOf(error)
        if (problem === undefined || problem.status >= 500) app.log.error({ err: error }, 'upgrade failed')
        refuse(socket, request, problem ?? new Problem('internal', 'this should not have happened'))
      },
    )
  })

  async function admit(request: IncomingMessage): Promise<Principal> {
    gate.screen(request)
    if (request.url?.split('?', 1)[0] !== '/v1/agent/connect') {
      throw new Problem('not-found', 'there is nothing to connect to under this path; want /v1/agent/connect')
    }
    if (request.method !== 'GET')
      throw new Problem('method-not-allowed', 'the method is not GET', { headers: { allow: 'GET' } })
    return await gate.admit(request, request.socket.remoteAddress ?? '')
  }
}

export function refuse(socket: Duplex, request: IncomingMessage, problem: Problem): void {
  const id = requestId(request)
  const text = JSON.stringify(problem.body(id))
  const headers = {
    connection: 'close',
    'content-type': 'application/problem+json',
    'content-length': String(Buffer.byteLength(text)),
    'x-request-id': id,
    ...problem.extras.headers,
  }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`)
  socket.end(`HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}\r\n${lines.join('\r\n')}\r\n\r\n${text}`)
}
