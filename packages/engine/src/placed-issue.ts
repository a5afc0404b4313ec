/** Issues with their place: where the value was written, and entries of keyed collections by their key. */
import { indexed, namedPath } from './entry-paths.ts'
import type { Issue } from './issue.ts'
import { at, type Path } from './json.ts'
import type { Merged } from './merge.ts'

export function placedIssue(issue: Issue, merged: Merged, keys: Readonly<Record<string, string>>): Issue {
  const inDocument = (path: Path) =>
    at(merged.config, path) === undefined ? (indexed(merged.config, path, keys) ?? path) : path
  const { firstPath, ...rest } = issue
  const path = inDocument(issue.path)
  // What is said of a component or of the time it took is not written anywhere.
  const placeless = path.length === 0 && ['component', 'timeout', 'internal'].includes(issue.code)
  const origin = issue.origin ?? (placeless ? undefined : merged.origin(path))
  const first = firstPath && merged.origin(inDocument(firstPath))
  return {
    ...rest,
    // Of two entries with one key, the index says which is meant.
    path: issue.code === 'duplicate-key' ? issue.path : namedPath(merged.config, path, keys),
    ...(origin && { origin }),
    ...(first && { related: [...(issue.related ?? []), first] }),
  }
}
