/** Completion for bash; needs nothing but bash 3.2. */
import type { CompletedCommand, CompletedOption } from './tree.ts'

export function bashScript(commands: readonly CompletedCommand[]): string {
  return `# bash completion for midflight
_midflight() {
  local cur="\${COMP_WORDS[COMP_CWORD]}" prev="" command="" i
  if (( COMP_CWORD > 0 )); then prev="\${COMP_WORDS[COMP_CWORD-1]}"; fi
  COMPREPLY=()
  for (( i = 1; i < COMP_CWORD; i++ )); do
    case "\${COMP_WORDS[i]}" in
      -*) ;;
      *) command="\${COMP_WORDS[i]}"; break ;;
    esac
  done
  if [[ -z "$command" && "\${COMP_WORDS[1]}" == "-t" && COMP_CWORD -gt 1 ]]; then command=validate; fi
  case "$command" in
    "")
      COMPREPLY=( $(compgen -W "${[...commands.map(({ name }) => name), '-t', '--version', '--help'].join(' ')}" -- "$cur") )
      ;;
${commands.map(commandCase).join('\n')}
  esac
}
_midflight_files() {
  local IFS=$'\\n'
  compopt -o filenames 2>/dev/null
  COMPREPLY=( $(compgen -f -- "$1") )
}
complete -F _midflight midflight
`
}

function commandCase({ name, options, argument }: CompletedCommand): string {
  const words = options.map(({ long }) => long)
  if (typeof argument !== 'string') words.push(...argument)
  const values = options.filter(({ value }) => value !== 'none').map(valueCase)
  const offered = typeof argument === 'string' ? words : argument
  const plain =
    argument === 'file' ? '_midflight_files "$cur"' : `COMPREPLY=( $(compgen -W "${offered.join(' ')}" -- "$cur") )`
  return `    ${name})
      case "$prev" in
${values.join('\n')}
        *)
          if [[ "$cur" == -* ]]; then COMPREPLY=( $(compgen -W "${words.join(' ')}" -- "$cur") )
          else ${plain}; fi ;;
      esac
      ;;`
}

function valueCase({ short, long, value }: CompletedOption): string {
  const names = short === undefined ? long : `${short}|${long}`
  if (value === 'file') return `        ${names}) _midflight_files "$cur" ;;`
  if (value === 'text' || value === 'none') return `        ${names}) ;;`
  return `        ${names}) COMPREPLY=( $(compgen -W "${value.join(' ')}" -- "$cur") ) ;;`
}
