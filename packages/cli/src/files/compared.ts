/** Two configurations on disk, compared by the engine; where one of them is not valid, says so instead. */
import type { Comparison, Examined } from 'midflight'
import { printable } from '../printable.ts'
import { plural } from '../show/changes.ts'
import { issueLines } from '../show/issues.ts'
import type { Terminal } from '../terminal.ts'
import { look, schemaOf, type FileFlags, type Looked } from './examined.ts'

/** `undefined` where one side is not valid: that has been printed, and the exit code is 1. */
export async function compared(
  terminal: Terminal,
  before: readonly string[],
  after: readonly string[],
  flags: FileFlags & { json?: true },
): Promise<Comparison | undefined> {
  const schema = await schemaOf(flags)
  const sides: Looked[] = []
  for (const paths of [before, after]) sides.push(await look(paths, flags, schema))
  const [was, is] = sides
  if (was?.examined.kind === 'valid' && is?.examined.kind === 'valid') return was.examined.compare(is.examined)
  terminal.exitCode = 1
  const bad = sides.flatMap((side, i) =>
    isRejected(side.examined) ? [{ side, issues: side.examined.issues, paths: i === 0 ? before : after }] : [],
  )
  if (flags.json) {
    terminal.document({
      kind: 'rejected',
      files: bad.flatMap(({ paths }) => paths),
      issues: bad.flatMap(({ issues }) => issues),
    })
    return undefined
  }
  const { paint } = terminal
  for (const { side, issues, paths } of bad) {
    const lines = await issueLines(issues, {
      cwd: side.cwd,
      secretPaths: side.secretPaths,
      paint: terminal.errorPaint,
      columns: terminal.columns(),
    })
    for (const line of lines) terminal.note(line)
    terminal.note(
      `${terminal.errorPaint.red('✖')} ${printable(paths.join(', '))} is ${paint.bold('not valid')}: ${plural(issues.length, 'issue')}`,
    )
  }
  return undefined
}

function isRejected(examined: Examined): examined is Examined & { kind: 'rejected' } {
  return examined.kind === 'rejected'
}
