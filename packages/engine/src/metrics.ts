/**
 * Reloads as OpenMetrics text 1.0 (https://github.com/prometheus/OpenMetrics), without a client library. Names are
 * those of `docs/observing.md`. Serving the text, and negotiating its type, is left to the doors.
 */
import { succeeded, type Outcome } from './outcome.ts'

/** For the `Content-Type` header. */
export const openMetricsType = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

/** What the engine knows at the moment of asking, and the record of reloads does not. */
export interface MetricsNow {
  /** Requests that wait for a reload. */
  readonly pending: number
  /** `sha256:<hex>`, the digest of what is live; the empty string while nothing is. */
  readonly liveDigest: string
  /** When what is live was committed. */
  readonly committedAt: Date | undefined
  /** `false` after a rollback failed. */
  readonly healthy: boolean
  /** How many restart-only changes wait for the next start. */
  readonly pendingRestart: number
}

/** Seconds. A reload of three values takes half a millisecond, one of 100,000 rules some hundreds. */
const bucketsSeconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

/** Distinct values that a label may take; what comes after is counted under `other`. */
const maxTriggers = 32
const maxComponents = 200

export class ReloadMetrics {
  #last: { successful: boolean; successAt: number | undefined } | undefined
  #retries = 0
  readonly #triggers = new LabelValues(maxTriggers)
  readonly #components = new LabelValues(maxComponents)
  readonly #reloads = new Map<string, number>()
  /** By component, then by phase. */
  readonly #durations = new Map<string, Map<string, Histogram>>()

  record(outcome: Outcome): void {
    // Counted once, under the trigger that came first, so that the sum over all triggers is the number of reloads.
    const trigger = this.#triggers.bounded(outcome.triggers[0] ?? 'unknown')
    const labels = labelText({ trigger, result: outcome.kind })
    this.#reloads.set(labels, (this.#reloads.get(labels) ?? 0) + 1)
    if (outcome.kind === 'closed') return
    this.#retries += outcome.retries
    const endedAt = (Date.parse(outcome.startedAt) + outcome.durationMs) / 1000
    // A failed load leaves the time of the last success alone: its age is what an alert looks at.
    this.#last = succeeded(outcome)
      ? { successful: true, successAt: endedAt }
      : { successful: false, successAt: this.#last?.successAt }
    this.#observe('', 'total', outcome.durationMs)
    for (const [phase, ms] of Object.entries(outcome.durationsMs)) this.#observe('', phase, ms)
    if (!('components' in outcome)) return
    for (const { component, durationsMs } of outcome.components) {
      const name = this.#components.bounded(component)
      for (const [phase, ms] of Object.entries(durationsMs)) this.#observe(name, phase, ms)
    }
  }

  /** OpenMetrics text, ending in `# EOF`. */
  text(now: MetricsNow): string {
    const committedAt = now.committedAt && now.committedAt.getTime() / 1000
    const successAt = this.#last?.successAt ?? committedAt ?? 0
    const successful = this.#last?.successful ?? now.committedAt !== undefined
    return [
      gauge(
        'midflight_config_last_reload_successful',
        'Whether the last reload succeeded: 1, or 0.',
        successful ? 1 : 0,
      ),
      gauge(
        'midflight_config_last_reload_success_timestamp_seconds',
        'When a reload last succeeded, Unix time; 0 if none has.',
        successAt,
        'seconds',
      ),
      gauge(
        'midflight_config_committed_timestamp_seconds',
        'When what is live was committed, Unix time; 0 if nothing is live.',
        committedAt ?? 0,
        'seconds',
      ),
      gauge(
        'midflight_config_hash',
        'The first 48 bits of the digest of the live configuration.',
        digestNumber(now.liveDigest),
      ),
      counter('midflight_reloads', 'Reloads by the trigger that came first and by result.', this.#reloads),
      counter('midflight_reload_retries', 'Further tries after transient failures.', new Map([['', this.#retries]])),
      histogram(
        'midflight_reload_duration_seconds',
        'Time in each phase; an empty component is the whole phase, the phase total the whole reload.',
        'seconds',
        this.#labelled(),
      ),
      gauge('midflight_reloads_pending', 'Requests that wait for a reload.', now.pending),
      gauge('midflight_restart_pending_changes', 'Changes that wait for the next start.', now.pendingRestart),
      gauge(
        'midflight_degraded',
        'Whether a rollback failed, so that a component may run what is not live: 1, or 0.',
        now.healthy ? 0 : 1,
      ),
      '# EOF\n',
    ].join('')
  }

  #observe(component: string, phase: string, durationMs: number): void {
    let phases = this.#durations.get(component)
    if (phases === undefined) this.#durations.set(component, (phases = new Map()))
    let found = phases.get(phase)
    if (found === undefined) phases.set(phase, (found = new Histogram()))
    found.observe(durationMs / 1000)
  }

  #labelled(): Map<string, Histogram> {
    return new Map(
      [...this.#durations].flatMap(([component, phases]) =>
        [...phases].map(([phase, found]) => [labelText({ component, phase }), found] as const),
      ),
    )
  }
}

/** Keeps a label from growing without end: one time series per value is kept for ever. */
class LabelValues {
  readonly #known = new Set<string>()
  readonly #max: number

  constructor(max: number) {
    this.#max = max
  }

  bounded(value: string): string {
    if (this.#known.has(value)) return value
    if (this.#known.size >= this.#max) return 'other'
    this.#known.add(value)
    return value
  }
}

class Histogram {
  /** Per bucket, not cumulative; the last is +Inf. */
  readonly counts = new Array<number>(bucketsSeconds.length + 1).fill(0)
  sum = 0

  observe(seconds: number): void {
    const bucket = bucketsSeconds.findIndex((le) => seconds <= le)
    const at = bucket === -1 ? bucketsSeconds.length : bucket
    this.counts[at] = this.counts[at]! + 1
    this.sum += seconds
  }
}

/** `sha256:<hex>` as a number that a double holds exactly, 0 for anything else. */
function digestNumber(digest: string): number {
  const hex = /^sha256:([0-9a-f]{12})/i.exec(digest)?.[1]
  return hex === undefined ? 0 : Number.parseInt(hex, 16)
}

function head(name: string, type: string, help: string, unit?: string): string {
  return `# TYPE ${name} ${type}\n${unit ? `# UNIT ${name} ${unit}\n` : ''}# HELP ${name} ${escaped(help)}\n`
}

function gauge(name: string, help: string, value: number, unit?: string): string {
  return `${head(name, 'gauge', help, unit)}${name} ${value}\n`
}

function counter(name: string, help: string, values: ReadonlyMap<string, number>): string {
  const samples = [...values].map(([labels, value]) => `${name}_total${labels && `{${labels}}`} ${value}\n`)
  return head(name, 'counter', help) + samples.join('')
}

function histogram(name: string, help: string, unit: string, values: ReadonlyMap<string, Histogram>): string {
  let text = head(name, 'histogram', help, unit)
  for (const [labels, { counts, sum }] of values) {
    let seen = 0
    counts.forEach((count, i) => {
      seen += count
      const le = i < bucketsSeconds.length ? float(bucketsSeconds[i]!) : '+Inf'
      text += `${name}_bucket{${labels},le="${le}"} ${seen}\n`
    })
    text += `${name}_count{${labels}} ${seen}\n${name}_sum{${labels}} ${sum}\n`
  }
  return text
}

/** OpenMetrics wants `le` as a float: `1.0`. */
function float(value: number): string {
  return Number.isInteger(value) ? `${value}.0` : String(value)
}

function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escaped(value)}"`)
    .join(',')
}

function escaped(text: string): string {
  return text.toWellFormed().replaceAll('\\', '\\\\').replaceAll('\n', '\\n').replaceAll('"', '\\"')
}
