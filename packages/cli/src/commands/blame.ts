/** `midflight blame`: which release last changed what stands at a path. */
import { Command } from 'commander'
import type { ReleaseInfo } from 'midflight/protocol'
import { call, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { printable } from '../printable.ts'
import { clockText } from '../show/time.ts'
import type { Terminal } from '../terminal.ts'

interface Blame {
  readonly path: string
  readonly release: ReleaseInfo
  readonly kind: 'added' | 'changed' | 'removed' | 'since'
}

export function blame(terminal: Terminal): Command {
  return withFleetOptions(new Command('blame'))
    .summary('which release last changed a path')
    .description('Says which release last changed what stands at a path, like server.port or rules.r1.limit.')
    .argument('<config>')
    .argument('<path>')
    .option('--json', 'print { path, kind, release }')
    .action(async (config: string, path: string, flags: FleetFlags) => {
      const { body } = await call<Blame>(connectionOf(flags), configPath(config, '/blame'), { query: { path } })
      if (flags.json) return terminal.document(body)
      const { paint } = terminal
      const { number, author, createdAt, message } = body.release
      const how = body.kind === 'since' ? 'is so since at least' : `was ${printable(body.kind)} in`
      const why = message === '' ? '' : `: ${printable(message)}`
      terminal.print(
        `${paint.bold(printable(body.path))} ${how} release ${number} by ${printable(author)} ${paint.dim(`(${clockText(createdAt)})`)}${why}`,
      )
    })
}
