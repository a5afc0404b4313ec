/**
 * Arithmetic of places in two lists of which one came from the other: entries left (at rising indexes `out` of the
 * list before), others arrived (at rising indexes of the list after), and those that stayed kept their order.
 */

/** How many of the rising `indexes` are less than `index`. */
export function countBelow(indexes: readonly number[], index: number): number {
  let low = 0
  let high = indexes.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((indexes[middle] as number) < index) low = middle + 1
    else high = middle
  }
  return low
}

/** Where the entry at `index` stands after the change, given that it stayed. Swap the two lists for the way back. */
export function carried(index: number, out: readonly number[], arrived: readonly number[]): number {
  const rank = index - countBelow(out, index)
  let low = 0
  let high = arrived.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((arrived[middle] as number) - middle <= rank) low = middle + 1
    else high = middle
  }
  return rank + low
}

export interface Step {
  readonly from: number
  readonly to: number
}

/**
 * Which of `moves` need not be moves: as many as can stay, together with all entries that are neither removed, added
 * nor in `moves`, in their order. The steps are returned themselves.
 */
export function stayable<S extends Step>(
  moves: readonly S[],
  removed: readonly number[],
  added: readonly number[],
): Set<S> {
  if (moves.length === 0) return new Set()
  const out = rising([...removed, ...moves.map((move) => move.from)])
  const arrived = rising([...added, ...moves.map((move) => move.to)])
  const candidates = moves
    .filter((move) => move.from - countBelow(out, move.from) === move.to - countBelow(arrived, move.to))
    .sort((a, b) => a.from - b.from)
  return new Set(longestRising(candidates))
}

/** Sorts in place. */
export function rising(indexes: number[]): number[] {
  return indexes.sort((a, b) => a - b)
}

/** A longest subsequence in which `to` rises (patience sorting). */
function longestRising<S extends Step>(steps: readonly S[]): S[] {
  const tails: number[] = []
  const previous: number[] = []
  for (let i = 0; i < steps.length; i++) {
    const to = (steps[i] as S).to
    let low = 0
    let high = tails.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if ((steps[tails[middle] as number] as S).to < to) low = middle + 1
      else high = middle
    }
    previous.push(low > 0 ? (tails[low - 1] as number) : -1)
    tails[low] = i
  }
  const found: S[] = []
  for (let i = tails.at(-1) ?? -1; i >= 0; i = previous[i] as number) found.push(steps[i] as S)
  return found.reverse()
}
