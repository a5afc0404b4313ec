/** All files of a program, made from its part of the configuration. Which file is made from what is in its options. */
import { errorText } from '../deadline.ts'
import type { Json } from '../json.ts'
import type { Rendered } from './disk.ts'
import { formatted } from './formats.ts'
import type { FileOptions } from './options.ts'
import { renderTemplate } from './template.ts'

/** What a file is made from. */
export function fromOf(file: FileOptions): string {
  return file.from ?? ''
}

/** Its parts are made once, and a file again when its value is another. */
export class Renderer {
  readonly #files: readonly FileOptions[]
  readonly #last = new Map<FileOptions, { readonly value: Json; readonly rendered: Rendered }>()

  constructor(files: readonly FileOptions[]) {
    this.#files = files
  }

  /**
   * @param values at the places that the files name.
   * @throws Error that names the file and the place, and holds no values.
   */
  async render(values: ReadonlyMap<string, Json | undefined>): Promise<readonly Rendered[]> {
    const all: Rendered[] = []
    for (const file of this.#files) {
      const value = values.get(fromOf(file))
      if (value === undefined)
        throw new Error(`${file.path}: ${placeOf(file)} is not there; nothing is written for want of a value`)
      const last = this.#last.get(file)
      if (last && isSame(last.value, value)) {
        all.push(last.rendered)
        continue
      }
      const rendered = await renderedFrom(file, value)
      this.#last.set(file, { value, rendered })
      all.push(rendered)
    }
    return all
  }
}

/** Without a look inside: two versions of a configuration share what did not change, and are frozen. */
function isSame(last: Json, value: Json): boolean {
  return last === value && Object.isFrozen(value)
}

function placeOf(file: FileOptions): string {
  return fromOf(file) === '' ? 'the configuration' : fromOf(file)
}

async function renderedFrom(file: FileOptions, value: Json): Promise<Rendered> {
  const { path, mode, uid, gid } = file
  try {
    const text =
      'template' in file
        ? await renderTemplate(file.template, value, file.escape ?? 'none')
        : await formatted(value, file.as).catch((error: unknown) => {
            throw new Error(`${placeOf(file)} ${errorText(error)}`, { cause: error })
          })
    return {
      path,
      bytes: Buffer.from(text),
      ...(mode !== undefined && { mode }),
      ...(uid !== undefined && { uid }),
      ...(gid !== undefined && { gid }),
    }
  } catch (error) {
    throw new Error(`${path}: ${errorText(error)}`, { cause: error })
  }
}
