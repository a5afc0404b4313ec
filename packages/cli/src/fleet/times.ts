/** Times as people type them. */
import { Refusal } from '../refusal.ts'

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** `30s`, `5m`, `1h` in milliseconds. @throws Refusal */
export function timeMs(option: string, text: string): number {
  const [, digits, unit = ''] = /^(\d{1,6})(ms|s|m|h|d)$/.exec(text) ?? []
  const unitMs = unitsMs[unit]
  if (unitMs === undefined) {
    throw new Refusal('usage', `${option} is ${JSON.stringify(text)}; want a time like 30s, 5m or 1h`)
  }
  return Number(digits) * unitMs
}
