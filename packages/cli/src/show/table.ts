/** Columns that line up: cells are plain text with a colour beside it, so that widths are those of the text. */
import { cut, padded, printable, widthOf } from '../printable.ts'
import type { Paint } from '../terminal.ts'

export interface Cell {
  readonly text: string
  readonly colour?: (text: string) => string
  /** To be typed again: never cut. */
  readonly whole?: boolean | undefined
}

export interface Row {
  readonly cells: readonly Cell[]
  /** Whole lines that belong under the row. */
  readonly below?: readonly string[]
}

const gap = 2

/** A column is not cut to less than this, nor the last one to make room for the others. */
const least = 8
const leastOfLast = 16

/** Two spaces between columns and before the first; where it is too narrow for them the widest are cut. */
export function tableLines(head: readonly string[], rows: readonly Row[], columns: number, paint: Paint): string[] {
  const texts = rows.map(({ cells }) => cells.map(({ text }) => printable(text)))
  const widths = fitted(
    head.map((title, i) => Math.max(widthOf(title), ...texts.map((row) => widthOf(row[i] ?? '')))),
    head.map((_, i) => rows.some(({ cells }) => cells[i]?.whole === true)),
    columns,
  )
  const line = (cells: readonly string[], colour: (i: number, text: string) => string): string =>
    cells
      .map((text, i) => {
        const shown = cut(text, widths[i] ?? 0)
        return ' '.repeat(gap) + colour(i, i === cells.length - 1 ? shown : padded(shown, widths[i] ?? 0))
      })
      .join('')
      .trimEnd()
  return [
    line(head, (_, text) => paint.dim(text)),
    ...rows.flatMap((row, r) => [
      line(texts[r] ?? [], (i, text) => row.cells[i]?.colour?.(text) ?? text),
      ...(row.below ?? []),
    ]),
  ]
}

function fitted(wanted: readonly number[], whole: readonly boolean[], columns: number): readonly number[] {
  const widths = [...wanted]
  const last = widths.pop()
  if (last === undefined) return []
  const room = () => columns - widths.reduce((sum, width) => sum + gap + width, gap)
  while (room() < Math.min(last, leastOfLast)) {
    const widest = Math.max(...widths.filter((_, i) => whole[i] !== true))
    if (widest <= least) break
    widths[widths.findIndex((width, i) => width === widest && whole[i] !== true)] = widest - 1
  }
  return [...widths, Math.min(last, Math.max(least, room()))]
}
