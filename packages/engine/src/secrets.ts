/** Which secrets the configurations at hand hold, for the redactor. How they are hidden is `redact.ts`. */
import type { Merged } from './merge.ts'
import { redactor, secretsIn, type Redactor } from './redact.ts'

/** @param configurations all whose secrets may turn up: what is live and what is tried. */
export function redactorFor(
  core: { readonly secretPatterns: readonly string[] },
  ...configurations: readonly (Merged | undefined)[]
): Redactor {
  const known = configurations.filter((merged) => merged !== undefined)
  const patterns = core.secretPatterns
  const placesOf = (merged: Merged) => merged.secrets.map((secret) => secret.path)
  return redactor({
    patterns,
    secretPaths: known.flatMap(placesOf),
    secretValues: known.flatMap((merged) => secretsIn(merged.config, { patterns, secretPaths: placesOf(merged) })),
  })
}
