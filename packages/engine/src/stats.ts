/**
 * How reloads have gone so far in this process: how many, how they ended, how long they took. Bounded: each quantile
 * is made of the newest 1,024 durations. What Prometheus reads is `metrics.ts`.
 */
import { succeeded, type Outcome } from './outcome.ts'
import type { Quantiles, Stats } from './status.ts'

const windowSize = 1024

/** Components come from the program's own code; this only bounds the memory if their names are made up as it runs. */
const maxComponents = 1000

export class ReloadStats {
  #runs = 0
  #succeeded = 0
  #retries = 0
  readonly #byOutcome = new Map<string, number>()
  readonly #byPhase = new Map<string, DurationWindow>()
  readonly #byComponent = new Map<string, ComponentRecord>()

  record(outcome: Outcome): void {
    this.#byOutcome.set(outcome.kind, (this.#byOutcome.get(outcome.kind) ?? 0) + 1)
    // Nothing ran: it says something about the engine's life, nothing about reloads.
    if (outcome.kind === 'closed') return
    this.#runs++
    if (succeeded(outcome)) this.#succeeded++
    this.#retries += outcome.retries
    addDuration(this.#byPhase, 'total', outcome.durationMs)
    addDurations(this.#byPhase, outcome.durationsMs)
    if (!('components' in outcome)) return
    for (const component of outcome.components) {
      const record = this.#component(component.component)
      if (record === undefined) continue
      if (component.result === 'committed') record.committed++
      if (component.result === 'failed') record.failed++
      addDurations(record.phases, component.durationsMs)
    }
  }

  /** `byPhase.total` is the whole reload; `count` counts all durations ever, the quantiles the newest 1,024. */
  snapshot(): Stats {
    return {
      runs: this.#runs,
      byOutcome: Object.fromEntries(this.#byOutcome),
      successRate: this.#runs === 0 ? 1 : this.#succeeded / this.#runs,
      retries: this.#retries,
      byPhase: quantiles(this.#byPhase),
      byComponent: Object.fromEntries(
        [...this.#byComponent].map(([name, { committed, failed, phases }]) => [
          name,
          { committed, failed, phases: quantiles(phases) },
        ]),
      ),
    }
  }

  #component(name: string): ComponentRecord | undefined {
    let record = this.#byComponent.get(name)
    if (record === undefined && this.#byComponent.size < maxComponents) {
      record = { committed: 0, failed: 0, phases: new Map() }
      this.#byComponent.set(name, record)
    }
    return record
  }
}

interface ComponentRecord {
  committed: number
  failed: number
  readonly phases: Map<string, DurationWindow>
}

/** The newest durations, in no order, and how many there have been. */
class DurationWindow {
  #count = 0
  readonly #newest: number[] = []

  add(durationMs: number): void {
    this.#newest[this.#count % windowSize] = durationMs
    this.#count++
  }

  quantiles(): Quantiles {
    const sorted = Float64Array.from(this.#newest).sort()
    // Nearest rank: always a duration that was really measured, to the microsecond.
    const at = (q: number): number => {
      const ms = sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0
      return Math.round(ms * 1000) / 1000
    }
    return { count: this.#count, p50Ms: at(0.5), p95Ms: at(0.95), p99Ms: at(0.99) }
  }
}

function addDuration(windows: Map<string, DurationWindow>, phase: string, durationMs: number): void {
  let window = windows.get(phase)
  if (window === undefined) windows.set(phase, (window = new DurationWindow()))
  window.add(durationMs)
}

function addDurations(
  windows: Map<string, DurationWindow>,
  durationsMs: Readonly<Record<string, number | undefined>>,
): void {
  for (const [phase, ms] of Object.entries(durationsMs)) if (ms !== undefined) addDuration(windows, phase, ms)
}

function quantiles(windows: ReadonlyMap<string, DurationWindow>): Record<string, Quantiles> {
  return Object.fromEntries([...windows].map(([phase, window]) => [phase, window.quantiles()]))
}
