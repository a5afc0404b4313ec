/** `midflight restore`: a data directory from a backup. */
import { Command } from 'commander'
import { controlPlaneCode, storeRefusal } from '../fleet/control-plane.ts'
import { plural } from '../show/changes.ts'
import type { Terminal } from '../terminal.ts'
import { defaultData } from './serve.ts'

export function restore(terminal: Terminal): Command {
  return new Command('restore')
    .summary('make a data directory from a backup')
    .description(
      'Checks a backup, all of it, and makes a data directory from it. One that holds a store already is left alone.',
    )
    .argument('<file>', 'what midflight backup wrote')
    .option('--data <path>', 'data directory to make', defaultData)
    .option('--json', 'print { data, configs, releases, contents, audit }')
    .action(async (path: string, { data, json }: { data: string; json?: true }) => {
      const code = await controlPlaneCode()
      try {
        const { problems: _, ...counts } = code.restoreStore(path, data)
        if (json) return terminal.document({ data, ...counts })
        terminal.print(
          `${terminal.paint.green('✔')} ${data}: ${plural(counts.configs, 'config')}, ${plural(counts.releases, 'release')}`,
        )
        terminal.note('keys.json is not part of a backup: put it there too, or a new signing key is made')
      } catch (error) {
        throw storeRefusal(code, error)
      }
    })
}
