/** Events as lines: when, what, and how it went. */
import type { Event } from 'midflight'
import { printable } from '../printable.ts'
import type { Look, Paint } from '../terminal.ts'
import { changeLines, countText } from './changes.ts'
import { remoteIssueLines } from './issues.ts'
import { errorLines, headline } from './outcome.ts'
import { clockText, durationText } from './time.ts'

/** One line: time, id, what happened. */
export function eventLine(event: Event, { paint, columns }: Look): string {
  const head = `${clockText(event.at)} ${`#${event.id}`.padStart(5)}`
  return `${paint.dim(head)}  ${told(event, paint, columns - head.length - 2)}`
}

function told(event: Event, paint: Paint, room: number): string {
  switch (event.kind) {
    case 'started': {
      const age = event.ageMs === undefined ? '' : `, ${durationText(event.ageMs)} old`
      const why = event.reason === undefined ? '' : `: ${printable(event.reason)}`
      return event.from === 'sources'
        ? `${paint.green('●')} started`
        : `${paint.yellow('●')} started from ${printable(event.from)}${age}${why}`
    }
    case 'reload-began':
      return paint.dim(`… run ${event.run} began (${printable(event.triggers.join(' + '))})`)
    case 'reload':
      return headline(event.outcome, paint, room)
    case 'late':
      return `${paint.yellow('▲')} ${printable(event.component)} settled ${printable(event.phase)} after its deadline and was undone: ${printable(event.result)}`
    case 'warning':
      return `${paint.yellow('▲')} ${printable(event.about)}: ${printable(event.message)}`
    case 'closed':
      return `${paint.dim('○')} closed`
    default:
      // From a newer version than this one.
      return printable((event as { kind: string }).kind)
  }
}

const maxChanges = 8
const below = 4

/** What a reload did: the components with their changes, or what was wrong. Empty for other events. */
export function detailLines(event: Event, look: Look): string[] {
  if (event.kind !== 'reload') return []
  const { outcome } = event
  if (outcome.kind === 'rejected') {
    const lines = remoteIssueLines(outcome.issues, look.paint).map((line) => `  ${line}`)
    return cutList(lines, look)
  }
  if (!('plan' in outcome)) return []
  const results = 'components' in outcome ? outcome.components : []
  return outcome.plan.components.flatMap(({ component, changes, moreChanges, action }) => {
    const how = action === 'hot' ? look.paint.green(action) : look.paint.yellow(action)
    const error = results.find((result) => result.component === component)?.error ?? ''
    return [
      `    ${look.paint.bold(printable(component))} ${how} ${look.paint.dim(countText(changes, moreChanges))}`,
      // What is one line stands above.
      ...(error.includes('\n') ? errorLines(error, look.paint).map((line) => `  ${line}`) : []),
      ...cutList(changeLines(changes, { ...look, indent: below + 2 }), look),
    ]
  })
}

function cutList(lines: readonly string[], { paint }: Look): string[] {
  if (lines.length <= maxChanges) return [...lines]
  return [...lines.slice(0, maxChanges - 1), `      ${paint.dim(`… and ${lines.length - maxChanges + 1} more`)}`]
}
