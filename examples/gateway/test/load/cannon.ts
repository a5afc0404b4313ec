/** autocannon in a process of its own: fires at the address it is given until its parent says stop, then tells. */
import { createRequire } from 'node:module'
import { quantile } from '../../../../bench/report.ts'

/** Latencies in milliseconds. */
export interface Shots {
  readonly requests: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  readonly maxMs: number
  readonly failed: number
}

interface Result {
  readonly requests: { readonly total: number }
  readonly duration: number
  readonly errors: number
  readonly timeouts: number
  readonly mismatches: number
  readonly non2xx: number
}

// autocannon brings no types
const autocannon = createRequire(import.meta.url)('autocannon') as (
  options: object,
  done: (error: Error | null, result: Result) => void,
) => { stop(): void; on(event: 'response', listener: (...response: [object, number, number, number]) => void): void }

// Its own latencies are whole milliseconds.
const tookMs: number[] = []

const [url = '', connections = '10'] = process.argv.slice(2)
const options = { url, connections: Number(connections), duration: 600, timeout: 10 }
const cannon = autocannon(options, (error, result) => {
  if (error) throw error
  const { requests, duration, errors, timeouts, mismatches, non2xx } = result
  const shots: Shots = {
    requests: requests.total,
    perSecond: Math.round(requests.total / duration),
    p50Ms: quantile(tookMs, 0.5),
    p99Ms: quantile(tookMs, 0.99),
    maxMs: quantile(tookMs, 1),
    failed: errors + timeouts + mismatches + non2xx,
  }
  process.send?.(shots, () => process.exit())
})
cannon.on('response', (_client, _status, _bytes, ms) => tookMs.push(ms))
process.on('message', () => cannon.stop())
process.on('disconnect', () => process.exit(1))
