/** Outcomes, plans and the status in words, for people who use curl. Programs ask for JSON. */
import { issueText } from '../../issue.ts'
import { outcomeText, type Outcome, type Plan, type PlanOutcome, type ShownChange } from '../../outcome.ts'
import type { Status } from '../../status.ts'

/** What happened, then what is wrong or what the plan is, one per line. */
export function outcomeLines(outcome: Outcome | PlanOutcome): string {
  const lines = [outcomeText(outcome)]
  if (outcome.kind === 'rejected') lines.push(...outcome.issues.map((issue) => `  ${issueText(issue)}`))
  if ('plan' in outcome) lines.push(...planLines(outcome.plan))
  if (outcome.kind === 'committed') lines.push(...outcome.warnings.map((warning) => `  warning: ${warning}`))
  if (outcome.pendingRestart.length > 0) lines.push(`  wait for a restart: ${outcome.pendingRestart.join(', ')}`)
  return lines.join('\n')
}

function planLines(plan: Plan): string[] {
  const lines: string[] = []
  for (const { component, action, changes, moreChanges, restartPaths } of plan.components) {
    const why = restartPaths.length > 0 ? ` (${restartPaths.join(', ')})` : ''
    lines.push(`  ${component}: ${action}${why}`, ...changes.map((change) => `    ${changeText(change)}`))
    if (moreChanges > 0) lines.push(`    … and ${moreChanges} more`)
  }
  if (plan.unread.length > 0) {
    lines.push('  read by no component:', ...plan.unread.map((change) => `    ${changeText(change)}`))
  }
  return lines
}

const marks = { added: '+', removed: '-', changed: '~', moved: '>' } as const

function changeText({ kind, path, before, after }: ShownChange): string {
  const mark = `${marks[kind]} ${path === '' ? '(root)' : path}`
  if (kind === 'added') return `${mark}: ${brief(after)}`
  if (kind === 'removed') return `${mark}: ${brief(before)}`
  return kind === 'moved' ? mark : `${mark}: ${brief(before)} → ${brief(after)}`
}

const longest = 100

function brief(value: unknown): string {
  const text = JSON.stringify(value) ?? 'nothing'
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`
}

export function statusLines(status: Status): string {
  const { live, attempted, lastOutcome, stats } = status
  const lines = [
    `state:      ${status.state}${status.healthy ? '' : ', DEGRADED'}`,
    `started:    ${status.startedAt} from ${status.startedFrom}`,
    `live:       ${live.digest} since ${live.committedAt}`,
  ]
  if (attempted !== undefined) lines.push(`attempted:  ${attempted.digest} at ${attempted.at}`)
  if (lastOutcome !== undefined) lines.push(`last:       ${outcomeText(lastOutcome)}`)
  lines.push(
    `runs:       ${stats.runs}, ${(stats.successRate * 100).toFixed(1)} % successful, ${stats.retries} retries`,
  )
  if (status.pendingRequests > 0) lines.push(`waiting:    ${status.pendingRequests} requests`)
  if (status.pendingRestart.length > 0) lines.push(`restart:    ${status.pendingRestart.join(', ')}`)
  for (const { component, hot, runs, lastError } of status.components) {
    lines.push(
      `component:  ${component}, hot ${hot}, runs ${runs}${lastError === undefined ? '' : `, last error: ${lastError}`}`,
    )
  }
  if (status.sources.length > 0) lines.push(`sources:    ${status.sources.join(', ')}`)
  if (status.triggers.length > 0) lines.push(`triggers:   ${status.triggers.join(', ')}`)
  lines.push(...status.warnings.map((warning) => `warning:    ${warning}`))
  return lines.join('\n')
}
