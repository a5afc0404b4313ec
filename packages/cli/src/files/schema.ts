/** Reads `--schema`: a JSON Schema in a file, or a module that exports a schema. */
import { pathToFileURL } from 'node:url'
import { resolve } from 'node:path'
import { existsSync } from 'node:fs'
import { examine, issueText, jsonSchema, type AnySchema, type JsonObject } from 'midflight'
import { file } from 'midflight/sources/file'
import { Refusal } from '../refusal.ts'

const moduleFile = /\.[cm]?[jt]sx?$/i

/**
 * @param named a file; of a module, the default export or with `#name` the export of that name.
 * @throws Refusal
 */
export async function schemaFrom(named: string): Promise<AnySchema> {
  const [, path = named, name] = /^(.*?\.[cm]?[jt]sx?)(?:#(.*))?$/i.exec(named) ?? []
  if (path === '') throw new Refusal('usage', '--schema is empty; want a JSON Schema file or a module')
  return moduleFile.test(path) ? fromModule(path, name ?? 'default') : jsonSchema(await jsonFrom(path))
}

async function jsonFrom(path: string): Promise<JsonObject | boolean> {
  // In a schema `$` and `include` are words of its own.
  const source = file(path, { includeKey: false, variables: false, settleMs: 0 })
  const read = await examine({ sources: [source] })
  if (read.kind === 'rejected') {
    throw new Refusal('unreadable', `the schema cannot be read: ${read.issues.map(issueText).join('; ')}`)
  }
  const { config } = read
  if (typeof config === 'boolean' || (typeof config === 'object' && config !== null && !Array.isArray(config))) {
    return config as JsonObject | boolean
  }
  throw new Refusal('schema', `${path} holds no JSON Schema; want an object, or true or false`)
}

async function fromModule(path: string, name: string): Promise<AnySchema> {
  if (!existsSync(path)) throw new Refusal('unreadable', `the schema ${path} is not there`)
  const exports = await imported(path)
  const found = exports[name]
  if (found === undefined) {
    const names = Object.keys(exports).filter((other) => other !== 'default')
    const wanted = names.length > 0 ? `; it exports ${names.join(', ')}: --schema ${path}#${names[0]}` : ''
    throw new Refusal('schema', `${path} has no ${name === 'default' ? 'default export' : `export ${name}`}${wanted}`)
  }
  if (isSchema(found)) return found
  throw new Refusal(
    'schema',
    `${path}#${name} is no schema; want a Standard Schema (zod, valibot, arktype …) or jsonSchema({ … })`,
  )
}

async function imported(path: string): Promise<Record<string, unknown>> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as Record<string, unknown>
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION') {
      throw new Refusal(
        'unsupported',
        `this Node (${process.versions.node}) does not read TypeScript; want 22.18 or newer, or a schema in JavaScript`,
      )
    }
    throw new Refusal('schema', `${path} cannot be imported: ${message.split('\n')[0] ?? ''}`)
  }
}

function isSchema(value: unknown): value is AnySchema {
  if ((typeof value !== 'object' && typeof value !== 'function') || value === null) return false
  return '~standard' in value || ('kind' in value && value.kind === 'json-schema')
}
