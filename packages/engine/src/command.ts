/** One run of somebody's command: no shell, next to no environment, a bounded output, and killed with all it started. */
import type * as ChildProcess from 'node:child_process'
import type { Readable } from 'node:stream'

export interface CommandRun {
  /** `undefined`: that of this process. */
  readonly cwd?: string
  /** Of all that it writes so much is kept: its end, as that is where the error is. */
  readonly keptBytes: number
  /** Ends it, with whatever it started. */
  readonly signal: AbortSignal
}

export interface CommandEnd {
  /** Its exit code, or why there is none: `was killed by SIGKILL`, `cannot be run: ENOENT`. */
  readonly exit: number | string
  /** The end of what it wrote; it may hold what is secret. */
  readonly said: Buffer
  /** There was more before it. */
  readonly isCut: boolean
}

/** After a command has ended: what escaped from its group may hold its output open for ever. */
const outputEndsMs = 200
const passedOn = ['PATH', 'HOME', 'LANG', 'TZ']

/** Rejects only for what can be no argument at all. */
export function endOf(
  [file, ...args]: readonly [string, ...string[]],
  { cwd, keptBytes, signal }: CommandRun,
): Promise<CommandEnd> {
  return new Promise((resolve) => {
    const env = Object.fromEntries(passedOn.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
    // Detached is a session and a process group of its own, so that whatever it starts can be killed with it.
    const child = childProcess().spawn(file, args, {
      ...{ env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] },
      ...(cwd !== undefined && { cwd }),
    })
    let tail: Buffer = Buffer.alloc(0)
    let isCut = false
    const keep = (chunk: Buffer): void => {
      isCut ||= tail.length + chunk.length > keptBytes
      tail = Buffer.concat([tail, chunk.subarray(-keptBytes)]).subarray(-keptBytes)
    }
    // Without file descriptors left there is no process, and no output.
    const outputs = [child.stdout, child.stderr].filter((output) => (output as Readable | undefined) !== undefined)
    for (const output of outputs) output.on('data', keep)
    const kill = (): void => killGroup(child.pid)
    // In another session, it would not even notice that this process ends.
    process.once('exit', kill)
    signal.addEventListener('abort', kill)
    if (signal.aborted) kill()
    let drained: NodeJS.Timeout | undefined
    const letGo = (): void => {
      process.off('exit', kill)
      signal.removeEventListener('abort', kill)
    }
    child.on('exit', () => {
      kill()
      letGo()
      drained = setTimeout(() => {
        for (const output of outputs) output.destroy()
      }, outputEndsMs)
    })
    const end = (exit: number | string): void => {
      clearTimeout(drained)
      letGo()
      resolve({ exit, said: tail, isCut })
    }
    child.on('error', ({ code, message }: NodeJS.ErrnoException) => end(`cannot be run: ${code ?? message}`))
    child.on('close', (code, by) => end(code ?? `was killed by ${by}`))
  })
}

// Not imported: most programs have no command to run.
const childProcess = (): typeof ChildProcess => process.getBuiltinModule('node:child_process')

/** Not later than when its leader was seen to end: soon after that, the number may be another's. */
function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // ESRCH: nobody is left. EPERM: on macOS the same of those who have ended, and of those who became another user.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}
