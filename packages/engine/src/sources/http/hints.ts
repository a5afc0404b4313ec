/** Hints that something changed, from a stream of server-sent events. What they say is not looked at. */
import { backoffMs, errorText, pause } from '../../deadline.ts'
import { open, refusal, type Peer } from '../watching/request.ts'

const firstMs = 500
const maxMs = 60_000
const headMs = 10_000

export class Hints {
  readonly #peer: Peer
  readonly #url: URL
  readonly #headers: Readonly<Record<string, string>>
  readonly #signal: AbortSignal
  readonly #warn: (message: string) => void
  #onHint: () => void = () => {}
  /** Settles when nothing of it is left. Never rejects. */
  readonly ended: Promise<void>

  /** Listens until `signal` aborts. Without the stream there are no hints; whoever waits for one needs a clock too. */
  constructor(
    peer: Peer,
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    warn: (message: string) => void,
  ) {
    this.#peer = peer
    this.#url = url
    this.#headers = headers
    this.#signal = signal
    this.#warn = warn
    this.ended = this.#listen()
  }

  /** The next hint after this call. */
  next(): Promise<void> {
    return new Promise((resolve) => (this.#onHint = resolve))
  }

  async #listen(): Promise<void> {
    for (let failures = 0; !this.#signal.aborted; failures++) {
      try {
        const isHeard = await this.#readOne()
        if (isHeard) failures = 0
      } catch (error) {
        if (this.#signal.aborted) return
        if (failures === 0) this.#warn(`has no hints, and is asked now and then: ${errorText(error)}`)
      }
      await pause(backoffMs(failures, firstMs, maxMs), this.#signal)
    }
  }

  /** @returns whether an event came */
  async #readOne(): Promise<boolean> {
    const headers = { ...this.#headers, accept: 'text/event-stream', 'cache-control': 'no-cache' }
    const response = await open(this.#peer, { url: this.#url, headers, signal: this.#signal, limitMs: headMs })
    try {
      const status = response.statusCode ?? 0
      if (status !== 200) throw refusal({ url: this.#url, status, headers: response.headers })
      const type = response.headers['content-type'] ?? ''
      if (!/^text\/event-stream\b/i.test(type)) {
        throw new Error(`${this.#url.origin}${this.#url.pathname} is ${type || 'of no type'}; want text/event-stream`)
      }
      // What came while nobody listened is not told again.
      this.#onHint()
      let isHeard = false
      let line = ''
      for await (const chunk of response as AsyncIterable<Buffer>) {
        const lines = (line + chunk.toString('latin1')).split(/\r\n|\n|\r/)
        line = (lines.pop() ?? '').slice(0, 16) // enough to tell a field
        if (!lines.some((one) => /^(data|event|id)\b/.test(one))) continue
        isHeard = true
        this.#onHint()
      }
      return isHeard
    } finally {
      response.destroy()
    }
  }
}
