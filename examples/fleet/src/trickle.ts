/** A little traffic: the upstreams that the gateways stand before, and requests to each of them now and then. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface Upstream {
  readonly url: string
  close(): Promise<void>
}

export async function upstream(name: string): Promise<Upstream> {
  const server = createServer((request, response) => {
    response.setHeader('content-type', 'application/json')
    response.end(`${JSON.stringify({ upstream: name, path: request.url })}\n`)
    request.resume()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async close() {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    },
  }
}

/**
 * Asks each address every `everyMs` milliseconds, one request at a time, until `signal` aborts.
 * @returns resolves when the last requests have been answered
 */
export async function trickle(addresses: readonly string[], everyMs: number, signal: AbortSignal): Promise<void> {
  await Promise.all(
    addresses.map(async (address) => {
      while (!signal.aborted) {
        await fetch(`${address}/api/users`).then(
          (answer) => answer.arrayBuffer(),
          // A node that was ended by hand: it is said where its end is noticed.
          () => undefined,
        )
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, everyMs)
          signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
        })
      }
    }),
  )
}

interface Counter {
  readonly id: string
  readonly limit: number
  readonly counted: number
}

/** `a 37 of 1000`, as the gateway itself says. */
export async function counterText(name: string, address: string, rule: string): Promise<string> {
  try {
    const limits = (await (await fetch(`${address}/_limits`)).json()) as Counter[]
    const found = limits.find(({ id }) => id === rule)
    return found ? `${name} ${found.counted} of ${found.limit}` : `${name} no rule`
  } catch {
    return `${name} away`
  }
}
