/** How well the program at this node is, as the fleet is told: what its probe found, without secrets. */
import type { ReportedHealth } from '../protocol/messages.ts'
import { createProbe, type Probe, type ProbeOptions } from './probe.ts'

export interface HealthEnd {
  /** The number of the release that runs. */
  running(): number | undefined
  redact(text: string): string
  changed(): void
}

const maxDetailLength = 512

export class HealthOfNode {
  readonly #options: ProbeOptions | undefined
  readonly #end: HealthEnd
  #probe: Probe | undefined

  constructor(options: ProbeOptions | undefined, end: HealthEnd) {
    this.#options = options
    this.#end = end
  }

  /** From now on, until it is closed. */
  open(): void {
    if (!this.#options) return
    const { changed, running } = this.#end
    this.#probe ??= createProbe(this.#options, changed, running)
  }

  /** `undefined` until it is known of a release. */
  get reported(): ReportedHealth | undefined {
    const health = this.#probe?.health
    if (health?.release === undefined) return undefined
    const { ok, release, detail } = health
    if (detail === undefined) return { ok, release }
    return { ok, release, detail: this.#end.redact(detail).slice(0, maxDetailLength).toWellFormed() }
  }

  /** Something else is in use. */
  checkNow(): void {
    void this.#probe?.checkNow()
  }

  async close(): Promise<void> {
    await this.#probe?.close()
  }
}
