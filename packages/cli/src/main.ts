/** Runs what was typed, and turns whatever comes of it into an exit status and one line. Nobody sees a stack. */
import process from 'node:process'
import { CommanderError } from 'commander'
import { isCommand, program } from './program.ts'
import { Refusal } from './refusal.ts'
import { openTerminal, refuse } from './terminal.ts'

const terminal = openTerminal()
const typed = process.argv.slice(2)
const words = wordsOf(typed)
const dashes = words.indexOf('--')
const json = words.slice(0, dashes < 0 ? words.length : dashes).includes('--json')

try {
  const root = await program(terminal, words)
  await root.parseAsync(words, { from: 'user' })
} catch (error) {
  if (error instanceof CommanderError) {
    // Its message has been printed already.
    terminal.exitCode = error.exitCode === 0 ? 0 : 1
    if (terminal.exitCode !== 0 && json) {
      terminal.document({ error: { code: 'usage', message: error.message.replace(/^error: /, '') } })
    }
  } else if (error instanceof Refusal) {
    refuse(terminal, error, json)
  } else {
    if (process.env['MIDFLIGHT_DEBUG']) console.error(error)
    const message = error instanceof Error ? error.message : String(error)
    refuse(terminal, new Refusal('internal', message, 'this is a bug; MIDFLIGHT_DEBUG=1 shows where'), json)
  }
}
process.exitCode = terminal.exitCode

function wordsOf([first, ...rest]: readonly string[]): readonly string[] {
  // `-t FILE` tests a file, as with nginx.
  if (first === '-t' || first === '--test') return ['validate', ...rest]
  // So that a command that is not there is said to be that, instead of all the help there is.
  if (first === 'help' && rest[0] !== undefined) return isCommand(rest[0]) ? [...rest, '--help'] : rest.slice(0, 1)
  return first === undefined ? [] : [first, ...rest]
}
