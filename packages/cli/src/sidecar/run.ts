/**
 * A sidecar at work: the engine with its programs, started again and again until it runs, ended by a signal or with the
 * program that it looks after.
 */
import { lstatSync } from 'node:fs'
import { join, resolve } from 'node:path'
import process from 'node:process'
import {
  jsonSchema,
  start,
  StartError,
  type AnySchema,
  type Component,
  type Endpoint,
  type Engine,
  type Event,
} from 'midflight'
import { program, type ProgramOptions } from 'midflight/program'
import { adminHttp } from 'midflight/triggers/admin-http'
import { onSignal } from 'midflight/triggers/signal'
import { systemdNotify } from 'midflight/triggers/systemd'
import { schemaFrom } from '../files/schema.ts'
import { pause } from '../pause.ts'
import { printable, printableLines } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { detailLines, eventLine } from '../show/events.ts'
import type { Terminal } from '../terminal.ts'
import { Child } from './child.ts'
import type { Sidecar } from './read.ts'
import { sourcesOf, tokenIn } from './sources.ts'

export interface RunFlags {
  readonly once?: true
  /** `false` after `--no-reload`. */
  readonly reload: boolean
  readonly json?: true
}

export async function run(
  terminal: Terminal,
  sidecar: Sidecar,
  flags: RunFlags,
  command: readonly string[] | undefined,
): Promise<void> {
  const ended = endOf(terminal)
  const told = flags.reload ? sidecar : untold(sidecar)
  if (flags.once) return applyOnce(terminal, told, flags, ended)
  // Before the engine listens a SIGHUP would end the process.
  process.on('SIGHUP', () => {})
  const child = command && new Child(command)
  // Its files are there when it starts. Nothing is to be told then.
  if (child) {
    await (await startOnce(untold(sidecar), ended, stateOf(sidecar))).close()
    if (ended.aborted) return
    child.start()
  }
  const engine = await started(terminal, told, ended, child?.over)
  if (engine === undefined) return child?.end(terminal)
  const closed = async () => {
    await engine.close()
    await child?.end(terminal)
  }
  show(terminal, engine, flags)
  await over(ended, child?.over)
  await closed()
}

/** Written and checked, and nobody is told. */
function untold(sidecar: Sidecar): Sidecar {
  return { ...sidecar, programs: sidecar.programs.map(({ reload: _, probes: __, ...rest }) => rest) }
}

/** SIGTERM and Ctrl-C. What is under way then is finished or rolled back. */
export function endOf(terminal: Terminal): AbortSignal {
  const terminated = new AbortController()
  process.once('SIGTERM', () => terminated.abort())
  return AbortSignal.any([terminated.signal, terminal.interrupted])
}

export async function over(ended: AbortSignal, other: AbortSignal | undefined): Promise<void> {
  const any = other ? AbortSignal.any([ended, other]) : ended
  if (any.aborted) return
  // Signals and watched files alone keep no process running.
  const alive = setInterval(() => {}, 2 ** 30)
  await new Promise<void>((done) => any.addEventListener('abort', () => done(), { once: true }))
  clearInterval(alive)
}

async function applyOnce(terminal: Terminal, sidecar: Sidecar, { json }: RunFlags, ended: AbortSignal): Promise<void> {
  const before = marksOf(sidecar.programs)
  const engine = await startOnce(sidecar, ended, {})
  await engine.close()
  const after = marksOf(sidecar.programs)
  const files = Object.keys(after).filter((path) => after[path] !== before[path])
  const result = files.length > 0 ? 'committed' : 'unchanged'
  if (json) return terminal.document({ result, files })
  const { paint } = terminal
  terminal.print(
    `${paint.green('✔')} ${paint.bold(result)}${files.length > 0 ? `: ${files.map(printable).join(', ')}` : ''}`,
  )
}

/** Whatever was replaced is another file. */
function marksOf(programs: readonly ProgramOptions[]): Record<string, string> {
  const places = programs.flatMap(({ directory, files }) => files.map(({ path }) => join(directory, path)))
  return Object.fromEntries(
    places.map((place) => {
      const found = lstatSync(place, { bigint: true, throwIfNoEntry: false })
      return [place, found ? `${found.ino}:${found.mtimeNs}` : '']
    }),
  )
}

/**
 * Only its first configuration, and no doors.
 * @param state with a directory, it may be the last good one.
 * @throws Refusal
 */
async function startOnce(sidecar: Sidecar, ended: AbortSignal, state: State): Promise<Engine<unknown>> {
  const { sources } = await sourcesOf(sidecar, ended)
  try {
    return await start({ ...(await common(sidecar)), ...state, sources })
  } catch (error) {
    if (error instanceof StartError) throw new Refusal('refused', error.message)
    throw error
  }
}

interface State {
  readonly stateDir?: string
}

function stateOf({ stateDir, directory }: Sidecar): State {
  return stateDir === undefined ? {} : { stateDir: resolve(directory, stateDir) }
}

async function common(sidecar: Sidecar) {
  const { directory, programs, secrets = [], schema } = sidecar
  const known: AnySchema = schema === undefined ? jsonSchema(true) : await schemaFrom(resolve(directory, schema))
  return {
    schema: known,
    secrets,
    components: programs.map((one) => program(one) as Component),
    logger: false,
  } as const
}

const logColumns = 4_000
const firstMs = 1_000
const mostMs = 30_000

/** Tries until its first configuration is in place. @returns `undefined` if it was ended before. */
async function started(
  terminal: Terminal,
  sidecar: Sidecar,
  ended: AbortSignal,
  childOver: AbortSignal | undefined,
): Promise<Engine<unknown> | undefined> {
  const over = childOver ? AbortSignal.any([ended, childOver]) : ended
  let said: string | undefined
  for (let tried = 0; !over.aborted; tried++) {
    const { sources, triggers } = await sourcesOf(sidecar, ended)
    const endpoints = endpointsOf(sidecar)
    try {
      return await start({
        ...(await common(sidecar)),
        ...stateOf(sidecar),
        sources,
        triggers: [...triggers, onSignal('SIGHUP')],
        endpoints,
      })
    } catch (error) {
      if (!(error instanceof StartError)) throw error
      if (error.message !== said) {
        terminal.note(`${printableLines(error.message, 2).join('\n')}; what is in place stays, trying again`)
      }
      said = error.message
    }
    await pause((0.5 + Math.random()) * Math.min(mostMs, firstMs * 2 ** Math.min(tried, 10)), over)
  }
  return undefined
}

function endpointsOf({ admin, directory }: Sidecar): readonly Endpoint[] {
  if (admin === undefined) return [systemdNotify()]
  const { tokenFile, socket, ...door } = admin
  try {
    const token = tokenFile === undefined ? {} : { token: tokenIn(resolve(directory, tokenFile)) }
    const at = socket === undefined ? {} : { socket: resolve(directory, socket) }
    return [adminHttp({ ...door, ...at, ...token }), systemdNotify()]
  } catch (error) {
    if (error instanceof TypeError || error instanceof RangeError) throw new Refusal('usage', error.message)
    throw error
  }
}

export function show(
  terminal: Terminal,
  engine: Pick<Engine<unknown>, 'events' | 'addresses'>,
  { json }: Pick<RunFlags, 'json'>,
): void {
  const one = (event: Event) => {
    if (json) return terminal.jsonLine(event)
    if (event.kind === 'reload-began') return
    // In a log the reason is worth more than an even right edge.
    const look = { ...terminal.look(), ...(!terminal.live && { columns: logColumns }) }
    terminal.print(eventLine(event, look), detailLines(event, look))
  }
  // What is older was shown by the process before.
  const began = Date.now() - performance.now()
  for (const event of engine.events.recent()) if (new Date(event.at).getTime() >= began) one(event)
  engine.events.subscribe(one)
  for (const [name, address] of Object.entries(engine.addresses)) {
    if (name !== 'systemd') terminal.note(`${name} at ${address}`)
  }
}
