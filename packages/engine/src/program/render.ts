/** All files of a program, made from its part of the configuration. Which file is made from what is in its options. */
import { errorText } from '../deadline.ts'
import type { Json } from '../json.ts'
import { formatted } from './formats.ts'
import type { FileOptions } from './options.ts'
import { renderTemplate } from './template.ts'
import type { Rendered } from './work.ts'

/** What a file is made from. */
export function fromOf(file: FileOptions): string {
  return file.from ?? ''
}

/**
 * @param values at the places that the files name.
 * @throws Error that names the file and the place, and holds no values.
 */
export async function renderFiles(
  files: readonly FileOptions[],
  values: ReadonlyMap<string, Json | undefined>,
): Promise<readonly Rendered[]> {
  const rendered: Rendered[] = []
  for (const file of files) {
    const value = values.get(fromOf(file))
    const place = fromOf(file) === '' ? 'the configuration' : fromOf(file)
    if (value === undefined)
      throw new Error(`${file.path}: ${place} is not there; nothing is written for want of a value`)
    const { path, mode, uid, gid } = file
    try {
      const text =
        'template' in file
          ? await renderTemplate(file.template, value, file.escape ?? 'none')
          : await formatted(value, file.as).catch((error: unknown) => {
              throw new Error(`${place} ${errorText(error)}`, { cause: error })
            })
      rendered.push({
        path,
        bytes: Buffer.from(text),
        ...(mode !== undefined && { mode }),
        ...(uid !== undefined && { uid }),
        ...(gid !== undefined && { gid }),
      })
    } catch (error) {
      throw new Error(`${path}: ${errorText(error)}`, { cause: error })
    }
  }
  return rendered
}
