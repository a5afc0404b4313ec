/** A little traffic: the upstreams that the gateways stand before, and requests to each of them now and then. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

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

/** Asks each address every `everyMs` milliseconds, one request at a time, until it is ended. */
export class Trickle {
  private readonly over = new AbortController()
  private readonly done: Promise<unknown>
  private answers = new Map<string, number>()

  constructor(addresses: readonly string[], everyMs: number) {
    this.done = Promise.all(addresses.map((address) => this.ask(address, everyMs)))
  }

  /** `78 × 200, 12 × 429`: what was answered since it was last asked for. */
  answersText(): string {
    const counted = [...this.answers].toSorted(([a], [b]) => a.localeCompare(b))
    this.answers = new Map()
    return counted.map(([status, count]) => `${count} × ${status}`).join(', ') || 'none'
  }

  /** Resolves when the last requests have been answered. */
  async end(): Promise<void> {
    this.over.abort()
    await this.done
  }

  private async ask(address: string, everyMs: number): Promise<void> {
    const { signal } = this.over
    while (!signal.aborted) {
      const status = await fetch(`${address}/api/users`).then(
        async (answer) => (await answer.arrayBuffer(), String(answer.status)),
        () => 'no answer',
      )
      this.answers.set(status, (this.answers.get(status) ?? 0) + 1)
      // Cut short by the end.
      await sleep(everyMs, undefined, { signal }).catch(() => undefined)
    }
  }
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
