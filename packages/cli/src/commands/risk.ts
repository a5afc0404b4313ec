/** `midflight risk`: whether what was said of the risk of releases was right. */
import { Command } from 'commander'
import { call, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { plural } from '../show/changes.ts'
import { tableLines } from '../show/table.ts'
import type { Look, Terminal } from '../terminal.ts'

interface Tallied {
  readonly releases: number
  readonly bad: number
}

interface Report extends Tallied {
  readonly pending: number
  readonly levels: readonly (Tallied & {
    readonly level: string
    readonly rolledBack: number
    readonly failed: number
  })[]
  readonly high: { readonly precision: number | null; readonly recall: number | null }
  readonly followed: Tallied
  readonly overruled: Tallied
  readonly factors: readonly {
    readonly factor: string
    readonly bad: number
    readonly good: number
    readonly points: number
    readonly lift: number | null
  }[]
}

export function risk(terminal: Terminal): Command {
  return new Command('risk')
    .summary('whether what was said of risks was right')
    .description('Judges the advice that was given before releases by what came of them.')
    .addCommand(report(terminal))
}

function report(terminal: Terminal): Command {
  return withFleetOptions(new Command('report'))
    .summary('advice beside outcome, of the newest rollouts of a config')
    .argument('<config>')
    .option('--json', 'print { report, records }')
    .action(async (config: string, flags: FleetFlags) => {
      const { body } = await call<{ report: Report }>(connectionOf(flags), configPath(config, '/risk-report'))
      if (flags.json) return terminal.document(body)
      terminal.print(reportLines(config, body.report, terminal.look()))
    })
}

function reportLines(config: string, found: Report, { paint, columns }: Look): string[] {
  const { releases, bad, pending, levels, high, followed, overruled, factors } = found
  const head = `${paint.bold(config)} ${plural(releases, 'rollout')} with advice, ${bad} went badly${pending > 0 ? `, ${pending} not through yet` : ''}`
  if (releases === 0) return [head]
  const levelRows = levels.map((one) => ({
    cells: [one.level, one.releases, one.rolledBack, one.failed].map((value) => ({ text: String(value) })),
  }))
  const factorRows = factors.map(({ factor, bad: inBad, good, points, lift }) => ({
    cells: [factor, inBad, good, points.toFixed(1), lift === null ? '–' : `${lift.toFixed(1)} ×`].map((value) => ({
      text: String(value),
    })),
  }))
  return [
    head,
    '',
    ...tableLines(['risk', 'rollouts', 'rolled back', 'failed'], levelRows, columns, paint),
    '',
    `  ${high.precision === null ? 'none was called high' : `of those called high ${percent(high.precision)} went badly`}; ${high.recall === null ? 'none went badly' : `of those that went badly ${percent(high.recall)} had been called high`}`,
    `  as recommended: ${followed.bad} of ${followed.releases} went badly; otherwise: ${overruled.bad} of ${overruled.releases}`,
    '',
    ...tableLines(
      ['reason', 'in bad ones', 'in good ones', 'points', 'more often in bad ones'],
      factorRows,
      columns,
      paint,
    ),
  ]
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
