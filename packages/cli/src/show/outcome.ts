/** What a reload or a plan came to: a headline, a table of components, the changes of each below it. */
import {
  outcomeText,
  succeeded,
  type ComponentResult,
  type Outcome,
  type Phase,
  type Plan,
  type PlanOutcome,
  type PlannedComponent,
  type ShownChange,
} from 'midflight'
import { cut, printable, printableLines, wrapped } from '../printable.ts'
import type { Look, Paint } from '../terminal.ts'
import { changeLines, concerning, countText } from './changes.ts'
import { remoteIssueLines } from './issues.ts'
import { tableLines, type Cell, type Row } from './table.ts'
import { durationText } from './time.ts'

const below = 4

/**
 * `✔ committed: 1 change in 1 component (run 3, 12 ms, http)`
 * @param room columns for it; what happened is cut to fit. Without it only what is in further lines is left out, which
 * stands below with the component that it is about.
 */
export function headline(outcome: Outcome | PlanOutcome, paint: Paint, room = Infinity): string {
  const retries = outcome.retries > 0 ? `, ${retriesText(outcome.retries)}` : ''
  const triggers = printable(outcome.triggers.join(' + '))
  const about = `(run ${outcome.run}, ${durationText(outcome.durationMs)}, ${triggers}${retries})`
  const [said = '', ...more] = printableLines(outcomeText(outcome), 0)
  const text = cut(more.length === 0 ? said : `${said} …`, Math.max(16, room - about.length - 3))
  const mark = succeeded(outcome) ? paint.green('✔') : failureMark(outcome, paint)
  const word = /^[^:,]+/.exec(text)?.[0] ?? ''
  return `${mark} ${paint.bold(word)}${text.slice(word.length)} ${paint.dim(about)}`
}

function failureMark({ kind }: Outcome | PlanOutcome, paint: Paint): string {
  return kind === 'restart-required' ? paint.yellow('▲') : paint.red('✖')
}

export function retriesText(n: number): string {
  return n === 1 ? '1 retry' : `${n} retries`
}

export function outcomeLines(outcome: Outcome | PlanOutcome, look: Look): string[] {
  const lines = [wrapped(headline(outcome, look.paint), look.wrapAt, 2)]
  if (outcome.kind === 'rejected') lines.push('', ...remoteIssueLines(outcome.issues, look.paint))
  if ('plan' in outcome) {
    const results = 'components' in outcome && outcome.kind !== 'ready' ? outcome.components : undefined
    const plan = { ...outcome.plan, restarts: outcome.kind === 'restart-required' ? outcome.paths : [] }
    const table = results ? resultLines(plan, results, look) : planLines(plan, look)
    if (table.length > 0) lines.push('', ...table)
  }
  if (outcome.kind === 'committed') {
    for (const warning of outcome.warnings) lines.push(`${look.paint.yellow('warning:')} ${printable(warning)}`)
  }
  if (outcome.pendingRestart.length > 0 && outcome.kind !== 'restart-required') {
    lines.push('', `${look.paint.yellow('▲')} waits for a restart: ${outcome.pendingRestart.map(printable).join(', ')}`)
  }
  return lines
}

/** With all paths for which it wants a restart, also those that no component reads. */
interface PlanShown extends Plan {
  readonly restarts: readonly string[]
}

/** Component, what changes, hot or restart; the changes below each. */
function planLines(plan: PlanShown, look: Look): string[] {
  const { paint } = look
  const rows = plan.components.map((planned): Row => ({
    cells: [
      { text: planned.component, colour: paint.bold },
      { text: countText(planned.changes, planned.moreChanges) },
      actionCell(planned, paint),
    ],
    below: changesBelow(planned, look),
  }))
  if (plan.unread.length > 0) {
    const more = unlisted(plan)
    const wanting = (change: ShownChange) => plan.restarts.filter(concerning(change))
    const restartPaths = [...new Set(plan.unread.flatMap(wanting))]
    const isTagged = restartPaths.length > 0 && plan.unread.some((change) => wanting(change).length === 0)
    rows.push({
      cells: [
        { text: '(no component)', colour: paint.dim },
        { text: countText(plan.unread, more) },
        restartPaths.length > 0
          ? actionCell({ action: 'restart', restartPaths }, paint)
          : { text: 'read by none, shown by live', colour: paint.dim },
      ],
      below: [
        ...changeLines(plan.unread, {
          ...look,
          indent: below,
          ...(isTagged && { tag: (change: ShownChange) => (wanting(change).length > 0 ? 'restart' : undefined) }),
        }),
        ...moreLine(more, paint),
      ],
    })
  }
  return rows.length === 0 ? [] : tableLines(['component', 'what changes', 'how'], rows, look.columns, paint)
}

/** Changes that no component reads and that are not listed: what `changeCount` has beyond all that is. */
function unlisted(plan: Plan): number {
  if (plan.unread.length < 100) return 0
  const listed = plan.components.reduce(
    (sum, { changes, moreChanges }) => sum + changes.length + moreChanges,
    plan.unread.length,
  )
  return Math.max(0, plan.changeCount - listed)
}

function actionCell({ action, restartPaths }: Pick<PlannedComponent, 'action' | 'restartPaths'>, paint: Paint): Cell {
  if (action === 'hot') return { text: 'hot', colour: paint.green }
  const paths = restartPaths.join(', ')
  if (action === 'held') return { text: `held until a restart: ${paths}`, colour: paint.yellow }
  return { text: `restart: ${paths}`, colour: paint.yellow }
}

function changesBelow(planned: PlannedComponent, look: Look): string[] {
  const restart = new Set(planned.restartPaths)
  const tagged = planned.action !== 'hot' && planned.changes.length > restart.size
  return [
    ...changeLines(planned.changes, {
      ...look,
      indent: below,
      ...(tagged ? { tag: (change) => (restart.has(change.path) ? 'restart' : undefined) } : {}),
    }),
    ...moreLine(planned.moreChanges, look.paint),
  ]
}

function moreLine(more: number, paint: Paint): string[] {
  return more > 0 ? [`${' '.repeat(below)}${paint.dim(`… and ${more} more`)}`] : []
}

const phases: readonly Phase[] = ['check', 'prepare', 'commit', 'rollback', 'dispose']

/** What became of each component, with how long each phase took; what failed and what changed below. */
function resultLines(plan: PlanShown, results: readonly ComponentResult[], look: Look): string[] {
  const { paint } = look
  const took = phases.filter((phase) => results.some(({ durationsMs }) => durationsMs[phase] !== undefined))
  const rows = results.map((result): Row => {
    const planned = plan.components.find(({ component }) => component === result.component)
    return {
      cells: [
        { text: result.component, colour: paint.bold },
        { text: result.result, colour: resultColour(result, paint) },
        { text: result.runs, ...(result.runs === 'unknown' ? { colour: paint.red } : {}) },
        ...took.map((phase) => durationCell(result.durationsMs[phase], paint)),
      ],
      below: [
        ...(result.error === undefined ? [] : errorLines(result.error, paint)),
        ...(planned ? changesBelow(planned, look) : []),
      ],
    }
  })
  const lines = rows.length === 0 ? [] : tableLines(['component', 'result', 'runs', ...took], rows, look.columns, paint)
  return plan.unread.length === 0 ? lines : [...lines, ...planLines({ ...plan, components: [] }, look).slice(1)]
}

/** Below a component: why it failed, in as many lines as it was said in. */
export function errorLines(error: string, paint: Paint): string[] {
  return printableLines(error, 2).map((line) => `${' '.repeat(below)}${paint.red(line)}`)
}

function durationCell(ms: number | undefined, paint: Paint): Cell {
  return ms === undefined ? { text: '–', colour: paint.dim } : { text: durationText(ms) }
}

function resultColour({ result }: ComponentResult, paint: Paint): (text: string) => string {
  if (result === 'committed') return paint.green
  if (result === 'failed') return paint.red
  return paint.yellow
}
