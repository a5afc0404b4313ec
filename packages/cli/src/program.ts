/** The tree of commands and how it speaks: help, suggestions, errors. What a command does is in `commands/`. */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { printable } from './printable.ts'
import type { Terminal } from './terminal.ts'

type Maker = (terminal: Terminal, root: Command) => Command

/** Each is read only when it is asked for: most of what a start costs is what it loads. */
const makers: Readonly<Record<string, () => Promise<Maker>>> = {
  validate: async () => (await import('./commands/validate.ts')).validate,
  plan: async () => (await import('./commands/plan.ts')).plan,
  diff: async () => (await import('./commands/diff.ts')).diff,
  reload: async () => (await import('./commands/reload.ts')).reload,
  status: async () => (await import('./commands/status.ts')).status,
  events: async () => (await import('./commands/events.ts')).events,
  watch: async () => (await import('./commands/watch.ts')).watch,
  serve: async () => (await import('./commands/serve.ts')).serve,
  login: async () => (await import('./commands/login.ts')).login,
  config: async () => (await import('./commands/config.ts')).config,
  publish: async () => (await import('./commands/publish.ts')).publish,
  import: async () => (await import('./commands/import.ts')).importFrom,
  export: async () => (await import('./commands/export.ts')).exportTo,
  mirror: async () => (await import('./commands/mirror.ts')).mirror,
  draft: async () => (await import('./commands/draft.ts')).draft,
  history: async () => (await import('./commands/history.ts')).history,
  rollback: async () => (await import('./commands/rollback.ts')).rollback,
  rollout: async () => (await import('./commands/rollout.ts')).rollout,
  targets: async () => (await import('./commands/targets.ts')).targets,
  deploy: async () => (await import('./commands/deploy.ts')).deploy,
  risk: async () => (await import('./commands/risk.ts')).risk,
  blame: async () => (await import('./commands/blame.ts')).blame,
  nodes: async () => (await import('./commands/nodes.ts')).nodes,
  token: async () => (await import('./commands/token.ts')).token,
  audit: async () => (await import('./commands/audit.ts')).audit,
  agent: async () => (await import('./commands/agent.ts')).agent,
  sidecar: async () => (await import('./commands/sidecar.ts')).sidecar,
  backup: async () => (await import('./commands/backup.ts')).backup,
  restore: async () => (await import('./commands/restore.ts')).restore,
  sign: async () => (await import('./commands/sign.ts')).sign,
  completion: async () => (await import('./commands/completion.ts')).completion,
}

/** How the help of all of them is parted. */
const groups: readonly (readonly [title: string, commands: readonly string[]])[] = [
  ['Files:', ['validate', 'diff']],
  ['A process:', ['plan', 'reload', 'status', 'events', 'watch']],
  [
    'Releases for a fleet:',
    ['publish', 'draft', 'history', 'blame', 'rollback', 'rollout', 'nodes', 'targets', 'deploy'],
  ],
  ['A control plane:', ['serve', 'login', 'config', 'token', 'audit', 'risk', 'sign', 'backup', 'restore']],
  ['Beside a program:', ['agent', 'sidecar']],
  ['Stores:', ['import', 'export', 'mirror']],
]

export function isCommand(word: string): boolean {
  return Object.hasOwn(makers, word)
}

/** @param words as they were typed: where they begin with a command, only that one is loaded. */
export async function program(terminal: Terminal, words: readonly string[]): Promise<Command> {
  const root = rootCommand(terminal)
  const [first = ''] = words
  const versionOnly = first === '-V' || first === '--version'
  const isKnown = isCommand(first) && first !== 'completion'
  const wanted = versionOnly ? [] : isKnown ? [first] : Object.keys(makers)
  for (const name of wanted) {
    const make = await makers[name]?.()
    if (make === undefined) continue
    const command = make(terminal, root)
    inherit(command, root)
    command.helpGroup(groups.find(([, commands]) => commands.includes(name))?.[0] ?? 'The shell:')
    root.addCommand(command)
  }
  return root
}

function inherit(command: Command, from: Command): void {
  command.copyInheritedSettings(from)
  for (const below of command.commands) inherit(below, command)
}

function rootCommand({ paint, errorPaint, columns }: Terminal): Command {
  return new Command('midflight')
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
      getOutHelpWidth: columns,
      getErrHelpWidth: columns,
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
(plan, diff, targets plan) or not every node runs it yet (publish, rollback, rollout status, deploy), 130 Ctrl-C.
NO_COLOR and FORCE_COLOR are respected; --json prints for programs.`,
    )
}

function version(): string {
  const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as { version: string }
  return manifest.version
}
