/** `midflight serve`: runs a control plane until it is told to end. */
import { readFileSync } from 'node:fs'
import process from 'node:process'
import { Command, Option } from 'commander'
import type { JsonObject } from 'midflight'
import type { ControlPlane, ServeOptions } from '@midflight/control-plane'
import { openBackupDoor } from '../fleet/backup-door.ts'
import { busAt, busExamples } from '../fleet/bus.ts'
import { controlPlaneCode, storeRefusal, writeSecret } from '../fleet/control-plane.ts'
import { jsonIn } from '../files/json-file.ts'
import { Refusal } from '../refusal.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface ServeFlags {
  readonly data: string
  readonly host: string
  readonly port: number
  readonly tlsCert?: string
  readonly tlsKey?: string
  readonly clientCa?: string
  readonly clientCrl?: string
  readonly tlsElsewhere?: true
  readonly allowedHost?: readonly string[]
  /** `false` after `--no-authentication`. */
  readonly authentication: boolean
  readonly newAdminToken?: true
  readonly adminTokenFile?: string
  readonly trust?: readonly string[]
  readonly gates?: string
  readonly installers?: string
  readonly strategy: 'by-risk' | 'all-at-once' | 'two-phase' | 'staged' | 'none'
  readonly bus?: readonly string[]
  readonly busWordsOnly?: true
  readonly busReports?: true
  readonly logLevel: string
  readonly json?: true
}

export const defaultData = 'midflight-data'

export function serve(terminal: Terminal): Command {
  return new Command('serve')
    .summary('run a control plane')
    .description(
      'Runs a control plane on a data directory until SIGTERM or Ctrl-C. The first start makes the directory, a signing key and an admin token, which is shown once.',
    )
    .option('--data <path>', 'store and keys', defaultData)
    .option('--host <address>', 'where to listen', '127.0.0.1')
    .option('--port <port>', '0: any free one', (text) => integer('--port', text, 0, 65_535), 7700)
    .option('--tls-cert <file>', 'certificate chain, PEM; SIGHUP reads it again')
    .option('--tls-key <file>', 'its key, PEM')
    .option('--client-ca <file>', 'certificates of agents are verified against it, PEM')
    .option('--client-crl <file>', 'and those that it lists are not taken, PEM; SIGHUP reads both again')
    .option('--tls-elsewhere', 'a proxy before it speaks TLS, and nobody else can reach it')
    .option('--allowed-host <name>', 'name by which it is reached; may be repeated', collected)
    .option('--no-authentication', 'whoever can reach it is an administrator; on loopback only')
    .option('--new-admin-token', 'make another admin token, for when the first is lost')
    .option('--admin-token-file <path>', 'write the admin token there (mode 0600) instead of to the terminal')
    .option('--trust <file>', 'public key (PEM) whose offline signatures are taken; may be repeated', collected)
    .addOption(
      new Option('--strategy <word>', 'how releases reach their nodes where neither publish nor config says it')
        .choices(['by-risk', 'all-at-once', 'two-phase', 'staged', 'none'])
        .default('by-risk'),
    )
    .option('--gates <file>', 'where health gates ask: { prometheus, webhooks } (.json, .yaml, .toml)')
    .option(
      '--installers <file>',
      'who may bring packages: { agents: { configs }, fleet: { url, tokenFile, configs } } (.json, .yaml, .toml)',
    )
    .option('--bus <url>', `announce releases over it too: ${busExamples}; may be repeated`, collected)
    .option('--bus-words-only', 'put no release on a bus, only word that there is one')
    .option('--bus-reports', 'take what nodes report over a bus')
    .addOption(
      new Option('--log-level <level>', 'what is logged to standard error')
        .choices(['silent', 'error', 'warn', 'info', 'debug'])
        .default('warn'),
    )
    .option('--json', 'print { url, data } when it listens')
    .action((flags: ServeFlags) => run(terminal, flags))
}

function collected(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

async function run(terminal: Terminal, flags: ServeFlags): Promise<void> {
  // Taken before anything is open: what comes during the start ends it when it is there.
  const ended = signalled('SIGTERM')
  const code = await controlPlaneCode()
  let plane: ControlPlane
  try {
    plane = await code.serve(await optionsOf(terminal, flags))
  } catch (error) {
    const file =
      error instanceof TypeError && /^(?:an )?installer /.test(error.message) ? flags.installers : flags.gates
    if (error instanceof TypeError && file !== undefined) {
      throw new Refusal('usage', `${file === flags.gates ? '--gates' : '--installers'} ${file}: ${error.message}`)
    }
    throw storeRefusal(code, error)
  }
  const door = await openBackupDoor(flags.data, plane.store, (line) => terminal.note(line))
  let closing: Promise<void> | undefined
  const close = () => (closing ??= door.close().then(() => plane.close()))
  terminal.lastly(close)
  try {
    for (const path of flags.trust ?? []) trust(plane, path)
    if (flags.tlsCert !== undefined) process.on('SIGHUP', () => renew(terminal, plane, flags))
    if (flags.json) terminal.document({ url: plane.url, data: flags.data })
    else
      terminal.print(
        `${terminal.paint.green('●')} control plane at ${terminal.paint.bold(plane.url)}, data in ${flags.data}`,
      )
    await ended
  } finally {
    await close()
  }
}

async function optionsOf(terminal: Terminal, flags: ServeFlags): Promise<ServeOptions> {
  const { default: pino } = await import('pino')
  return {
    dataDir: flags.data,
    host: flags.host,
    port: flags.port,
    logger: pino({ name: 'midflight', level: flags.logLevel }, pino.destination({ dest: 2, sync: true })),
    ...(flags.tlsElsewhere && { tlsElsewhere: true }),
    ...(flags.allowedHost && { allowedHosts: flags.allowedHost }),
    ...(!flags.authentication && { authentication: 'none' as const }),
    ...(flags.newAdminToken && { newAdminToken: true }),
    ...(flags.gates !== undefined && { gates: await gatesIn(flags.gates) }),
    ...(flags.installers !== undefined && { deploy: await installersIn(flags.installers) }),
    ...(await busesOf(flags)),
    ...(flags.strategy !== 'none' && { strategy: { kind: flags.strategy } }),
    ...tlsOf(flags),
    onAdminToken: (secret) => showToken(terminal, secret, flags.adminTokenFile),
  }
}

async function busesOf({ bus, busWordsOnly, busReports }: ServeFlags): Promise<Pick<ServeOptions, 'bus'>> {
  if (bus === undefined) {
    const flag = busWordsOnly ? '--bus-words-only' : busReports ? '--bus-reports' : undefined
    if (flag !== undefined) throw new Refusal('usage', `${flag} is given without a bus; want --bus too`)
    return {}
  }
  const buses = await Promise.all(bus.map((url) => busAt(url)))
  return { bus: { buses, ...(busWordsOnly && { maxWholeBytes: 0 }), ...(busReports && { takesReports: true }) } }
}

async function gatesIn(path: string): Promise<NonNullable<ServeOptions['gates']>> {
  const found = await jsonIn(path, 'the gates')
  const isObject = typeof found === 'object' && found !== null && !Array.isArray(found)
  const wrong = isObject ? Object.keys(found).find((name) => name !== 'prometheus' && name !== 'webhooks') : 'no object'
  if (wrong !== undefined) throw new Refusal('usage', `--gates ${path} has ${wrong}; want { prometheus, webhooks }`)
  return found as NonNullable<ServeOptions['gates']>
}

async function installersIn(path: string): Promise<NonNullable<ServeOptions['deploy']>> {
  const found = await jsonIn(path, 'the installers')
  const wrong = (what: string): Refusal =>
    new Refusal('usage', `--installers ${path} ${what}; want { name: { url, tokenFile, configs: ["shop"] } }`)
  const isObject = (value: unknown): value is JsonObject =>
    typeof value === 'object' && value !== null && !Array.isArray(value)
  if (!isObject(found)) throw wrong('is no object')
  for (const [name, one] of Object.entries(found)) {
    const texts = name === 'agents' ? [] : ['url', 'tokenFile']
    const fields = isObject(one) ? Object.entries(one) : []
    const isWell = fields.every(([field, value]) =>
      field === 'configs' ? Array.isArray(value) : texts.includes(field) && typeof value === 'string',
    )
    const needed = name === 'agents' ? ['configs'] : ['url', 'configs']
    if (!isWell || !isObject(one) || needed.some((field) => one[field] === undefined))
      throw wrong(`has a ${JSON.stringify(name)} that is no installer`)
  }
  const { agents, ...installers } = found
  return { installers, ...(agents !== undefined && { agents }) } as unknown as NonNullable<ServeOptions['deploy']>
}

function tlsOf({ tlsCert, tlsKey, clientCa, clientCrl }: ServeFlags): Pick<ServeOptions, 'tls'> {
  if (clientCrl !== undefined && clientCa === undefined) {
    throw new Refusal('usage', '--client-crl is given without an authority whose list it is; want --client-ca too')
  }
  if (tlsCert === undefined && tlsKey === undefined && clientCa === undefined) return {}
  if (tlsCert === undefined || tlsKey === undefined) {
    throw new Refusal('usage', 'one of --tls-cert and --tls-key is missing; want both')
  }
  const cert = textIn('--tls-cert', tlsCert)
  const key = textIn('--tls-key', tlsKey)
  const clients = {
    ...(clientCa !== undefined && { clientCa: textIn('--client-ca', clientCa) }),
    ...(clientCrl !== undefined && { clientCrl: textIn('--client-crl', clientCrl) }),
  }
  return { tls: { cert, key, ...clients } }
}

function textIn(option: string, path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    const what = code === 'ENOENT' ? 'is not there' : `cannot be read (${code ?? String(error)})`
    throw new Refusal('unreadable', `${option} ${path} ${what}`)
  }
}

function showToken(terminal: Terminal, secret: string, path: string | undefined): void {
  if (path === undefined) {
    terminal.note(`admin token, shown this once:\n\n    ${secret}\n`)
    return
  }
  writeSecret(path, secret)
  terminal.note(`the admin token is in ${path}`)
}

function trust(plane: ControlPlane, path: string): void {
  try {
    plane.keys.trust(textIn('--trust', path))
  } catch (error) {
    if (error instanceof Refusal) throw error
    throw new Refusal('usage', `--trust ${path} is no Ed25519 public key (PEM)`)
  }
}

function renew(terminal: Terminal, plane: ControlPlane, flags: ServeFlags): void {
  try {
    const { tls } = tlsOf(flags)
    if (tls !== undefined) plane.useCertificate(tls)
    terminal.note('read the certificate again')
  } catch (error) {
    terminal.note(`the certificate stays as it was: ${(error as Error).message}`)
  }
}

async function signalled(signal: NodeJS.Signals): Promise<void> {
  await new Promise<void>((resolve) => process.once(signal, () => resolve()))
}
