/**
 * What is held back until the next start (policy `hold`): which paths, and what the sources would have said without
 * them. The tree itself is put together by `entry-paths.ts`.
 */
import { holdBack, indexed, namedPath } from './entry-paths.ts'
import { at, parsePath, pathText, type Json, type Path } from './json.ts'
import type { Merged } from './merge.ts'
import type { Touched } from './plan.ts'

/**
 * `merged` with what needs a restart as it was in `before`. It is what the sources say and not what the schema has
 * made of that, so that a schema which transforms sees no value twice. Secrets and named files move with their values.
 */
export function heldBack(
  merged: Merged,
  before: Merged,
  touched: readonly Touched[],
  restart: readonly Path[],
  keys: Readonly<Record<string, string>>,
): Merged {
  const config = holdBack(merged.config, before.config, heldPaths(touched, restart), keys)
  const carried = <T extends { readonly path: Path }>(marks: readonly T[], from: Json) =>
    marks.flatMap((mark) => {
      const path = indexed(config, namedPath(from, mark.path, keys), keys)
      return path && at(config, path) === at(from, mark.path) ? [{ ...mark, path }] : []
    })
  const both = <T extends { readonly path: Path }>(now: readonly T[], was: readonly T[]) => {
    const marks = [...carried(was, before.config), ...carried(now, merged.config)]
    return [...new Map(marks.map((mark) => [pathText(mark.path), mark])).values()]
  }
  return {
    config,
    origin: merged.origin,
    secrets: both(merged.secrets, before.secrets),
    named: both(merged.named, before.named),
  }
}

/** A component that takes nothing keeps all that it reads: of a list, coming and going entries cannot be held one by one. */
function heldPaths(touched: readonly Touched[], restart: readonly Path[]): Path[] {
  const whole = touched.filter((t) => t.restart.length > 0 && t.component.hot === 'none')
  return [...restart, ...whole.flatMap((t) => t.component.paths.map(parsePath))]
}
