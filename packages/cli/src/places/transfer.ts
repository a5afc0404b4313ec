/** One transfer from end to end, what it came to, and what Ctrl-C leaves. `import` and `export` are this. */
import { WriteError } from 'midflight'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import type { Terminal } from '../terminal.ts'
import { count, KeyBar } from './progress.ts'
import type { Reader } from './read.ts'
import { newReport, type Report, type Target } from './write.ts'

export interface TransferFlags {
  readonly delete?: true
  readonly force?: true
  readonly dryRun?: true
  readonly json?: true
}

/** Closes both ends. @throws Refusal if not all of it could be brought: it says how far it went. */
export async function transfer(terminal: Terminal, from: Reader, to: Target, flags: TransferFlags): Promise<void> {
  const report = newReport()
  const bar = new KeyBar(terminal, `to ${printable(to.name)}`)
  const work = bring(terminal, { from, to, bar, report }, flags)
  // What was begun is finished, so that what is said of it is so.
  terminal.lastly(async () => {
    await work.catch(() => undefined) // what it failed of, `await work` below tells
    terminal.note(stoppedText(report, to.name))
  })
  try {
    await work
  } finally {
    bar.close()
  }
  if (terminal.interrupted.aborted) return
  if (flags.json) terminal.document({ from: from.name, to: to.name, dryRun: flags.dryRun === true, ...report })
  else terminal.print(reportLines(report, to.name, flags, terminal))
  if (report.conflicts.length > 0) terminal.exitCode = 1
  else if (flags.dryRun && report.written + report.removed > 0) terminal.exitCode = 2
}

async function bring(
  terminal: Terminal,
  { from, to, bar, report }: { from: Reader; to: Target; bar: KeyBar; report: Report },
  flags: TransferFlags,
): Promise<void> {
  const signal = terminal.interrupted
  try {
    const order = {
      delete: flags.delete === true,
      force: flags.force === true,
      dryRun: flags.dryRun === true,
      signal,
      onProgress: (done: number, total: number) => bar.draw(done, total),
    }
    await to.bring(await from.read(signal), order, report)
  } catch (error) {
    if (!(error instanceof WriteError)) throw error
    const done = report.written + report.removed
    const holds = done === 0 ? 'nothing was written' : `${tally(report)} before; run it again to go on`
    throw new Refusal(refusalCode(error), `${error.message}; ${holds}`)
  } finally {
    await from.close()
    await to.close()
  }
}

export function refusalCode({ code }: WriteError): Refusal['code'] {
  return code === 'denied' ? 'forbidden' : code === 'refused' ? 'refused' : code === 'unknown' ? 'busy' : 'unreachable'
}

function tally({ written, unchanged, removed }: Report): string {
  const parts = [
    `${count(written)} written`,
    `${count(unchanged)} unchanged`,
    ...(removed > 0 ? [`${count(removed)} removed`] : []),
  ]
  return parts.join(', ')
}

function stoppedText(report: Report, name: string): string {
  return `stopped: of ${printable(name)} ${tally(report)}; run it again to go on: what is there already is not written again`
}

function reportLines(report: Report, name: string, flags: TransferFlags, { paint }: Terminal): string[] {
  const { conflicts, left, release, unguarded } = report
  const mark = conflicts.length > 0 ? paint.red('✖') : paint.green('✔')
  const would = flags.dryRun ? 'would be: ' : ''
  const as = release === undefined ? '' : `, as release ${release}`
  const lines = [`${mark} ${printable(name)}: ${would}${tally(report)}${as}`]
  if (left > 0) lines.push(paint.dim(`${count(left)} more there that the source has not; --delete removes them`))
  if (unguarded !== undefined) {
    lines.push(paint.yellow(`writes of others at the same moment would not have been noticed: ${printable(unguarded)}`))
  }
  if (conflicts.length > 0) {
    lines.push(`${plural(conflicts.length, 'key')} that somebody else kept writing: theirs stays`)
    for (const key of conflicts.slice(0, 20)) lines.push(`  ${printable(key)}`)
  }
  return lines
}
