/** Columns that line up: cells are plain text with a colour beside it, so that widths are those of the text. */
import { cut, padded, printable, widthOf } from '../printable.ts'
import type { Paint } from '../terminal.ts'

export interface Cell {
  readonly text: string
  readonly colour?: (text: string) => string
}

export interface Row {
  readonly cells: readonly Cell[]
  /** Whole lines that belong under the row. */
  readonly below?: readonly string[]
}

const gap = 2

/** Two spaces between columns and before the first; the last column is cut to what is left of `columns`. */
export function tableLines(head: readonly string[], rows: readonly Row[], columns: number, paint: Paint): string[] {
  const texts = rows.map(({ cells }) => cells.map(({ text }) => printable(text)))
  const widths = head.map((title, i) => Math.max(widthOf(title), ...texts.map((row) => widthOf(row[i] ?? ''))))
  const line = (cells: readonly string[], colour: (i: number, text: string) => string): string => {
    let out = ''
    let used = 0
    cells.forEach((text, i) => {
      const last = i === cells.length - 1
      const room = Math.max(8, columns - used - gap)
      const shown = last ? cut(text, room) : padded(cut(text, Math.min(widths[i] ?? 0, room)), widths[i] ?? 0)
      used += gap + widthOf(shown)
      out += ' '.repeat(gap) + colour(i, shown)
    })
    return out.trimEnd()
  }
  return [
    line(head, (_, text) => paint.dim(text)),
    ...rows.flatMap((row, r) => [
      line(texts[r] ?? [], (i, text) => row.cells[i]?.colour?.(text) ?? text),
      ...(row.below ?? []),
    ]),
  ]
}
