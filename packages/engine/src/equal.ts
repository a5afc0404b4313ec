/**
 * When two JSON trees are the same configuration: same types, same values, same order of list entries. The order of
 * an object's keys does not matter; `-0` is `0`, as in JSON text. Trees have passed `check`.
 */
import type { Json } from './json.ts'

export function equal(a: Json | undefined, b: Json | undefined): boolean {
  if (a === b) return true
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length) return false
    for (let i = 0; i < a.length; i++) if (!equal(a[i], b[i])) return false
    return true
  }
  if (Array.isArray(b)) return false
  const x = a as Record<string, Json>
  const y = b as Record<string, Json>
  let surplus = 0
  for (const key in x) {
    surplus++
    // A key that `y` only inherits (`toString`) reads as a function, which no JSON value equals.
    const other = y[key]
    if (other === undefined || !equal(x[key], other)) return false
  }
  for (const _ in y) surplus--
  return surplus === 0
}
