/** `midflight export`: brings a config of the control plane, or what is at a place, to a store or file. */
import { Command } from 'commander'
import { readerAt, targetAt, withPlacesHelp, type EndFlags } from '../places/ends.ts'
import { transfer, type TransferFlags } from '../places/transfer.ts'
import type { Terminal } from '../terminal.ts'
import { exitHelp, withTransferOptions } from './import.ts'

export function exportTo(terminal: Terminal): Command {
  const command = withTransferOptions(new Command('export'))
    .summary('bring a configuration from the control plane to a store or file')
    .description(
      'Reads the newest release of CONFIG, or another place, and writes it to TO: as one document, or a key for each value. What is there already is not written again.',
    )
    .argument('<config>', 'its name, like shop/gateway/prod; or a place')
    .argument('<to>', 'a place, or a file')
    .action(async (from: string, to: string, flags: EndFlags & TransferFlags) => {
      const reader = await readerAt(from, flags, 'config')
      await transfer(terminal, reader, await targetAt(to, flags, 'file'), flags)
    })
  return withPlacesHelp(command, exitHelp)
}
