/** One run of somebody's command: no shell, next to no environment, a bounded output, and killed with all it started. */
import { spawn } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Command } from './options.ts'

/** Of all that a command writes so much is kept, in whole lines: its end, as that is where the error is. */
const keptBytes = 65_536
/** After a command has ended: what escaped from its group may hold its output open for ever. */
const outputEndsMs = 200
const passedOn = ['PATH', 'HOME', 'LANG', 'TZ']

/**
 * Resolves when it ends with 0.
 * @param what names it in the error: `the check`.
 * @throws Error with how it ended and the end of what it wrote; it may hold values of the files.
 */
export async function run(what: string, [file, ...args]: Command, cwd: string, signal: AbortSignal): Promise<void> {
  const env = Object.fromEntries(passedOn.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])))
  signal.throwIfAborted()
  await new Promise<void>((resolve, reject) => {
    // A session and a process group of its own, so that whatever it starts can be killed with it.
    const child = spawn(file, args, { cwd, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
    let tail: Buffer = Buffer.alloc(0)
    let isCut = false
    const keep = (chunk: Buffer) => {
      isCut ||= tail.length + chunk.length > keptBytes
      tail = Buffer.concat([tail, chunk.subarray(-keptBytes)]).subarray(-keptBytes)
    }
    // Without file descriptors left there is no process, and no output.
    const outputs = [child.stdout, child.stderr].filter((output) => (output as Readable | undefined) !== undefined)
    for (const output of outputs) output.on('data', keep)
    const kill = () => killGroup(child.pid)
    // In another session, it would not even notice that this process ends.
    process.once('exit', kill)
    signal.addEventListener('abort', kill)
    let drained: NodeJS.Timeout | undefined
    const letGo = () => {
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
    const end = (why: string) => {
      clearTimeout(drained)
      letGo()
      // The rest of a line may begin within a secret, which nobody would know by its end.
      const whole = isCut ? tail.subarray(tail.indexOf('\n') + 1 || tail.length) : tail
      const said = whole.toString().trim()
      const late = signal.aborted ? ', as its time was up' : ''
      reject(new Error(`${what} (${file}) ${why}${late}${said === '' ? '' : `:\n${said}`}`))
    }
    child.on('error', ({ code, message }: NodeJS.ErrnoException) => end(`cannot be run: ${code ?? message}`))
    child.on('close', (code, by) => {
      if (code !== 0) return end(code === null ? `was killed by ${by}` : `ended with ${code}`)
      clearTimeout(drained)
      resolve()
    })
  })
}

/** Not later than when its leader was seen to end: soon after that, the number may be another's. */
function killGroup(pid: number | undefined): void {
  if (pid === undefined) return
  try {
    process.kill(-pid, 'SIGKILL')
  } catch (error) {
    // ESRCH: nobody is left. EPERM: all that is left became another user; there is nothing more to be done about it.
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ESRCH' && code !== 'EPERM') throw error
  }
}
