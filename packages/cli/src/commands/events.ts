/** `midflight events`: the record of a running process, and with `--follow` what is added to it. */
import { Command } from 'commander'
import { askEvents } from '../admin/admin.ts'
import { addressOf, withAdminOptions, type AdminOptions } from '../admin/address.ts'
import { follow } from '../admin/follow.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { eventLine } from '../show/events.ts'
import type { Terminal } from '../terminal.ts'

interface EventsFlags extends AdminOptions {
  readonly after?: number
  readonly limit?: number
  readonly follow?: true
  readonly json?: true
}

const defaultTimeoutS = 10

export function events(terminal: Terminal): Command {
  return withAdminOptions(new Command('events'), defaultTimeoutS)
    .summary('what a process recorded: starts, reloads, warnings')
    .description('Prints the newest events of a running process, oldest first.')
    .option('--after <id>', 'only events with a higher id', (text) =>
      integer('--after', text, 0, Number.MAX_SAFE_INTEGER),
    )
    .option('--limit <n>', 'at most so many, 1 to 1000 (default: 100)', (text) => integer('--limit', text, 1, 1000))
    .option('-f, --follow', 'go on with events as they happen, until Ctrl-C')
    .option('--json', 'print { events: […] }; with --follow one event per line')
    .action((flags: EventsFlags) => run(terminal, flags))
}

export function integer(option: string, text: string, min: number, max: number): number {
  const number = /^\d{1,16}$/.test(text) ? Number(text) : NaN
  if (number >= min && number <= max) return number
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`
  throw new Refusal('usage', `${option} is ${JSON.stringify(text)}; want an integer ${range}`)
}

async function run(terminal: Terminal, flags: EventsFlags): Promise<void> {
  const address = addressOf(flags, defaultTimeoutS)
  const { after, limit } = flags
  const look = terminal.look()
  const found = await askEvents(address, {
    ...(after === undefined ? {} : { after }),
    ...(limit === undefined ? {} : { limit }),
  })
  if (flags.json && !flags.follow) return terminal.document({ events: found })
  for (const event of found) {
    if (flags.json) terminal.jsonLine(event)
    else terminal.print(eventLine(event, look))
  }
  if (!flags.follow) {
    if (found.length === 0) terminal.print(terminal.paint.dim('no events'))
    return
  }
  const { errorPaint } = terminal
  for await (const item of follow(address, found.at(-1)?.id ?? after, terminal.interrupted)) {
    if (item.kind === 'event') {
      if (flags.json) terminal.jsonLine(item.event)
      else terminal.print(eventLine(item.event, look))
    } else if (item.kind === 'gap')
      terminal.note(errorPaint.yellow(`… ${item.missed} events are no longer in the record`))
    else if (item.kind === 'lost') terminal.note(errorPaint.yellow(`… ${printable(item.reason)}; trying again`))
  }
}
