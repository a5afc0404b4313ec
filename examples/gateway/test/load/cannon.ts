/** autocannon in a process of its own: fires at the address it is given until its parent says stop, then tells. */
import { createRequire } from 'node:module'

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
  readonly latency: { readonly p50: number; readonly p99: number; readonly max: number }
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
) => { stop(): void }

const [url = '', connections = '10'] = process.argv.slice(2)
const options = { url, connections: Number(connections), duration: 600, timeout: 10 }
const cannon = autocannon(options, (error, result) => {
  if (error) throw error
  const { latency, requests, duration, errors, timeouts, mismatches, non2xx } = result
  const shots: Shots = {
    requests: requests.total,
    perSecond: Math.round(requests.total / duration),
    p50Ms: latency.p50,
    p99Ms: latency.p99,
    maxMs: latency.max,
    failed: errors + timeouts + mismatches + non2xx,
  }
  process.send?.(shots, () => process.exit())
})
process.on('message', () => cannon.stop())
process.on('disconnect', () => process.exit(1))
