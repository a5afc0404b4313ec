/** A delivery as a bar by status on standard error, and as a summary. */
import process from 'node:process'
import type { Delivery, Stage } from '../fleet/delivery.ts'
import type { NodeView } from '../fleet/records.ts'
import { printable, wrapped } from '../printable.ts'
import type { Look, Paint, Terminal } from '../terminal.ts'
import { plural } from './changes.ts'
import { nameOf, uidLength } from './node-names.ts'
import { tableLines } from './table.ts'
import { clockText, durationText } from './time.ts'

const stages: readonly Stage[] = ['applied', 'trying', 'waiting', 'restart', 'failed', 'away']
const words: Readonly<Record<Stage, string>> = {
  applied: 'applied',
  trying: 'applying',
  waiting: 'waiting',
  restart: 'need a restart',
  failed: 'failed',
  away: 'away',
}

function tints(paint: Paint): Record<Stage, (text: string) => string> {
  const { green, cyan, dim, yellow, red } = paint
  return { applied: green, trying: cyan, waiting: dim, restart: yellow, failed: red, away: dim }
}

const glyphs: Readonly<Record<Stage, string>> = {
  applied: '█',
  trying: '▓',
  waiting: '░',
  restart: '▲',
  failed: '✖',
  away: '·',
}

/** `██████▓▓░░` in `columns`: each stage that there is has at least one place. */
export function bar({ counts, nodes }: Delivery, columns: number, paint: Paint): string {
  if (nodes === 0) return ''
  const tint = tints(paint)
  const there = stages.filter((stage) => counts[stage] > 0)
  const places = there.map((stage) => Math.max(1, Math.floor((counts[stage] / nodes) * columns)))
  const largest = places.indexOf(Math.max(...places))
  const over = places.reduce((sum, n) => sum + n, 0) - columns
  return there
    .map((stage, i) => tint[stage](glyphs[stage].repeat(Math.max(1, (places[i] ?? 1) - (i === largest ? over : 0)))))
    .join('')
}

/** `2 applied, 1 failed` */
export function countsText({ counts }: Pick<Delivery, 'counts'>, paint: Paint): string {
  const tint = tints(paint)
  const parts = stages
    .filter((stage) => counts[stage] > 0)
    .map((stage) => tint[stage](`${counts[stage]} ${words[stage]}`))
  return parts.length === 0 ? 'no nodes' : parts.join(', ')
}

/** Draws over one line of standard error while it changes; says nothing where nobody watches. */
export class DeliveryBar {
  private readonly terminal: Terminal
  private readonly startedAt = performance.now()
  private readonly live = process.stderr.isTTY && process.env['TERM'] !== 'dumb'

  constructor(terminal: Terminal) {
    this.terminal = terminal
    // Whatever ends the process, the line does not stay half drawn.
    terminal.interrupted.addEventListener('abort', () => this.close())
  }

  draw(delivery: Delivery): void {
    if (!this.live) return
    const { errorPaint: paint } = this.terminal
    const columns = Math.max(40, process.stderr.columns ?? 80)
    const time = durationText(performance.now() - this.startedAt)
    const drawn = bar(delivery, Math.min(30, Math.floor(columns / 4)), paint)
    process.stderr.write(`\r\u001b[K  ${drawn}  ${countsText(delivery, paint)} ${paint.dim(time)}`)
  }

  close(): void {
    if (this.live) process.stderr.write('\r\u001b[K')
  }
}

/** The headline, and who does not run it. @param tookMs where it was followed. */
export function deliveryLines(delivery: Delivery, tookMs: number | undefined, look: Look): string[] {
  const { paint } = look
  const { nodes, number, converged, settled, behind, overtakenBy } = delivery
  if (overtakenBy !== undefined)
    return [`${paint.yellow('▲')} release ${number} was overtaken by release ${overtakenBy}`]
  if (nodes === 0) return [`${paint.dim('○')} no node runs this config yet`]
  if (delivery.counts.away === nodes) {
    const away = `${paint.yellow('▲')} no node is here to run release ${number}: ${countsText(delivery, paint)}`
    return [away, '', ...nodeLines(behind, look, mostShown)]
  }
  const time = tookMs === undefined ? '' : ` ${paint.dim(`(${durationText(tookMs)})`)}`
  const mark = converged ? paint.green('✔') : settled ? paint.red('✖') : paint.yellow('▲')
  const rest = behind.length > 0 ? `: ${countsText(delivery, paint)}` : ''
  const said = converged
    ? `release ${number} runs on ${nodes - behind.length === nodes ? (nodes === 1 ? 'the one node' : `all ${nodes} nodes`) : 'every node that is here'}${rest}${time}`
    : `release ${number} does not run on every node${settled ? '' : ' yet'}${rest}${time}`
  return [`${mark} ${said}`, ...(behind.length > 0 ? ['', ...nodeLines(behind, look, mostShown)] : [])]
}

const mostShown = 20

/** Nodes as a table, the reason why below each that has one. */
export function nodeLines(nodes: readonly NodeView[], { paint, columns, wrapAt }: Look, most = Infinity): string[] {
  const shown = nodes.slice(0, most)
  const length = uidLength(nodes.map(({ uid }) => uid))
  const rows = shown.map((node) => {
    const bad = ['FAILED', 'ROLLED_BACK', 'DEGRADED'].includes(node.status)
    const colour = bad ? paint.red : node.status === 'APPLIED' ? paint.green : paint.yellow
    return {
      cells: [
        { text: nameOf(node), colour: paint.bold },
        { text: node.uid.slice(0, length), colour: paint.dim, whole: true },
        { text: node.runs === null ? '–' : String(node.runs.number) },
        { text: node.here ? node.status : 'away', colour: node.here ? colour : paint.dim },
        { text: clockText(node.lastSeenAt), colour: paint.dim },
        { text: `${node.agent.name} ${node.agent.version}` },
      ],
      below: reasonsOf(node).map((reason) => paint.dim(wrapped(`    ${printable(reason)}`, wrapAt, 4))),
    }
  })
  const more = nodes.length - rows.length
  return [
    ...tableLines(['node', 'uid', 'runs', 'status', 'seen', 'agent'], rows, columns, paint),
    ...(more > 0 ? [`  ${paint.dim(`and ${plural(more, 'more node')}; midflight nodes shows them`)}`] : []),
  ]
}

function reasonsOf({ reason, detail }: NodeView): string[] {
  const said = reason === undefined ? [] : [reason]
  const more =
    detail === undefined || reason?.includes(detail.split('\n')[0] ?? '') ? [] : detail.split('\n').slice(0, 8)
  return [...said, ...more]
}
