/** `midflight mirror`: keeps one place following another until it is stopped. What goes wrong meanwhile is tried again. */
import process from 'node:process'
import { Command } from 'commander'
import { WriteError } from 'midflight'
import { withFleetOptions } from '../fleet/connection.ts'
import { pause } from '../pause.ts'
import { readerAt, targetAt, withPlacesHelp, type EndFlags } from '../places/ends.ts'
import { count, KeyBar } from '../places/progress.ts'
import type { Reader } from '../places/read.ts'
import { newReport, type Report, type Target } from '../places/write.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { clockText } from '../show/time.ts'
import type { Terminal } from '../terminal.ts'

interface MirrorFlags extends EndFlags {
  readonly delete?: true
}

export function mirror(terminal: Terminal): Command {
  const command = withFleetOptions(new Command('mirror'))
    .summary('keep one store, file or config following another')
    .description(
      'Brings what is at FROM to TO, and from then on whatever changes or is removed there, until it is stopped. While one of them is away it waits; then the newest counts.',
    )
    .argument('<from>', 'a place, or a config of the control plane')
    .argument('<to>', 'a place, or a config of the control plane')
    .option('-m, --message <text>', 'why, for releases')
    .option(
      '--delete',
      'at the start remove the keys below TO that FROM has not; without it only removals that are seen',
    )
    .option('--json', 'print one line of JSON for each time that something was written')
    .action(async (from: string, to: string, flags: MirrorFlags) => {
      const reader = await readerAt(from, flags, 'config')
      await run(terminal, reader, await targetAt(to, flags, 'config'), flags)
    })
  return withPlacesHelp(command, '\nEnds with Ctrl-C (exit status 130) or SIGTERM (0).')
}

const firstMs = 200
const mostMs = 30_000

async function run(terminal: Terminal, from: Reader, to: Target, flags: MirrorFlags): Promise<void> {
  const terminated = new AbortController()
  process.once('SIGTERM', () => terminated.abort())
  const ended = AbortSignal.any([terminated.signal, terminal.interrupted])
  const work = follow(terminal, from, to, flags, ended)
  // What was begun is finished, so that what was said is so.
  terminal.lastly(() => work)
  await work
}

async function follow(
  terminal: Terminal,
  from: Reader,
  to: Target,
  flags: MirrorFlags,
  ended: AbortSignal,
): Promise<void> {
  const bar = new KeyBar(terminal, `to ${printable(to.name)}`)
  const news = new News(terminal, from, ended)
  const base = { force: false, dryRun: false, signal: ended, onProgress: (d: number, t: number) => bar.draw(d, t) }
  let isFirst = true
  let said: string | undefined
  let broughtAt: string | undefined
  terminal.note(`mirroring ${printable(from.name)} to ${printable(to.name)}`)
  try {
    for (let failures = 0; !ended.aborted;) {
      const report = newReport()
      try {
        const content = await from.read(ended)
        if (isFirst) await to.bring(content, { ...base, delete: flags.delete === true }, report)
        // Also what was brought by a first try that failed half way, and is gone by now.
        if (!isFirst || failures > 0) await to.follow(content, { ...base, delete: false }, report)
        if (ended.aborted) break
        if (report.conflicts.length > 0) throw conflictIn(report, to)
        isFirst = false
        broughtAt = new Date().toISOString()
        failures = 0
        if (said !== undefined) terminal.note(`${printable(to.name)} is up to date again`)
        said = undefined
        bar.close()
        show(terminal, report, flags)
        await news.next()
      } catch (error) {
        if (ended.aborted) break
        if (!(error instanceof Refusal || error instanceof WriteError)) throw error
        bar.close()
        show(terminal, report, flags)
        if (error.message !== said) terminal.note(`${printable(error.message)}; it is tried again`)
        said = error.message
        // Read again each time: the newest counts.
        await waited(failures++, ended)
      }
    }
  } finally {
    bar.close()
    await news.ended()
    await from.close()
    await to.close()
    const holds = broughtAt && `holds what was brought by ${clockText(broughtAt)}`
    const lacks = said !== undefined && broughtAt !== undefined ? ', and not what came after it' : ''
    terminal.note(`stopped: ${printable(to.name)} ${holds ?? 'was not brought up to date'}${lacks}`)
  }
}

function conflictIn({ conflicts }: Report, to: Target): Refusal {
  return new Refusal('conflict', `${to.name}: somebody else keeps writing ${plural(conflicts.length, 'key')}`)
}

/** Whether the source may have changed since it was read. */
class News {
  #isNew = false
  #wake: () => void = () => {}
  readonly #ended: AbortSignal
  readonly #over: Promise<void>

  constructor(terminal: Terminal, from: Reader, ended: AbortSignal) {
    this.#ended = ended
    this.#over = this.#listen(terminal, from)
    ended.addEventListener('abort', () => this.#wake())
  }

  async #listen(terminal: Terminal, from: Reader): Promise<void> {
    const warn = (message: string) => terminal.note(printable(message))
    let said: string | undefined
    for (let failures = 0; !this.#ended.aborted; failures++) {
      try {
        for await (const _ of from.changes(this.#ended, warn)) {
          failures = 0
          this.#tell()
        }
      } catch (error) {
        if (!(error instanceof Refusal)) throw error
        if (error.message !== said) warn(`${error.message}; it is tried again`)
        said = error.message
      }
      await waited(failures, this.#ended)
      // What changed meanwhile was not told.
      this.#tell()
    }
  }

  #tell(): void {
    this.#isNew = true
    this.#wake()
  }

  async next(): Promise<void> {
    while (!this.#isNew && !this.#ended.aborted) await new Promise<void>((resolve) => (this.#wake = resolve))
    this.#isNew = false
  }

  ended(): Promise<void> {
    return this.#over
  }
}

async function waited(failures: number, ended: AbortSignal): Promise<void> {
  await pause(Math.random() * Math.min(mostMs, firstMs * 2 ** Math.min(failures, 10)), ended)
}

function show(terminal: Terminal, report: Report, { json }: MirrorFlags): void {
  const { written, removed, release, left } = report
  if (written + removed === 0) return
  if (json)
    return terminal.jsonLine({
      at: new Date().toISOString(),
      written,
      removed,
      ...(release !== undefined && { release }),
    })
  const { paint } = terminal
  const as = release === undefined ? '' : ` as release ${release}`
  const others = left > 0 ? paint.dim(`; ${count(left)} more there that the source has not`) : ''
  const gone = removed > 0 ? `, ${count(removed)} removed` : ''
  terminal.print(`${paint.dim(clockText(new Date().toISOString()))} ${count(written)} written${gone}${as}${others}`)
}
