/** How a request to upgrade is refused: an answer as any other, written by hand, since there is no reply object for it. */
import { STATUS_CODES, type IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { requestId } from './caller.ts'
import type { Problem } from './problem.ts'

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
