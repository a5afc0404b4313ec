/** `midflight status`: what a process or a fleet runs, since when, and what happened last. */
import { Command } from 'commander'
import type { ReleaseInfo } from 'midflight/protocol'
import { askStatus } from '../admin/admin.ts'
import { addressOf, withAdminOptions, type AdminOptions } from '../admin/address.ts'
import { call, configPath } from '../fleet/call.ts'
import { connectionOf } from '../fleet/connection.ts'
import { deliveryOf } from '../fleet/delivery.ts'
import type { ConfigView } from '../fleet/records.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { deliveryLines } from '../show/delivery.ts'
import { shortDigest, statusLines } from '../show/status.ts'
import { clockText } from '../show/time.ts'
import type { Terminal } from '../terminal.ts'

const defaultTimeoutS = 10

export function status(terminal: Terminal): Command {
  return withAdminOptions(new Command('status'), defaultTimeoutS)
    .summary('what a process or a fleet runs, and what happened last')
    .description(
      'Shows what a running process runs, since when, its components and how its reloads went; with --config what a fleet runs.',
    )
    .option('--config <name>', 'of the nodes of this config, asked of a control plane at --url')
    .option('--json', 'print the status as the endpoint gives it; of a fleet { config, delivery }')
    .addHelpText(
      'after',
      '\nExit status: 0 all is well, 1 it is degraded or cannot be asked; with --config 2 if not every node that is here runs the newest release.',
    )
    .action(async ({ config, ...flags }: AdminOptions & { config?: string; json?: true }) => {
      if (config !== undefined) return fleetStatus(terminal, config, flags)
      const found = await askStatus(addressOf(flags, defaultTimeoutS))
      terminal.exitCode = found.healthy === false ? 1 : 0
      if (flags.json) return terminal.document(found)
      terminal.print(statusLines(found, terminal.look()))
    })
}

async function fleetStatus(
  terminal: Terminal,
  name: string,
  { socket, ...flags }: AdminOptions & { json?: true },
): Promise<void> {
  if (socket !== undefined) throw new Refusal('usage', 'both --config and --socket are given; want --url with --config')
  const address = connectionOf(flags)
  const { body: config } = await call<ConfigView>(address, configPath(name))
  const delivery = config.head === null ? undefined : await deliveryOf(address, name, config.head.number)
  if (delivery?.converged === false) terminal.exitCode = 2
  if (flags.json) return terminal.document({ config, ...(delivery && { delivery }) })
  const { paint } = terminal
  if (config.head === null || delivery === undefined)
    return terminal.print(`${paint.dim('○')} ${name} has no release yet`)
  const head = await call<ReleaseInfo>(address, configPath(name, `/releases/${config.head.number}`))
  terminal.print(
    `${paint.bold(name)} release ${head.body.number} ${paint.cyan(shortDigest(head.body.digest))} ${paint.dim(`by ${printable(head.body.author)} at ${clockText(head.body.createdAt)}`)}`,
    deliveryLines(delivery, undefined, terminal.look()),
  )
}
