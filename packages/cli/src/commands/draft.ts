/** `midflight draft`: contents that others look at before they become releases. */
import { randomUUID } from 'node:crypto'
import { Command } from 'commander'
import type { Json } from 'midflight'
import type { Address } from '../admin/address.ts'
import { withFileOptions, type FileFlags } from '../files/examined.ts'
import { call, callAgain, callAll, configPath, placeOf } from '../fleet/call.ts'
import { requireSomebody, requireYes, type YesFlag } from '../fleet/confirm.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { editIn, withEditOptions, type EditFlags } from '../fleet/edit.ts'
import { outcome, withWaitOptions, type WaitFlags } from '../fleet/outcome.ts'
import type { DraftView, Published, PublishPlan } from '../fleet/records.ts'
import { strategyIn, withStrategyOptions, type Spec, type StrategyFlags } from '../fleet/strategy.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { differenceLines } from '../show/releases.ts'
import { forecastLines } from '../show/rollout.ts'
import { shortDigest } from '../show/status.ts'
import { tableLines } from '../show/table.ts'
import { clockText } from '../show/time.ts'
import { printable } from '../printable.ts'
import type { Terminal } from '../terminal.ts'

export function draft(terminal: Terminal): Command {
  return new Command('draft')
    .summary('propose a content, approve it, publish it')
    .description('Contents that others look at before they become releases.')
    .addCommand(create(terminal))
    .addCommand(show(terminal))
    .addCommand(approve(terminal))
    .addCommand(publish(terminal))
    .addCommand(withdraw(terminal))
    .addCommand(list(terminal))
}

interface CreateFlags extends FleetFlags, FileFlags, EditFlags {
  readonly message?: string
}

function create(terminal: Terminal): Command {
  return withFileOptions(withEditOptions(withFleetOptions(new Command('create'))))
    .summary('propose a content')
    .argument('<config>')
    .argument('[file...]', 'the whole content, read as validate reads it')
    .option('-m, --message <text>', 'why')
    .option('--json', 'print the draft')
    .action(async (config: string, files: readonly string[], flags: CreateFlags) => {
      const path = configPath(config)
      const address = connectionOf(flags)
      const edit = await editIn(terminal, files, flags)
      if (edit === undefined) return
      const body = { ...edit.body, ...(flags.message !== undefined && { message: flags.message }) }
      const made = (await call<DraftView>(address, `${path}/drafts`, { method: 'POST', body })).body
      if (flags.json) return terminal.document(made)
      const plan = await planOf(address, made)
      terminal.print(
        differenceLines(plan, terminal.look()),
        '',
        `${terminal.paint.green('✔')} draft ${made.id}${approvalText(made)}`,
      )
    })
}

function show(terminal: Terminal): Command {
  return withFleetOptions(new Command('show'))
    .summary('what a draft would change, and who approved it')
    .argument('<id>')
    .option('--json', 'print { draft, plan }')
    .action(async (id: string, flags: FleetFlags) => {
      const { found, plan } = await looked(connectionOf(flags), id)
      if (flags.json) return terminal.document({ draft: found, plan })
      terminal.print(headLine(found, terminal), '', differenceLines(plan, terminal.look()))
      printIssues(terminal, plan)
    })
}

function approve(terminal: Terminal): Command {
  return withFleetOptions(new Command('approve'))
    .summary('approve what a draft would change')
    .description(
      'Shows what a draft would change, asks, and approves that very plan. A later edit, or another release meanwhile, makes the approval void.',
    )
    .argument('<id>')
    .option('-y, --yes', 'do not ask')
    .option('--digest <digest>', 'the plan that was looked at earlier; another one is refused')
    .option('--json', 'print the draft')
    .action(async (id: string, flags: FleetFlags & YesFlag & { digest?: string }) => {
      requireSomebody('approve', flags)
      const address = connectionOf(flags)
      const { found, plan } = await looked(address, id)
      if (!flags.json) terminal.print(headLine(found, terminal), '', differenceLines(plan, terminal.look()))
      if (plan.digest !== found.plan) {
        throw new Refusal(
          'conflict',
          `${found.config} is no longer at the release that this draft was made against`,
          'its author proposes it again against the head of now',
        )
      }
      await requireYes(terminal, flags, '\napprove this?', 'not approved')
      const body = { digest: flags.digest ?? found.plan }
      const approved = (await call<DraftView>(address, `${draftPath(id)}/approve`, { method: 'POST', body })).body
      if (flags.json) return terminal.document(approved)
      terminal.print('', `${terminal.paint.green('✔')} approved${approvalText(approved)}`)
    })
}

interface PublishFlags extends FleetFlags, YesFlag, WaitFlags, StrategyFlags {
  readonly breakGlass?: string
}

function publish(terminal: Terminal): Command {
  return withStrategyOptions(withWaitOptions(withFleetOptions(new Command('publish'))))
    .summary('make a release of an approved draft, and follow it to the nodes')
    .argument('<id>')
    .option('-y, --yes', 'do not ask')
    .option('--break-glass <reason>', 'without the reviews that are missing; the reason goes into the audit log')
    .option('--json', 'print { release, created, replayed, rollout, delivery }')
    .action(async (id: string, flags: PublishFlags) => {
      requireSomebody('publish', flags)
      const strategy = await strategyIn(flags)
      const address = connectionOf(flags)
      const { found, plan } = await looked(address, id, strategy)
      const { paint } = terminal
      const look = terminal.look()
      if (!flags.json)
        terminal.print(headLine(found, terminal), '', differenceLines(plan, look), '', forecastLines(plan, look))
      await requireYes(terminal, flags, `\npublish as a release of ${found.config}?`, 'not published')
      const breakGlass = flags.breakGlass === undefined ? {} : { breakGlass: { reason: flags.breakGlass } }
      const { body } = await callAgain<Published>(address, `${draftPath(id)}/publish`, {
        method: 'POST',
        headers: { 'idempotency-key': randomUUID() },
        body: { digest: found.plan, ...breakGlass, ...(strategy && { strategy }) },
      })
      const { release } = body
      if (!flags.json) {
        terminal.print(
          '',
          `${paint.green('✔')} published ${paint.bold(`${release.config} ${release.number}`)} ${paint.dim(shortDigest(release.digest))}`,
        )
      }
      const came = await outcome(terminal, address, body, flags)
      if (flags.json) terminal.document({ ...body, ...came })
    })
}

function withdraw(terminal: Terminal): Command {
  return withFleetOptions(new Command('withdraw'))
    .summary('withdraw a draft')
    .argument('<id>')
    .option('--json', 'print the draft')
    .action(async (id: string, flags: FleetFlags) => {
      const { body } = await call<DraftView>(connectionOf(flags), draftPath(id), { method: 'DELETE' })
      if (flags.json) return terminal.document(body)
      terminal.print(`${terminal.paint.green('✔')} withdrew the draft ${body.id} of ${body.config}`)
    })
}

function list(terminal: Terminal): Command {
  return withFleetOptions(new Command('list'))
    .summary('the drafts of a config')
    .argument('<config>')
    .option('--all', 'also those that are published or withdrawn')
    .option('--json', 'print { drafts: […] }')
    .action(async (config: string, flags: FleetFlags & { all?: true }) => {
      const found = await callAll<DraftView>(connectionOf(flags), configPath(config, '/drafts'), {}, Infinity)
      const drafts = flags.all ? found : found.filter(({ status }) => status === 'open')
      if (flags.json) return terminal.document({ drafts })
      if (drafts.length === 0) return terminal.print(flags.all ? 'no drafts' : 'no open drafts')
      const { paint } = terminal
      const rows = drafts.map((one) => ({
        cells: [
          { text: one.id, whole: true },
          { text: one.author },
          { text: clockText(one.updatedAt), colour: paint.dim },
          { text: one.stale ? `${one.status}, stale` : one.status },
          { text: one.approvedBy.join(', ') || '–' },
          { text: String(one.missing) },
          { text: one.message || '–' },
        ],
      }))
      const head = ['draft', 'who', 'when', 'status', 'approved by', 'missing', 'why']
      terminal.print(tableLines(head, rows, terminal.columns(), paint))
    })
}

function draftPath(id: string): string {
  return `/v1/drafts/${encodeURIComponent(id)}`
}

async function looked(address: Address, id: string, strategy?: Spec): Promise<{ found: DraftView; plan: PublishPlan }> {
  const found = (await call<DraftView>(address, draftPath(id))).body
  return { found, plan: await planOf(address, found, strategy) }
}

async function planOf(address: Address, { id, config }: DraftView, strategy?: Spec): Promise<PublishPlan> {
  const { body: content } = await call<Json>(address, `${draftPath(id)}/content`)
  const body = { content, ...(strategy && { strategy }) }
  return (await call<PublishPlan>(address, configPath(config, '/plan'), { method: 'POST', body })).body
}

function printIssues(terminal: Terminal, { issues }: PublishPlan): void {
  const { paint } = terminal
  for (const { path, message } of issues.flatMap(placeOf)) {
    terminal.print(`${paint.yellow(printable(path))} ${paint.red(printable(message))}`)
  }
}

function headLine(found: DraftView, { paint }: Terminal): string {
  const from = found.base === null ? 'the first release' : `from release ${found.base}`
  const why = found.message === '' ? '' : `: ${printable(found.message)}`
  const stale = found.stale ? paint.yellow(', stale: another release came meanwhile') : ''
  return `${paint.bold(found.config)} ${paint.dim(`draft by ${printable(found.author)}, ${from}`)}${stale}${why}`
}

function approvalText({ missing, approvedBy }: DraftView): string {
  const by = approvedBy.length > 0 ? `, approved by ${approvedBy.map(printable).join(', ')}` : ''
  return missing > 0 ? `${by}, ${plural(missing, 'approval')} missing` : `${by}, may be published`
}
