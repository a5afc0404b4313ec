/** The status of a running process on one screen. */
import type { Status } from 'midflight'
import { printable, wrapped } from '../printable.ts'
import type { Look, Paint } from '../terminal.ts'
import { errorLines, headline, retriesText } from './outcome.ts'
import { plural } from './changes.ts'
import { remoteIssueLines } from './issues.ts'
import { tableLines, type Cell } from './table.ts'
import { clockText, durationText } from './time.ts'

/** `sha256:4fc828947583…` → `4fc828947583`, as much as people compare by eye. */
export function shortDigest(digest: string): string {
  return printable(digest.replace(/^sha256:/, '').slice(0, 12))
}

const labelColumns = 12

export function statusLines(status: Status, look: Look): string[] {
  const { paint } = look
  const lines = [...stateLines(status, paint), '']
  const facts = factsOf(status, look)
  for (const [name, text] of facts) {
    const line = `  ${paint.dim(name.padEnd(labelColumns - 4))}  ${text}`
    lines.push(wrapped(line, look.wrapAt, labelColumns))
    if (name === 'last') lines.push(...refusedLines(status, look))
  }
  if (status.components.length > 0) lines.push('', ...componentLines(status, look))
  for (const warning of status.warnings) lines.push('', `${paint.yellow('▲ warning:')} ${printable(warning)}`)
  return lines
}

function stateLines({ state, healthy, startedAt, startedFrom }: Status, paint: Paint): string[] {
  const dot = healthy ? (state === 'running' ? paint.green('●') : paint.yellow('●')) : paint.red('●')
  const up = durationText(Math.max(0, Date.now() - new Date(startedAt).getTime()))
  const from =
    startedFrom === 'sources'
      ? ''
      : paint.yellow(
          `, from ${startedFrom === 'last-good' ? 'the last good configuration' : 'the bundled configuration'}`,
        )
  const since = paint.dim(`since ${clockText(startedAt)}`)
  const degraded = healthy ? '' : `, ${paint.red(paint.bold('DEGRADED'))}: a rollback failed`
  return [`${dot} ${paint.bold(printable(state))} for ${up} ${since}${from}${degraded}`]
}

function factsOf(status: Status, { paint }: Look): [name: string, text: string][] {
  const { live, attempted, lastOutcome, stats } = status
  const facts: [string, string][] = [
    [
      'live',
      `${paint.cyan(shortDigest(live.digest))} for ${durationText(live.ageMs)} ${paint.dim(`since ${clockText(live.committedAt)}`)}`,
    ],
  ]
  if (attempted && attempted.digest !== live.digest) {
    facts.push(['tried', `${paint.yellow(shortDigest(attempted.digest))} at ${clockText(attempted.at)}, is not live`])
  }
  if (lastOutcome) {
    const at = ` at ${clockText(lastOutcome.startedAt)}`
    facts.push(['last', `${headline(lastOutcome, paint)}${paint.dim(at)}`])
  }
  if (status.pendingRestart.length > 0) {
    facts.push(['restart', paint.yellow(`${status.pendingRestart.map(printable).join(', ')} waits for a restart`)])
  }
  const outcomes = Object.entries(stats.byOutcome).map(([kind, n]) => `${n} ${printable(kind)}`)
  const percent = `${Number((stats.successRate * 100).toFixed(1))} %`
  facts.push([
    'reloads',
    stats.runs === 0
      ? 'none yet'
      : `${stats.runs}, ${percent} successful${outcomes.length > 0 ? ` (${outcomes.join(', ')})` : ''}, ${retriesText(stats.retries)}`,
  ])
  const phases = Object.entries(stats.byPhase).filter(([, { count }]) => count > 0)
  if (phases.length > 0) {
    facts.push(['median', phases.map(([phase, { p50Ms }]) => `${printable(phase)} ${durationText(p50Ms)}`).join(', ')])
  }
  if (status.pendingRequests > 0) facts.push(['waiting', plural(status.pendingRequests, 'request')])
  facts.push(['sources', status.sources.map(printable).join(', ') || 'none'])
  facts.push(['triggers', status.triggers.map(printable).join(', ') || 'none'])
  return facts
}

const mostIssues = 5

/** Why the last one was refused, for who is called at night and asks nothing else. */
function refusedLines({ lastOutcome }: Status, { paint }: Look): string[] {
  if (lastOutcome?.kind !== 'rejected') return []
  const { issues } = lastOutcome
  const more = issues.length - mostIssues
  return [
    ...remoteIssueLines(issues.slice(0, mostIssues), paint),
    ...(more > 0 ? [`  ${paint.dim(`… and ${more} more`)}`] : []),
  ].map((line) => ' '.repeat(labelColumns - 2) + line)
}

function componentLines({ components }: Status, { paint, columns }: Look): string[] {
  const hotCell = (hot: string): Cell => ({ text: hot, colour: hot === 'full' ? paint.green : paint.yellow })
  const rows = components.map(({ component, hot, restartFor, runs, lastError }) => ({
    cells: [
      { text: component, colour: paint.bold },
      hotCell(hot),
      { text: runs, ...(runs === 'unknown' ? { colour: paint.red } : {}) },
      {
        text: hot === 'none' ? 'anything' : restartFor.join(', ') || '–',
        ...(restartFor.length === 0 && hot !== 'none' ? { colour: paint.dim } : {}),
      },
    ],
    below: lastError === undefined ? [] : errorLines(lastError, paint),
  }))
  return tableLines(['component', 'hot', 'runs', 'restart for'], rows, columns, paint)
}
