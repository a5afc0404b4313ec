/** `midflight login`: remembers a control plane and the token for it. */
import { Command } from 'commander'
import process from 'node:process'
import { checkedToken, tokenOf, urlOf } from '../admin/address.ts'
import { secretFrom } from '../fleet/confirm.ts'
import { call } from '../fleet/call.ts'
import { addressAt, exampleUrl, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { loginPath, readLogins, saveLogins } from '../fleet/login-file.ts'
import { Refusal } from '../refusal.ts'
import type { Terminal } from '../terminal.ts'

interface LoginFlags extends FleetFlags {
  readonly forget?: true
}

export function login(terminal: Terminal): Command {
  return withFleetOptions(new Command('login'))
    .summary('remember a control plane and the token for it')
    .description(
      'Checks a token with a control plane and keeps it, so that the other commands need neither --url nor a token. The token is taken from --token-file, MIDFLIGHT_TOKEN or standard input; on a terminal it is asked for.',
    )
    .argument('[address]', `the control plane, ${exampleUrl}`)
    .option('--forget', 'remove what was kept for it')
    .option('--json', 'print { url, path }')
    .action((address: string | undefined, flags: LoginFlags) => run(terminal, address, flags))
}

async function run(terminal: Terminal, named: string | undefined, flags: LoginFlags): Promise<void> {
  const logins = readLogins()
  const text = named ?? flags.url ?? (process.env['MIDFLIGHT_URL'] || undefined) ?? logins.current
  if (text === undefined) throw new Refusal('usage', `which control plane? want one like ${exampleUrl}`)
  const from = named === undefined ? '--url' : 'the address'
  const { href } = urlOf(text, from, exampleUrl)
  const path = loginPath()
  if (flags.forget) {
    const { [href]: known, ...tokens } = logins.tokens
    if (known === undefined) throw new Refusal('not-found', `nothing is kept for ${href.replace(/\/$/, '')}`)
    saveLogins({ current: logins.current === href ? Object.keys(tokens)[0] : logins.current, tokens })
    if (flags.json) return terminal.document({ url: href, path })
    return terminal.print(`${terminal.paint.green('✔')} forgot ${href.replace(/\/$/, '')}`)
  }
  const token = tokenOf(flags) ?? checkedToken(await secretFrom(terminal, 'token: '), 'standard input')
  const address = { ...addressAt(text, flags, from), token }
  await call(address, '/v1/configs', { query: { limit: 1 } })
  saveLogins({ current: href, tokens: { ...logins.tokens, [href]: token } })
  if (isReadable(new URL(href))) terminal.note(`${address.name} is plain http: others on the way can read the token`)
  if (flags.json) return terminal.document({ url: href, path })
  terminal.print(`${terminal.paint.green('✔')} logged in to ${address.name}; the token is in ${path}`)
}

function isReadable({ protocol, hostname }: URL): boolean {
  return protocol === 'http:' && !/^(?:localhost|127\.[\d.]+|\[::1\])$/.test(hostname)
}
