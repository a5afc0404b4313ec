/** A file that holds plain JSON (or the same as YAML or TOML), a list too: no variables, no includes, as it stands. */
import { readFileSync } from 'node:fs'
import { extname } from 'node:path'
import { issueText, parseText, SourceError, type Json } from 'midflight'
import { Refusal } from '../refusal.ts'

const formats = { '.json': 'json', '.jsonc': 'jsonc', '.yaml': 'yaml', '.yml': 'yaml', '.toml': 'toml' } as const

const limits = {
  maxBytes: 128 * 1024 * 1024,
  maxDepth: 100,
  maxAliases: 100_000,
  maxAliasedValues: 1_000_000,
  maxMergedKeys: 1_000_000,
}

/** @param what it is, for messages: `the patch`. @throws Refusal if it cannot be read. */
export async function jsonIn(path: string, what: string): Promise<Json> {
  const format = formats[extname(path).toLowerCase() as keyof typeof formats]
  if (format === undefined)
    throw new Refusal('usage', `${what} is in ${path}; want a name that ends in .json, .yaml or .toml`)
  try {
    return (await parseText(readFileSync(path), { file: path, format, limits })).config
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (error instanceof SourceError) {
      throw new Refusal('unreadable', `${what} cannot be read: ${error.issues.map(issueText).join('; ')}`)
    }
    if (code === 'ENOENT') throw new Refusal('unreadable', `${what} ${path} is not there`)
    throw new Refusal('unreadable', `${what} ${path} cannot be read (${code ?? String(error)})`)
  }
}
