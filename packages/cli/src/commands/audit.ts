/** `midflight audit`: who did what, and whether the log is whole. */
import { Command } from 'commander'
import type { Json } from 'midflight'
import type { Address } from '../admin/address.ts'
import { brokenLink, chainStart, type AuditHead } from '../fleet/audit-chain.ts'
import { call, callAll } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import type { AuditEntry } from '../fleet/records.ts'
import { jsonText, printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { tableLines } from '../show/table.ts'
import { clockText } from '../show/time.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

export function audit(terminal: Terminal): Command {
  return new Command('audit')
    .summary('who did what, and whether the log is whole')
    .description('Reads the audit log of a control plane, and checks it.')
    .addCommand(list(terminal))
    .addCommand(verify(terminal))
}

interface ListFlags extends FleetFlags {
  readonly after: number
  readonly limit: number
}

function list(terminal: Terminal): Command {
  return withFleetOptions(new Command('list'))
    .summary('the entries, oldest first')
    .option('--after <n>', 'begin after this entry', (text) => integer('--after', text, 0, Number.MAX_SAFE_INTEGER), 0)
    .option('--limit <n>', 'so many at most', (text) => integer('--limit', text, 1, 10_000_000), 1000)
    .option('--json', 'print { entries: […] }')
    .action(async ({ after, limit, ...flags }: ListFlags) => {
      const entries = await callAll<AuditEntry>(connectionOf(flags), '/v1/audit', { after }, limit)
      if (flags.json) return terminal.document({ entries })
      const { paint } = terminal
      if (entries.length === 0) return terminal.print('no entries')
      const rows = entries.map(({ number, at, actor, action, config, detail }) => ({
        cells: [
          { text: String(number), colour: paint.dim },
          { text: clockText(at), colour: paint.dim },
          { text: actor },
          { text: action, colour: paint.bold },
          { text: config ?? '–' },
          { text: detailText(detail) },
        ],
      }))
      terminal.print(tableLines(['entry', 'when', 'who', 'did', 'config', 'what'], rows, terminal.columns(), paint))
    })
}

function detailText(detail: Json): string {
  if (typeof detail !== 'object' || detail === null || Array.isArray(detail)) return jsonText(detail)
  return Object.entries(detail)
    .map(([name, value]) => `${name} ${typeof value === 'string' ? value : jsonText(value)}`)
    .join(', ')
}

type AuditReport =
  | { readonly kind: 'whole'; readonly entries: number; readonly head: AuditHead }
  | { readonly kind: 'broken'; readonly number: number; readonly why: string }

function verify(terminal: Terminal): Command {
  return withFleetOptions(new Command('verify'))
    .summary('check that no entry was changed or removed')
    .description(
      'Reads the whole log and checks it here, link by link, and then that it goes on to the head that was noted earlier.',
    )
    .option('--head <number:hash>', 'a head that was noted earlier; it must be in the log')
    .option('--json', 'print { kind: "whole", entries, head } or { kind: "broken", number, why }')
    .addHelpText('after', '\nExit status: 0 the log is whole, 1 it is not.')
    .action(async ({ head, ...flags }: FleetFlags & { head?: string }) => {
      const [, digits, hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(head ?? '') ?? []
      if (head !== undefined && hash === undefined) {
        throw new Refusal('usage', `--head is ${JSON.stringify(head)}; want a number, ":" and 64 hexadecimal digits`)
      }
      const address = connectionOf(flags)
      const report = await reportOf(address, Number(digits), hash)
      terminal.exitCode = report.kind === 'whole' ? 0 : 1
      if (flags.json) return terminal.document(report)
      const { paint } = terminal
      if (report.kind === 'broken') {
        return terminal.print(`${paint.red('✖')} entry ${report.number} ${printable(report.why)}`)
      }
      terminal.print(
        `${paint.green('✔')} the log is whole: ${report.entries} entries`,
        `  ${paint.dim('head')} ${report.head.number}:${report.head.hash}`,
      )
    })
}

/** The control plane is not asked whether its log is whole: it is read, and checked here. */
async function reportOf(address: Address, number: number, hash: string | undefined): Promise<AuditReport> {
  let head = chainStart
  let known = hash === undefined || (number === 0 && hash === chainStart.hash)
  for (;;) {
    const page = await call<{ items: AuditEntry[]; next?: number }>(address, '/v1/audit', {
      query: { after: head.number, limit: 1000 },
    })
    for (const entry of page.body.items) {
      const why = brokenLink(entry, head)
      if (why !== undefined) return { kind: 'broken', number: head.number + 1, why }
      known ||= entry.number === number && entry.hash === hash
      head = { number: entry.number, hash: entry.hash }
    }
    if (page.body.next === undefined) break
  }
  if (!known) return { kind: 'broken', number, why: 'is not what was noted: the log was cut off or made anew since' }
  return { kind: 'whole', entries: head.number, head }
}
