/** A web server that holds documents, as the conformance suite and the tests of `http()` need it. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { TcpProxy } from './tcp-proxy.ts'

export type Answering = (request: IncomingMessage, response: ServerResponse) => void

export class WebServer {
  readonly documents = new Map<string, Uint8Array>()
  /** Takes the place of the usual answer. */
  answering: Answering | undefined
  /** What was asked. */
  readonly requests: IncomingMessage[] = []
  #end: (() => Promise<void>) | undefined
  #port = 0
  #proxy: TcpProxy | undefined
  readonly #waiting = new Set<() => void>()
  readonly #streams = new Set<ServerResponse>()

  static async listen(): Promise<WebServer> {
    const web = new WebServer()
    await web.start()
    web.#proxy = await TcpProxy.listen(web.#port)
    return web
  }

  get proxy(): TcpProxy {
    return this.#proxy as TcpProxy
  }

  url(path: string): string {
    return `${this.proxy.url}/${path}`
  }

  async start(): Promise<void> {
    const server = createServer((request, response) => {
      this.requests.push(request)
      if (this.answering) this.answering(request, response)
      else this.answer(request, response)
    })
    server.listen(this.#port, '127.0.0.1')
    await once(server, 'listening')
    this.#port = (server.address() as AddressInfo).port
    this.#end = async () => {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }

  async stop(): Promise<void> {
    const end = this.#end
    this.#end = undefined
    await end?.()
  }

  put(path: string, bytes: Uint8Array): void {
    this.documents.set(path, bytes)
    for (const wake of this.#waiting) wake()
    for (const stream of this.#streams) stream.write('data: look\n\n')
  }

  answer(request: IncomingMessage, response: ServerResponse): void {
    const path = (request.url ?? '').slice(1)
    if (path === 'events') {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': hello\n\n')
      this.#streams.add(response)
      response.on('close', () => this.#streams.delete(response))
      return
    }
    const bytes = this.documents.get(path)
    if (!bytes) {
      response.writeHead(404).end('not found')
      return
    }
    const etag = `"${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}"`
    if (request.headers['if-none-match'] !== etag) {
      response.writeHead(200, { 'content-type': 'application/json', etag }).end(bytes)
      return
    }
    const waitMs = 1000 * Number(/wait=(\d+)/.exec(String(request.headers['prefer'] ?? ''))?.[1] ?? 0)
    if (waitMs === 0) {
      response.writeHead(304, { etag }).end()
      return
    }
    const over = () => {
      clearTimeout(timer)
      this.#waiting.delete(over)
      if (response.destroyed) return
      request.headers['prefer'] = ''
      this.answer(request, response)
    }
    const timer = setTimeout(over, waitMs)
    this.#waiting.add(over)
    response.on('close', () => {
      clearTimeout(timer)
      this.#waiting.delete(over)
    })
  }

  async close(): Promise<void> {
    await this.proxy.close()
    await this.stop()
  }
}
