/** A web server that holds documents, for the benchmark of sources: PUT, GET with ETag and `Prefer: wait`, `/events`. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

const documents = new Map<string, { readonly etag: string; readonly body: Buffer }>()
const waiting = new Set<() => void>()
const streams = new Set<ServerResponse>()
let version = 0

async function put(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = Buffer.concat(await request.toArray())
  documents.set(path, { etag: `"${++version}"`, body })
  for (const wake of waiting) wake()
  for (const stream of streams) stream.write('data: look\n\n')
  response.end()
}

function get(path: string, request: IncomingMessage, response: ServerResponse): void {
  const found = documents.get(path)
  if (!found) return void response.writeHead(404).end()
  const { etag, body } = found
  if (request.headers['if-none-match'] !== etag) {
    response.writeHead(200, { 'content-type': 'application/json', etag }).end(body)
    return
  }
  if (request.headers['prefer'] === undefined) return void response.writeHead(304, { etag }).end()
  const wake = () => {
    if (documents.get(path)?.etag === etag) return
    waiting.delete(wake)
    get(path, request, response)
  }
  waiting.add(wake)
  response.on('close', () => waiting.delete(wake))
}

const server = createServer((request, response) => {
  const path = request.url ?? ''
  if (request.method === 'PUT') void put(path, request, response)
  else if (path !== '/events') get(path, request, response)
  else {
    response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n')
    streams.add(response)
    response.on('close', () => streams.delete(response))
  }
})
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
process.once('disconnect', () => process.exit())
