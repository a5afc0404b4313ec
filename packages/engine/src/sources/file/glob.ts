/**
 * Which files a name stands for: itself, those in a directory, or those that match a pattern. Patterns know `*` and
 * `?` (within one step of the path), `**` (any number of directories, not through links) and `{a,b}`; names that
 * start with a dot are met only by patterns that start with one. Reads directories, never files.
 */
import { readdir, stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { refuse } from './refuse.ts'
import { isAbsent, unreadable } from './read.ts'

/** One file, absolute and as the user named it. */
export interface Named {
  readonly path: string
  readonly file: string
}

/** Takes each directory whose entries decide, with the names that were in it. */
export type SeenListing = (directory: string, names: readonly string[]) => void

const maxFiles = 10_000

/** `[` is no pattern: names with brackets are common, sets of letters are not. */
export function isPattern(name: string): boolean {
  return /[*?]|\{[^{}]*,[^{}]*\}/.test(name)
}

/** The files that match, in the order of their names. None is fine. @throws SourceError */
export async function filesMatching(pattern: string, base: string, seen: SeenListing): Promise<readonly Named[]> {
  const found = new Map<string, Named>()
  for (const plain of alternatives(pattern)) {
    const steps = plain.split('/').filter((step, i) => step !== '.' && (step !== '' || i === 0))
    const root = steps[0] === '' ? { path: '/', file: '/', steps: steps.slice(1) } : { path: base, file: '', steps }
    await descend(root.path, root.file, root.steps)
  }
  return [...found.values()].sort(byName)

  async function descend(path: string, file: string, steps: readonly string[]): Promise<void> {
    const [step, ...rest] = steps
    if (step === undefined) {
      if (found.size >= maxFiles) throw refuse('limit', { file: pattern }, `matches more than ${maxFiles} files`)
      if ((await kindOf(path)) === 'other') found.set(path, { path, file })
      return
    }
    if (step === '**') {
      await descend(path, file, rest)
      for (const entry of await entriesOf(path, file, seen)) {
        if (entry.isDirectory() && !entry.name.startsWith('.')) {
          await descend(join(path, entry.name), join(file, entry.name), steps)
        }
      }
      return
    }
    if (!isPattern(step)) return descend(resolve(path, step), join(file, step), rest)
    const matches = matcher(step)
    for (const entry of await entriesOf(path, file, seen)) {
      if (matches(entry.name)) await descend(join(path, entry.name), join(file, entry.name), rest)
    }
  }
}

/** The files in a directory whose names `wanted` takes, in the order of their names. @throws SourceError */
export async function filesIn(
  directory: Named,
  wanted: (name: string) => boolean,
  seen: SeenListing,
): Promise<readonly Named[]> {
  const found: Named[] = []
  for (const { name } of await entriesOf(directory.path, directory.file, seen)) {
    // `.swp` files of editors, and the `..data` of a ConfigMap mount, which is met through the links beside it.
    if (name.startsWith('.') || !wanted(name)) continue
    const path = join(directory.path, name)
    if ((await kindOf(path)) === 'other') found.push({ path, file: join(directory.file, name) })
  }
  return found.sort(byName)
}

/** Follows links. */
export async function kindOf(path: string): Promise<'directory' | 'other' | 'absent'> {
  try {
    return (await stat(path)).isDirectory() ? 'directory' : 'other'
  } catch (error) {
    if (isAbsent(error)) return 'absent'
    // What cannot be looked at is left to reading, which says why.
    return 'other'
  }
}

async function entriesOf(directory: string, file: string, seen: SeenListing) {
  try {
    const entries = await readdir(directory, { withFileTypes: true })
    const names = entries.map((entry) => entry.name)
    seen(directory, names)
    return entries
  } catch (error) {
    if (!isAbsent(error)) throw unreadable(file === '' ? '.' : file, error)
    seen(directory, [])
    return []
  }
}

function byName(a: Named, b: Named): number {
  return a.file < b.file ? -1 : a.file > b.file ? 1 : 0
}

/** `a.{x,y}` → `a.x`, `a.y`. */
function alternatives(pattern: string): readonly string[] {
  const braces = /\{([^{}]*,[^{}]*)\}/.exec(pattern)
  if (!braces) return [pattern]
  const before = pattern.slice(0, braces.index)
  const after = pattern.slice(braces.index + braces[0].length)
  return (braces[1] as string).split(',').flatMap((choice) => alternatives(before + choice + after))
}

/**
 * Whether a name fits one step of a pattern. By hand and not by RegExp: `*` is tried greedily with one place to go
 * back to, so that no pattern makes it slow.
 */
function matcher(step: string): (name: string) => boolean {
  return (name) => {
    if (name.startsWith('.') && !step.startsWith('.')) return false
    let [s, n, star, resume] = [0, 0, -1, 0]
    while (n < name.length) {
      if (step[s] === '*') {
        star = s++
        resume = n
      } else if (step[s] === '?' || step[s] === name[n]) {
        s++
        n++
      } else if (star >= 0) {
        s = star + 1
        n = ++resume
      } else {
        return false
      }
    }
    while (step[s] === '*') s++
    return s === step.length
  }
}
