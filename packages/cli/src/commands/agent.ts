/**
 * `midflight agent`: a node of a fleet for programs in other languages: writes its configuration to a file, or the
 * packages that targets bring to it into a directory.
 */
import { resolve } from 'node:path'
import process from 'node:process'
import { Command } from 'commander'
import {
  componentsFor,
  jsonSchema,
  start,
  StartError,
  type Component,
  type Engine,
  type Event,
  type Json,
} from 'midflight'
import { controlPlane, packages, type ControlPlane, type ControlPlaneOptions } from 'midflight/agent'
import { signalOf } from '../admin/by-signal.ts'
import { busExamples } from '../fleet/bus.ts'
import { configPath } from '../fleet/call.ts'
import { connectionOf, withFleetOptions, type FleetFlags } from '../fleet/connection.ts'
import { packageCommand } from '../fleet/package-command.ts'
import { waysOf, type Ways } from '../fleet/ways.ts'
import { NobodyThereError, tell, writerFor, writeWhole, type Told } from '../fleet/written-config.ts'
import { printable, printableLines } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { eventLine } from '../show/events.ts'
import type { Terminal } from '../terminal.ts'
import { pause } from '../pause.ts'

interface AgentFlags extends FleetFlags, Ways {
  readonly to?: string
  readonly packages?: string
  readonly packageCommand?: string
  readonly state?: string
  readonly label?: readonly string[]
  readonly reloadPidFile?: string
  readonly reloadSignal: NodeJS.Signals
  readonly reloadUrl?: string
  readonly probeHttp?: string
  readonly probeCommand?: string
  readonly once?: true
}

export function agent(terminal: Terminal): Command {
  return withFleetOptions(new Command('agent'))
    .summary('write the configuration of a fleet to a file, and keep it current')
    .description(
      'Joins the fleet of a config as a node, writes each release to a file (whole or not at all, mode 0600), and has a program read it. A release that the program refuses is reported as failed, and the file before it is put back. With --packages it takes what targets bring to the node.',
    )
    .argument('<config>')
    .option('--to <path>', 'the file: .json, .yaml (as JSON, which is YAML) or .toml')
    .option('--packages <directory>', 'take the packages that targets bring to this node, whose config is nodes/ID')
    .option('--package-command <words>', 'run without a shell for each: WORDS start|stop NAME VERSION FOLDER')
    .option('--state <path>', 'where uid and last release are kept (default: beside it, PATH.midflight)')
    .option('--label <name=value>', 'what this node is; may be repeated', labelled)
    .option('--reload-pid-file <path>', 'after a change, signal the process whose id is in this file')
    .option('--reload-signal <signal>', 'with which signal', signalOf, 'SIGHUP' as NodeJS.Signals)
    .option('--reload-url <url>', 'after a change, POST here; anything but 2xx means that it was refused')
    .option('--probe-http <url>', 'ask here whether the program is well: 2xx is a yes')
    .option('--probe-command <words>', 'or by a command, without a shell: exit code 0 is a yes')
    .option('--ca <path>', 'trust this certificate authority of the control plane instead of those of the system: PEM')
    .option('--cert <path>', 'the certificate by which the control plane knows this node, instead of a token: PEM')
    .option('--key <path>', 'its private key, PEM; both are read again at each connection')
    .option('--bus <url>', `hear of releases over it: ${busExamples}`)
    .option('--bus-reports', 'without a WebSocket, report over the bus')
    .option('--no-websocket', 'hold no connection: the bus tells when to ask, or else polls wait')
    .option('--once', 'write the newest release and end')
    .option('--json', 'print one event per line')
    .addHelpText(
      'after',
      '\nEnds with SIGTERM or Ctrl-C; starts from the last release while the control plane is away.',
    )
    .action((config: string, flags: AgentFlags) => run(terminal, config, flags))
}

function labelled(text: string, before: readonly string[] = []): string[] {
  if (!/^[^=]+=/.test(text)) throw new Refusal('usage', `--label is ${JSON.stringify(text)}; want name=value`)
  return [...before, text]
}

async function run(terminal: Terminal, config: string, flags: AgentFlags): Promise<void> {
  configPath(config)
  const ended = endOf(terminal)
  const address = connectionOf(flags)
  const labels = Object.fromEntries((flags.label ?? []).map((text) => splitLabel(text)))
  if (flags.busReports && flags.bus === undefined) {
    throw new Refusal('usage', '--bus-reports is given without a bus; want --bus too')
  }
  const source = async () => {
    const ways = await waysOf(flags, '')
    return usable(() =>
      controlPlane({
        url: address.name,
        config,
        labels,
        stateDir: flags.state ?? `${resolve(place)}.midflight`,
        name: 'midflight agent',
        ...probeOf(flags),
        ...ways,
        // Looked up each time: a token that was renewed in its file is taken without a restart.
        ...(address.token !== undefined && { token: () => connectionOf(flags).token ?? '' }),
      }),
    )
  }
  const leaving = new AbortController()
  const { components, bundled, place } = partsOf(terminal, config, flags, address.timeoutMs, leaving.signal)
  const engine = await started(terminal, source, components, { bundled, signal: ended, once: flags.once === true })
  if (engine === undefined) return
  const close = () => {
    leaving.abort()
    return engine.close()
  }
  terminal.lastly(close)
  const show = (event: Event) => {
    if (flags.json) terminal.jsonLine(event)
    else if (event.kind !== 'reload-began') terminal.print(eventLine(event, terminal.look()))
  }
  for (const event of engine.events.recent()) show(event)
  engine.events.subscribe(show)
  if (!flags.once && !ended.aborted) {
    await new Promise<void>((resolve) => ended.addEventListener('abort', () => resolve(), { once: true }))
  }
  await close()
}

interface AgentParts {
  /** New ones for each try to start. */
  readonly components: () => readonly Component[]
  /** A node that nothing was brought to yet is one all the same. */
  readonly bundled: Json | undefined
  /** Beside which the state is. */
  readonly place: string
}

function partsOf(
  terminal: Terminal,
  config: string,
  flags: AgentFlags,
  timeoutMs: number,
  leaving: AbortSignal,
): AgentParts {
  const { to, packages: directory, reloadPidFile, reloadUrl, packageCommand: command } = flags
  const usage = (what: string): Refusal => new Refusal('usage', what)
  if (to === undefined && directory === undefined) throw usage('neither --to nor --packages is given; want one of them')
  if (to === undefined && (reloadPidFile ?? reloadUrl) !== undefined) {
    throw usage('a program is to be told of a file, and none is written; want --to')
  }
  if (directory === undefined && command !== undefined) throw usage('--package-command is given without --packages')
  const file = to === undefined ? [] : [fileComponent(terminal, to, flags, timeoutMs)]
  if (directory === undefined) return { components: () => file, bundled: undefined, place: to as string }
  if (!/^nodes\/./.test(config)) throw usage(`--packages is for a config nodes/ID, and this is ${printable(config)}`)
  const run = command === undefined ? undefined : packageCommand(command)
  return {
    components: () => [...file, packagesComponent(terminal, resolve(directory), run, leaving)],
    bundled: to === undefined ? {} : undefined,
    place: to ?? directory,
  }
}

function packagesComponent(
  terminal: Terminal,
  directory: string,
  run: ReturnType<typeof packageCommand> | undefined,
  leaving: AbortSignal,
): Component {
  return packages({
    directory,
    ...(run && {
      start: (one) => run('start', one),
      // What works goes on when the agent ends: it is to be there again soon.
      stop: async (one) => (leaving.aborted ? undefined : await run('stop', one)),
    }),
    onRepair: (id, files, failure) => {
      const what = failure === undefined ? 'written again' : `not repaired: ${failure}`
      terminal.note(printable(`${id} ${files.join(', ')} ${what}`.trim()))
    },
  }) as Component
}

function endOf(terminal: Terminal): AbortSignal {
  const terminated = new AbortController()
  process.once('SIGTERM', () => terminated.abort())
  return AbortSignal.any([terminated.signal, terminal.interrupted])
}

function probeOf({ probeHttp, probeCommand }: AgentFlags): Pick<ControlPlaneOptions, 'probe'> {
  if (probeHttp !== undefined && probeCommand !== undefined) {
    throw new Refusal('usage', '--probe-http and --probe-command are given; want one of them')
  }
  if (probeHttp !== undefined) return { probe: { check: { http: probeHttp } } }
  if (probeCommand === undefined) return {}
  return { probe: { check: { command: probeCommand.split(/\s+/).filter((word) => word !== '') } } }
}

/** Its own checks of what was given, in its own words. */
function usable(make: () => ControlPlane): ControlPlane {
  try {
    return make()
  } catch (error) {
    if (error instanceof TypeError) throw new Refusal('usage', error.message.replace(/^controlPlane\(\): /, ''))
    throw error
  }
}

function splitLabel(text: string): [name: string, value: string] {
  const at = text.indexOf('=')
  return [text.slice(0, at), text.slice(at + 1)]
}

const schema = jsonSchema<Json>(true)

function fileComponent(terminal: Terminal, to: string, flags: AgentFlags, timeoutMs: number): Component {
  const write = writerFor(to)
  const told: Told = { pidFile: flags.reloadPidFile, signal: flags.reloadSignal, url: flags.reloadUrl, timeoutMs }
  let undoing = false
  return componentsFor(schema).value({
    name: 'file',
    path: '',
    deadlines: { commitMs: timeoutMs + 5000, rollbackMs: timeoutMs + 5000 },
    prepare: (next: Json) => write(next),
    async apply(_next, text, before) {
      writeWhole(to, text)
      try {
        await tell(told)
        undoing = false
      } catch (error) {
        // At the first start the program may be waiting for this very file; and where it was not there for the new one,
        // it need not be there for the old one that is put back.
        const mayBeAway = before === undefined || (undoing && error instanceof NobodyThereError)
        undoing = !mayBeAway && error instanceof NobodyThereError
        if (!mayBeAway) throw error
        terminal.note(`${to} is written, but nobody was told: ${printable((error as Error).message)}`)
      }
    },
  }) as Component
}

const againMs = 5000

/** Tries until there is a release that can be written. @returns `undefined` if it was ended before. */
async function started(
  terminal: Terminal,
  source: () => Promise<ControlPlane>,
  components: AgentParts['components'],
  { bundled, signal, once }: Pick<AgentParts, 'bundled'> & { readonly signal: AbortSignal; readonly once: boolean },
): Promise<Engine<Json> | undefined> {
  let said: string | undefined
  while (!signal.aborted) {
    const asked = await source()
    // Nothing is open yet that would have to be closed.
    const leave = () => process.exit(0)
    signal.addEventListener('abort', leave)
    try {
      return await start({
        schema,
        sources: [asked],
        components: components(),
        retries: { limit: 0 },
        logger: false,
        ...(bundled !== undefined && { bundled }),
      })
    } catch (error) {
      if (!(error instanceof StartError)) throw error
      if (once) throw new Refusal('refused', error.message)
      if (error.message !== said) terminal.note(`${printableLines(error.message, 2).join('\n')}; trying again`)
      said = error.message
    } finally {
      signal.removeEventListener('abort', leave)
    }
    await pause(againMs * (0.5 + Math.random()), signal)
  }
  return undefined
}
