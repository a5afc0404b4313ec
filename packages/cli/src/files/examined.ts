/** Options that say which files are read and how, and the files examined by the engine's own rules. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { Option, type Command } from 'commander'
import { examine, parsePath, SchemaError, type AnySchema, type Examined, type Keys } from 'midflight'
import { file, type FileOptions } from 'midflight/sources/file'
import { Refusal } from '../refusal.ts'
import { schemaFrom } from './schema.ts'

export interface FileFlags {
  readonly schema?: string
  readonly format?: NonNullable<FileOptions['format']>
  readonly envFile?: readonly string[]
  readonly layer?: readonly string[]
  readonly secrets?: readonly string[]
  readonly key?: readonly string[]
  /** `false` after `--no-include`. */
  readonly include?: boolean
  /** `false` after `--no-variables`. */
  readonly variables?: boolean
  readonly allowUnknownKeys?: boolean
}

export function withFileOptions(command: Command): Command {
  return command
    .option(
      '-s, --schema <file>',
      'JSON Schema (.json, .yaml), or module that exports a schema (schema.ts, schema.ts#name)',
    )
    .addOption(
      new Option('--format <format>', 'format of the files (default: by their names)').choices([
        'json',
        'jsonc',
        'yaml',
        'toml',
        'env',
      ]),
    )
    .option('--env-file <file>', 'variables for ${VAR}; may be repeated', collected)
    .option('--layer <name>', 'gateway.<name>.yaml goes over gateway.yaml; may be repeated', collected)
    .option('--secrets <path>', 'value that is never shown, like db.password; may be repeated', collected)
    .option('--key <path=field>', 'list whose entries are known by a field, like rules=id; may be repeated', collected)
    .option('--no-include', 'the key "include" has no meaning')
    .option('--no-variables', 'a "$" has no meaning')
    .option('--allow-unknown-keys', 'keys that a zod or valibot schema does not know are no issue')
}

function collected(value: string, before: readonly string[] = []): string[] {
  return [...before, value]
}

/** What one `examine()` came to, and where the names in its origins count from. */
export interface Looked {
  readonly examined: Examined
  readonly cwd: string
  readonly secretPaths: readonly string[]
}

/** A schema that is read once for several configurations. */
export async function schemaOf(flags: FileFlags): Promise<AnySchema | undefined> {
  return flags.schema === undefined ? undefined : schemaFrom(flags.schema)
}

/**
 * Reads `paths` as one configuration; `-` alone is standard input.
 * @throws Refusal for options that make no sense
 */
export async function look(paths: readonly string[], flags: FileFlags, schema: AnySchema | undefined): Promise<Looked> {
  const input = paths.includes('-') ? await standardInput(paths, flags) : undefined
  const cwd = input ?? process.cwd()
  const secrets = flags.secrets ?? []
  for (const path of secrets) checkPath(path, '--secrets')
  try {
    const examined = await examine({
      ...(schema === undefined ? {} : { schema }),
      sources: [fileSource(input === undefined ? paths : [stdinName], flags, cwd)],
      secrets,
      unknownKeys: flags.allowUnknownKeys ? 'allow' : 'refuse',
      keys: keysOf(flags.key ?? []),
    })
    return { examined, cwd, secretPaths: examined.kind === 'rejected' ? examined.secretPaths : secrets }
  } catch (error) {
    if (error instanceof SchemaError)
      throw new Refusal('schema', `the schema ${flags.schema ?? ''} is wrong: ${error.message}`)
    throw error
  }
}

const stdinName = 'stdin'

/** The file source wants a file, and an error in standard input wants a name: it is put into a folder of its own. */
async function standardInput(paths: readonly string[], flags: FileFlags): Promise<string> {
  if (paths.length > 1) {
    throw new Refusal(
      'usage',
      `standard input (-) and ${paths.filter((path) => path !== '-')[0] ?? '-'} are both given; want one of them`,
    )
  }
  if (flags.format === undefined) {
    throw new Refusal(
      'usage',
      'standard input has no name that tells its format; want --format json, jsonc, yaml, toml or env',
    )
  }
  if (flags.layer !== undefined)
    throw new Refusal('usage', 'standard input has no layers; want --layer with files only')
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer)
  const folder = mkdtempSync(join(tmpdir(), 'midflight-stdin-'))
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
  writeFileSync(join(folder, stdinName), Buffer.concat(chunks), { mode: 0o600 })
  return folder
}

function fileSource(paths: readonly string[], flags: FileFlags, cwd: string) {
  try {
    return file(paths, {
      cwd,
      settleMs: 0,
      ...(flags.format === undefined ? {} : { format: flags.format }),
      ...(flags.layer === undefined ? {} : { layers: flags.layer }),
      ...(flags.envFile === undefined ? {} : { env: flags.envFile.map((path) => resolve(path)) }),
      ...(flags.include === false ? { includeKey: false } : {}),
      ...(flags.variables === false ? { variables: false } : {}),
    })
  } catch (error) {
    // Its own checks of what was given, in its own words.
    throw new Refusal('usage', (error as Error).message.replace(/^file\(\): /, ''))
  }
}

function keysOf(given: readonly string[]): Keys {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.lastIndexOf('=')
      if (at < 0 || at === text.length - 1)
        throw new Refusal('usage', `--key is ${JSON.stringify(text)}; want path=field, like rules=id`)
      const path = text.slice(0, at)
      checkPath(path, '--key')
      return [path, text.slice(at + 1)]
    }),
  )
}

function checkPath(path: string, option: string): void {
  try {
    parsePath(path)
  } catch (error) {
    throw new Refusal('usage', `${option}: ${(error as Error).message}`)
  }
}
