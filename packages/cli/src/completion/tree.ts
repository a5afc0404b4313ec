/** The tree of commands as completion scripts need it. */
import type { Command, Option } from 'commander'

export interface CompletedOption {
  readonly short: string | undefined
  readonly long: string
  readonly description: string
  /** What follows it: nothing, a file, one of these words, or something that cannot be completed. */
  readonly value: 'none' | 'file' | 'text' | readonly string[]
}

export interface CompletedCommand {
  readonly name: string
  readonly description: string
  readonly options: readonly CompletedOption[]
  /** What its arguments are. */
  readonly argument: 'none' | 'file' | readonly string[]
}

export function commandTree(root: Command): readonly CompletedCommand[] {
  const commands = root.commands.map(completedCommand)
  const names = commands.map(({ name }) => name)
  return [...commands, { name: 'help', description: 'print what a command does', options: [], argument: names }]
}

function completedCommand(command: Command): CompletedCommand {
  // Of commands that have commands below them, the options of all: which of them is typed the scripts do not look at.
  const below = command.commands.flatMap(({ options }) => options)
  const options = [...command.options, ...below]
  const first = options.filter(({ long }, i) => options.findIndex((other) => other.long === long) === i)
  return {
    name: command.name(),
    description: command.summary(),
    options: [...first.map(completedOption), help],
    argument: command.commands.length > 0 ? command.commands.map((one) => one.name()) : argumentOf(command),
  }
}

const fileArguments = ['file', 'files', 'before', 'after', 'from']

function argumentOf({ registeredArguments }: Command): CompletedCommand['argument'] {
  const choices = registeredArguments[0]?.argChoices
  if (choices !== undefined) return choices
  return registeredArguments.some((argument) => fileArguments.includes(argument.name())) ? 'file' : 'none'
}

const help: CompletedOption = { short: '-h', long: '--help', description: 'print this', value: 'none' }

function completedOption(option: Option): CompletedOption {
  return {
    short: option.short,
    long: option.long ?? '',
    description: option.description,
    value: valueOf(option),
  }
}

/** Whose value is a path of the file system, and not one in a configuration. */
const fileOptions = [
  '--socket',
  '--token-file',
  '--data',
  '--key-file',
  '--out',
  '--admin-token-file',
  '--to',
  '--state',
  '--volume-dir',
]

function valueOf(option: Option): CompletedOption['value'] {
  if (!option.required && !option.optional) return 'none'
  if (option.argChoices) return option.argChoices
  if (option.flags.endsWith('<0|1>')) return ['0', '1']
  if (option.long === '--url') return ['http://127.0.0.1:']
  const isFile = option.flags.endsWith('<file>') || fileOptions.includes(option.long ?? '')
  return isFile ? 'file' : 'text'
}
