/** What /proc says about processes beside us. */
import { readdir, readFile } from 'node:fs/promises'

export interface Process {
  readonly pid: number
  /** The kernel's name of it: the first 15 characters of the program's. */
  readonly name: string
  readonly parent: number
  /** Ticks since boot: with the number it is one process and no other. */
  readonly startedAt: string
}

/** `undefined` if there is none, or it has ended and nobody has asked for its end yet. */
export async function processAt(pid: number): Promise<Process | undefined> {
  try {
    const text = await readFile(`/proc/${pid}/stat`, 'utf8')
    // The name is in parentheses and may hold any.
    const open = text.indexOf('(')
    const close = text.lastIndexOf(')')
    const fields = text.slice(close + 2).split(' ')
    if (fields[0] === 'Z' || fields[0] === 'X') return undefined
    return { pid, name: text.slice(open + 1, close), parent: Number(fields[1]), startedAt: fields[19] ?? '' }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code === 'ENOENT' || code === 'ESRCH') return undefined
    throw error
  }
}

export async function childrenOf(parent: number): Promise<readonly Process[]> {
  const all = await Promise.all((await candidates(parent)).map((pid) => processAt(pid)))
  return all.filter((found) => found?.parent === parent) as readonly Process[]
}

/** Kernels that do not list the children of a process are asked for all. */
async function candidates(parent: number): Promise<readonly number[]> {
  const listed = await readFile(`/proc/${parent}/task/${parent}/children`, 'utf8').catch(() => undefined)
  const names = listed === undefined ? await readdir('/proc') : listed.split(' ')
  return names.filter((name) => /^\d+$/.test(name)).map(Number)
}

/** What it calls itself; empty once it has ended. */
export async function titleOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '') // it has ended since it was listed
  return text.replaceAll('\0', ' ').trim()
}
