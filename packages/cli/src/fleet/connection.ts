/** Which control plane is asked, and as whom: from options, environment and what `midflight login` kept. */
import process from 'node:process'
import type { Command } from 'commander'
import { seconds, tokenOf, urlOf, type Address } from '../admin/address.ts'
import { Refusal } from '../refusal.ts'
import { readLogins } from './login-file.ts'

export interface FleetFlags {
  readonly url?: string
  readonly token?: string
  readonly tokenFile?: string
  readonly timeout?: number
  readonly json?: true
}

export const exampleUrl = 'http://127.0.0.1:7700'
const defaultTimeoutS = 30

export function withFleetOptions(command: Command): Command {
  return command
    .option('--url <url>', `the control plane, ${exampleUrl} (MIDFLIGHT_URL, or that of the last login)`)
    .option('--token <token>', 'its token; others on this machine can see it here, so rather MIDFLIGHT_TOKEN or login')
    .option('--token-file <path>', 'file that holds the token')
    .option('--timeout <seconds>', `how long to wait for an answer (default: ${defaultTimeoutS})`, seconds)
}

/** @throws Refusal if it is not said where, or makes no sense. */
export function connectionOf(flags: FleetFlags): Address {
  const logins = readLogins()
  const fromEnv = process.env['MIDFLIGHT_URL'] || undefined
  const text = flags.url ?? fromEnv ?? logins.current
  if (text === undefined) {
    throw new Refusal(
      'usage',
      'which control plane? want --url or MIDFLIGHT_URL',
      `midflight login ${exampleUrl} remembers one`,
    )
  }
  return addressAt(text, flags, flags.url === undefined ? 'MIDFLIGHT_URL' : '--url', logins.tokens)
}

/** @param kept tokens by address: each goes only where it was logged in with. */
export function addressAt(
  text: string,
  flags: FleetFlags,
  from: string,
  kept: Readonly<Record<string, string>> = {},
): Address {
  const base = urlOf(text, from, exampleUrl)
  return {
    name: base.href.replace(/\/$/, ''),
    at: { kind: 'url', base },
    token: tokenOf(flags) ?? kept[base.href],
    timeoutMs: (flags.timeout ?? defaultTimeoutS) * 1000,
    missing: 'is the control plane running? midflight serve starts one',
  }
}
