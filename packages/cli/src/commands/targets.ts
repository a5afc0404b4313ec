/** `midflight targets`: on which nodes a config's package is to be, planned as a table of nodes and brought about. */
import { Command } from 'commander'
import type { Json } from 'midflight'
import { call, configPath } from '../fleet/call.ts'
import { requireSomebody, requireYes, type YesFlag } from '../fleet/confirm.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { exitCodeOf, followDeployment, type Deployed, type TargetsPlan, type TargetsView } from '../fleet/deployment.ts'
import { jsonIn } from '../files/json-file.ts'
import { printable } from '../printable.ts'
import { planLines, statusLines } from '../show/deployment.ts'
import type { Terminal } from '../terminal.ts'

export function targets(terminal: Terminal): Command {
  return new Command('targets')
    .summary('which nodes get the package of a config')
    .description('Shows the targets of a config, says what others would mean for each node, and brings them about.')
    .addCommand(show(terminal))
    .addCommand(plan(terminal))
    .addCommand(set(terminal))
}

function show(terminal: Terminal): Command {
  return withFleetOptions(new Command('show'))
    .summary('the targets that hold, secrets not shown')
    .argument('<config>')
    .option('--json', 'print { number, targets, subscription, enabled, inspected, status, underWay }')
    .action(async (config: string, flags: FleetFlags) => {
      const { body } = await call<TargetsView>(connectionOf(flags), configPath(config, '/targets'))
      if (flags.json) return terminal.document(body)
      if (body.targets === null) return terminal.print(`${config} has no targets`)
      terminal.print(JSON.stringify(body.targets, null, 2).split('\n').map(printable))
    })
}

function plan(terminal: Terminal): Command {
  return withFleetOptions(new Command('plan'))
    .summary('what these targets would mean, node by node')
    .argument('<config>')
    .argument('<file>', 'the targets (.json, .yaml, .toml)')
    .option('--json', 'print { operation, diff }')
    .addHelpText('after', '\nExit status: 0 nothing is to be done, 2 something is, 1 they are wrong.')
    .action(async (config: string, file: string, flags: FleetFlags) => {
      const body = await jsonIn(file, 'the targets')
      const path = configPath(config, '/targets/plan')
      const found = (await call<TargetsPlan>(connectionOf(flags), path, { method: 'POST', body })).body
      terminal.exitCode = found.operation.kind === 'nothing' ? 0 : 2
      if (flags.json) return terminal.document(found)
      terminal.print(planLines(config, found, terminal.look()))
    })
}

interface SetFlags extends FleetFlags, YesFlag {
  readonly message?: string
  /** `false` after `--no-wait`. */
  readonly wait: boolean
}

function set(terminal: Terminal): Command {
  return withFleetOptions(new Command('set'))
    .summary('bring these targets about')
    .description(
      'Shows what the targets would mean, asks, puts a deployment on record that brings them, and follows it to its end.',
    )
    .argument('<config>')
    .argument('<file>', 'the targets (.json, .yaml, .toml)')
    .option('-m, --message <text>', 'why')
    .option('-y, --yes', 'do not ask')
    .option('--no-wait', 'do not wait for the nodes')
    .option('--json', 'print { plan, deployment, status }')
    .addHelpText('after', '\nExit status: 0 every node has it, or nothing was to be done; 1 not; 2 under way.')
    .action(async (config: string, file: string, flags: SetFlags) => {
      requireSomebody('targets set', flags)
      const address = connectionOf(flags)
      const body: Json = await jsonIn(file, 'the targets')
      const path = configPath(config, '/targets')
      const seen = await call<TargetsView>(address, path)
      const found = (await call<TargetsPlan>(address, `${path}/plan`, { method: 'POST', body })).body
      const look = terminal.look()
      if (!flags.json) terminal.print(planLines(config, found, look))
      // What is under way leads elsewhere: then the control plane says no.
      if (found.operation.kind === 'nothing' && seen.body.underWay === null) {
        if (flags.json) terminal.document({ plan: found, deployment: null, status: null })
        return
      }
      await requireYes(terminal, flags, `\n${found.operation.kind} it on its nodes?`, 'nothing was changed')
      const { body: made } = await call<Deployed>(address, path, {
        method: 'PUT',
        headers: { 'if-match': String(seen.headers['etag']) },
        query: { message: flags.message },
        body,
      })
      const waits = flags.wait && made.deployment !== null
      const status = waits ? await followDeployment(address, config, terminal.interrupted) : null
      terminal.exitCode = status === null ? (made.deployment === null ? 0 : 2) : exitCodeOf(status)
      if (flags.json) return terminal.document({ ...made, status })
      if (status !== null) terminal.print('', statusLines(config, status, look))
      else if (made.deployment !== null) terminal.print('', `deployment ${made.deployment.number} is under way`)
    })
}
