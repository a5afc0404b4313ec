/** `midflight watch`: the reloads of a running process as they happen, with its state in a line below them. */
import { Command } from 'commander'
import type { Status } from 'midflight'
import { addressOf, withAdminOptions, type AdminOptions, type Address } from '../admin/address.ts'
import { askStatus } from '../admin/admin.ts'
import { follow, type Followed } from '../admin/follow.ts'
import { call, configPath } from '../fleet/call.ts'
import { connectionOf } from '../fleet/connection.ts'
import { live } from '../fleet/live.ts'
import { cut, printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { detailLines, eventLine } from '../show/events.ts'
import { liveLine } from '../show/live.ts'
import { shortDigest } from '../show/status.ts'
import { durationText } from '../show/time.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface WatchFlags extends AdminOptions {
  readonly after?: number
  readonly json?: true
}

const defaultTimeoutS = 10

export function watch(terminal: Terminal): Command {
  return withAdminOptions(new Command('watch'), defaultTimeoutS)
    .summary('reloads of a process, or what happens in a fleet, live')
    .description(
      'Shows the reloads of a running process as they happen, and comes back when it is restarted; with --config the releases and nodes of a fleet.',
    )
    .option('--config <name>', 'of this config and those below it, asked of a control plane at --url')
    .option('--after <id>', 'begin after this event instead of now', (text) =>
      integer('--after', text, 0, Number.MAX_SAFE_INTEGER),
    )
    .option('--json', 'print one event per line')
    .addHelpText('after', '\nEnds with Ctrl-C (exit status 130).')
    .action(({ config, ...flags }: WatchFlags & { config?: string }) =>
      config === undefined ? run(terminal, flags) : watchFleet(terminal, config, flags),
    )
}

async function watchFleet(terminal: Terminal, config: string, { socket, after, ...flags }: WatchFlags): Promise<void> {
  if (socket !== undefined || after !== undefined) {
    throw new Refusal(
      'usage',
      `--${socket === undefined ? 'after' : 'socket'} is for a process; want none with --config`,
    )
  }
  const address = connectionOf(flags)
  // A name that is wrong, or not there, would be waited on for ever.
  configPath(config)
  const found = await call<{ items: unknown[] }>(address, '/v1/configs', { query: { prefix: config, limit: 1 } })
  if (found.body.items.length === 0) throw new Refusal('not-found', `there is no config ${config}, and none below it`)
  const { paint } = terminal
  for await (const item of live(address, config, terminal.interrupted)) {
    if (item.kind === 'event' && flags.json) terminal.jsonLine({ type: item.type, data: item.data })
    else if (item.kind === 'event') terminal.print(liveLine(item.type, item.data, paint))
    else if (item.kind === 'connected') terminal.note(`watching ${config} at ${printable(address.name)}`)
    else if (item.kind === 'gap') terminal.note('some of what happened meanwhile is no longer kept')
    else terminal.note(`${printable(item.reason)}; trying again`)
  }
}

async function run(terminal: Terminal, flags: WatchFlags): Promise<void> {
  const address = addressOf(flags, defaultTimeoutS)
  const foot = flags.json || !terminal.live ? undefined : new Foot(terminal, address)
  terminal.interrupted.addEventListener('abort', () => foot?.close())
  try {
    for await (const item of follow(address, flags.after, terminal.interrupted)) {
      if (flags.json) printJson(terminal, item)
      else {
        foot?.clear()
        print(terminal, address, item)
        await foot?.take(item)
      }
    }
  } finally {
    foot?.close()
  }
}

function printJson(terminal: Terminal, item: Followed): void {
  if (item.kind === 'event') terminal.jsonLine(item.event)
  else if (item.kind === 'gap') terminal.note(`${item.missed} events are no longer in the record`)
  else if (item.kind === 'lost') terminal.note(`${printable(item.reason)}; trying again`)
}

function print(terminal: Terminal, address: Address, item: Followed): void {
  const { paint } = terminal
  if (item.kind === 'connected') {
    if (item.restarted) terminal.print(paint.yellow(`${printable(address.name)} was restarted`))
    else if (!terminal.live)
      terminal.print(paint.dim(`watching ${printable(address.name)}, live ${shortDigest(item.status.live.digest)}`))
  } else if (item.kind === 'gap') terminal.print(paint.yellow(`… ${item.missed} events are no longer in the record`))
  else if (item.kind === 'lost') {
    if (!terminal.live) terminal.print(paint.yellow(`… ${printable(item.reason)}; trying again`))
  } else if (item.event.kind !== 'reload-began') {
    const look = terminal.look()
    terminal.print(eventLine(item.event, look), detailLines(item.event, look))
  }
}

/** The last line of the screen: what runs now. Drawn over itself, and gone when the command ends. */
class Foot {
  readonly #terminal: Terminal
  readonly #address: Address
  readonly #timer: NodeJS.Timeout
  #status: Status | undefined
  #note = ''
  #drawn = false
  #closed = false

  constructor(terminal: Terminal, address: Address) {
    this.#terminal = terminal
    this.#address = address
    // Ages move on.
    this.#timer = setInterval(() => this.#draw(), 1000)
  }

  async take(item: Followed): Promise<void> {
    if (item.kind === 'connected') {
      this.#status = item.status
      this.#note = ''
    } else if (item.kind === 'lost') this.#note = `${item.reason}; trying again`
    else if (item.kind === 'event') {
      this.#note = item.event.kind === 'reload-began' ? 'reloading …' : ''
      if (item.event.kind === 'reload') await this.#refresh()
    }
    this.#draw()
  }

  async #refresh(): Promise<void> {
    try {
      this.#status = await askStatus(this.#address, this.#terminal.interrupted)
    } catch (error) {
      // The stream will notice, and say so; until then the last known state is shown.
      this.#note = error instanceof Error ? error.message : String(error)
    }
  }

  clear(): void {
    if (this.#drawn) this.#terminal.raw('\r\u001b[2K')
    this.#drawn = false
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#timer)
    this.clear()
  }

  #draw(): void {
    const status = this.#status
    if (this.#closed || status === undefined) return
    const { paint } = this.#terminal
    const { runs, successRate } = status.stats
    const age = durationText(Math.max(0, Date.now() - new Date(status.live.committedAt).getTime()))
    const text = [
      printable(this.#address.name),
      `live ${shortDigest(status.live.digest)} for ${age}`,
      runs === 0
        ? 'no reloads yet'
        : `${runs} reload${runs === 1 ? '' : 's'}, ${Math.round(successRate * 100)} % successful`,
      ...(status.pendingRestart.length > 0
        ? [`waits for a restart: ${status.pendingRestart.map(printable).join(', ')}`]
        : []),
      ...(this.#note === '' ? [] : [printable(this.#note)]),
    ].join(' · ')
    const dot = this.#note !== '' ? paint.yellow('●') : status.healthy ? paint.green('●') : paint.red('●')
    this.clear()
    this.#terminal.raw(`${dot} ${paint.dim(cut(text, this.#terminal.columns() - 3))}`)
    this.#drawn = true
  }
}
