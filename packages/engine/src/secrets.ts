/** Which secrets the configurations at hand hold, for the redactor. How they are hidden is `redact.ts`. */
import type { Merged } from './merge.ts'
import { redactor, secretsIn, type Redactor } from './redact.ts'

/** Found once for each configuration: a pattern may lead into every entry of a large collection. */
const known = new WeakMap<Merged, readonly string[]>()

/** @param configurations all whose secrets may turn up: what is live and what is tried. */
export function redactorFor(
  core: { readonly secretPatterns: readonly string[] },
  ...configurations: readonly (Merged | undefined)[]
): Redactor {
  const all = configurations.filter((merged) => merged !== undefined)
  const patterns = core.secretPatterns
  const placesOf = (merged: Merged) => merged.secrets.map((secret) => secret.path)
  const valuesOf = (merged: Merged) => {
    const values = known.get(merged) ?? secretsIn(merged.config, { patterns, secretPaths: placesOf(merged) })
    known.set(merged, values)
    return values
  }
  return redactor({
    patterns,
    get secretPaths() {
      return all.flatMap(placesOf)
    },
    get secretValues() {
      return [...new Set(all.flatMap(valuesOf))]
    },
  })
}
