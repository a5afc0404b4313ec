/** Releases and plans as people read them. */
import type { ShownChange } from 'midflight'
import type { ReleaseInfo } from 'midflight/protocol'
import type { Difference } from '../fleet/records.ts'
import { printable } from '../printable.ts'
import type { Look } from '../terminal.ts'
import { changeLines, countText, restartTag } from './changes.ts'
import { shortDigest } from './status.ts'
import { tableLines } from './table.ts'
import { clockText } from './time.ts'

export function releaseRows(releases: readonly ReleaseInfo[], { paint, columns }: Look): string[] {
  const rows = releases.map((release) => ({
    cells: [
      { text: String(release.number), colour: paint.bold },
      { text: clockText(release.createdAt), colour: paint.dim },
      { text: release.author },
      { text: shortDigest(release.digest), colour: paint.cyan },
      { text: release.signature === undefined ? '–' : release.signature.keyId },
      { text: messageOf(release) },
    ],
  }))
  return tableLines(['release', 'when', 'who', 'digest', 'signed by', 'why'], rows, columns, paint)
}

function messageOf({ kind, rollbackOf, message }: ReleaseInfo): string {
  if (kind !== 'rollback') return message || '–'
  const back = `back to ${rollbackOf === undefined ? 'an older one' : `release ${rollbackOf}`}`
  // What a control plane writes where nobody gave a reason, or by itself, begins with the same.
  return message === '' ? back : message.startsWith(back) ? message : `${back}: ${message}`
}

/** Each change on a line, with what needs a restart beside it, and how many they are. */
export function differenceLines(found: Difference, { paint, columns }: Look): string[] {
  const { changes, restartPaths, shown } = found
  if (changes.length === 0) return [`${paint.green('✔')} nothing differs`]
  const tag = restartPaths.length > 0 ? { tag: (change: ShownChange) => restartTag(change, restartPaths) } : {}
  const lines =
    shown === 'values'
      ? changeLines(changes, { paint, columns, indent: 0, ...tag })
      : changes.map(({ kind, path }) => `${placeMarks[kind] ?? '?'} ${printable(path === '' ? '(everything)' : path)}`)
  const restart =
    restartPaths.length === 0
      ? []
      : [`${paint.yellow('▲')} ${paint.bold('needs a restart')}: ${restartPaths.map(printable).join(', ')}`]
  const covered =
    shown === 'values' ? [] : [paint.dim('values are not shown: one side does not fit the schema of today')]
  return [...lines, '', paint.dim(countText(changes)), ...covered, ...restart]
}

const placeMarks: Readonly<Record<string, string>> = { added: '+', removed: '-', changed: '~', moved: '↕' }
