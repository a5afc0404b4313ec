/** One run of a command that the options name, and what to say when it fails. */
import { endOf } from '../command.ts'
import type { Command } from './options.ts'

const keptBytes = 65_536

/**
 * Resolves when it ends with 0.
 * @param what names it in the error: `the check`.
 * @throws Error with how it ended and the end of what it wrote; it may hold values of the files.
 */
export async function run(what: string, command: Command, cwd: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  const { exit, said, isCut } = await endOf(command, { cwd, keptBytes, signal })
  if (exit === 0) return
  const how = typeof exit === 'number' ? `ended with ${exit}` : exit
  const late = signal.aborted ? ', as its time was up' : ''
  // The rest of a line may begin within a secret, which nobody would know by its end.
  const whole = isCut ? said.subarray(said.indexOf('\n') + 1 || said.length) : said
  const text = whole.toString().trim()
  throw new Error(`${what} (${command[0]}) ${how}${late}${text === '' ? '' : `:\n${text}`}`)
}
