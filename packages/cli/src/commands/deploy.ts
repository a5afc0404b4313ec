/** `midflight deploy`: how the package of a config is on its nodes, and what people do about it. */
import { Command } from 'commander'
import { call, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import {
  exitCodeOf,
  followDeployment,
  type Deployed,
  type DeploymentView,
  type DeployStatus,
} from '../fleet/deployment.ts'
import { planLines, statusLines } from '../show/deployment.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

type Control = 'retry' | 'stop' | 'start' | 'uninstall' | 'revoke'
const controls: readonly (readonly [Control, string])[] = [
  ['retry', 'try again on the nodes that failed or wait; or go on with a deployment that is held'],
  ['stop', 'it stays on its nodes and does not work'],
  ['start', 'it works on its nodes again'],
  ['uninstall', 'take it off its nodes; it must be stopped'],
  ['revoke', 'undo the deployment that is under way, as long as what was there before is whole'],
]

interface WaitFlags extends FleetFlags {
  readonly message?: string
  /** `false` after `--no-wait`. */
  readonly wait: boolean
}

export function deploy(terminal: Terminal): Command {
  const command = new Command('deploy')
    .summary('how the package of a config is on its nodes')
    .description('Shows how a package is on the nodes of a config, and starts, stops, tries again, takes back.')
    .addCommand(status(terminal))
  for (const [name, summary] of controls) command.addCommand(control(terminal, name, summary))
  return command.addCommand(rollback(terminal))
}

function withWaiting(command: Command): Command {
  return withFleetOptions(command)
    .option('-m, --message <text>', 'why')
    .option('--no-wait', 'do not wait for the nodes')
    .addHelpText('after', '\nExit status: 0 every node is as it is to be, 1 not, 2 under way.')
}

function status(terminal: Terminal): Command {
  return withFleetOptions(new Command('status'))
    .summary('how the nodes are, and how far the deployment is')
    .argument('<config>')
    .option('--watch', 'follow the deployment that is under way to its end')
    .option('--json', 'print the targets, the nodes and the last deployment')
    .addHelpText('after', '\nExit status: 0 every node is as it is to be, 1 not, 2 under way.')
    .action(async (config: string, flags: FleetFlags & { watch?: true }) => {
      const address = connectionOf(flags)
      const found = flags.watch
        ? await followDeployment(address, config, terminal.interrupted)
        : (await call<DeployStatus>(address, configPath(config, '/targets/status'))).body
      show(terminal, config, found, flags.json)
    })
}

function show(terminal: Terminal, config: string, found: DeployStatus, json: true | undefined): void {
  terminal.exitCode = exitCodeOf(found)
  if (json) return terminal.document(found)
  terminal.print(statusLines(config, found, terminal.look()))
}

function control(terminal: Terminal, name: Control, summary: string): Command {
  return withWaiting(new Command(name))
    .summary(summary)
    .argument('<config>')
    .option('--json', 'print the targets, the nodes and the last deployment')
    .action(async (config: string, flags: WaitFlags) => {
      const address = connectionOf(flags)
      const path = configPath(config, `/targets/${name}`)
      const body = flags.message === undefined ? {} : { message: flags.message }
      await call<DeploymentView>(address, path, { method: 'POST', body })
      await shown(terminal, config, flags)
    })
}

async function shown(terminal: Terminal, config: string, flags: WaitFlags): Promise<void> {
  const address = connectionOf(flags)
  const found = flags.wait
    ? await followDeployment(address, config, terminal.interrupted)
    : (await call<DeployStatus>(address, configPath(config, '/targets/status'))).body
  show(terminal, config, found, flags.json)
}

function rollback(terminal: Terminal): Command {
  return withWaiting(new Command('rollback'))
    .summary('bring back the targets of an earlier deployment')
    .argument('<config>')
    .option('--to <n>', 'of this deployment, which must have held (default: the one before)', (text) =>
      integer('--to', text, 1, Number.MAX_SAFE_INTEGER),
    )
    .option('--json', 'print the targets, the nodes and the last deployment')
    .action(async (config: string, flags: WaitFlags & { to?: number }) => {
      const { to, message } = flags
      const body = { ...(to !== undefined && { to }), ...(message !== undefined && { message }) }
      const path = configPath(config, '/targets/rollback')
      const { plan } = (await call<Deployed>(connectionOf(flags), path, { method: 'POST', body })).body
      if (!flags.json) terminal.print(planLines(config, plan, terminal.look()), '')
      await shown(terminal, config, flags)
    })
}
