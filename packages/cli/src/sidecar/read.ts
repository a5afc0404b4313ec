/**
 * sidecar.yaml as the commands use it: read by the file source, held against `described.ts`, and then against what the
 * engine says of each program, all with places. Paths in it count from where it is. Nothing is opened or touched here.
 */
import { readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { examine, jsonSchema, parsePath, type AnySchema, type Issue, type Json } from 'midflight'
import {
  caddy,
  haproxy,
  nginx,
  program,
  prometheus,
  systemd,
  templateFault,
  type FileOptions,
  type ProgramOptions,
} from 'midflight/program'
import { configNameProblem } from 'midflight/protocol'
import { file } from 'midflight/sources/file'
import { waysOf, type Ways } from '../fleet/ways.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { issueLines } from '../show/issues.ts'
import type { Terminal } from '../terminal.ts'
import { sidecarSchema, type PresetName } from './described.ts'

/** As it is written. */
export interface Written {
  readonly sources?: readonly string[]
  readonly controlPlane?: Ways & {
    readonly url: string
    readonly config: string
    readonly tokenFile?: string
    readonly labels?: Readonly<Record<string, string>>
  }
  readonly schema?: string
  readonly secrets?: readonly string[]
  readonly stateDir?: string
  readonly wait?: { readonly minMs: number; readonly maxMs?: number }
  readonly admin?: {
    readonly port?: number
    readonly host?: string
    readonly socket?: string
    readonly lifecycle?: boolean
    readonly tokenFile?: string
  }
  readonly programs: readonly { readonly [P in PresetName]?: WrittenProgram }[]
}

/** Without the options of its preset, which are passed on as they are. */
interface WrittenProgram {
  readonly name?: string
  readonly files: readonly WrittenFile[]
}

interface WrittenFile {
  readonly path: string
  readonly from?: string
  readonly as?: string
  readonly template?: string
  readonly templateFile?: string
  readonly mode?: string
}

export interface Sidecar extends Omit<Written, 'programs'> {
  /** As it was given. */
  readonly path: string
  /** Absolute; what paths count from. */
  readonly directory: string
  /** In the order in which they are written there; what comes first is `after`. */
  readonly programs: readonly ProgramOptions[]
}

const presets: { readonly [P in PresetName]: (options: never) => ProgramOptions } = {
  nginx,
  prometheus,
  haproxy,
  caddy,
  systemd,
  generic: (options) => options,
}

/** @throws Refusal after the issues have been shown, each with its place. */
export async function sidecarIn(terminal: Terminal, path: string, json: boolean): Promise<Sidecar> {
  const directory = dirname(resolve(path))
  // In templates a `$` is the program's own.
  const source = file([resolve(path)], { cwd: process.cwd(), includeKey: false, variables: false, settleMs: 0 })
  const programs: ProgramOptions[] = []
  const schemas = [jsonSchema<Json>(sidecarSchema), meaning(directory, programs)]
  for (const schema of schemas) {
    // URLs may hold a password.
    const secrets = ['sources.*', 'controlPlane.bus', 'controlPlane.url']
    const examined = await examine({ schema, sources: [source], secrets, unknownKeys: 'allow' })
    if (examined.kind === 'valid') continue
    const { issues, secretPaths } = examined
    if (!json) {
      const look = { cwd: process.cwd(), secretPaths, paint: terminal.errorPaint, columns: terminal.columns() }
      for (const line of await issueLines(issues, look)) terminal.note(line)
    }
    const places = json ? issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message })) : []
    const count = plural(issues.length, 'issue')
    throw new Refusal('invalid', `${path} cannot be used: ${count}; nothing was touched`, undefined, places)
  }
  const written = (await source.load(AbortSignal.timeout(10_000))).config as unknown as Written
  return { ...written, path, directory, programs }
}

/** What the schema cannot say: the engine's own checks, at the program that they are about. */
function meaning(directory: string, programs: ProgramOptions[]): AnySchema {
  const validate = async (value: unknown) => {
    const written = value as Written
    const issues: Pick<Issue, 'path' | 'message'>[] = []
    const given = (written.sources ? 1 : 0) + (written.controlPlane ? 1 : 0)
    if (given !== 1) {
      const found = given === 0 ? 'has neither sources nor controlPlane' : 'has sources and controlPlane'
      issues.push({ path: given === 0 ? [] : ['controlPlane'], message: `${found}; want one of them` })
    }
    if (written.controlPlane) issues.push(...(await planeIssues(written.controlPlane, directory)))
    written.secrets?.forEach((secret, i) => tried(issues, ['secrets', i], () => parsePath(secret)))
    const { minMs = 0, maxMs = Infinity } = written.wait ?? {}
    if (maxMs < minMs) issues.push({ path: ['wait', 'maxMs'], message: `ends before minMs; want at least ${minMs}` })
    for (const [i, entry] of written.programs.entries()) {
      const [preset, options] = Object.entries(entry)[0] as [PresetName, WrittenProgram]
      const at = ['programs', i, preset]
      const files = options.files.map((one, j) => tried(issues, [...at, 'files', j], () => fileOf(one, directory)))
      if (files.includes(undefined)) continue
      issues.push(...(await templateIssues(options.files, files as FileOptions[], [...at, 'files'])))
      tried(issues, at, () => {
        const made = presets[preset]({ ...(placed(options, directory) as object), files } as never)
        program(made)
        programs.push(made)
      })
    }
    const taken = new Set<string>()
    programs.forEach(({ directory: root, files }, i) => {
      const mine = files.map((one) => join(root, one.path))
      const twice = mine.find((place) => taken.has(place))
      for (const place of mine) taken.add(place)
      if (twice !== undefined)
        issues.push({ path: ['programs', i], message: `writes ${twice}, as one before it does; want one of them` })
    })
    const names = programs.map(({ name }) => name)
    programs.forEach(({ name, after = [] }, i) => {
      const at = ['programs', i]
      if (names.indexOf(name) !== i) issues.push({ path: at, message: `is the second ${name}; want another name` })
      const unknown = after.find((other) => !names.includes(other))
      if (unknown !== undefined)
        issues.push({ path: at, message: `comes after ${unknown}; want one of ${names.join(', ')}` })
    })
    return issues.length > 0 ? { issues } : { value }
  }
  return { '~standard': { version: 1, vendor: 'midflight', validate } }
}

async function planeIssues(given: NonNullable<Written['controlPlane']>, directory: string) {
  const issues: Pick<Issue, 'path' | 'message'>[] = []
  const { url, config, ca, cert, key, bus, busReports } = given
  const at = URL.canParse(url) ? new URL(url) : undefined
  if (!at || !/^https?:$/.test(at.protocol) || at.username !== '' || at.password !== '') {
    const message = 'want http:// or https://, without a user name or password'
    issues.push({ path: ['controlPlane', 'url'], message })
  }
  const problem = configNameProblem(config)
  if (problem !== undefined) issues.push({ path: ['controlPlane', 'config'], message: problem })
  const identity = cert === undefined ? 'key' : 'cert'
  for (const [name, way] of Object.entries({ ca: { ca }, [identity]: { cert, key }, bus: { bus } })) {
    await waysOf(way, directory).catch((error: unknown) => {
      if (!(error instanceof Refusal)) throw error
      issues.push({ path: ['controlPlane', name], message: error.message.replace(/^--bus:? /, '') })
    })
  }
  if (busReports && bus === undefined) {
    issues.push({ path: ['controlPlane', 'busReports'], message: 'is given without a bus; want bus too' })
  }
  return issues
}

const paths = ['directory', 'pidFile', 'statsSocket']

/** The same with absolute paths, those inside of reload and probes too. */
function placed(value: unknown, directory: string): unknown {
  if (Array.isArray(value)) return value.map((one: unknown) => placed(one, directory))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => [
      key,
      paths.includes(key) && typeof inner === 'string' ? resolve(directory, inner) : placed(inner, directory),
    ]),
  )
}

function tried<T>(issues: Pick<Issue, 'path' | 'message'>[], path: Issue['path'], work: () => T): T | undefined {
  try {
    return work()
  } catch (error) {
    if (!(error instanceof Error)) throw error
    issues.push({ path, message: error.message.replace(/^program( [\w-]+)?: /, '') })
    return undefined
  }
}

/** @throws Error that says what is wrong with it. */
function fileOf(written: WrittenFile, directory: string): FileOptions {
  const { template, templateFile, mode, ...file } = written
  const contents = Object.entries({ as: file.as, template, templateFile }).filter(([, value]) => value !== undefined)
  if (contents.length !== 1) {
    const found =
      contents.length === 0 ? 'neither as, template nor templateFile' : contents.map(([key]) => key).join(' and ')
    throw new Error(`has ${found}; want one of as, template and templateFile`)
  }
  const text = templateFile === undefined ? template : templateIn(directory, templateFile)
  return {
    ...file,
    ...(text !== undefined && { template: text }),
    ...(mode !== undefined && { mode: Number.parseInt(mode, 8) }),
  } as FileOptions
}

/** Of templates that are none: where in their file, or in which line of what is written here. */
async function templateIssues(written: readonly WrittenFile[], files: readonly FileOptions[], at: Issue['path']) {
  const issues: Pick<Issue, 'path' | 'message'>[] = []
  for (const [j, file] of files.entries()) {
    if (!('template' in file)) continue
    const fault = await templateFault(file.template)
    if (fault === undefined) continue
    const { line, column, message } = fault
    const { templateFile } = written[j] ?? {}
    const where =
      templateFile === undefined
        ? `a template that is none, at line ${line}, column ${column}`
        : `the template ${templateFile}:${line}:${column}, which is none`
    issues.push({ path: [...at, j], message: `has ${where}: ${message}` })
  }
  return issues
}

function templateIn(directory: string, path: string): string {
  try {
    return readFileSync(resolve(directory, path), 'utf8')
  } catch (error) {
    const { code = String(error) } = error as NodeJS.ErrnoException
    throw new Error(`has the template ${path}, which cannot be read (${code})`, { cause: error })
  }
}
