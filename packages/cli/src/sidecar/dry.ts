/**
 * What a sidecar would do now: the configuration read, every program's files checked by the program, and what would
 * change in them. Nothing is put in place and nobody is told; it works beside a sidecar that runs.
 */
import { join, resolve } from 'node:path'
import {
  at,
  examine,
  parsePath,
  redactor,
  secretMark,
  secretsIn,
  type Component,
  type Json,
  type Path,
} from 'midflight'
import { preview, program, type ProgramOptions } from 'midflight/program'
import { connectionOf } from '../fleet/connection.ts'
import { authoritiesIn } from '../fleet/ways.ts'
import { schemaFrom } from '../files/schema.ts'
import { configReader } from '../places/read.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { lineDiff, type Line } from '../show/lines.ts'
import { remoteIssueLines } from '../show/issues.ts'
import type { Terminal } from '../terminal.ts'
import type { Sidecar } from './read.ts'
import { endOf } from './run.ts'
import { sourcesOf } from './sources.ts'

interface DryFile {
  readonly path: string
  readonly lines: readonly Line[]
}

export async function dry(terminal: Terminal, sidecar: Sidecar, { json }: { readonly json: boolean }): Promise<void> {
  const ended = endOf(terminal)
  const { config, shown } = await configOf(terminal, sidecar, ended)
  const secrets: Path[] = []
  const word = `secret${Math.random().toString(36).slice(2)}`
  const covered = coveredIn(config, shown, word, [], secrets)
  const cover = redactor({ patterns: [], secretValues: secretsIn(config, { patterns: [], secretPaths: secrets }) })
  const found: { readonly name: string; readonly files: readonly DryFile[] }[] = []
  for (const options of sidecar.programs) {
    try {
      await checked(options, config, ended)
      found.push({ name: options.name, files: await filesOf(options, config, covered, word, sidecar.secrets ?? []) })
    } catch (error) {
      throw new Refusal('refused', `${options.name}: ${cover.text((error as Error).message)}`, 'nothing was touched')
    }
  }
  const changed = found.flatMap(({ files }) => files)
  if (changed.length > 0) terminal.exitCode = 2
  if (json) return terminal.document({ result: changed.length > 0 ? 'different' : 'unchanged', programs: found })
  const { paint } = terminal
  const tint = { '+': paint.green, '-': paint.red, ' ': paint.dim, '…': paint.dim }
  for (const { path, lines } of changed) {
    terminal.print(paint.bold(printable(path)))
    terminal.print(lines.map(({ mark, text }) => tint[mark](`  ${mark} ${printable(text)}`)))
  }
  if (changed.length === 0) return terminal.print(`${paint.green('✔')} unchanged`)
  terminal.print(`${paint.green('✔')} checked: ${plural(changed.length, 'file')} would change; nothing was touched`)
}

/** @throws Refusal if there is none that is valid. */
async function configOf(
  terminal: Terminal,
  sidecar: Sidecar,
  ended: AbortSignal,
): Promise<{ config: Json; shown: Json }> {
  const { controlPlane, directory, secrets = [] } = sidecar
  const schema = sidecar.schema === undefined ? undefined : await schemaFrom(resolve(directory, sidecar.schema))
  // Who only looks is no node of the fleet: the release is read as a person reads it, with that person's token.
  const sources = controlPlane
    ? [await released(sidecar, controlPlane, ended)]
    : (await sourcesOf(sidecar, ended)).sources
  try {
    const examined = await examine({ sources, secrets, ...(schema && { schema }) })
    if (examined.kind === 'valid') return examined
    for (const line of remoteIssueLines(examined.issues, terminal.errorPaint)) terminal.note(line)
    throw new Refusal('invalid', `the configuration is not valid: ${plural(examined.issues.length, 'issue')}`)
  } finally {
    for (const source of sources) await source.close?.()
  }
}

async function released({ directory }: Sidecar, plane: NonNullable<Sidecar['controlPlane']>, ended: AbortSignal) {
  const { url, config: name, ca } = plane
  const trusted = ca !== undefined && { ca: authoritiesIn(resolve(directory, ca)) }
  const reader = configReader({ ...connectionOf({ url }), ...trusted }, name)
  const { config } = await reader.read(ended)
  return { name, load: async () => ({ config }), close: () => reader.close() }
}

/** Prepared as for a change, and let go. Under another name: a sidecar that runs looks after its own. */
async function checked(options: ProgramOptions, config: Json, ended: AbortSignal): Promise<void> {
  const component: Component<unknown> = program({ ...options, name: `${options.name.slice(0, 60)}-dry` }) as Component
  const after = component.slice(component.paths.map((path) => at(config, parsePath(path))))
  const signal = AbortSignal.any([ended, AbortSignal.timeout(component.deadlines?.prepareMs ?? 60_000)])
  try {
    const prepared = await component.prepare({ before: undefined, after, changes: [], forced: false }, signal)
    await prepared.rollback()
  } finally {
    await component.close?.()
  }
}

async function filesOf(
  options: ProgramOptions,
  config: Json,
  covered: Json,
  word: string,
  secrets: readonly string[],
): Promise<readonly DryFile[]> {
  const [real, shown] = [await preview(options, config), await preview(options, covered)]
  return real.flatMap(({ path, before, after }, i) => {
    if (before === after) return []
    const text = shown[i]?.after.replaceAll(word, secretMark) ?? ''
    const from = options.files[i]?.from ?? ''
    // What is in place may hold secrets of before, which nobody here knows.
    const mayHold =
      text.includes(secretMark) || secrets.some((pattern) => overlaps(parsePath(pattern), parsePath(from)))
    const lines = lineDiff(before ?? '', text).map((line) =>
      line.mark === '-' && mayHold ? { ...line, text: `${secretMark} or what may be one` } : line,
    )
    return [{ path: join(options.directory, path), lines }]
  })
}

function overlaps(pattern: Path, from: Path): boolean {
  return pattern.every((step, i) => i >= from.length || step === '*' || step === from[i])
}

/** With a word that every format and template takes, wherever the other has a mark. */
function coveredIn(config: Json, shown: Json | undefined, word: string, path: Path, secrets: Path[]): Json {
  const isSecret = shown === secretMark && config !== secretMark
  if (isSecret) secrets.push(path)
  const inner = (key: string | number, value: Json) =>
    coveredIn(value, isSecret ? secretMark : at(shown ?? null, [key]), word, [...path, key], isSecret ? [] : secrets)
  if (Array.isArray(config)) return config.map((value: Json, i) => inner(i, value))
  if (typeof config === 'object' && config !== null) {
    return Object.fromEntries(Object.entries(config).map(([key, value]) => [key, inner(key, value as Json)]))
  }
  return isSecret ? word : config
}
