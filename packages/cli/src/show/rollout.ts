/** Rollouts as people read them: what is planned, how far one is, and what came of it. */
import { stripVTControlCharacters } from 'node:util'
import {
  exitCodeOf,
  hasEnded,
  type Forecast,
  type RolloutSummary,
  type RolloutView,
  type Select,
  type StepView,
} from '../fleet/rollout.ts'
import { cut, padded, printable, printableLines, widthOf, wrapped } from '../printable.ts'
import type { Look, Paint, Terminal } from '../terminal.ts'
import { plural } from './changes.ts'
import { tableLines } from './table.ts'
import { clockText, durationText } from './time.ts'

const barColumns = 10
const stepsAround = 5
const facts = ['applied', 'prepared', 'waiting', 'failed', 'unhealthy', 'lost', 'away'] as const
const glyphs = { applied: '█', prepared: '▓', waiting: '░', failed: '✖', unhealthy: '✖', lost: '✖', away: '·' } as const

function tintOf(fact: string, { green, cyan, red, dim }: Paint): (text: string) => string {
  if (fact === 'applied') return green
  if (fact === 'prepared') return cyan
  return fact === 'waiting' || fact === 'away' ? dim : red
}

/** `10 % of the nodes`, `zone=a`, `all others` */
function selectText({ percent, labels = {} }: Select): string {
  const named = Object.entries(labels).map(([name, value]) => printable(`${name}=${value}`))
  const share = percent === undefined ? [] : [`${percent} %${named.length > 0 ? ' of' : ' of the nodes'}`]
  return [...share, ...named].join(' ') || 'all others'
}

/** `██████▓▓░░`: each that there is has at least one place. */
function barOf(counts: Readonly<Record<string, number>>, paint: Paint): string {
  const there = facts.filter((fact) => (counts[fact] ?? 0) > 0)
  const nodes = there.reduce((sum, fact) => sum + (counts[fact] ?? 0), 0)
  if (nodes === 0) return ' '.repeat(barColumns)
  const places = there.map((fact) => Math.max(1, Math.floor(((counts[fact] ?? 0) / nodes) * barColumns)))
  const largest = places.indexOf(Math.max(...places))
  const over = places.reduce((sum, n) => sum + n, 0) - barColumns
  return there
    .map((fact, i) => tintOf(fact, paint)(glyphs[fact].repeat((places[i] ?? 1) - (i === largest ? over : 0))))
    .join('')
}

function countsText(counts: Readonly<Record<string, unknown>>, paint: Paint): string {
  const parts = facts.flatMap((fact) => {
    const count = counts[fact]
    return typeof count === 'number' && count > 0 ? [tintOf(fact, paint)(`${count} ${fact}`)] : []
  })
  return parts.join(', ') || paint.dim('no nodes')
}

const phaseTexts: Readonly<Record<string, string>> = {
  queued: 'waits for its turn',
  preparing: 'prepares',
  applying: 'is being applied',
  baking: 'is watched',
  confirming: 'waits for a confirmation',
  'rolling-back': 'rolls back',
  failed: 'failed',
  completed: 'completed',
  'rolled-back': 'was rolled back',
  superseded: 'was superseded',
}

/** `step 1 of 3 is watched` */
export function phaseText({ phase, step, steps }: Pick<RolloutSummary, 'phase' | 'step' | 'steps'>): string {
  const text = phaseTexts[phase] ?? printable(phase)
  const isInStep = ['preparing', 'applying', 'baking'].includes(phase)
  return isInStep && steps > 1 ? `step ${step + 1} of ${steps} ${text}` : text
}

/** The whole of it: headline, a line for each step, gates, pauses, and why it went no further. */
export function rolloutLines(rollout: RolloutView, look: Look): string[] {
  const { paint } = look
  const { config, number, kind, by, startedAt, createdAt, endedAt } = rollout
  const beganMs = Date.parse(startedAt ?? createdAt)
  const time = durationText(Math.max(0, (endedAt === null ? Date.now() : Date.parse(endedAt)) - beganMs))
  const head = `${paint.bold(printable(`${config} ${number}`))} ${phaseText(rollout)} ${paint.dim(`(${printable(kind)}, by ${printable(by)}, ${time})`)}`
  return [
    `${markOf(rollout, paint)} ${head}`,
    ...(rollout.phase === 'rolling-back'
      ? [`    the way back  ${countsText(rollout.counts, paint)}`]
      : stepLines(rollout, look)),
    ...gateLines(rollout, paint),
    ...rollout.pauses.map(
      ({ reason, by: who }) =>
        `    ${paint.yellow('▲ paused')}: ${printable(reason)} ${paint.dim(`(${printable(who)})`)}`,
    ),
    ...failureLines(rollout, look),
    ...endLines(rollout, paint),
  ]
}

function markOf(rollout: RolloutSummary, paint: Paint): string {
  if (exitCodeOf(rollout) === 0) return paint.green('✔')
  if (rollout.failure !== null) return rollout.failure.kind === 'superseded' ? paint.yellow('▲') : paint.red('✖')
  return rollout.pauses.length > 0 ? paint.yellow('▲') : paint.cyan('●')
}

function stepLines(rollout: RolloutView, { paint, columns }: Look): string[] {
  const { progress, phase } = rollout
  const nameOf = (select: Select): string => (progress.length === 1 ? 'all nodes' : selectText(select))
  const texts = progress.map(({ select }) => cut(nameOf(select), Math.max(12, columns - 60)))
  const width = texts.reduce((most, text) => Math.max(most, text.length), 0)
  const lines = progress.map((step, i) => {
    const isNow = i === rollout.step && !hasEnded(rollout) && phase !== 'queued'
    const isThrough = i < rollout.confirmed
    const isBad = rollout.failure?.step === i && rollout.failure.kind !== 'superseded'
    const mark = isBad ? paint.red('✖') : isThrough ? paint.green('✔') : isNow ? paint.cyan('▸') : ' '
    const counts = step.counts === null ? '' : `  ${barOf(step.counts, paint)}  ${countsText(step.counts, paint)}`
    const left = isNow && phase === 'baking' ? leftText(rollout, step, paint) : ''
    return `  ${mark} ${i + 1}  ${padded(texts[i] ?? '', counts === '' ? 0 : width)}${counts}${left}`.trimEnd()
  })
  // Of a hundred steps those around the one that it is at.
  const isShown = (i: number): boolean => Math.abs(i - rollout.step) <= stepsAround || i === lines.length - 1
  return lines.flatMap((line, i) => (isShown(i) ? [line] : isShown(i - 1) || i === 0 ? [paint.dim('    …')] : []))
}

function leftText({ spentMs, pauses }: RolloutView, { bakeMs }: StepView, paint: Paint): string {
  if (pauses.length > 0) return ''
  const leftMs = Math.max(0, bakeMs - spentMs)
  return paint.dim(leftMs > 0 ? `  watched for ${durationText(leftMs)} more` : '  the time is over')
}

function gateLines({ strategy, passed, failure, phase }: RolloutView, paint: Paint): string[] {
  if (strategy.gates.length === 0 || failure !== null || phase === 'completed') return []
  const texts = strategy.gates.map(({ name }) =>
    passed.includes(name) ? `${paint.green('✔')} ${printable(name)}` : `${paint.dim('…')} ${printable(name)}`,
  )
  return [`    gates  ${texts.join('  ')}`]
}

/** Of what a node says: its own words, and the beginning of what a program of its has said. */
const mostLines = 8

function failureLines({ failure, steps, phase }: RolloutView, { paint, wrapAt }: Look): string[] {
  if (failure === null) return []
  const { kind, step, found, nodes } = failure
  const where = kind === 'superseded' || steps < 2 ? '' : ` at step ${step + 1} of ${steps}`
  const colour = phase === 'superseded' ? paint.yellow : paint.red
  return [
    wrapped(`    ${colour(`why${where}`)}: ${printable(found)}`, wrapAt, 6),
    ...nodes.flatMap(({ node, reason }) =>
      printableLines(`${node}: ${reason}`, 2)
        .slice(0, mostLines)
        .map((line) => paint.dim(wrapped(`      ${line}`, wrapAt, 8))),
    ),
  ]
}

/** Of those that should have gone back. */
const leftBehind = ['waiting', 'prepared', 'failed'] as const

/** Which release is in use now. */
function endLines({ phase, number, rollback, from, strategy, mixedMs, counts }: RolloutView, paint: Paint): string[] {
  if (phase === 'rolled-back' && rollback !== null) {
    const old = from === null ? '' : `, which holds what release ${from.number} held`
    const left = leftBehind.reduce((sum, fact) => sum + Number(counts[fact] ?? 0), 0)
    const but = left === 0 ? '' : paint.red(`, but not on ${plural(left, 'node')}`)
    return [`    ${paint.bold(`release ${rollback.number}`)} is in use now${old}${but}`]
  }
  if (phase === 'failed') return [`    there is nothing to go back to: publish another release`]
  if (phase !== 'completed' || !strategy.twoPhase) return []
  return [paint.dim(`    release ${number} and the one before ran side by side for at most ${durationText(mixedMs)}`)]
}

export function rolloutRows(rollouts: readonly RolloutSummary[], { paint, columns }: Look): string[] {
  const rows = rollouts.map((rollout) => ({
    cells: [
      { text: String(rollout.number), colour: paint.bold },
      { text: clockText(rollout.createdAt), colour: paint.dim },
      { text: rollout.by },
      { text: rollout.kind },
      {
        text: rollout.pauses.length > 0 ? `${phaseText(rollout)}, paused` : phaseText(rollout),
        colour: colourOf(rollout, paint),
      },
      { text: rollout.advice === undefined ? '–' : `${rollout.advice.level} ${rollout.advice.score}` },
      { text: rollout.failure?.found ?? '–' },
    ],
  }))
  return tableLines(['release', 'when', 'who', 'how', 'where it is', 'risk', 'why'], rows, columns, paint)
}

function colourOf(rollout: RolloutSummary, { green, red, cyan }: Paint): (text: string) => string {
  const code = exitCodeOf(rollout)
  return code === 0 ? green : code === 1 ? red : cyan
}

/** Of a plan: the risk and why, whom it reaches, and in which steps. */
export function forecastLines({ risk, fleet, rollout }: Forecast, { paint, wrapAt }: Look): string[] {
  const lines: string[] = []
  if (risk !== null) {
    const tint = risk.level === 'high' ? paint.red : risk.level === 'medium' ? paint.yellow : paint.green
    lines.push(`${paint.bold('risk')}   ${tint(`${risk.level} (${risk.score} of 100)`)}`)
    for (const { points, text } of risk.reasons) {
      const sign = points > 0 ? `+${points}` : String(points)
      lines.push(paint.dim(wrapped(`       ${padded(sign, 4)} ${printable(text)}`, wrapAt, 12)))
    }
  }
  if (fleet !== null) {
    const { present, away, reach, restarts } = fleet
    const more = [
      ...(away.count > 0 ? [`${away.count} away`] : []),
      ...(restarts > 0 ? [paint.yellow(`${plural(restarts, 'node')} need a restart`)] : []),
    ]
    const share = reach.of > reach.nodes ? ` ${paint.dim(`(of ${reach.of})`)}` : ''
    lines.push(`${paint.bold('nodes')}  ${[`${present} here`, ...more].join(', ')}${share}`)
    for (const { agent, nodes, components } of fleet.kinds) {
      const each = (components ?? []).map(({ name, action, restartPaths }) =>
        action === 'hot'
          ? `${name} hot`
          : paint.yellow(`${name} restart${restartPaths.length > 0 ? ` (${restartPaths.join(', ')})` : ''}`),
      )
      const said =
        components === null ? 'what they consist of is not known' : each.join(', ') || 'no component reads it'
      lines.push(
        wrapped(
          paint.dim(`       ${printable(`${agent.name} ${agent.version}`.trim())}, ${plural(nodes, 'node')}: `) +
            printableTinted(said),
          wrapAt,
          9,
        ),
      )
    }
  }
  return [...lines, ...planLines(rollout, risk, paint)]
}

/** Names of components come from nodes; the colours are ours. */
function printableTinted(text: string): string {
  return text.split('\u001b').map(printable).join('\u001b')
}

function planLines(rollout: Forecast['rollout'], risk: Forecast['risk'], paint: Paint): string[] {
  const { from, kind, twoPhase, steps, gates, confirmMs, frozen, waitsFor } = rollout
  const lines: string[] = []
  if (from !== 'none' || waitsFor !== null) {
    const whose = { config: ' (what the config says)', default: ' (by its risk)', request: '', none: '' }[from]
    const phases = twoPhase && kind !== 'two-phase' ? ', each in two phases' : ''
    lines.push(`${paint.bold('steps')}  ${printable(kind)}${phases}${paint.dim(whose)}`)
    steps.forEach(({ select, bakeMs, nodes }, i) => {
      if (i >= stepsAround && i < steps.length - 1) return void (i === stepsAround && lines.push(paint.dim('       …')))
      const bake = bakeMs > 0 ? `, watched for ${durationText(bakeMs)}` : ''
      const text = steps.length === 1 ? 'all nodes' : selectText(select)
      lines.push(paint.dim(`       ${i + 1}  ${text}: ${plural(nodes, 'node')}${bake}`))
    })
    if (gates.length > 0) lines.push(paint.dim(`       gates: ${gates.map(printable).join(', ')}`))
    if (confirmMs !== null)
      lines.push(paint.dim(`       rolled back unless confirmed within ${durationText(confirmMs)}`))
  }
  if (risk !== null && risk.recommended.strategy !== kind) {
    lines.push(
      `${paint.dim('       recommended:')} ${risk.recommended.strategy}${paint.dim(`: ${printable(risk.recommended.why)}`)}`,
    )
  }
  if (waitsFor !== null) lines.push(`${paint.yellow('▲')} waits for the rollout of release ${waitsFor}`)
  if (frozen !== null) {
    lines.push(`${paint.yellow('▲')} frozen until ${clockText(frozen.endsAt)}: ${printable(frozen.reason)}`)
  }
  return lines
}

/** Draws over itself while somebody watches; else a line whenever it comes to something else. */
export class RolloutScreen {
  private readonly terminal: Terminal
  private readonly out: 'screen' | 'lines' | 'nothing'
  private drawn = 0
  private last = ''

  constructor(terminal: Terminal, isQuiet: boolean) {
    this.terminal = terminal
    this.out = isQuiet ? 'nothing' : terminal.live ? 'screen' : 'lines'
  }

  draw(rollout: RolloutView): void {
    if (this.out === 'screen') {
      this.clear()
      const { columns } = this.terminal.look()
      const lines = rolloutLines(rollout, this.terminal.look()).flatMap((line) => line.split('\n'))
      // A line that is too long takes several of the screen.
      const rows = lines.map((line) => Math.max(1, Math.ceil(widthOf(stripVTControlCharacters(line)) / columns)))
      this.drawn = rows.reduce((sum, count) => sum + count, 0)
      this.terminal.print(lines)
    } else if (this.out === 'lines') {
      const pauses = rollout.pauses.map(({ reason }) => `, paused: ${printable(reason)}`).join('')
      const text = `${phaseText(rollout)}${pauses}`
      if (text !== this.last && !hasEnded(rollout)) this.terminal.print(`  ${text}`)
      this.last = text
    }
  }

  /** What was drawn is gone: the end is printed by whoever drew it. */
  clear(): void {
    if (this.drawn > 0) this.terminal.raw(`\u001b[${this.drawn}A\u001b[J`)
    this.drawn = 0
  }
}
