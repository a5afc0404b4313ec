/** `midflight publish`: shows what a publish would change, asks, publishes, and follows it to the nodes. */
import { randomUUID } from 'node:crypto'
import { Command } from 'commander'
import type { Address } from '../admin/address.ts'
import { withFileOptions, type FileFlags } from '../files/examined.ts'
import { call, callAgain, configPath, placeOf } from '../fleet/call.ts'
import { requireSomebody, requireYes, type YesFlag } from '../fleet/confirm.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { editIn, withEditOptions, type EditFlags } from '../fleet/edit.ts'
import { outcome, withWaitOptions, type WaitFlags } from '../fleet/outcome.ts'
import type { Published, PublishPlan } from '../fleet/records.ts'
import { signedIn } from '../fleet/signed.ts'
import { strategyIn, withStrategyOptions, type Spec, type StrategyFlags } from '../fleet/strategy.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { differenceLines } from '../show/releases.ts'
import { forecastLines } from '../show/rollout.ts'
import { shortDigest } from '../show/status.ts'
import type { Terminal } from '../terminal.ts'

interface PublishFlags extends FleetFlags, YesFlag, FileFlags, EditFlags, WaitFlags, StrategyFlags {
  readonly message?: string
  readonly dryRun?: true
  readonly force?: true
  readonly breakGlass?: string
  readonly idempotencyKey?: string
  readonly signed?: string
  readonly to?: string
  readonly ifRevision?: string
}

/** What only a control plane knows of. */
const ofReleases = ['patch', 'mergePatch', 'message', 'breakGlass', 'idempotencyKey', 'signed', 'strategy'] as const

async function toPlace(terminal: Terminal, files: readonly string[], flags: PublishFlags & { to: string }) {
  const given: Readonly<Record<string, unknown>> = { ...flags }
  const wrong = ofReleases.find((name) => given[name] !== undefined)
  if (wrong !== undefined) {
    const option = wrong.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
    throw new Refusal('usage', `--${option} is for a config of the control plane; want none with --to`)
  }
  const { publishTo } = await import('../places/publish-to.ts')
  await publishTo(terminal, files, flags)
}

export function publish(terminal: Terminal): Command {
  const command = withFleetOptions(new Command('publish'))
    .summary('make a release of a file, and follow it to the nodes')
    .description(
      'Shows what would change, asks, publishes, and follows the release until every node runs it or cannot. FILE is read as validate reads it; - is standard input.',
    )
    .argument('<config>', 'its name, like shop/gateway/prod')
    .argument('[file...]', 'the whole content; files, directories and patterns are one configuration')
    .option('-m, --message <text>', 'why')
    .option('-y, --yes', 'do not ask')
    .option('--dry-run', 'only show what would change')
    .option('--force', 'make a release even if nothing differs')
    .option(
      '--break-glass <reason>',
      'publish without the reviews that are missing, or in a freeze; the reason goes into the audit log',
    )
    .option('--idempotency-key <key>', 'asked twice with the same key, it is done once (default: a new one)')
    .option('--signed <file>', 'signature that midflight sign made for this very content')
    .option('--to <place>', 'put FILE into one key of a store instead, if it changed: etcd://host:2379/app/gateway')
    .option('--if-revision <revision>', 'with --to: only where the key is at this revision, or absent')
    .option('--json', 'print { plan, release, created, replayed, rollout, delivery }')
  return withFileOptions(withWaitOptions(withStrategyOptions(withEditOptions(command))))
    .addHelpText(
      'after',
      `
With --to the first argument is a file too, nobody is asked, and what somebody else wrote meanwhile is not overwritten.

Exit status: 0 published and every node that is here runs it (with --no-wait: published), 2 published, but not every
node runs it yet (with --dry-run: something would change), 1 nothing was published, or it was rolled back, 130 Ctrl-C.`,
    )
    .action((config: string, files: readonly string[], flags: PublishFlags) => {
      const { to, ifRevision } = flags
      if (to !== undefined) return toPlace(terminal, [config, ...files], { ...flags, to })
      if (ifRevision !== undefined)
        throw new Refusal('usage', '--if-revision is for --to; a release has the head it was shown')
      return run(terminal, config, files, flags)
    })
}

async function run(terminal: Terminal, config: string, files: readonly string[], flags: PublishFlags): Promise<void> {
  const path = configPath(config)
  const { paint } = terminal
  if (!flags.dryRun) requireSomebody('publish', flags)
  const address = connectionOf(flags)
  const signed = flags.signed === undefined ? undefined : signedIn(flags.signed, config)
  const strategy = await strategyIn(flags)
  const edit = await editIn(terminal, files, flags)
  if (edit === undefined) return
  const asked = { ...edit.body, ...(strategy && { strategy }) }
  const planned = await call<PublishPlan>(address, `${path}/plan`, { method: 'POST', body: asked })
  const plan = planned.body
  const show = (...lines: (string | readonly string[])[]) => {
    if (!flags.json) terminal.print(...lines)
  }
  show(planHead(config, plan, terminal), '', differenceLines(plan, terminal.look()))
  if (plan.issues.length > 0) throw notValid(config, plan)
  if (plan.same && !flags.force) {
    if (flags.json) terminal.document({ plan, release: null, created: false, replayed: false })
    else terminal.note(`${paint.green('✔')} ${config} holds this already; no release was made`)
    return
  }
  const meaning = forecastLines(plan, terminal.look())
  if (meaning.length > 0) show('', meaning)
  if (flags.dryRun) {
    terminal.exitCode = 2
    if (flags.json) terminal.document({ plan })
    return
  }
  await requireYes(terminal, flags, `\npublish as release ${plan.head.number + 1} of ${config}?`, 'not published')
  const key = flags.idempotencyKey ?? randomUUID()
  const published = signed
    ? await publishSigned(address, config, plan, { edit: edit.body, signed, key, strategy }, flags)
    : await publishEdit(address, path, plan, { edit, key, strategy }, flags)
  const { release, created, replayed } = published
  show(
    '',
    `${paint.green('✔')} published ${paint.bold(`${config} ${release.number}`)} ${paint.dim(shortDigest(release.digest))}${replayed ? ' (earlier, with the same key)' : ''}`,
  )
  const came = await outcome(terminal, address, published, flags)
  if (flags.json) terminal.document({ plan, release, created, replayed, ...came })
}

function planHead(config: string, { head }: PublishPlan, { paint }: Terminal): string {
  const from = head.number === 0 ? 'no release yet' : `release ${head.number}`
  return `${paint.bold(config)} ${paint.dim(`from ${from} to ${head.number + 1}`)}`
}

function notValid(config: string, { issues }: PublishPlan): Refusal {
  const places = issues.flatMap(placeOf)
  return new Refusal('invalid', `this is not what ${config} demands; nothing was published`, undefined, places)
}

interface Sent {
  readonly edit: {
    readonly body: Readonly<Record<string, unknown>>
    readonly contentType: string
    readonly sent: unknown
  }
  readonly key: string
  readonly strategy: Spec | undefined
}

async function publishEdit(
  address: Address,
  path: string,
  { head }: PublishPlan,
  { edit, key, strategy }: Sent,
  flags: PublishFlags,
): Promise<Published> {
  const { body } = await callAgain<Published>(address, `${path}/content`, {
    method: edit.contentType === 'application/json' ? 'PUT' : 'PATCH',
    query: {
      message: flags.message,
      breakGlass: flags.breakGlass,
      ...(flags.force && { force: 'true' }),
      ...(strategy && { strategy: JSON.stringify(strategy) }),
    },
    headers: {
      'idempotency-key': key,
      // Against the head that was shown: what somebody else published meanwhile is not overwritten.
      ...(head.digest === null ? { 'if-none-match': '*' } : { 'if-match': `"${head.digest}"` }),
    },
    body: edit.sent,
    contentType: edit.contentType,
  })
  return body
}

/** The message is part of what was signed. */
async function publishSigned(
  address: Address,
  config: string,
  { head, content }: PublishPlan,
  { edit, signed, key, strategy }: Omit<Sent, 'edit'> & { edit: object; signed: ReturnType<typeof signedIn> },
  flags: PublishFlags,
): Promise<Published> {
  if (signed.release.digest !== content) {
    throw new Refusal(
      'usage',
      `--signed is for the content ${printable(signed.release.digest)}; this one is ${content}`,
    )
  }
  if (flags.message !== undefined && flags.message !== signed.release.message) {
    throw new Refusal('usage', '--message is not the one that was signed; want none with --signed')
  }
  const change = {
    config,
    ifMatch: head.digest,
    ...edit,
    message: signed.release.message,
    ...(flags.force && { force: true }),
    signed: signed.field,
  }
  const breakGlass = flags.breakGlass === undefined ? {} : { breakGlass: { reason: flags.breakGlass } }
  const { body } = await callAgain<{ published: Omit<Published, 'replayed'>[]; replayed: boolean }>(
    address,
    '/v1/publish',
    {
      method: 'POST',
      headers: { 'idempotency-key': key },
      body: { changes: [change], ...breakGlass, ...(strategy && { strategy }) },
    },
  )
  const [one] = body.published
  if (one === undefined) throw new Refusal('not-midflight', `${address.name} published nothing, and did not say why`)
  return { ...one, replayed: body.replayed }
}
