/**
 * Changes that the configuration itself does not show: a value is equal, but the file that it names has new content
 * (P6). Which values name files, and what is in those, the source says.
 */
import type { Change } from './diff.ts'
import { at, pathText, type Json, type Path } from './json.ts'
import type { Merged } from './merge.ts'
import { namedPath } from './entry-paths.ts'

/** @param config what would be live; `merged.named` counts in `merged.config`, which has the same entries. */
export function contentChanges(
  live: { readonly config: Json; readonly merged: Merged } | undefined,
  config: Json,
  merged: Merged,
  keys: Readonly<Record<string, string>>,
): Change[] {
  if (!live || merged.named.length === 0) return []
  const before = new Map(
    live.merged.named.map(({ path, digest }) => [pathText(namedPath(live.config, path, keys)), digest]),
  )
  return merged.named.flatMap(({ path, digest }): Change[] => {
    const named: Path = namedPath(config, path, keys)
    const known = before.get(pathText(named))
    const value = at(config, path)
    if (known === undefined || known === digest || value === undefined) return []
    return [{ kind: 'changed', path: named, at: path, before: value, after: value }]
  })
}

/** A change of content only: nothing differs in the configuration. */
export function isContentChange(change: Change): boolean {
  return change.kind === 'changed' && change.before === change.after
}
