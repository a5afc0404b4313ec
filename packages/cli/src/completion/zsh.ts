/** Completion for zsh, with descriptions. */
import type { CompletedCommand, CompletedOption } from './tree.ts'

export function zshScript(commands: readonly CompletedCommand[]): string {
  return `#compdef midflight
# zsh completion for midflight
_midflight() {
  local context state state_descr line
  typeset -A opt_args
  _arguments -C \\
    '(- *)'{-V,--version}'[print the version]' \\
    '(- *)'{-h,--help}'[print this]' \\
    '-t[check files]:file:_files' \\
    '1:command:->command' \\
    '*::argument:->argument'
  case $state in
    command)
      local -a commands=(
${commands.map(({ name, description }) => `        ${quoted(`${name}:${description}`)}`).join('\n')}
      )
      _describe command commands
      ;;
    argument)
      case $words[1] in
${commands.map(commandCase).join('\n')}
      esac
      ;;
  esac
}
if [[ $funcstack[1] == _midflight ]]; then _midflight "$@"; else compdef _midflight midflight; fi
`
}

function commandCase({ name, options, argument }: CompletedCommand): string {
  const specs = options.map(optionSpec)
  if (argument === 'file') specs.push(quoted('*:file:_files'))
  else if (argument !== 'none') specs.push(quoted(`1:argument:(${argument.join(' ')})`))
  return `        ${name})
          _arguments \\
${specs.map((spec) => `            ${spec}`).join(' \\\n')}
          ;;`
}

function optionSpec({ short, long, description, value }: CompletedOption): string {
  const text = `[${description.replace(/[[\]:\\]/g, '\\$&')}]${valueSpec(value)}`
  if (short === undefined) return quoted(`*${long}${text}`)
  return `{${short},${long}}${quoted(text)}`
}

function valueSpec(value: CompletedOption['value']): string {
  if (value === 'none') return ''
  if (value === 'file') return ':file:_files'
  if (value === 'text') return ':value: '
  return `:value:(${value.map((word) => word.replace(/:/g, '\\:')).join(' ')})`
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`
}
