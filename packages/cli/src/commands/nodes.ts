/** `midflight nodes`: who runs what, and why not. */
import { Command, Option } from 'commander'
import type { Address } from '../admin/address.ts'
import { call, callAll, configPath } from '../fleet/call.ts'
import { requireSomebody, requireYes, type YesFlag } from '../fleet/confirm.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import type { NodeView } from '../fleet/records.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { nodeLines } from '../show/delivery.ts'
import { nameOf } from '../show/node-names.ts'
import { clockText } from '../show/time.ts'
import { tableLines } from '../show/table.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface NodesFlags extends FleetFlags, YesFlag {
  readonly notOn?: number
  readonly status?: string
  readonly uid?: string
  readonly forget?: string
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
    .option('--uid <uid>', 'one node, and what it tried; its beginning is enough where CONFIG is given')
    .option('--forget <uid>', 'forget a node that will not come back')
    .option('-y, --yes', 'do not ask before it is forgotten')
    .option('--limit <n>', 'so many at most', (text) => integer('--limit', text, 1, 1_000_000), 1000)
    .option('--json', 'print { nodes: […] }, or { node, attempts } of one, or { forgotten }')
    .addHelpText('after', '\nExit status: 0, or with --not-on 2 if there are such nodes.')
    .action((config: string | undefined, flags: NodesFlags) => {
      const { uid, forget } = flags
      if (uid !== undefined && forget !== undefined) {
        throw new Refusal('usage', 'both --uid and --forget are given; want one of them')
      }
      if (forget !== undefined) return forgotten(terminal, forget, config, flags)
      return uid === undefined ? list(terminal, config, flags) : one(terminal, uid, config, flags)
    })
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
  const byName = found.toSorted((a, b) => nameOf(a).localeCompare(nameOf(b), 'en', { numeric: true }))
  terminal.print(nodeLines(byName, terminal.look()), '', paint.dim(plural(found.length, 'node')))
}

const wholeUid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** `/v1/nodes/…` of the one node whose uid begins so. @throws Refusal */
async function pathOf(address: Address, uid: string, config: string | undefined): Promise<string> {
  if (wholeUid.test(uid)) return `/v1/nodes/${uid}`
  if (config === undefined) {
    throw new Refusal(
      'usage',
      `${JSON.stringify(uid)} is no whole uid; want midflight nodes CONFIG --uid with its beginning`,
    )
  }
  const all = await callAll<NodeView>(address, configPath(config, '/nodes'), {}, Infinity)
  const found = uid === '' ? [] : all.filter((node) => node.uid.startsWith(uid))
  const [only] = found
  if (only === undefined)
    throw new Refusal('not-found', `no node of ${config} has a uid that begins with ${JSON.stringify(uid)}`)
  if (found.length > 1)
    throw new Refusal('usage', `${found.length} nodes of ${config} have a uid that begins with ${uid}; want more of it`)
  return `/v1/nodes/${only.uid}`
}

async function one(terminal: Terminal, uid: string, config: string | undefined, flags: NodesFlags): Promise<void> {
  const address = connectionOf(flags)
  const path = await pathOf(address, uid, config)
  const { body } = await call<{ node: NodeView; attempts: Attempt[] }>(address, path)
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
  terminal.print(nodeLines([body.node], terminal.look()), paint.dim(`  uid ${printable(body.node.uid)}`))
  if (rows.length === 0) return
  terminal.print('', tableLines(['when', 'release', 'attempt', 'status', 'why'], rows, terminal.columns(), paint))
}

async function forgotten(
  terminal: Terminal,
  uid: string,
  config: string | undefined,
  flags: NodesFlags,
): Promise<void> {
  requireSomebody('--forget', flags)
  const address = connectionOf(flags)
  const path = await pathOf(address, uid, config)
  const { node } = (await call<{ node: NodeView }>(address, path)).body
  const name = `${nameOf(node)} ${node.uid}`
  const here = node.here ? '; it is here, and comes back by itself' : ''
  const question = `forget ${name}, last heard of at ${clockText(node.lastSeenAt)}${here}?`
  await requireYes(terminal, flags, question, 'not forgotten')
  await call(address, path, { method: 'DELETE' })
  if (flags.json) return terminal.document({ forgotten: node })
  terminal.print(`${terminal.paint.green('✔')} forgot ${name}`)
}
