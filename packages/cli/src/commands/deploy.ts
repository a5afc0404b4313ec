/** `midflight deploy`: how the package of a config is on its nodes, and what people do about it. */
import { Command } from 'commander'
import { call, configPath } from '../fleet/call.ts'
import { requireSomebody, requireYes, type YesFlag } from '../fleet/confirm.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import {
  exitCodeOf,
  followDeployment,
  type Deployed,
  type DeploymentView,
  type DeployStatus,
  type TargetsPlan,
  type TargetsView,
} from '../fleet/deployment.ts'
import { controlLines, planLines, statusLines } from '../show/deployment.ts'
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

interface WaitFlags extends FleetFlags, YesFlag {
  readonly message?: string
  /** `false` after `--no-wait`. */
  readonly wait: boolean
}

export function deploy(terminal: Terminal): Command {
  const command = new Command('deploy')
    .summary('how the package of a config is on its nodes')
    .description(
      'Shows how a package is on the nodes of a config, and starts, stops, tries again, takes back: each shows what it means for the nodes, and asks.',
    )
    .addCommand(status(terminal))
  for (const [name, summary] of controls) command.addCommand(control(terminal, name, summary))
  return command.addCommand(rollback(terminal))
}

function withWaiting(command: Command): Command {
  return withFleetOptions(command)
    .option('-m, --message <text>', 'why')
    .option('-y, --yes', 'do not ask')
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
      requireSomebody(`deploy ${name}`, flags)
      const address = connectionOf(flags)
      const path = configPath(config, `/targets/${name}`)
      if (!flags.json) {
        const found = (await call<DeployStatus>(address, configPath(config, '/targets/status'))).body
        terminal.print(controlLines(config, name, summary, found, terminal.look()), '')
      }
      await requireYes(terminal, flags, `${name} ${config}?`, 'nothing was changed')
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
      requireSomebody('deploy rollback', flags)
      const { to, message } = flags
      const address = connectionOf(flags)
      const which = to === undefined ? {} : { to }
      const path = configPath(config, '/targets/rollback')
      const seen = await call<TargetsView>(address, configPath(config, '/targets'))
      const plan = (await call<TargetsPlan>(address, `${path}/plan`, { method: 'POST', body: which })).body
      if (!flags.json) terminal.print(planLines(config, plan, terminal.look()), '')
      await requireYes(terminal, flags, `roll back ${config}?`, 'nothing was changed')
      await call<Deployed>(address, path, {
        method: 'POST',
        // Against those that were shown.
        headers: { 'if-match': String(seen.headers['etag']) },
        body: { ...which, ...(message !== undefined && { message }) },
      })
      await shown(terminal, config, flags)
    })
}
