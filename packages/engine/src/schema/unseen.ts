/** Which entries of a list are not among those of an earlier one, by reference. Entries may have moved. */

/** How far apart the two lists may drift at one place before a set is built. */
const lookAhead = 16

/**
 * Calls `visit` with the index of every entry of `now` that may not be in `before`, in order, and with the entry that
 * it seems to have replaced; stops when it returns false. Two pointers keep in step over insertions, removals and
 * replacements; where they lose each other, `before` goes into a set.
 */
export function unseen<T>(
  now: readonly T[],
  before: readonly T[],
  visit: (index: number, replaced: T | undefined) => boolean,
): void {
  let i = 0
  let j = 0
  while (i < now.length) {
    if (j < before.length && now[i] === before[j]) {
      i++
      j++
      continue
    }
    if (j >= before.length && i >= j) {
      // Appended, or moved to the end: that costs a second look and nothing else.
      if (!visit(i++, undefined)) return
      continue
    }
    const step = drift(now, before, i, j)
    if (step === undefined) {
      const all = new Set(before)
      for (; i < now.length; i++) if (!all.has(now[i]!) && !visit(i, before[i])) return
      return
    }
    for (let k = 0; k < step[0]; k++) if (!visit(i + k, k < step[1] ? before[j + k] : undefined)) return
    i += step[0]
    j += step[1]
  }
}

/** How many entries to pass over in each list, as few as possible, until they are in step again. */
function drift<T>(now: readonly T[], before: readonly T[], i: number, j: number): [number, number] | undefined {
  for (let sum = 1; sum <= 2 * lookAhead; sum++) {
    for (let p = Math.max(0, sum - lookAhead); p <= Math.min(sum, lookAhead); p++) {
      const q = sum - p
      if (i + p < now.length && j + q < before.length && now[i + p] === before[j + q]) return [p, q]
    }
  }
  return i + 1 >= now.length && j + 1 >= before.length ? [now.length - i, before.length - j] : undefined
}
