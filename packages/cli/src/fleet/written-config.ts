/**
 * A configuration as a file for programs in other languages, and the call that has them read it. A reader sees the old
 * file or the new one, never half of one; the mode is 0600. Where the program refuses, the old file is put back.
 */
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname, extname } from 'node:path'
import process from 'node:process'
import type { Json } from 'midflight'
import { stringify as toml } from 'smol-toml'
import { mustTake } from '../admin/by-signal.ts'
import { Refusal } from '../refusal.ts'

/** How the program that reads the file is told: a signal to the process whose id is in a file, or `POST` to a URL. */
export interface Told {
  readonly pidFile?: string | undefined
  readonly signal: NodeJS.Signals
  readonly url?: string | undefined
  readonly timeoutMs: number
}

/** @throws Refusal for a name that does not say how to write it. */
export function writerFor(path: string): (content: Json) => string {
  const extension = extname(path).toLowerCase()
  if (extension === '.toml') return (content) => `${toml(content as Record<string, Json>)}\n`
  // JSON is YAML 1.2 as it stands.
  if (['.json', '.yaml', '.yml'].includes(extension)) return (content) => `${JSON.stringify(content, null, 2)}\n`
  throw new Refusal('usage', `--to is ${JSON.stringify(path)}; want a name that ends in .json, .yaml or .toml`)
}

/** Durable, and whole at each moment. */
export function writeWhole(path: string, text: string): void {
  const beside = `${path}.${process.pid}.new`
  try {
    const file = openSync(beside, 'w', 0o600)
    try {
      writeSync(file, text)
      fsyncSync(file)
    } finally {
      closeSync(file)
    }
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
  const folder = openSync(dirname(path), 'r')
  try {
    fsyncSync(folder)
  } finally {
    closeSync(folder)
  }
}

/** The program that reads the file does not run. */
export class NobodyThereError extends Error {
  override readonly name = 'NobodyThereError'
}

/** Has the program read the file again. @throws NobodyThereError; Error if it says no, or would not survive the signal. */
export async function tell({ pidFile, signal, url, timeoutMs }: Told): Promise<void> {
  if (pidFile !== undefined) signalTo(pidIn(pidFile), signal)
  if (url === undefined) return
  let response: Response
  try {
    response = await fetch(url, { method: 'POST', signal: AbortSignal.timeout(timeoutMs) })
  } catch (error) {
    const cause = (error as Error).cause as NodeJS.ErrnoException | undefined
    const nobody = cause?.code === 'ECONNREFUSED'
    const message = `${url} gave no answer: ${cause?.code ?? (error as Error).message}`
    throw nobody ? new NobodyThereError(message, { cause: error }) : new Error(message, { cause: error })
  }
  const said = (await response.text()).trim().slice(0, 500)
  if (!response.ok) throw new Error(`${url} answered ${response.status}${said === '' ? '' : `: ${said}`}`)
}

function signalTo(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, 0)
    mustTake(pid, signal)
    process.kill(pid, signal)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
    throw new NobodyThereError(`there is no process ${pid}`, { cause: error })
  }
}

function pidIn(path: string): number {
  let text: string
  try {
    text = readFileSync(path, 'utf8').trim()
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException
    if (code === 'ENOENT') throw new NobodyThereError(`there is no pid file ${path}`, { cause: error })
    throw new Error(`the pid file ${path} cannot be read (${code})`, { cause: error })
  }
  const pid = /^\d{1,8}$/.test(text) ? Number(text) : 0
  // 0 and 1 are no programs of ours.
  if (pid < 2) throw new Error(`the pid file ${path} holds no process id`)
  return pid
}
