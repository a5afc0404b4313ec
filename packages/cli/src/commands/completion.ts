/** `midflight completion`: a script for the shell, made from the tree of commands. */
import { Argument, Command } from 'commander'
import { commandTree } from '../completion/tree.ts'
import { bashScript } from '../completion/bash.ts'
import { fishScript } from '../completion/fish.ts'
import { zshScript } from '../completion/zsh.ts'
import type { Terminal } from '../terminal.ts'

const scripts = { bash: bashScript, zsh: zshScript, fish: fishScript }

export function completion(terminal: Terminal, root: Command): Command {
  return new Command('completion')
    .summary('print a completion script for bash, zsh or fish')
    .description('Prints a script that completes commands, options, their values and file names.')
    .addArgument(new Argument('<shell>').choices(Object.keys(scripts)))
    .option('--json', 'print { shell, script }')
    .addHelpText(
      'after',
      `
  bash  midflight completion bash > ~/.local/share/bash-completion/completions/midflight
  zsh   midflight completion zsh > "\${fpath[1]}/_midflight"
  fish  midflight completion fish > ~/.config/fish/completions/midflight.fish`,
    )
    .action((shell: keyof typeof scripts, flags: { json?: true }) => {
      const script = scripts[shell](commandTree(root))
      if (flags.json) terminal.document({ shell, script })
      else terminal.raw(script)
    })
}
