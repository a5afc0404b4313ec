/** `midflight sidecar`: configuration for programs that are not ours, as their files, checked, swapped in and probed. */
import { Command, Option } from 'commander'
import { Refusal } from '../refusal.ts'
import { sidecarIn } from '../sidecar/read.ts'
import type { RunFlags } from '../sidecar/run.ts'
import type { VolumeFlags } from '../sidecar/volumes.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface SidecarFlags extends RunFlags, VolumeFlags {
  readonly json?: true
  readonly check?: true
  readonly dryRun?: true
  readonly exec?: true
}

export function sidecar(terminal: Terminal): Command {
  return new Command('sidecar')
    .summary('keep the files of nginx, Prometheus and the like current')
    .description(
      'Writes the files of other programs from a configuration: rendered, checked by the program, swapped in, and put back if the program does not take them. What belongs to which program is said in FILE.',
    )
    .argument('[file]', 'sidecar.yaml')
    .argument('[program...]', 'after --exec --')
    .option('--check', 'read FILE only, with a position for everything that is wrong')
    .option('--dry, --dry-run', 'render and check, show what would change in the files, touch nothing')
    .option('--once', 'apply once and end')
    .option('--no-reload', 'write and check only, and tell no program: before it runs')
    .option('--exec', 'write, start the program after --, pass signals on to it, end with its exit status')
    .option('--json', 'print one event per line; of --once { result, files }, of --dry-run { result, programs }')
    .option('--volume-dir <path>', 'without FILE, as configmap-reload: watch this; may be repeated', collected)
    .option('--webhook-url <url>', 'and when it changes, ask this; may be repeated', collected)
    .addOption(
      new Option('--webhook-method <method>', 'with which method').choices(['POST', 'PUT', 'GET']).default('POST'),
    )
    .option('--webhook-status-code <code>', 'which answer is a yes', whole('--webhook-status-code', 100, 599), 200)
    .option('--webhook-retries <count>', 'how often it is tried again', whole('--webhook-retries', 0, 100), 1)
    .addHelpText(
      'after',
      '\nExit status: 0 done, unchanged or ended by SIGTERM, 1 refused, 2 with --dry-run something would change, 130 Ctrl-C;\nwith --exec that of the program. SIGHUP reads the configuration again.',
    )
    .action((file: string | undefined, program: string[], flags: SidecarFlags) => run(terminal, file, program, flags))
}

function collected(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

function whole(name: string, min: number, max: number): (text: string) => number {
  return (text) => integer(name, text, min, max)
}

async function run(
  terminal: Terminal,
  file: string | undefined,
  command: readonly string[],
  flags: SidecarFlags,
): Promise<void> {
  const { check, dryRun, once, exec, json = false } = flags
  const isVolumes = flags.volumeDir !== undefined || flags.webhookUrl !== undefined
  if (isVolumes && file === undefined) return (await import('../sidecar/volumes.ts')).watchVolumes(terminal, flags)
  if (isVolumes) {
    throw new Refusal('usage', '--volume-dir and --webhook-url are given with a file; want one or the other')
  }
  if (file === undefined) {
    throw new Refusal('usage', 'no file is given; want one such as sidecar.yaml, or --volume-dir and --webhook-url')
  }
  const ways = Object.entries({ '--check': check, '--dry-run': dryRun, '--once': once, '--exec': exec })
  const given = ways.flatMap(([flag, isGiven]) => (isGiven ? [flag] : []))
  if (given.length > 1) throw new Refusal('usage', `${given.join(' and ')} are given; want one of them`)
  if (exec && command.length === 0) {
    throw new Refusal('usage', '--exec has no program; want sidecar.yaml --exec -- nginx -g "daemon off;"')
  }
  if (!exec && command.length > 0) {
    throw new Refusal('usage', `${command[0]} is one argument too many`, 'a program to start comes after --exec --')
  }
  const found = await sidecarIn(terminal, file, json)
  if (check) {
    if (json) return terminal.document({ kind: 'valid', programs: found.programs.map(({ name }) => name) })
    return terminal.print(`${terminal.paint.green('✔')} ${file} can be used`)
  }
  const running = dryRun
    ? (await import('../sidecar/dry.ts')).dry(terminal, found, { json })
    : (await import('../sidecar/run.ts')).run(terminal, found, flags, exec ? command : undefined)
  // Also after Ctrl-C what is under way comes to its end, and nothing is left beside the files.
  terminal.lastly(() => running)
  return running
}
