/** `midflight token`: who may do what, where, and until when. */
import { Command, Option } from 'commander'
import { call, callAll } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import type { TokenView } from '../fleet/records.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { tableLines } from '../show/table.ts'
import { clockText } from '../show/time.ts'
import type { Terminal } from '../terminal.ts'

const roles = ['viewer', 'publisher', 'approver', 'agent', 'metrics', 'admin']

export function token(terminal: Terminal): Command {
  return new Command('token')
    .summary('make, list and revoke tokens')
    .description('Hands out tokens, lists them, and revokes them.')
    .addCommand(create(terminal))
    .addCommand(list(terminal))
    .addCommand(revoke(terminal))
}

interface CreateFlags extends FleetFlags {
  readonly role: string
  readonly prefix: string
  readonly expires: string
}

function create(terminal: Terminal): Command {
  return withFleetOptions(new Command('create'))
    .summary('make a token; its secret is shown once')
    .argument('<name>', 'who will use it; stands in the audit log')
    .addOption(new Option('--role <role>', 'what it may do').choices(roles).makeOptionMandatory())
    .option('--prefix <prefix>', 'configs that it is good for: shop is shop/… too; without it all', '')
    .option('--expires <time>', '12h, 90d, a time like 2027-01-01T00:00:00Z, or never', '90d')
    .option('--json', 'print { token, secret }')
    .action(async (name: string, { role, prefix, expires, ...flags }: CreateFlags) => {
      const body = { name, role, prefix, expiresAt: expiryOf(expires) }
      const made = await call<{ token: TokenView; secret: string }>(connectionOf(flags), '/v1/tokens', {
        method: 'POST',
        body,
      })
      if (flags.json) return terminal.document(made.body)
      const { expiresAt } = made.body.token
      const until = expiresAt === null ? 'for ever' : `until ${clockText(expiresAt)}`
      const where = prefix === '' ? 'everything' : prefix
      terminal.note(`${role} for ${where} ${until}; the secret is shown this once:`)
      terminal.print(made.body.secret)
    })
}

/** @throws Refusal */
function expiryOf(text: string): string | null {
  if (text === 'never') return null
  const [, digits, unit] = /^(\d{1,5})([mhd])$/.exec(text) ?? []
  const unitMs = { m: 60_000, h: 3_600_000, d: 86_400_000 }[unit ?? '']
  const at = unitMs === undefined ? Date.parse(text) : Date.now() + Number(digits) * unitMs
  if (!Number.isFinite(at) || (unitMs === undefined && !/^\d{4}-\d\d-\d\d/.test(text))) {
    throw new Refusal('usage', `--expires is ${JSON.stringify(text)}; want 12h, 90d, 2027-01-01T00:00:00Z or never`)
  }
  return new Date(at).toISOString()
}

function list(terminal: Terminal): Command {
  return withFleetOptions(new Command('list'))
    .summary('the tokens, without their secrets')
    .option('--json', 'print { tokens: […] }')
    .action(async (flags: FleetFlags) => {
      const tokens = await callAll<TokenView>(connectionOf(flags), '/v1/tokens', {}, Infinity)
      if (flags.json) return terminal.document({ tokens })
      const { paint } = terminal
      const rows = tokens.map(({ id, name, role, prefix, createdBy, expiresAt, revokedAt }) => {
        const [state, colour] = stateOf(expiresAt, revokedAt)
        return {
          cells: [
            { text: id, whole: true },
            { text: name, colour: paint.bold },
            { text: role },
            { text: prefix === '' ? 'everything' : prefix, whole: true },
            { text: createdBy },
            { text: state, ...(colour && { colour: paint.red }) },
          ],
        }
      })
      terminal.print(tableLines(['id', 'name', 'role', 'for', 'made by', 'good'], rows, terminal.columns(), paint))
    })
}

function stateOf(expiresAt: string | null, revokedAt: string | null): [text: string, isOver: boolean] {
  if (revokedAt !== null) return [`revoked ${clockText(revokedAt)}`, true]
  if (expiresAt === null) return ['for ever', false]
  const isOver = Date.parse(expiresAt) <= Date.now()
  return [`${isOver ? 'expired' : 'until'} ${clockText(expiresAt)}`, isOver]
}

function revoke(terminal: Terminal): Command {
  return withFleetOptions(new Command('revoke'))
    .summary('refuse a token from now on')
    .argument('<id>', 'as midflight token list shows it')
    .option('--json', 'print the token')
    .action(async (id: string, flags: FleetFlags) => {
      const path = `/v1/tokens/${encodeURIComponent(id)}`
      const { body } = await call<TokenView>(connectionOf(flags), path, { method: 'DELETE' })
      if (flags.json) return terminal.document(body)
      terminal.print(`${terminal.paint.green('✔')} revoked ${printable(body.name)} (${printable(body.role)})`)
    })
}
