/**
 * The operator's command that starts and stops what is in packages: run without a shell and next to no environment, with
 * words that say what is to be done. What it leaves running in the background stays.
 */
import { spawn } from 'node:child_process'
import process from 'node:process'
import type { InstalledPackage } from 'midflight/agent'
import { Refusal } from '../refusal.ts'

/** Of all that it writes so much is kept: its end. */
const keptBytes = 4096
/** After it has ended: what it left in the background may hold its output open for ever. */
const outputEndsMs = 200

/** Not the token of the agent, which may stand in its environment. */
const passedOn = ['PATH', 'HOME', 'LANG', 'TZ']
const commandMs = 60_000

export type PackageVerb = 'start' | 'stop'

/** @throws Refusal for what is no command. */
export function packageCommand(text: string): (verb: PackageVerb, installed: InstalledPackage) => Promise<void> {
  const [file, ...words] = text.split(/\s+/).filter((word) => word !== '')
  if (file === undefined) throw new Refusal('usage', '--package-command is empty; want a program and its words')
  return (verb, { name, version, folder }) =>
    new Promise((resolve, reject) => {
      const args = [...words, verb, name, version, folder]
      const env = Object.fromEntries(passedOn.flatMap((one) => (process.env[one] ? [[one, process.env[one]]] : [])))
      const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
      let tail: Buffer = Buffer.alloc(0)
      const keep = (chunk: Buffer): void => {
        tail = Buffer.concat([tail, chunk.subarray(-keptBytes)]).subarray(-keptBytes)
      }
      child.stdout.on('data', keep)
      child.stderr.on('data', keep)
      const late = setTimeout(() => child.kill('SIGKILL'), commandMs)
      const end = (how: string | undefined): void => {
        clearTimeout(late)
        child.stdout.destroy()
        child.stderr.destroy()
        if (how === undefined) return resolve()
        const said =
          tail
            .toString()
            .trimEnd()
            .split(/[\r\n]/)
            .at(-1)
            ?.trim() ?? ''
        reject(new Error(said === '' ? how : `${how}: ${said}`))
      }
      child.on('error', (error: NodeJS.ErrnoException) => end(`${file} cannot be run: ${error.code ?? error.message}`))
      child.on('exit', (code, by) => {
        const how =
          code === 0 ? undefined : code === null ? `${file} was killed by ${by}` : `${file} ended with ${code}`
        const drained = setTimeout(() => end(how), outputEndsMs)
        child.on('close', () => {
          clearTimeout(drained)
          end(how)
        })
      })
    })
}
