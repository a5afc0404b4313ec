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

export interface Asked {
  readonly name: string
  readonly address: string
}

/** Asks each gateway every `everyMs` milliseconds, one request at a time, until it is ended. */
export class Trickle {
  private readonly over = new AbortController()
  private readonly done: Promise<unknown>
  private readonly answers = new Map<string, Map<string, number>>()

  constructor(gateways: readonly Asked[], everyMs: number) {
    this.done = Promise.all(gateways.map((one) => this.ask(one, everyMs)))
  }

  /** `78 × 200`, `12 × 429`: what this one has answered since it was last asked for. */
  answerTexts(name: string): string[] {
    const counted = [...(this.answers.get(name) ?? [])].toSorted(([a], [b]) => a.localeCompare(b))
    this.answers.delete(name)
    return counted.map(([status, count]) => `${count} × ${status}`)
  }

  /** Resolves when the last requests have been answered. */
  async end(): Promise<void> {
    this.over.abort()
    await this.done
  }

  private async ask({ name, address }: Asked, everyMs: number): Promise<void> {
    const { signal } = this.over
    while (!signal.aborted) {
      const status = await fetch(`${address}/api/users`).then(
        async (answer) => (await answer.arrayBuffer(), String(answer.status)),
        () => 'no answer',
      )
      const answers = this.answers.get(name) ?? new Map<string, number>()
      this.answers.set(name, answers.set(status, (answers.get(status) ?? 0) + 1))
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

/** `release 2, 37 of 1000`: what it runs, and of this minute so many requests, as the gateway itself says. */
export async function counterText({ address }: Asked, rule: string): Promise<string> {
  try {
    const signal = AbortSignal.timeout(2000)
    const ask = async (path: string): Promise<unknown> => (await fetch(`${address}${path}`, { signal })).json()
    const [limits, traffic] = await Promise.all([ask('/_limits'), ask('/_traffic')])
    const found = (limits as Counter[]).find(({ id }) => id === rule)
    const { release } = traffic as { release: number | null }
    return `release ${release ?? '?'}, ${found ? `${found.counted} of ${found.limit}` : `no rule ${rule}`}`
  } catch {
    return 'away'
  }
}
