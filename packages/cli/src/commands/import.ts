/** `midflight import`: brings a configuration from where it is to a config of the control plane, or to another place. */
import { Command } from 'commander'
import { withFleetOptions } from '../fleet/connection.ts'
import { readerAt, targetAt, withPlacesHelp, type EndFlags } from '../places/ends.ts'
import { transfer, type TransferFlags } from '../places/transfer.ts'
import type { Terminal } from '../terminal.ts'

export function importFrom(terminal: Terminal): Command {
  const command = withTransferOptions(new Command('import'))
    .summary('bring a configuration from a store or file to the control plane')
    .description(
      'Reads FROM as a whole and makes it a release of CONFIG, or brings it to another place. What is there already is not written again.',
    )
    .argument('<from>', 'a place, or a file')
    .argument('<config>', 'its name, like shop/gateway/prod; or a place')
    .option('-m, --message <text>', 'why, for the release')
    .action(async (from: string, to: string, flags: EndFlags & TransferFlags) => {
      const reader = await readerAt(from, flags, 'file')
      await transfer(terminal, reader, await targetAt(to, flags, 'config'), flags)
    })
  return withPlacesHelp(command, exitHelp)
}

export function withTransferOptions(command: Command): Command {
  return withFleetOptions(command)
    .option('--delete', 'remove the keys below the target that the source has not')
    .option('--force', 'write also what is the same')
    .option('--dry-run', 'only count what would be written')
    .option('--json', 'print { from, to, dryRun, written, unchanged, removed, left, conflicts }')
}

export const exitHelp = `
Exit status: 0 all of it is there, 2 something would be written (--dry-run), 1 refused, failed, or somebody else kept
writing the same keys, 130 Ctrl-C.`
