// What the benchmarks have in common: medians, sizes from the command line, and one way to print rows.

export function median(values: readonly number[]): number {
  return quantile(values, 0.5)
}

export function quantile(values: readonly number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN
}

/** `--n=1000,10000`; by default all three. */
export function sizesFrom(argv: readonly string[]): number[] {
  const given = argv.find((arg) => arg.startsWith('--n='))
  return (given?.slice(4) ?? '1000,10000,100000').split(',').map(Number)
}

/** A table for people; JSON lines with `--json`. */
export function report(title: string, rows: readonly Readonly<Record<string, string | number>>[]): void {
  if (process.argv.includes('--json')) {
    for (const row of rows) console.log(JSON.stringify({ bench: title, ...row }))
    return
  }
  console.log(`\n${title}`)
  const rounded = rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([k, v]) => [
        k,
        typeof v === 'number' && !Number.isInteger(v) ? Number(v.toPrecision(3)) : v,
      ]),
    ),
  )
  console.table(rounded)
}
