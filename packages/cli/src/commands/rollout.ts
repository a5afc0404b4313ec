/** `midflight rollout`: how a release comes to its nodes, and what people do about it; what a config wants of its own. */
import { Command } from 'commander'
import type { Json } from 'midflight'
import { call, callAll, configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { exitCodeOf, followRollout, rolloutOf, type RolloutSummary, type RolloutView } from '../fleet/rollout.ts'
import { strategyIn, withStrategyOptions, type StrategyFlags } from '../fleet/strategy.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { rolloutLines, rolloutRows, RolloutScreen } from '../show/rollout.ts'
import { clockText } from '../show/time.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

export function rollout(terminal: Terminal): Command {
  const command = new Command('rollout')
    .summary('follow and control how releases come to their nodes')
    .description(
      'Shows rollouts, holds them, lets them go, gives them up; says how a config wants its releases brought.',
    )
    .addCommand(status(terminal))
    .addCommand(list(terminal))
  for (const [name, summary, done] of controls) command.addCommand(control(terminal, name, summary, done))
  return command.addCommand(policy(terminal))
}

/** Of the release, or the one under way. */
function numberIn(text: string | undefined): number | undefined {
  return text === undefined ? undefined : integer('the release', text, 1, Number.MAX_SAFE_INTEGER)
}

function status(terminal: Terminal): Command {
  return withFleetOptions(new Command('status'))
    .summary('how far a rollout is')
    .description(
      'Shows each step with its nodes, the gates, and why it went no further; without N of the newest rollout.',
    )
    .argument('<config>')
    .argument('[n]', 'the number of the release')
    .option('--watch', 'follow it to its end')
    .option('--json', 'print the rollout; with --watch once it has ended')
    .addHelpText('after', '\nExit status: 0 completed, 1 rolled back, failed or superseded, 2 under way.')
    .action(async (config: string, n: string | undefined, flags: FleetFlags & { watch?: true }) => {
      const number = numberIn(n)
      const address = connectionOf(flags)
      let found = number === undefined ? await newest() : await rolloutOf(address, config, number)
      if (flags.watch) {
        const screen = new RolloutScreen(terminal, flags.json === true)
        const onLook = (seen: RolloutView) => screen.draw(seen)
        found = await followRollout(address, config, found.number, {
          waitMs: Infinity,
          signal: terminal.interrupted,
          onLook,
        })
        screen.clear()
      }
      terminal.exitCode = exitCodeOf(found)
      if (flags.json) return terminal.document(found)
      terminal.print(rolloutLines(found, terminal.look()))

      /** The one under way, else the last. */
      async function newest(): Promise<RolloutView> {
        try {
          return await rolloutOf(address, config, 'current')
        } catch (error) {
          if (!(error instanceof Refusal && error.code === 'not-found')) throw error
        }
        const [last] = await callAll<RolloutSummary>(address, configPath(config, '/rollouts'), {}, 1)
        if (last === undefined) throw new Refusal('not-found', `${config} has had no rollout`)
        return await rolloutOf(address, config, last.number)
      }
    })
}

function list(terminal: Terminal): Command {
  return withFleetOptions(new Command('list'))
    .summary('the rollouts of a config, newest first')
    .argument('<config>')
    .option('--limit <n>', 'so many at most', (text) => integer('--limit', text, 1, 1_000_000), 20)
    .option('--json', 'print { rollouts: […] }')
    .action(async (config: string, flags: FleetFlags & { limit: number }) => {
      const rollouts = await callAll<RolloutSummary>(
        connectionOf(flags),
        configPath(config, '/rollouts'),
        {},
        flags.limit,
      )
      if (flags.json) return terminal.document({ rollouts })
      if (rollouts.length === 0) return terminal.print('no rollouts')
      terminal.print(rolloutRows(rollouts, terminal.look()))
    })
}

type Control = 'pause' | 'resume' | 'abort' | 'promote' | 'confirm'
const controls: readonly (readonly [Control, string, string])[] = [
  ['pause', 'hold a rollout where it is', 'paused'],
  ['resume', 'let a rollout go on', 'resumed'],
  ['abort', 'give a rollout up: what has the release goes back', 'aborted'],
  ['promote', 'go on to the next step without waiting for time, gates and pauses', 'promoted'],
  ['confirm', 'say that the release stays', 'confirmed'],
]

function control(terminal: Terminal, name: Control, summary: string, done: string): Command {
  const reason = name === 'resume' ? 'the pause that is over (default: the only one)' : 'why; it is in the audit log'
  return withFleetOptions(new Command(name))
    .summary(summary)
    .argument('<config>')
    .argument('[n]', 'the number of the release (default: the rollout under way)')
    .option('-r, --reason <text>', reason)
    .option('--json', 'print the rollout')
    .action(async (config: string, n: string | undefined, flags: FleetFlags & { reason?: string }) => {
      const which = numberIn(n) ?? 'current'
      const path = configPath(config, `/rollouts/${which}/${name}`)
      if (name !== 'resume' && flags.reason === undefined) {
        throw new Refusal('usage', `why? want midflight rollout ${name} ${config} --reason TEXT`)
      }
      const address = connectionOf(flags)
      const why = flags.reason ?? onlyPause(await rolloutOf(address, config, which))
      const found = (await call<RolloutView>(address, path, { method: 'POST', body: { reason: why } })).body
      if (flags.json) return terminal.document(found)
      const { paint } = terminal
      terminal.print(
        `${paint.green('✔')} ${done} the rollout of ${config} ${found.number}`,
        rolloutLines(found, terminal.look()),
      )
    })
}

function onlyPause({ config, number, pauses }: RolloutView): string {
  const [only] = pauses
  if (only === undefined) throw new Refusal('refused', `the rollout of ${config} ${number} is not paused`)
  if (pauses.length === 1) return only.reason
  const reasons = pauses.map(({ reason }) => JSON.stringify(reason)).join(', ')
  throw new Refusal('usage', `it is paused for ${reasons}; want one of them as --reason`)
}

interface Policy {
  readonly strategy: Json
  readonly freezes: readonly Freeze[]
  readonly frozen: { readonly reason: string; readonly endsAt: string } | null
}

type Freeze =
  | { readonly from: string; readonly to: string; readonly reason: string }
  | {
      readonly weekly: { readonly days: readonly number[]; readonly from: string; readonly to: string }
      readonly reason: string
    }

interface PolicyFlags extends FleetFlags, Omit<StrategyFlags, 'strategy'> {
  readonly strategy?: string | false
  readonly freeze?: readonly string[] | false
  readonly reason?: string
}

function policy(terminal: Terminal): Command {
  return withStrategyOptions(withFleetOptions(new Command('policy')))
    .summary('how a config wants its releases brought, and when nothing is to be changed')
    .description('Shows it, or with options changes it; what is not named stays.')
    .argument('<config>')
    .option('--no-strategy', 'from now on to all at once, unless a publish says otherwise')
    .option(
      '--freeze <when>',
      "publish nothing then: FROM/TO as times, or 'fri 16:00-24:00' each week, UTC; may be repeated",
      (value: string, before: readonly string[] | false | undefined) => [...(before || []), value],
    )
    .option('--no-freeze', 'take all freezes away')
    .option('-r, --reason <text>', 'why it is frozen')
    .option('--json', 'print { strategy, freezes, frozen }')
    .action(async (config: string, flags: PolicyFlags) => {
      const address = connectionOf(flags)
      const path = configPath(config, '/rollout-policy')
      const { strategy: asked, ...more } = flags
      const spec = await strategyIn({ ...more, ...(typeof asked === 'string' && { strategy: asked }) })
      const freezes = freezesIn(flags)
      const seen = await call<Policy>(address, path)
      const change = {
        ...((asked === false || spec !== undefined) && { strategy: spec ?? null }),
        ...(flags.freeze !== undefined && {
          freezes: flags.freeze === false ? [] : [...seen.body.freezes, ...freezes],
        }),
      }
      let found = seen.body
      if (Object.keys(change).length > 0) {
        const headers = { 'if-match': String(seen.headers['etag']) }
        found = (await call<Policy>(address, path, { method: 'PUT', headers, body: change })).body
      }
      if (flags.json) return terminal.document(found)
      terminal.print(policyLines(config, found, terminal))
    })
}

const days = ['sun', 'mon', 'tue', 'wed', 'thu', 'fri', 'sat']

function freezesIn({ freeze, reason }: PolicyFlags): Freeze[] {
  if (!freeze) return []
  if (reason === undefined) throw new Refusal('usage', 'why is it frozen? want --reason TEXT with --freeze')
  return freeze.map((text) => ({ ...freezeIn(text), reason }))
}

function freezeIn(
  text: string,
): { from: string; to: string } | { weekly: { days: number[]; from: string; to: string } } {
  const [, named, from = '', to = ''] = /^([a-z,]+) (\d\d:\d\d)-(\d\d:\d\d)$/.exec(text.trim().toLowerCase()) ?? []
  const numbers = named?.split(',').map((day) => days.indexOf(day)) ?? []
  if (numbers.length > 0 && !numbers.includes(-1)) return { weekly: { days: numbers, from, to } }
  const [begin, end, more] = text.split('/')
  const [beginsAt, endsAt] = [new Date(begin ?? ''), new Date(end ?? '')]
  if (more === undefined && !Number.isNaN(beginsAt.getTime()) && !Number.isNaN(endsAt.getTime())) {
    return { from: beginsAt.toISOString(), to: endsAt.toISOString() }
  }
  throw new Refusal(
    'usage',
    `--freeze is ${JSON.stringify(text)}; want FROM/TO like 2026-12-24T12:00Z/2026-12-27T08:00Z, or days and times like 'fri,sat 16:00-24:00'`,
  )
}

function policyLines(config: string, { strategy, freezes, frozen }: Policy, { paint }: Terminal): string[] {
  const how = strategy === null ? 'to all at once' : JSON.stringify(strategy)
  return [
    `${paint.bold(config)}`,
    `  ${paint.dim('strategy')}  ${printable(how)}`,
    ...freezes.map((freeze) => `  ${paint.dim('freeze  ')}  ${printable(freezeText(freeze))}`),
    ...(frozen === null
      ? []
      : [`${paint.yellow('▲')} frozen now, until ${clockText(frozen.endsAt)}: ${printable(frozen.reason)}`]),
  ]
}

function freezeText(freeze: Freeze): string {
  if (!('weekly' in freeze)) return `${clockText(freeze.from)} to ${clockText(freeze.to)}: ${freeze.reason}`
  const { days: numbers, from, to } = freeze.weekly
  return `${numbers.map((day) => days[day]).join(', ')} ${from}-${to} UTC: ${freeze.reason}`
}
