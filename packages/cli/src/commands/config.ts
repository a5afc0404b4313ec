/** `midflight config`: configs of a control plane, and what they demand of their contents. */
import { Command } from 'commander'
import type { Json } from 'midflight'
import type { Address } from '../admin/address.ts'
import { call, callAll, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import type { ConfigView } from '../fleet/records.ts'
import { jsonIn } from '../files/json-file.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { shortDigest } from '../show/status.ts'
import { tableLines } from '../show/table.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface DemandFlags extends FleetFlags {
  readonly schema?: string
  readonly rules?: string
  readonly reviewers?: number
}

const maxReviewers = 16

export function config(terminal: Terminal): Command {
  return new Command('config')
    .summary('make and list configs of a control plane, and their schemas')
    .description('Makes configs, lists them, and says what a content of theirs must be.')
    .addCommand(create(terminal))
    .addCommand(schema(terminal))
    .addCommand(list(terminal))
}

function withDemands(command: Command): Command {
  return withFleetOptions(command)
    .option('-s, --schema <file>', 'JSON Schema (.json, .yaml) that every content must fit')
    .option('--rules <file>', 'rules that every content must keep (.json, .yaml), a list')
    .option('--reviewers <n>', `how many others must approve a publish, 0 to ${maxReviewers}`, (text) =>
      integer('--reviewers', text, 0, maxReviewers),
    )
}

function create(terminal: Terminal): Command {
  return withDemands(new Command('create'))
    .summary('make a config')
    .argument('<config>', 'its name, like shop/gateway/prod')
    .option('--json', 'print the config')
    .action(async (name: string, flags: DemandFlags) => {
      configPath(name)
      const body = { name, ...(await demandsOf(flags)) }
      const made = await call<ConfigView>(connectionOf(flags), '/v1/configs', { method: 'POST', body })
      if (flags.json) return terminal.document(made.body)
      terminal.print(`${terminal.paint.green('✔')} made ${name}${demandText(made.body)}`)
    })
}

function schema(terminal: Terminal): Command {
  return withDemands(new Command('schema'))
    .summary('show or change what a config demands')
    .description(
      'Shows the schema, rules and reviewers of a config, or with options changes them; what is not named stays.',
    )
    .argument('<config>')
    .option('--no-schema', 'from now on everything is taken')
    .option('--json', 'print { schema, rules, reviewers }, or after a change the config')
    .action(async (name: string, flags: Omit<DemandFlags, 'schema'> & { schema?: string | boolean }) => {
      const address = connectionOf(flags)
      const changes = await demandsOf(flags)
      const path = configPath(name, '/schema')
      if (Object.keys(changes).length === 0) return show(terminal, address, path)
      const { body } = await call<ConfigView>(address, path, { method: 'PUT', body: changes })
      if (flags.json) return terminal.document(body)
      terminal.print(`${terminal.paint.green('✔')} changed what ${name} demands${demandText(body)}`)
    })
}

async function show(terminal: Terminal, address: Address, path: string): Promise<void> {
  // A schema is made to be read as it is: there is no other form for people.
  terminal.document((await call<Json>(address, path)).body)
}

function list(terminal: Terminal): Command {
  return withFleetOptions(new Command('list'))
    .summary('the configs, by name')
    .argument('[prefix]', 'only those below it, like shop')
    .option('--json', 'print { configs: […] }')
    .action(async (prefix: string | undefined, flags: FleetFlags) => {
      const configs = await callAll<ConfigView>(connectionOf(flags), '/v1/configs', { prefix }, Infinity)
      if (flags.json) return terminal.document({ configs })
      const { paint } = terminal
      if (configs.length === 0) return terminal.print('no configs')
      const rows = configs.map(({ name, head, hasSchema, rules, reviewers }) => ({
        cells: [
          { text: name, colour: paint.bold, whole: true },
          { text: head === null ? '–' : String(head.number) },
          { text: head === null ? '–' : shortDigest(head.digest), colour: paint.cyan },
          { text: hasSchema ? 'yes' : 'no' },
          { text: String(rules) },
          { text: String(reviewers) },
        ],
      }))
      const head = ['config', 'release', 'digest', 'schema', 'rules', 'reviewers']
      terminal.print(tableLines(head, rows, terminal.columns(), paint))
    })
}

async function demandsOf(flags: {
  readonly schema?: string | boolean
  readonly rules?: string
  readonly reviewers?: number
}): Promise<Record<string, Json>> {
  const demands: Record<string, Json> = {}
  if (typeof flags.schema === 'string') demands['schema'] = await jsonIn(flags.schema, 'the schema')
  else if (flags.schema === false) demands['schema'] = null
  if (flags.rules !== undefined) {
    const rules = await jsonIn(flags.rules, 'the list of rules')
    if (!Array.isArray(rules)) throw new Refusal('usage', `${flags.rules} holds no list; want a list of rules`)
    demands['rules'] = rules
  }
  if (flags.reviewers !== undefined) demands['reviewers'] = flags.reviewers
  return demands
}

function demandText({ hasSchema, rules, reviewers }: ConfigView): string {
  const parts = [
    hasSchema ? 'a schema' : 'no schema',
    ...(rules > 0 ? [plural(rules, 'rule')] : []),
    ...(reviewers > 0 ? [plural(reviewers, 'reviewer')] : []),
  ]
  return `: ${parts.join(', ')}`
}
