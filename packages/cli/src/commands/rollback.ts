/** `midflight rollback`: a new release with the content of an older one. */
import { randomUUID } from 'node:crypto'
import { Command } from 'commander'
import type { ReleaseInfo } from 'midflight/protocol'
import type { Address } from '../admin/address.ts'
import { call, callAgain, callAll, configPath } from '../fleet/call.ts'
import { requireSomebody, requireYes, type YesFlag } from '../fleet/confirm.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { outcome, withWaitOptions, type WaitFlags } from '../fleet/outcome.ts'
import type { ConfigView, Difference, NodeView, Published } from '../fleet/records.ts'
import type { RolloutSummary } from '../fleet/rollout.ts'
import { strategyIn, withStrategyOptions, type StrategyFlags } from '../fleet/strategy.ts'
import { Refusal } from '../refusal.ts'
import { differenceLines } from '../show/releases.ts'
import { shortDigest } from '../show/status.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface RollbackFlags extends FleetFlags, YesFlag, WaitFlags, StrategyFlags {
  readonly to?: string
  readonly message?: string
  readonly force?: true
  readonly breakGlass?: string
}

export function rollback(terminal: Terminal): Command {
  return withStrategyOptions(withWaitOptions(withFleetOptions(new Command('rollback'))))
    .summary('publish the content of an older release again')
    .description(
      'Makes a new release with the content of an older one that a node has run, and follows it to the nodes. Numbers never go back.',
    )
    .argument('<config>')
    .argument(
      '[to]',
      'the number of a release (default: the newest before with another content that was not taken back)',
    )
    .option('--to <n>', 'the same')
    .option('-m, --message <text>', 'why')
    .option('-y, --yes', 'do not ask')
    .option('--force', 'make a release even if nothing differs')
    .option('--break-glass <reason>', 'without the reviews that are missing, or to a release that no node has run')
    .option('--json', 'print { release, created, replayed, rollout, delivery }')
    .addHelpText(
      'after',
      '\nExit status: as of publish: 0 every node that is here runs it, 2 not every node does, 1 there is no new release.',
    )
    .action((config: string, to: string | undefined, flags: RollbackFlags) => {
      if (to !== undefined && flags.to !== undefined) throw new Refusal('usage', 'TO is given twice; want it once')
      return run(terminal, config, to ?? flags.to, flags)
    })
}

async function run(terminal: Terminal, config: string, to: string | undefined, flags: RollbackFlags): Promise<void> {
  const path = configPath(config)
  requireSomebody('rollback', flags)
  const target = to === undefined ? undefined : integer('the release', to, 1, Number.MAX_SAFE_INTEGER)
  const strategy = await strategyIn(flags)
  const address = connectionOf(flags)
  const { head } = (await call<ConfigView>(address, path)).body
  if (head === null) throw new Refusal('refused', `${config} has no release yet`)
  const number = target ?? (await lastGood(address, config, head))
  const difference = await call<Difference>(address, `${path}/releases/${head.number}/diff/${number}`)
  const { paint } = terminal
  if (!flags.json) {
    const from = paint.dim(`from release ${head.number} to the content of ${number}`)
    const shown = {
      ...difference.body,
      restartPaths: await restartPathsOf(address, config, head.number, number, difference.body),
    }
    terminal.print(`${paint.bold(config)} ${from}`, '', differenceLines(shown, terminal.look()))
  }
  await requireYes(terminal, flags, `\nroll back as release ${head.number + 1} of ${config}?`, 'not rolled back')
  const { message, force, breakGlass } = flags
  const { body } = await callAgain<Published>(address, `${path}/rollback`, {
    method: 'POST',
    headers: { 'if-match': `"${head.digest}"`, 'idempotency-key': randomUUID() },
    body: {
      to: number,
      ...(message !== undefined && { message }),
      ...(force && { force }),
      ...(breakGlass !== undefined && { breakGlass: { reason: breakGlass } }),
      ...(strategy && { strategy }),
    },
  })
  const { release, created } = body
  if (!flags.json) {
    const said = created
      ? `rolled back as ${paint.bold(`${config} ${release.number}`)} ${paint.dim(shortDigest(release.digest))}`
      : `${config} holds this already; no release was made`
    terminal.print('', `${paint.green('✔')} ${said}`)
  }
  const came = await outcome(terminal, address, body, flags)
  if (flags.json) terminal.document({ ...body, ...came })
}

/** So far back it is looked for one to go back to. */
const mostLooked = 100
const badEnds = ['rolled-back', 'rolling-back', 'failed']

/** The newest before the head that holds something else, and was not taken back: or a rollback would bring the bad one. */
async function lastGood(address: Address, config: string, head: NonNullable<ConfigView['head']>): Promise<number> {
  const releases = await callAll<ReleaseInfo>(address, configPath(config, '/releases'), {}, mostLooked)
  const rollouts = await callAll<RolloutSummary>(address, configPath(config, '/rollouts'), {}, mostLooked)
  const bad = new Set(rollouts.filter(({ phase }) => badEnds.includes(phase)).map(({ number }) => number))
  const before = releases.filter(({ number }) => number < head.number)
  const good = before.find(({ number, digest }) => digest !== head.digest && !bad.has(number))
  if (good !== undefined) return good.number
  if (before.length === 0) throw new Refusal('refused', `${config} has one release only; there is none to go back to`)
  throw new Refusal(
    'refused',
    `none of the ${before.length} releases of ${config} before ${head.number} holds something else and was not taken back; want the number of one`,
  )
}

/** Releases that nodes run, further than which it is not looked what each of them would have to restart for. */
const mostReleases = 10

/**
 * What nodes would have to restart for. They come from what they run, which need not be the head: nobody has to restart
 * to be rid of a release that nobody could take. Without nodes it is what lies between the head and the target.
 */
async function restartPathsOf(
  address: Address,
  config: string,
  head: number,
  target: number,
  { restartPaths }: Difference,
): Promise<readonly string[]> {
  const nodes = await callAll<NodeView>(address, configPath(config, '/nodes'), {}, Infinity)
  const running = [...new Set(nodes.flatMap(({ runs }) => (runs === null ? [] : [runs.number])))]
  if (running.length === 0 || running.length > mostReleases) return restartPaths
  const paths = new Set<string>()
  for (const number of running) {
    const between =
      number === head
        ? restartPaths
        : (await call<Difference>(address, configPath(config, `/releases/${number}/diff/${target}`))).body.restartPaths
    for (const path of between) paths.add(path)
  }
  return [...paths]
}
