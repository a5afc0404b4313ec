/** A gateway on a configuration file of its own, in front of an upstream that does what its path says. */
import { once } from 'node:events'
import { mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Outcome } from 'midflight'
import { onTestFinished } from 'vitest'
import { startGateway } from '../src/gateway.ts'

export type Answer = (request: IncomingMessage, response: ServerResponse) => void

const echo: Answer = (request, response) => {
  response.setHeader('content-type', 'application/json')
  response.end(JSON.stringify({ url: request.url, headers: request.headers }))
}

/** Closed when the test is over. */
export async function upstream(answer: Answer = echo): Promise<string> {
  const server = createServer(answer)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.close()
    server.closeAllConnections()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

export interface Rule {
  id: string
  resource: string
  limit: number
  per: string
  expiresAt?: string
}

/** As the file has it: open to change, also to what the schema refuses. */
export function config(url: string) {
  return {
    server: { host: '127.0.0.1', port: 0 },
    log: { level: 'info', format: 'json', destination: 'gateway.log' },
    upstreams: { users: { url } } as Record<string, object>,
    routes: [{ path: '/api/users', upstream: 'users' }],
    rules: [
      { id: 'r1', resource: 'api:GET:/api/users', limit: 1000, per: 'minute' },
      { id: 'r2', resource: 'service:order', limit: 200, per: 'second' },
    ] as Rule[],
    plugins: {} as Record<string, object>,
  }
}

export async function running(first: object, options: { readonly now?: () => number } = {}) {
  const dir = await mkdtemp(join(tmpdir(), 'gateway-'))
  onTestFinished(() => rm(dir, { recursive: true, force: true }))
  const configFile = join(dir, 'gateway.json')
  const write = async (text: string) => {
    await writeFile(`${configFile}.new`, text)
    await rename(`${configFile}.new`, configFile)
  }
  await write(JSON.stringify(first))
  const gateway = await startGateway({ configFile, stateDir: join(dir, 'state'), adminPort: 0, ...options })
  onTestFinished(() => gateway.close())
  const { engine, address, adminAddress } = gateway

  /** Writes the file and reloads. The watcher may have been quicker: then its outcome counts. */
  const save = async (text: string): Promise<Outcome> => {
    let watched: Outcome | undefined
    const unsubscribe = engine.events.subscribe((event) => {
      if (event.kind === 'reload' && event.outcome.kind !== 'unchanged') watched = event.outcome
    })
    await write(text)
    const outcome = await engine.reload()
    unsubscribe()
    return outcome.kind === 'unchanged' && watched ? watched : outcome
  }
  return {
    dir,
    gateway,
    engine,
    address,
    adminAddress,
    save,
    edit: (next: object) => save(JSON.stringify(next)),
    get: (path: string, init: RequestInit = {}) => fetch(`${address}${path}`, init),
    statuses: async (path: string, count: number) => {
      const seen: number[] = []
      for (let i = 0; i < count; i++) {
        const response = await fetch(`${address}${path}`)
        await response.arrayBuffer()
        seen.push(response.status)
      }
      return seen
    },
    limits: async () => (await (await fetch(`${address}/_limits`)).json()) as Record<string, unknown>[],
    logged: async (name = 'gateway.log') => readFile(join(dir, name), 'utf8'),
  }
}

/** Resolves from outside. */
export function latch<T = void>() {
  return Promise.withResolvers<T>()
}
