/**
 * Whether a directory is what its name says, and stays so: no symbolic link in its path, and nobody else who could put
 * something else in its place. With that, what is found by its name later is the same as what was looked at here.
 */
import { lstatSync, type Stats } from 'node:fs'
import { dirname } from 'node:path'

const writableByOthers = 0o022
const sticky = 0o1000

/**
 * @param root where `othersMayWrite` begins to count: this directory, and what is below it.
 * @throws Error that names the part of the path, what is wrong with it and what is wanted.
 */
export function assertSafe(directory: string, root: string, othersMayWrite: boolean): void {
  const parts = ancestors(directory)
  for (const part of parts) {
    const stat = statOf(part)
    if (stat.isSymbolicLink()) throw new Error(`${part} is a symbolic link; want the directory's own path`)
    if (!stat.isDirectory()) throw new Error(`${part} is not a directory`)
    if (othersMayWrite && part.length >= root.length) continue
    if (stat.uid !== 0 && stat.uid !== process.geteuid?.()) {
      throw new Error(`${part} belongs to user ${stat.uid}, who could replace what is in it; want root or this user`)
    }
    // With the sticky bit, as in /tmp, what is ours in it cannot be moved by others. At the end of the path it can
    // still be added to.
    const open = (stat.mode & writableByOthers) !== 0
    if (open && ((stat.mode & sticky) === 0 || part === directory)) {
      throw new Error(
        `${part} can be written to by others (mode ${(stat.mode & 0o7777).toString(8)}); want it closed to them`,
      )
    }
  }
}

function statOf(part: string): Stats {
  try {
    return lstatSync(part)
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    throw new Error(`${part} cannot be looked at: ${code ?? message}; want a directory`, { cause: error })
  }
}

function ancestors(path: string): string[] {
  const parent = dirname(path)
  return parent === path ? [path] : [...ancestors(parent), path]
}
