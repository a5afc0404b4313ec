/** `midflight reload`: asks a running process to reload and says what came of it. */
import { Command } from 'commander'
import { succeeded, type Outcome } from 'midflight'
import { askPlan, askReload, askReloadOnly } from '../admin/admin.ts'
import { addressOf, isAddressed, withAdminOptions, type AdminOptions } from '../admin/address.ts'
import { pidOf, signalled, signalOf } from '../admin/by-signal.ts'
import { Refusal } from '../refusal.ts'
import { outcomeLines } from '../show/outcome.ts'
import type { Terminal } from '../terminal.ts'

interface ReloadFlags extends AdminOptions {
  readonly force?: true
  readonly dryRun?: true
  readonly wait?: '0' | '1'
  readonly pid?: string
  readonly signal?: string
  readonly json?: true
}

const defaultTimeoutS = 120

export function reload(terminal: Terminal): Command {
  return withAdminOptions(new Command('reload'), defaultTimeoutS)
    .summary('reload a running process and say what came of it')
    .description('Asks a running process to read its configuration again, and waits for the outcome.')
    .option('--force', 'also when nothing changed: every component takes it anew')
    .option('--dry-run', 'apply nothing; the same as plan')
    .option('--wait <0|1>', '0: do not wait for the outcome')
    .option('--pid <pid>', 'ask by signal; with --url or --socket also wait for the outcome there')
    .option('--signal <name>', 'which signal --pid sends (default: SIGHUP)')
    .option('--json', 'print the outcome')
    .addHelpText(
      'after',
      '\nExit status: 0 what the sources hold is live, 1 it is not, or nobody can tell. With --dry-run as plan.',
    )
    .action((flags: ReloadFlags) => run(terminal, flags))
}

async function run(terminal: Terminal, flags: ReloadFlags): Promise<void> {
  const waits = waitOf(flags)
  if (flags.pid !== undefined) return byPid(terminal, flags, flags.pid, waits)
  if (flags.signal !== undefined) throw new Refusal('usage', '--signal is given without --pid; want both or none')
  const address = addressOf(flags, defaultTimeoutS)
  const force = flags.force ?? false
  if (flags.dryRun) {
    const outcome = await askPlan(address, { force })
    terminal.exitCode = outcome.kind === 'unchanged' ? 0 : succeeded(outcome) ? 2 : 1
    return show(terminal, flags, outcome)
  }
  if (waits) {
    const outcome = await askReload(address, { force })
    terminal.exitCode = succeeded(outcome) ? 0 : 1
    return show(terminal, flags, outcome)
  }
  const { id, location } = await askReloadOnly(address, { force })
  if (flags.json) return terminal.document({ id, location, state: 'running' })
  terminal.print(`reload asked for; its outcome will be at ${address.name}${location}`)
}

async function byPid(terminal: Terminal, flags: ReloadFlags, pidText: string, waits: boolean): Promise<void> {
  if (flags.force || flags.dryRun) {
    throw new Refusal(
      'usage',
      `a signal cannot say ${flags.force ? '--force' : '--dry-run'}; want --url or --socket instead of --pid`,
    )
  }
  const pid = pidOf(pidText)
  const signal = signalOf(flags.signal ?? 'SIGHUP')
  const watched = isAddressed(flags) && waits ? addressOf(flags, defaultTimeoutS) : undefined
  const outcome = await signalled(pid, signal, watched)
  if (outcome) {
    terminal.exitCode = succeeded(outcome) ? 0 : 1
    return show(terminal, flags, outcome)
  }
  if (flags.json) return terminal.document({ pid, signal, state: 'unknown' })
  terminal.print(`${terminal.paint.green('✔')} sent ${signal} to process ${pid}`)
  if (waits)
    terminal.note(
      terminal.errorPaint.dim(
        '  a signal has no answer: what came of it is in status, or add --url or --socket and wait for it',
      ),
    )
}

function waitOf({ wait, dryRun }: ReloadFlags): boolean {
  if (wait === undefined || wait === '1') return true
  if (wait !== '0') throw new Refusal('usage', `--wait is ${JSON.stringify(wait)}; want 0 or 1`)
  if (dryRun) throw new Refusal('usage', '--dry-run and --wait 0 do not go together: a plan is its answer')
  return false
}

function show(terminal: Terminal, flags: ReloadFlags, outcome: Outcome | Awaited<ReturnType<typeof askPlan>>): void {
  if (flags.json) return terminal.document(outcome)
  terminal.print(outcomeLines(outcome, terminal.look()))
}
