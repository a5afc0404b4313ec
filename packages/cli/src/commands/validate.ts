/** `midflight validate`: whether files are a configuration that would be taken, and where not. */
import { Command } from 'commander'
import { originText } from 'midflight'
import { look, schemaOf, withFileOptions, type FileFlags } from '../files/examined.ts'
import { printable } from '../printable.ts'
import { plural } from '../show/changes.ts'
import { issueLines } from '../show/issues.ts'
import type { Terminal } from '../terminal.ts'

export function validate(terminal: Terminal): Command {
  return withFileOptions(new Command('validate'))
    .summary('check files, with a position for everything that is wrong')
    .description('Reads FILES (files, directories, patterns; - is standard input) as one configuration and checks it.')
    .argument('<files...>', 'later ones go over earlier ones')
    .option('-t, --test', 'as it is without; for who is used to nginx -t')
    .option('--json', 'print { kind: "valid" | "rejected", … }')
    .addHelpText('after', '\nExit status: 0 valid, 1 not.')
    .action((files: string[], flags: FileFlags & { json?: true }) => run(terminal, files, flags))
}

async function run(terminal: Terminal, files: readonly string[], flags: FileFlags & { json?: true }): Promise<void> {
  const { examined, cwd, secretPaths } = await look(files, flags, await schemaOf(flags))
  const { paint } = terminal
  const name = files.map((file) => (file === '-' ? 'standard input' : file)).join(', ')
  if (examined.kind === 'valid') {
    if (flags.json) return terminal.document({ kind: 'valid', files, digest: examined.digest })
    const against = flags.schema === undefined ? paint.dim(' (parsed only; --schema checks what is in it)') : ''
    return terminal.print(`${paint.green('✔')} ${printable(name)} is ${paint.bold('valid')}${against}`)
  }
  terminal.exitCode = 1
  if (flags.json) {
    const issues = examined.issues.map((issue) => ({
      ...issue,
      ...(issue.origin ? { at: originText(issue.origin) } : {}),
    }))
    return terminal.document({ kind: 'rejected', files, issues })
  }
  const columns = terminal.columns()
  terminal.print(
    await issueLines(examined.issues, { cwd, secretPaths, paint, columns }),
    '',
    `${paint.red('✖')} ${printable(name)} is ${paint.bold('not valid')}: ${plural(examined.issues.length, 'issue')}`,
  )
}
