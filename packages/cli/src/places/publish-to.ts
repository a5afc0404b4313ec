/** `midflight publish FILE --to PLACE`: one document into one key, if it says something else than what is there. */
import { digest, examine, putIfChanged, WriteError, type Found, type Put, type Stored } from 'midflight'
import { look, schemaOf, type FileFlags } from '../files/examined.ts'
import { editIn } from '../fleet/edit.ts'
import { printable } from '../printable.ts'
import { Refusal } from '../refusal.ts'
import { changeLines, countText } from '../show/changes.ts'
import { shortDigest } from '../show/status.ts'
import type { Terminal } from '../terminal.ts'
import type { Place } from './place.ts'
import { placeAt } from './stores.ts'
import { refusalCode } from './transfer.ts'

export interface PublishToFlags extends FileFlags {
  readonly to: string
  readonly ifRevision?: string
  readonly force?: true
  readonly dryRun?: true
  readonly json?: true
}

export async function publishTo(terminal: Terminal, files: readonly string[], flags: PublishToFlags): Promise<void> {
  const place = await placeAt(flags.to)
  if (place.layout.kind === 'keys') {
    throw new Refusal(
      'usage',
      `${place.name} stands for many keys; want one key, without the separator at its end`,
      `midflight import ${files[0] ?? 'FILE'} ${place.name} brings it there key by key`,
    )
  }
  const { key } = place.layout
  const edit = await editIn(terminal, files, flags)
  if (edit === undefined) return
  const writer = place.writer()
  try {
    const expected = flags.ifRevision === undefined ? undefined : expectedOf(flags.ifRevision)
    const signal = terminal.interrupted
    if (!flags.dryRun) {
      const options = { force: flags.force === true, signal, ...(expected !== undefined && { expected }) }
      return show(terminal, place, await putIfChanged(writer, key, edit.sent, options), flags)
    }
    const stored = await writer.read(key, signal)
    await showPlan(terminal, place, stored, { files, flags })
  } catch (error) {
    if (!(error instanceof WriteError)) throw error
    const holds = error.code === 'unknown' ? 'publish it again: what is there already is not written again' : undefined
    throw new Refusal(refusalCode(error), error.message, holds)
  } finally {
    await writer.close()
  }
}

function expectedOf(revision: string) {
  return revision === 'absent' ? ('absent' as const) : { revision }
}

function show(terminal: Terminal, { name, isSecret = false }: Place, put: Put, { json }: PublishToFlags): void {
  if (put.kind === 'conflict') terminal.exitCode = 1
  if (json) return terminal.document({ to: name, ...(isSecret ? withoutWords(put) : put) })
  const { paint } = terminal
  const shown = paint.dim(shortDigest(put.digest))
  if (put.kind === 'unchanged') {
    return terminal.print(`${paint.green('✔')} ${printable(name)} holds this already ${shown}; nothing was written`)
  }
  if (put.kind === 'conflict') {
    throw new Refusal(
      'conflict',
      `${name} is not as expected: ${foundText(put.now)}; nothing was written`,
      'look at it with --dry-run; --force writes over it',
    )
  }
  const { before, revision, unguarded } = put
  const was = before === undefined ? 'over whatever was there' : `before: ${foundText(before)}`
  terminal.print(`${paint.green('✔')} written to ${printable(name)} ${shown}, revision ${printable(revision)}; ${was}`)
  if (unguarded !== undefined) {
    terminal.note(`a write of somebody else at the same moment would not have been noticed: ${printable(unguarded)}`)
  }
}

/** Why a text is no JSON is told by what was found there. */
function withoutWords(put: Put): Put {
  const hidden = <T extends Found | undefined>(found: T): T =>
    found?.kind === 'unreadable' ? { ...found, why: 'is no JSON; what was found is secret, and is not shown' } : found
  if (put.kind === 'conflict') return { ...put, now: hidden(put.now) }
  return put.kind === 'written' ? { ...put, before: hidden(put.before) } : put
}

function foundText(found: Found): string {
  if (found.kind === 'absent') return 'nothing was there'
  const at = `at revision ${printable(found.revision)}`
  return found.kind === 'value' ? `${shortDigest(found.digest)} ${at}` : `what is no JSON, ${at}`
}

/** What a publish would change. */
async function showPlan(
  terminal: Terminal,
  { name, isSecret = false }: Place,
  stored: Stored | undefined,
  { files, flags }: { readonly files: readonly string[]; readonly flags: PublishToFlags },
): Promise<void> {
  const schema = await schemaOf(flags)
  const { examined: after } = await look(files, flags, schema)
  if (after.kind !== 'valid') throw new Refusal('invalid', `${files.join(', ')} is not valid any more`)
  const text = stored && Buffer.from(stored.value).toString()
  const before = await examine({
    ...(schema && { schema }),
    sources: [{ name, load: async () => ({ config: text === undefined ? {} : JSON.parse(text) }) }],
    secrets: flags.secrets ?? [],
    unknownKeys: flags.allowUnknownKeys ? 'allow' : 'refuse',
  })
  const readable = before.kind === 'valid' ? before : undefined
  const isSame = stored !== undefined && readable?.digest === digest(after.config)
  const all = readable?.compare(after).changes ?? []
  const changes = isSecret ? [] : all
  if (!isSame) terminal.exitCode = 2
  const revision = stored?.revision ?? null
  if (flags.json) return terminal.document({ to: name, dryRun: true, same: isSame, revision, changes })
  const { paint } = terminal
  if (isSame) return terminal.print(`${paint.green('✔')} ${printable(name)} holds this already`)
  const at = stored === undefined ? 'nothing is there' : `revision ${printable(stored.revision)}`
  terminal.print(
    `${paint.bold(printable(name))} ${paint.dim(at)}`,
    readable === undefined
      ? 'what is there cannot be read as a configuration; it would be written over'
      : [...changeLines(changes, { paint, columns: terminal.columns(), indent: 0 }), '', paint.dim(countText(all))],
  )
}
