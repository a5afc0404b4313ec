/** Differences as people read them: one per line, aligned, long values cut where they still show what differs. */
import { parsePath, type Json, type ShownChange } from 'midflight'
import { cut, jsonText, padded, printable, widthOf } from '../printable.ts'
import type { Paint } from '../terminal.ts'

export interface ChangeLook {
  readonly paint: Paint
  readonly columns: number
  readonly indent: number
  /** Said behind the path, where there is something to say of it: `restart`. */
  readonly tag?: (change: ShownChange) => string | undefined
}

const marks = { added: '+', removed: '-', changed: '~', moved: '↕' } as const

export function changeLines(changes: readonly ShownChange[], look: ChangeLook): string[] {
  const { paint, columns, indent, tag } = look
  const most = Math.max(12, Math.floor((columns - indent) / 2))
  const rows = changes.map((change) => ({
    change,
    path: cut(printable(change.path === '' ? '(everything)' : change.path), most),
    tag: tag?.(change) ?? '',
  }))
  const pathColumns = rows.reduce((most, { path }) => Math.max(most, widthOf(path)), 0)
  const tagColumns = rows.reduce((most, row) => Math.max(most, row.tag.length), 0)
  const room = Math.max(16, columns - indent - 2 - pathColumns - 2 - (tagColumns > 0 ? tagColumns + 2 : 0))
  const tint = { added: paint.green, removed: paint.red, changed: paint.yellow, moved: paint.cyan }
  return rows.map(({ change, path, tag: said }) => {
    const colour = tint[change.kind] ?? paint.reset
    const behind = tagColumns > 0 ? `${paint.magenta(padded(said, tagColumns))}  ` : ''
    const head = `${colour(marks[change.kind] ?? '?')} ${padded(path, pathColumns)}  ${behind}`
    return ' '.repeat(indent) + (head + valueText(change, room, paint)).trimEnd()
  })
}

function valueText({ kind, before, after }: ShownChange, room: number, paint: Paint): string {
  if (kind === 'added') return paint.green(cut(text(after), room))
  if (kind === 'removed') return paint.red(cut(text(before), room))
  if (kind === 'moved') return paint.dim('moved')
  const [was, is] = side(text(before), text(after), room - 3)
  return `${paint.red(was)} ${paint.dim('→')} ${paint.green(is)}`
}

function text(value: Json | undefined): string {
  if (value === undefined) return 'nothing'
  // Only the mark itself stands without quotes: that is how a secret looks everywhere.
  return value === '‹secret›' ? value : jsonText(value)
}

/** Both in `room` columns together. Where they begin alike and do not fit, they are shown from where they part. */
function side(before: string, after: string, room: number): [string, string] {
  const mayFit = before.length + after.length <= 4 * room
  if (mayFit && widthOf(before) + widthOf(after) <= room) return [before, after]
  const half = Math.floor(room / 2)
  let alike = 0
  while (alike < before.length && before[alike] === after[alike]) alike++
  let lead = Math.max(0, alike - 8)
  if (/[\udc00-\udfff]/.test(before.charAt(lead))) lead--
  const [was, is] = lead > 8 ? [`…${before.slice(lead)}`, `…${after.slice(lead)}`] : [before, after]
  // Where one is short, the other has the room.
  const [shortWas, shortIs] = [cut(was, half), cut(is, half)]
  return [cut(was, room - Math.min(half, widthOf(shortIs))), cut(is, room - Math.min(half, widthOf(shortWas)))]
}

/** For `tag`: whether it is taken over while the process runs. */
export function restartTag(change: ShownChange, restartPaths: readonly string[]): 'restart' | 'hot' {
  return restartPaths.some(concerning(change)) ? 'restart' : 'hot'
}

/** Whether a restart-only path is at, above or below what changed. */
export function concerning({ path: changed }: ShownChange): (path: string) => boolean {
  const own = parsePath(changed)
  return (path) => parsePath(path).every((step, i) => i >= own.length || step === own[i])
}

/** `1 added, 2 changed` */
export function countText(changes: readonly ShownChange[], more = 0): string {
  const kinds = ['added', 'removed', 'changed', 'moved'] as const
  const parts = kinds.flatMap((kind) => {
    const n = changes.filter((change) => change.kind === kind).length
    return n === 0 ? [] : [`${n} ${kind}`]
  })
  if (more > 0) parts.push(`${more} more`)
  return parts.length === 0 ? 'no change' : parts.join(', ')
}

export function plural(n: number, noun: string): string {
  return `${n} ${noun}${n === 1 ? '' : 's'}`
}
