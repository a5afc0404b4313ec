/** The tree of commands and how it speaks: help, suggestions, errors. What a command does is in `commands/`. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { completion } from './commands/completion.ts'
import { diff } from './commands/diff.ts'
import { events } from './commands/events.ts'
import { plan } from './commands/plan.ts'
import { reload } from './commands/reload.ts'
import { status } from './commands/status.ts'
import { validate } from './commands/validate.ts'
import { watch } from './commands/watch.ts'
import { printable } from './printable.ts'
import type { Terminal } from './terminal.ts'

const makers = [validate, plan, diff, reload, status, events, watch, completion]

export function program(terminal: Terminal): Command {
  const { paint, errorPaint } = terminal
  const root = new Command('midflight')
    .description("Change a running service's configuration without restarting it, safely.")
    .version(version(), '-V, --version', 'print the version')
    .helpOption('-h, --help', 'print this')
    .helpCommand('help [command]', 'print what a command does')
    .usage('<command> [options]')
    .showSuggestionAfterError()
    .configureHelp({
      styleTitle: (text) => paint.bold(text),
      styleCommandText: (text) => paint.cyan(text),
      styleSubcommandText: (text) => paint.cyan(text),
      styleOptionText: (text) => paint.cyan(text),
      styleArgumentText: (text) => paint.cyan(text),
    })
    .configureOutput({
      getOutHelpWidth: () => terminal.columns(),
      getErrHelpWidth: () => terminal.columns(),
      outputError: (text, write) => {
        const [first = '', ...more] = text.trimEnd().split('\n')
        write(`${errorPaint.red('midflight:')} ${printable(first.replace(/^error: /, ''))}\n`)
        for (const line of more) write(`  ${errorPaint.dim(printable(line))}\n`)
      },
    })
    .exitOverride()
    .addHelpText(
      'after',
      `
-t FILE is short for validate FILE. Exit status: 0 done or nothing differs, 1 refused or failed, 2 differences
(plan, diff), 130 Ctrl-C. NO_COLOR and FORCE_COLOR are respected; --json prints for programs.`,
    )
  for (const make of makers) {
    const command = make(terminal, root)
    command.copyInheritedSettings(root)
    root.addCommand(command)
  }
  return root
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return manifest.version
}
