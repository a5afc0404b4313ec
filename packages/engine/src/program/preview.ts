/** What would be written, next to what is in place. Touches nothing and asks nobody: the check is part of `prepare`. */
import { lstat, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { at, parsePath, type Json } from '../json.ts'
import type { ProgramOptions } from './options.ts'
import { fromOf, Renderer } from './render.ts'
import { programSettings } from './settings.ts'

export interface FilePreview {
  /** Relative to the program's directory. */
  readonly path: string
  /** What is in place; `undefined` if nothing is, or no regular file. Both texts may hold secrets. */
  readonly before: string | undefined
  readonly after: string
}

/**
 * All files of a program as they would be for this configuration, in their order, also those that would stay.
 * @throws TypeError or RangeError for options that can never work, Error if a file cannot be rendered.
 */
export async function preview(options: ProgramOptions, config: Json): Promise<readonly FilePreview[]> {
  const { directory, files } = programSettings(options)
  const values = new Map(files.map((file) => [fromOf(file), at(config, parsePath(fromOf(file)))]))
  const rendered = await new Renderer(files).render(values)
  const previews: FilePreview[] = []
  // One by one: there may be more of them than this process may open.
  for (const { path, bytes } of rendered) {
    previews.push({ path, before: await textIn(join(directory, path)), after: bytes.toString() })
  }
  return previews
}

async function textIn(place: string): Promise<string | undefined> {
  try {
    return (await lstat(place)).isFile() ? await readFile(place, 'utf8') : undefined
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}
