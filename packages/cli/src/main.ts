/** Runs what was typed, and turns whatever comes of it into an exit status and one line. Nobody sees a stack. */
import process from 'node:process'
import { CommanderError } from 'commander'
import { program } from './program.ts'
import { Refusal } from './refusal.ts'
import { openTerminal, refuse } from './terminal.ts'

const terminal = openTerminal()
const typed = process.argv.slice(2)
// `-t FILE` tests a file, as with nginx.
const words = typed[0] === '-t' || typed[0] === '--test' ? ['validate', ...typed.slice(1)] : typed
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
