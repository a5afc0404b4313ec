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
  const commands = root.commands.map((command): CompletedCommand => {
    const [argument] = command.registeredArguments
    return {
      name: command.name(),
      description: command.summary(),
      options: [...command.options.map(completedOption), help],
      argument: argument === undefined ? 'none' : (argument.argChoices ?? 'file'),
    }
  })
  const names = commands.map(({ name }) => name)
  return [...commands, { name: 'help', description: 'print what a command does', options: [], argument: names }]
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

function valueOf(option: Option): CompletedOption['value'] {
  if (!option.required && !option.optional) return 'none'
  if (option.argChoices) return option.argChoices
  if (option.flags.endsWith('<0|1>')) return ['0', '1']
  if (option.long === '--url') return ['http://127.0.0.1:']
  const isFile = option.flags.endsWith('<file>') || option.long === '--socket' || option.long === '--token-file'
  return isFile ? 'file' : 'text'
}
