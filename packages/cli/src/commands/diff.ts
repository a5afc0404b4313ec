/** `midflight diff`: what differs between two configurations on disk, or two releases, by meaning and not by line. */
import { Command } from 'commander'
import { compared } from '../files/compared.ts'
import { withFileOptions, type FileFlags } from '../files/examined.ts'
import { call, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import type { ConfigView, Difference } from '../fleet/records.ts'
import { Refusal } from '../refusal.ts'
import { changeLines, countText } from '../show/changes.ts'
import { differenceLines } from '../show/releases.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

export function diff(terminal: Terminal): Command {
  return withFleetOptions(withFileOptions(new Command('diff')))
    .summary('what differs between two configurations, by path')
    .description(
      'Compares two files (or directories, patterns; - is standard input), or with --config two releases. Order of keys, comments and format do not count.',
    )
    .argument('<before>')
    .argument('<after>')
    .option(
      '--config <name>',
      'compare two releases of it, by number; head is the newest, 0 the state before the first',
    )
    .option('--json', 'print { changes: [{ kind, path, before, after }] }')
    .addHelpText('after', '\nExit status: 0 nothing differs, 2 something does, 1 one of them is not valid.')
    .action((before: string, after: string, { config, ...flags }: DiffFlags) =>
      config === undefined
        ? run(terminal, before, after, flags)
        : runReleases(terminal, config, [before, after], flags),
    )
}

interface DiffFlags extends FileFlags, FleetFlags {
  readonly config?: string
}

async function runReleases(
  terminal: Terminal,
  config: string,
  named: readonly [before: string, after: string],
  flags: FleetFlags,
): Promise<void> {
  const path = configPath(config)
  const address = connectionOf(flags)
  const numbers = named.map((text) => (text === 'head' ? undefined : integer('the release', text, 0, maxNumber)))
  const head = numbers.includes(undefined) ? (await call<ConfigView>(address, path)).body.head : null
  if (head === null && numbers.includes(undefined)) throw new Refusal('not-found', `${config} has no release yet`)
  const [from, to] = numbers.map((number) => number ?? head?.number)
  const { body } = await call<Difference>(address, `${path}/releases/${from}/diff/${to}`)
  terminal.exitCode = body.changes.length > 0 ? 2 : 0
  if (flags.json) return terminal.document(body)
  terminal.print(differenceLines(body, terminal.look()))
}

const maxNumber = Number.MAX_SAFE_INTEGER

async function run(
  terminal: Terminal,
  before: string,
  after: string,
  flags: FileFlags & { json?: true },
): Promise<void> {
  if (before === '-' && after === '-') throw new Refusal('usage', 'both sides are standard input (-); want one of them')
  const comparison = await compared(terminal, [before], [after], flags)
  if (comparison === undefined) return
  const { changes } = comparison
  terminal.exitCode = changes.length > 0 ? 2 : 0
  if (flags.json) return terminal.document({ changes })
  const { paint } = terminal
  if (changes.length === 0) return terminal.print(`${paint.green('✔')} nothing differs`)
  terminal.print(
    changeLines(changes, { paint, columns: terminal.columns(), indent: 0 }),
    '',
    paint.dim(countText(changes)),
  )
}
