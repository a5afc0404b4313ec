/** `midflight diff`: what differs between two configurations on disk, by meaning and not by line. */
import { Command } from 'commander'
import { compared } from '../files/compared.ts'
import { withFileOptions, type FileFlags } from '../files/examined.ts'
import { Refusal } from '../refusal.ts'
import { changeLines, countText } from '../show/changes.ts'
import type { Terminal } from '../terminal.ts'

export function diff(terminal: Terminal): Command {
  return withFileOptions(new Command('diff'))
    .summary('what differs between two configurations, by path')
    .description(
      'Compares two files (or directories, patterns; - is standard input). Order of keys, comments and format do not count.',
    )
    .argument('<before>')
    .argument('<after>')
    .option('--json', 'print { changes: [{ kind, path, before, after }] }')
    .addHelpText('after', '\nExit status: 0 nothing differs, 2 something does, 1 one of them is not valid.')
    .action((before: string, after: string, flags: FileFlags & { json?: true }) => run(terminal, before, after, flags))
}

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
