/** `midflight sign`: signs a release on a machine that the control plane never sees. */
import { Command } from 'commander'
import { writeFileSync } from 'node:fs'
import { withFileOptions, type FileFlags } from '../files/examined.ts'
import { configPath } from '../fleet/call.ts'
import { editIn } from '../fleet/edit.ts'
import { signRelease } from '../fleet/signed.ts'
import { Refusal } from '../refusal.ts'
import { jsonText } from '../printable.ts'
import type { Terminal } from '../terminal.ts'
import { integer } from './events.ts'

interface SignFlags extends FileFlags {
  readonly keyFile: string
  readonly number: number
  readonly author: string
  readonly message: string
  readonly out?: string
  readonly json?: true
}

export function sign(terminal: Terminal): Command {
  return withFileOptions(new Command('sign'))
    .summary('sign a release away from the control plane')
    .description(
      'Signs a content as a release with an Ed25519 key that the control plane does not hold, without asking anybody. publish --signed publishes it.',
    )
    .argument('<config>')
    .argument('<file...>', 'the whole content, read as validate reads it')
    .requiredOption('--key-file <path>', 'the private key, PEM')
    .requiredOption('--number <n>', 'the number it will have: that of the newest release and 1', (text) =>
      integer('--number', text, 1, Number.MAX_SAFE_INTEGER),
    )
    .requiredOption('--author <name>', 'the name of the token that will publish it')
    .option('-m, --message <text>', 'why', '')
    .option('--out <path>', 'write the signed release here instead of to standard output')
    .option('--json', 'print errors as JSON too; what is printed is JSON in any case')
    .action((config: string, files: readonly string[], flags: SignFlags) => run(terminal, config, files, flags))
}

async function run(terminal: Terminal, config: string, files: readonly string[], flags: SignFlags): Promise<void> {
  configPath(config)
  const edit = await editIn(terminal, files, flags)
  if (edit === undefined) return
  const { digest } = await import('midflight')
  const { number, author, message, keyFile, out } = flags
  const release = signRelease(
    {
      config,
      number,
      digest: digest(edit.sent),
      parent: number === 1 ? null : number - 1,
      createdAt: new Date().toISOString(),
      author,
      message,
      kind: 'publish',
    },
    keyFile,
  )
  if (out === undefined) return terminal.document(release)
  try {
    writeFileSync(out, `${jsonText(release, 2)}\n`)
  } catch (error) {
    throw new Refusal('unreadable', `--out ${out} cannot be written (${(error as NodeJS.ErrnoException).code ?? ''})`)
  }
  if (flags.json) return terminal.document(release)
  terminal.print(
    `${terminal.paint.green('✔')} signed ${config} ${number} with ${release.signature?.keyId ?? ''}: ${out}`,
  )
}
