/** The two ends of a transfer as they are typed: a URL is a place, a name is a config of the control plane. */
import type { Command } from 'commander'
import { connectionOf, type FleetFlags } from '../fleet/connection.ts'
import { configReader, placeReader, type Reader } from './read.ts'
import { examples, isPlace, placeAt } from './stores.ts'
import { configTarget, placeTarget, type Target } from './write.ts'

export interface EndFlags extends FleetFlags {
  readonly message?: string
}

/** @param bare what a word is that is no URL. */
export async function readerAt(text: string, flags: EndFlags, bare: 'config' | 'file'): Promise<Reader> {
  if (isPlace(text)) return placeReader(await placeAt(text))
  return bare === 'file' ? placeReader(await placeAt(`file:${text}`)) : configReader(connectionOf(flags), text)
}

export async function targetAt(text: string, flags: EndFlags, bare: 'config' | 'file'): Promise<Target> {
  if (isPlace(text)) return placeTarget(await placeAt(text))
  if (bare === 'file') return placeTarget(await placeAt(`file:${text}`))
  return configTarget(connectionOf(flags), text, flags.message)
}

export function withPlacesHelp(command: Command, more: string): Command {
  return command.addHelpText(
    'after',
    `
A place is a URL:
${examples.map((example) => `  ${example}`).join('\n')}
One that ends in the separator (/ or : or .) stands for the keys below it, each a value; else its key holds the whole
document. What is not a URL is a config of the control plane. Passwords and tokens come from ?password-file=, ?token-file=
or the store's own variable: ETCDCTL_PASSWORD, CONSUL_HTTP_TOKEN, REDISCLI_AUTH, NATS_PASSWORD, ZOOKEEPER_PASSWORD, KAFKA_PASSWORD,
AWS_SECRET_ACCESS_KEY, NACOS_PASSWORD, KUBERNETES_TOKEN, APOLLO_TOKEN, MIDFLIGHT_PLACE_TOKEN (https: and http:, whose query
is all of the address).
TLS: ?tls, ?ca=FILE, ?cert=FILE, ?key=FILE.
${more}`,
  )
}
