/** What is known of the control plane at the moment: when it was heard, the pace that it wants, and why it is away. */
import { errorText } from '../deadline.ts'
import { defaultPacing, type Pacing } from './connection.ts'
import { NotTakenError } from './request.ts'

/** So many reasons of one outage are told. */
const maxReasons = 5
/** Who was reached cannot be said to be away. */
export const notTaken = 'the control plane does not take this node'

export class Contact {
  readonly #warn: (message: string) => void
  readonly #lost = new Set<string>()
  #pacing: Pacing = defaultPacing
  #at: Date | undefined
  #heardAtMs = 0

  constructor(warn: (message: string) => void) {
    this.#warn = warn
  }

  get pacing(): Pacing {
    return this.#pacing
  }

  /** When it was last heard; `undefined`: never. */
  get at(): Date | undefined {
    return this.#at
  }

  /** By a clock that only goes forward. */
  get silentMs(): number {
    return performance.now() - this.#heardAtMs
  }

  heard(): void {
    this.#heardAtMs = performance.now()
    this.#at = new Date()
  }

  take({ heartbeatMs, leaseMs, pollMs }: Pacing): void {
    this.#pacing = { heartbeatMs, leaseMs, pollMs }
  }

  /** Each reason once for each time that it is lost, not for every try. */
  lost(reason: string, what = 'the control plane cannot be reached'): void {
    if (this.#lost.has(reason) || this.#lost.size >= maxReasons) return
    this.#lost.add(reason)
    const since = this.#at ? `, last heard ${this.#at.toISOString()}` : ''
    this.#warn(`${what}${since}; what is live stays live: ${reason}`)
  }

  /** As `lost`, by what a request came to. */
  failed(error: unknown): void {
    this.lost(errorText(error), error instanceof NotTakenError ? notTaken : undefined)
  }

  found(via: string): void {
    this.heard()
    if (this.#lost.size > 0) this.#warn(`the control plane is reached again, by ${via}`)
    this.#lost.clear()
  }
}
