/** Completion for fish, with descriptions. */
import type { CompletedCommand, CompletedOption } from './tree.ts'

export function fishScript(commands: readonly CompletedCommand[]): string {
  const lines = [
    '# fish completion for midflight',
    'complete -c midflight -f',
    ...commands.map(
      ({ name, description }) => `complete -c midflight -n __fish_use_subcommand -a ${name} -d ${quoted(description)}`,
    ),
    `complete -c midflight -n __fish_use_subcommand -s t -r -F -d ${quoted('check files')}`,
  ]
  for (const { name, options, argument } of commands) {
    const within = `complete -c midflight -n '__fish_seen_subcommand_from ${name}'`
    if (argument === 'file') lines.push(`${within} -F`)
    else if (argument !== 'none') lines.push(`${within} -a ${quoted(argument.join(' '))}`)
    lines.push(...options.map((option) => `${within}${optionText(option)}`))
  }
  return `${lines.join('\n')}\n`
}

function optionText({ short, long, description, value }: CompletedOption): string {
  const names = `${short === undefined ? '' : ` -s ${short.slice(1)}`} -l ${long.slice(2)}`
  return `${names}${valueText(value)} -d ${quoted(description)}`
}

function valueText(value: CompletedOption['value']): string {
  if (value === 'none') return ''
  if (value === 'file') return ' -r -F'
  if (value === 'text') return ' -x'
  return ` -x -a ${quoted(value.join(' '))}`
}

function quoted(text: string): string {
  return `'${text.replace(/['\\]/g, '\\$&')}'`
}
