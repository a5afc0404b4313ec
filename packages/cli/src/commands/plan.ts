/**
 * `midflight plan`: what would change, and what of it needs a restart. Of a running process, which also says which
 * components it touches and whether they could take it; or between two files, by what the schema marks.
 */
import { Command } from 'commander'
import { succeeded, type ShownChange } from 'midflight'
import { askPlan } from '../admin/admin.ts'
import { addressOf, isAddressed, withAdminOptions, type AdminOptions } from '../admin/address.ts'
import { compared } from '../files/compared.ts'
import { withFileOptions, type FileFlags } from '../files/examined.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { changeLines, countText, restartTag } from '../show/changes.ts'
import { outcomeLines } from '../show/outcome.ts'
import type { Terminal } from '../terminal.ts'

interface PlanFlags extends FileFlags, AdminOptions {
  readonly against?: string
  readonly force?: true
  readonly json?: true
}

const defaultTimeoutS = 60

export function plan(terminal: Terminal): Command {
  const command = new Command('plan')
    .summary('what a reload would change, and what of it needs a restart')
    .description(
      'Asks a running process what a reload would do, or with FILES compares them with those that they would replace.',
    )
    .argument('[files...]', 'the new configuration, to be compared with --against')
    .option('--against <file>', 'the configuration that is in use')
    .option('--force', 'as with reload --force: also what did not change')
    .option('--json', 'print the outcome of the dry run, or { changes, restartPaths }')
    .addHelpText(
      'after',
      '\nExit status: 0 nothing would change, 2 something would, 1 it would be refused or cannot be known.',
    )
  return withFileOptions(withAdminOptions(command, defaultTimeoutS)).action((files: string[], flags: PlanFlags) =>
    files.length > 0 || flags.against !== undefined
      ? planOfFiles(terminal, files, flags)
      : planOfProcess(terminal, flags),
  )
}

async function planOfFiles(terminal: Terminal, files: readonly string[], flags: PlanFlags): Promise<void> {
  if (flags.url !== undefined || flags.socket !== undefined) {
    throw new Refusal('usage', 'files and a running process are both given; want one of them')
  }
  if (flags.against === undefined) {
    throw new Refusal('usage', 'compared with what? want --against FILE, or no files and --url or --socket')
  }
  if (files.length === 0)
    throw new Refusal('usage', '--against is given without files; want the new configuration before it')
  if (flags.force) throw new Refusal('usage', '--force is for a running process; want it without files')
  if (flags.against === '-' && files.includes('-'))
    throw new Refusal('usage', 'both sides are standard input (-); want one of them')
  const comparison = await compared(terminal, [flags.against], files, flags)
  if (comparison === undefined) return
  const { changes, restartPaths } = comparison
  terminal.exitCode = changes.length > 0 ? 2 : 0
  if (flags.json) return terminal.document({ changes, restartPaths })
  const { paint } = terminal
  const columns = terminal.columns()
  if (changes.length === 0) return terminal.print(`${paint.green('✔')} nothing would change`)
  const tag = restartPaths.length > 0 ? { tag: (change: ShownChange) => restartTag(change, restartPaths) } : {}
  terminal.print(changeLines(changes, { paint, columns, indent: 0, ...tag }), '')
  if (restartPaths.length > 0) {
    terminal.print(
      `${paint.yellow('▲')} ${countText(changes)}; ${paint.bold('needs a restart')}: ${restartPaths.map(printable).join(', ')}`,
    )
  } else if (flags.schema === undefined) {
    terminal.print(paint.dim(`${countText(changes)}; without --schema nothing says what needs a restart`))
  } else {
    terminal.print(`${paint.green('✔')} ${countText(changes)}; the schema marks none of it as restart-only`)
  }
}

async function planOfProcess(terminal: Terminal, flags: PlanFlags): Promise<void> {
  if (flags.schema !== undefined && !isAddressed(flags)) {
    throw new Refusal('usage', '--schema is given without files; want plan FILE --against OLD --schema SCHEMA')
  }
  const address = addressOf(flags, defaultTimeoutS)
  const outcome = await askPlan(address, { force: flags.force ?? false })
  terminal.exitCode = outcome.kind === 'unchanged' ? 0 : succeeded(outcome) ? 2 : 1
  if (flags.json) return terminal.document(outcome)
  terminal.print(outcomeLines(outcome, terminal.look()))
}
