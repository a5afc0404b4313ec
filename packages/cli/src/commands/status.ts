/** `midflight status`: what a process runs, since when, and what happened last. */
import { Command } from 'commander'
import { askStatus } from '../admin/admin.ts'
import { addressOf, withAdminOptions, type AdminOptions } from '../admin/address.ts'
import { statusLines } from '../show/status.ts'
import type { Terminal } from '../terminal.ts'

const defaultTimeoutS = 10

export function status(terminal: Terminal): Command {
  return withAdminOptions(new Command('status'), defaultTimeoutS)
    .summary('what a process runs, and what happened last')
    .description('Shows what a running process runs, since when, its components and how its reloads went.')
    .option('--json', 'print the status as the endpoint gives it')
    .addHelpText('after', '\nExit status: 0 all is well, 1 it is degraded or cannot be asked.')
    .action(async (flags: AdminOptions & { json?: true }) => {
      const found = await askStatus(addressOf(flags, defaultTimeoutS))
      terminal.exitCode = found.healthy === false ? 1 : 0
      if (flags.json) return terminal.document(found)
      terminal.print(statusLines(found, terminal.look()))
    })
}
