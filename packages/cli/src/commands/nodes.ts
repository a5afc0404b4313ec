/** `midflight nodes`: who runs what, and why not. */
import { Command, Option } from 'commander'
import { call, callAll, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import type { NodeView } from '../fleet/records.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { nodeLines } from '../show/delivery.ts'
import { clockText } from '../show/time.ts'
import { tableLines } from '../show/table.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface NodesFlags extends FleetFlags {
  readonly notOn?: number
  readonly status?: string
  readonly uid?: string
  readonly limit: number
}

interface Attempt {
  readonly number: number
  readonly status: string
  readonly detail?: string
  readonly attempt: number
  readonly at: string
}

const statuses = [
  'UNSET',
  'RECEIVED',
  'PREPARED',
  'APPLYING',
  'APPLIED',
  'FAILED',
  'ROLLED_BACK',
  'RESTART_REQUIRED',
  'DEGRADED',
]

export function nodes(terminal: Terminal): Command {
  return withFleetOptions(new Command('nodes'))
    .summary('who runs what, and why not')
    .description('Lists the nodes of a config; with --not-on those that do not run a release, and why.')
    .argument('[config]')
    .option('--not-on <n>', 'only those that do not run this release', (text) =>
      integer('--not-on', text, 1, Number.MAX_SAFE_INTEGER),
    )
    .addOption(new Option('--status <status>', 'only those with this status').choices(statuses))
    .option('--uid <uid>', 'one node, and what it tried')
    .option('--limit <n>', 'so many at most', (text) => integer('--limit', text, 1, 1_000_000), 1000)
    .option('--json', 'print { nodes: […] }, or { node, attempts } of one')
    .addHelpText('after', '\nExit status: 0, or with --not-on 2 if there are such nodes.')
    .action((config: string | undefined, flags: NodesFlags) =>
      flags.uid === undefined ? list(terminal, config, flags) : one(terminal, flags.uid, config, flags),
    )
}

async function list(terminal: Terminal, config: string | undefined, flags: NodesFlags): Promise<void> {
  if (config === undefined) throw new Refusal('usage', 'of which config? want midflight nodes CONFIG')
  const { notOn, status, limit } = flags
  const found = await callAll<NodeView>(connectionOf(flags), configPath(config, '/nodes'), { notOn, status }, limit)
  if (notOn !== undefined && found.length > 0) terminal.exitCode = 2
  if (flags.json) return terminal.document({ nodes: found })
  const { paint } = terminal
  if (found.length === 0) {
    const all = notOn === undefined ? 'no nodes' : `every node runs release ${notOn}`
    return terminal.print(status === undefined ? all : `no nodes with the status ${status}`)
  }
  terminal.print(nodeLines(found, terminal.look()), '', paint.dim(plural(found.length, 'node')))
}

async function one(terminal: Terminal, uid: string, config: string | undefined, flags: NodesFlags): Promise<void> {
  if (config !== undefined) throw new Refusal('usage', 'a config and --uid are both given; want one of them')
  const path = `/v1/nodes/${encodeURIComponent(uid)}`
  const { body } = await call<{ node: NodeView; attempts: Attempt[] }>(connectionOf(flags), path)
  if (flags.json) return terminal.document(body)
  const { paint } = terminal
  const rows = body.attempts.map(({ at, number, attempt, status, detail }) => ({
    cells: [
      { text: clockText(at), colour: paint.dim },
      { text: String(number) },
      { text: String(attempt) },
      { text: status },
      { text: detail?.split('\n')[0] ?? '' },
    ],
  }))
  terminal.print(nodeLines([body.node], terminal.look()))
  if (rows.length === 0) return
  terminal.print('', tableLines(['when', 'release', 'attempt', 'status', 'why'], rows, terminal.columns(), paint))
}
