/**
 * Files that values of the configuration name, such as rule files and certificates: their content is not part of the
 * configuration, but a change of it is a change all the same. They are watched, and their digests go with the
 * document.
 *
 * Why with the document, and not as a forced request: then a signal or an HTTP call notices such a change as the
 * watcher does; an edit whose reload failed is still a difference to what is live at the next one; and the path says
 * which components it concerns, where `force` would start all of them again.
 */
import { dirname, join, resolve } from 'node:path'
import { isArray, isObject, type Json, type Path } from '../../json.ts'
import { SourceError, type NamedFile } from '../../source.ts'
import { filesMatching, isPattern, type Named } from './glob.ts'
import { contentOf, type Met } from './met.ts'
import { readWhole } from './read.ts'
import type { Recipe } from './recipe.ts'
import { contentDigest, listingDigest } from './watch.ts'

/** @param from the file that a value is written in: names count from its directory. */
export async function namedFiles(
  recipe: Recipe,
  config: Json,
  from: (path: Path) => string | undefined,
  met: Met,
  signal: AbortSignal,
): Promise<readonly NamedFile[]> {
  const found: NamedFile[] = []
  for (const pattern of recipe.named) {
    for (const { path, text } of texts(config, pattern, [])) {
      const base = dirname(from(path) ?? recipe.cwd)
      const files = isPattern(text)
        ? await filesMatching(text, base, met.listed)
        : [{ path: resolve(base, text), file: join(text) }]
      const digests: string[] = []
      for (const file of files) digests.push(`${file.file} ${await digestOf(file, recipe, met, signal)}`)
      found.push({
        path,
        digest: digests.length === 1 ? contentDigest(Buffer.from(digests[0] as string)) : listingDigest(digests),
      })
    }
  }
  return found
}

function* texts(value: Json | undefined, pattern: Path, path: Path): Iterable<{ path: Path; text: string }> {
  const [step, ...rest] = pattern
  if (step === undefined) {
    if (typeof value === 'string' && value !== '') yield { path, text: value }
    return
  }
  if (isArray(value)) {
    for (const [i, entry] of value.entries())
      if (step === '*' || step === String(i)) yield* texts(entry, rest, [...path, i])
  } else if (isObject(value)) {
    const keys = step === '*' ? Object.keys(value) : Object.hasOwn(value, step) ? [String(step)] : []
    for (const key of keys) yield* texts(value[key], rest, [...path, key])
  }
}

/** A file that cannot be read is the component's to complain about; what counts here is that it is so. */
async function digestOf({ path, file }: Named, recipe: Recipe, met: Met, signal: AbortSignal): Promise<string> {
  try {
    const { bytes, identity } = await readWhole(path, file, recipe, signal)
    const content = contentOf(bytes)
    met.read(path, content, identity)
    return content.digest
  } catch (error) {
    met.failed(path, error)
    if (error instanceof SourceError) return 'unreadable'
    throw error
  }
}
