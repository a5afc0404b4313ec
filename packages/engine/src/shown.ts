/**
 * Plans and changes as they are shown: secrets hidden, long lists cut, large values abridged, so that an outcome can be
 * kept, printed and sent whatever was changed.
 */
import { isContentChange } from './contents.ts'
import type { Change } from './diff.ts'
import type { Issue } from './issue.ts'
import { isArray, isObject, pathText, type Json } from './json.ts'
import type { Plan, PlannedComponent, ShownChange } from './outcome.ts'
import type { Touched } from './plan.ts'
import type { Redactor } from './redact.ts'

/** How many changes an outcome lists for each component. */
const maxShown = 100
/** How many values inside one shown value, and how long a text. */
const maxNodes = 100
const maxText = 1_000
const maxError = 4_000

export function shownPlan(
  touched: readonly Touched[],
  changes: readonly Change[],
  redact: Redactor,
  policy: 'refuse' | 'hold',
): Plan {
  const read = new Set(touched.flatMap((t) => t.changes))
  return {
    components: touched.map((t): PlannedComponent => ({
      component: t.component.name,
      action: t.restart.length === 0 ? 'hot' : policy === 'refuse' ? 'restart' : 'held',
      changes: shownChanges(t.changes, redact),
      moreChanges: Math.max(0, t.changes.length - maxShown),
      restartPaths: listed(t.restart.map((path) => redact.text(pathText(path)))),
    })),
    unread: shownChanges(
      changes.filter((change) => !read.has(change)),
      redact,
    ),
    changeCount: changes.length,
  }
}

/** @param whole neither cut the list nor abridge the values: for a command that shows one diff and is done. */
export function shownChanges(changes: readonly Change[], redact: Redactor, whole?: 'whole'): ShownChange[] {
  const show = (change: Change, value: Json) => {
    const shown = redact.value(change.path, value)
    return whole ? shown : abridged(shown, { nodes: maxNodes })
  }
  return (whole ? changes : changes.slice(0, maxShown)).map((change) => ({
    kind: change.kind,
    path: redact.text(pathText(change.path)),
    ...(change.kind === 'moved' && { from: change.from, to: change.to }),
    ...(isContentChange(change) && { note: 'the file that it names has new content' }),
    ...(change.before !== undefined && { before: show(change, change.before) }),
    ...(change.after !== undefined && { after: show(change, change.after) }),
  }))
}

/** The first hundred of many paths, and how many more there are: an outcome is kept, and its text is one line. */
export function listed(paths: readonly string[]): readonly string[] {
  if (paths.length <= maxShown) return paths
  return [...paths.slice(0, maxShown), `… ${paths.length - maxShown} more`]
}

/** The first hundred of many issues, and one that says how many more there are. */
export function listedIssues(issues: readonly Issue[]): readonly Issue[] {
  if (issues.length <= maxShown) return issues
  const message = `has ${issues.length - maxShown} more issues, which are not listed`
  return [...issues.slice(0, maxShown), { code: 'limit', path: [], message }]
}

/** What a component says in an error: thousands of entries may have failed, each with words of its own. */
export function shownError(message: string): string {
  return message.length <= maxError ? message : `${message.slice(0, maxError)}…`
}

/** `value` itself if it is small; otherwise its beginning, with `…` where something is left out. */
function abridged(value: Json, left: { nodes: number }): Json {
  left.nodes--
  if (typeof value === 'string') return value.length <= maxText ? value : `${value.slice(0, maxText)}…`
  if (isArray(value)) {
    const kept: Json[] = []
    for (const entry of value) {
      if (left.nodes <= 0) return [...kept, `… ${value.length - kept.length} more`]
      kept.push(abridged(entry, left))
    }
    return kept
  }
  if (!isObject(value)) return value
  const kept: Record<string, Json> = {}
  const names = Object.keys(value)
  for (const [i, name] of names.entries()) {
    if (left.nodes <= 0) return { ...kept, '…': `${names.length - i} more` }
    kept[name] = abridged(value[name] as Json, left)
  }
  return kept
}
