/** What a command is to publish: a whole content from files, or a patch. */
import type { Command } from 'commander'
import { originText, pathText, type Json } from 'midflight'
import { look, schemaOf, type FileFlags } from '../files/examined.ts'
import { jsonIn } from '../files/json-file.ts'
import { Refusal } from '../refusal.ts'
import { plural } from '../show/changes.ts'
import { issueLines } from '../show/issues.ts'
import type { Terminal } from '../terminal.ts'

export interface EditFlags {
  readonly patch?: string
  readonly mergePatch?: string
}

export interface Edit {
  /** As a plan wants it. */
  readonly body: Readonly<Record<'content' | 'patch' | 'mergePatch', Json>> | Readonly<Record<string, Json>>
  /** As a publish sends it. */
  readonly sent: Json
  readonly contentType: string
}

export function withEditOptions(command: Command): Command {
  return command
    .option('--patch <file>', 'JSON Patch (RFC 6902) instead of a whole content')
    .option('--merge-patch <file>', 'JSON Merge Patch (RFC 7396) instead of a whole content')
}

/** `undefined` where a file is not valid: that has been printed, and the exit code is 1. */
export async function editIn(
  terminal: Terminal,
  files: readonly string[],
  flags: EditFlags & FileFlags & { readonly json?: true },
): Promise<Edit | undefined> {
  const given = [files.length > 0, flags.patch !== undefined, flags.mergePatch !== undefined].filter(Boolean).length
  if (given !== 1) {
    throw new Refusal(
      'usage',
      `${given === 0 ? 'nothing is' : 'several are'} given; want FILE, --patch or --merge-patch`,
    )
  }
  if (flags.patch !== undefined) {
    const patch = await jsonIn(flags.patch, 'the patch')
    if (!Array.isArray(patch)) throw new Refusal('usage', `${flags.patch} holds no list; want a list of operations`)
    return { body: { patch }, sent: patch, contentType: 'application/json-patch+json' }
  }
  if (flags.mergePatch !== undefined) {
    const mergePatch = await jsonIn(flags.mergePatch, 'the merge patch')
    return { body: { mergePatch }, sent: mergePatch, contentType: 'application/merge-patch+json' }
  }
  const looked = await look(files, flags, await schemaOf(flags))
  const { examined } = looked
  if (examined.kind === 'valid') {
    return { body: { content: examined.config }, sent: examined.config, contentType: 'application/json' }
  }
  terminal.exitCode = 1
  const { errorPaint: paint } = terminal
  if (flags.json) {
    const issues = examined.issues.map(({ path, message, origin }) => ({
      path: pathText(path),
      message: origin === undefined ? message : `${message} (${originText(origin)})`,
    }))
    throw new Refusal('invalid', `${files.join(', ')} is not valid; nothing was published`, undefined, issues)
  }
  const from = { cwd: looked.cwd, secretPaths: looked.secretPaths, paint, columns: terminal.columns() }
  for (const line of await issueLines(examined.issues, from)) terminal.note(line)
  terminal.note(`${paint.red('✖')} ${files.join(', ')} is not valid: ${plural(examined.issues.length, 'issue')}`)
  return undefined
}
