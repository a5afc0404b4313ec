/** `midflight history`: the releases of a config. */
import { Command } from 'commander'
import type { ReleaseInfo } from 'midflight/protocol'
import { callAll, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { releaseRows } from '../show/releases.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface HistoryFlags extends FleetFlags {
  readonly limit: number
  readonly before?: number
}

export function history(terminal: Terminal): Command {
  return withFleetOptions(new Command('history'))
    .summary('the releases of a config, newest first')
    .argument('<config>')
    .option('--limit <n>', 'so many at most', (text) => integer('--limit', text, 1, 100_000), 20)
    .option('--before <n>', 'only those below this number', (text) =>
      integer('--before', text, 1, Number.MAX_SAFE_INTEGER),
    )
    .option('--json', 'print { releases: […] }')
    .action(async (config: string, { limit, before, ...flags }: HistoryFlags) => {
      const path = configPath(config, '/releases')
      const releases = await callAll<ReleaseInfo>(connectionOf(flags), path, { after: before }, limit)
      if (flags.json) return terminal.document({ releases })
      if (releases.length === 0) return terminal.print('no releases')
      terminal.print(releaseRows(releases, terminal.look()))
    })
}
