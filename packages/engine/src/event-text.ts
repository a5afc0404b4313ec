/** An event as one line of JSON of bounded size: what the journal's file and webhooks carry. */
import type { Event } from './event.ts'

const maxEntries = 20

/**
 * One line of JSON. An event beyond `maxBytes` loses the values of its changes (`before`, `after`) and all but the
 * first 20 entries of each list, and says so: `"shortened": true`. It then still tells what happened and to whom.
 */
export function eventText(event: Event, maxBytes: number): string {
  const whole = JSON.stringify(event)
  if (Buffer.byteLength(whole) <= maxBytes) return whole
  return JSON.stringify({ ...event, shortened: true }, (key, value: unknown) => {
    if (key === 'before' || key === 'after') return undefined
    if (Array.isArray(value)) return value.slice(0, maxEntries)
    if (typeof value === 'string' && value.length > 1000) return `${value.slice(0, 999)}…`
    return value
  })
}
