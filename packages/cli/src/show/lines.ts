/** Two texts, line by line: what is gone, what is new, and a little of what is around it. */

export interface Line {
  /** `…` stands for lines that are the same and not shown. */
  readonly mark: '+' | '-' | ' ' | '…'
  readonly text: string
}

const around = 2
/** Longest parts that are compared line with line; beyond it all of the old and then all of the new is shown. */
const mostPairs = 4_000_000

export function lineDiff(before: string, after: string): readonly Line[] {
  const [was, is] = [linesOf(before), linesOf(after)]
  let head = 0
  while (head < was.length && head < is.length && was[head] === is[head]) head++
  let tail = 0
  while (tail < was.length - head && tail < is.length - head && was.at(-1 - tail) === is.at(-1 - tail)) tail++
  const same = (text: string): Line => ({ mark: ' ', text })
  return withoutFar([
    ...was.slice(0, head).map(same),
    ...middle(was.slice(head, was.length - tail), is.slice(head, is.length - tail)),
    ...was.slice(was.length - tail).map(same),
  ])
}

function linesOf(text: string): string[] {
  return text === '' ? [] : text.replace(/\n$/, '').split('\n')
}

/** By the longest common run of lines. */
function middle(was: readonly string[], is: readonly string[]): Line[] {
  const gone = (text: string): Line => ({ mark: '-', text })
  const fresh = (text: string): Line => ({ mark: '+', text })
  if (was.length * is.length > mostPairs) return [...was.map(gone), ...is.map(fresh)]
  const width = is.length + 1
  const common = new Uint32Array((was.length + 1) * width)
  for (let i = was.length - 1; i >= 0; i--) {
    for (let j = is.length - 1; j >= 0; j--) {
      common[i * width + j] =
        was[i] === is[j]
          ? common[(i + 1) * width + j + 1]! + 1
          : Math.max(common[(i + 1) * width + j]!, common[i * width + j + 1]!)
    }
  }
  const lines: Line[] = []
  let [i, j] = [0, 0]
  while (i < was.length || j < is.length) {
    if (i < was.length && j < is.length && was[i] === is[j]) {
      lines.push({ mark: ' ', text: was[i]! })
      i++
      j++
    } else if (i < was.length && (j === is.length || common[(i + 1) * width + j]! >= common[i * width + j + 1]!)) {
      lines.push(gone(was[i++]!))
    } else lines.push(fresh(is[j++]!))
  }
  return lines
}

/** Lines that are the same and far from any change are left out. */
function withoutFar(lines: readonly Line[]): readonly Line[] {
  const near = lines.map((_, i) =>
    lines.slice(Math.max(0, i - around), i + around + 1).some(({ mark }) => mark !== ' '),
  )
  return lines.flatMap((line, i): Line[] => {
    if (near[i]) return [line]
    return i === 0 || near[i - 1] ? [{ mark: '…', text: '' }] : []
  })
}
