/** "Did you mean": the known name that a mistyped one is nearest to. */

/** `did you mean "format"?`, if a name in `known` is at most two slips away and nearer than a quite different word. */
export function didYouMean(name: string, known: Iterable<string>): string | undefined {
  let best: string | undefined
  let bestDistance = Math.min(2, Math.floor((name.length - 1) / 2)) + 1
  const lower = name.toLowerCase()
  for (const candidate of known) {
    if (candidate === name) continue
    const distance = candidate.toLowerCase() === lower ? 0 : slips(name, candidate, bestDistance)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best === undefined ? undefined : `did you mean ${JSON.stringify(best)}?`
}

/** Damerau–Levenshtein distance (adjacent letters may be swapped), or `limit` as soon as it is certain to reach that. */
function slips(a: string, b: string, limit: number): number {
  if (Math.abs(a.length - b.length) >= limit) return limit
  let before: number[] = []
  let last = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1]
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1))
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1)
      row.push(cost)
    }
    if (Math.min(...row) >= limit) return limit
    ;[before, last] = [last, row]
  }
  return last[b.length]!
}
