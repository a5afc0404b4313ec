/**
 * The watcher against its peers: how long after a file began to change its new content is in hand, what is missed,
 * torn or lost, and how often a burst of ten writes makes the program load.
 *
 *   node --conditions=midflight-source bench/watch.ts [--json] [--writes=200] [--bursts=20] [--only=midflight]
 *
 * Every row is a process of its own, with a writer in another one. `x` is the ratio to `fs.watch(dir)` of this run,
 * whose callback reads the file at every event: the least that any watcher costs.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { contenders } from './peers/watch-contenders.ts'

interface Row {
  readonly contender: string
  readonly mode: string
  readonly writes: number
  readonly bursts: number
  readonly missed: number
  readonly torn: number
  readonly lost: number
  readonly callbacksPerWrite: number
  readonly callbacksPerBurst: number
  readonly mostPerBurst: number
  readonly tornInBursts: number
  readonly latenciesMs: readonly number[]
}

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    writes: { type: 'string', default: '200' },
    bursts: { type: 'string', default: '20' },
    only: { type: 'string', default: '' },
  },
})
const modes = ['inplace', 'rename', 'configmap']
const floor = 'fs.watch(dir)'

function measure(contender: string, mode: string): Row {
  const script = join(import.meta.dirname, 'peers', 'watch-one.ts')
  const args = ['--conditions=midflight-source', script, contender, mode, options.writes, options.bursts]
  const run = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 600_000 })
  if (run.status !== 0) throw new Error(`${contender} in mode ${mode} failed: ${run.stderr || String(run.error)}`)
  return JSON.parse(run.stdout) as Row
}

/** All modes of one contender as one row. */
function pooled(rows: readonly Row[]): Row {
  const sum = (of: (row: Row) => number): number => rows.reduce((total, row) => total + of(row), 0)
  return {
    contender: rows[0]!.contender,
    mode: 'all',
    writes: sum((row) => row.writes),
    bursts: sum((row) => row.bursts),
    missed: sum((row) => row.missed),
    torn: sum((row) => row.torn),
    lost: sum((row) => row.lost),
    callbacksPerWrite: sum((row) => row.callbacksPerWrite) / rows.length,
    callbacksPerBurst: sum((row) => row.callbacksPerBurst) / rows.length,
    mostPerBurst: Math.max(...rows.map((row) => row.mostPerBurst)),
    tornInBursts: sum((row) => row.tornInBursts),
    latenciesMs: rows.flatMap((row) => row.latenciesMs),
  }
}

function quantile(values: readonly number[], of: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(of * sorted.length) - 1)] ?? NaN
}

const names = Object.keys(contenders).filter((name) => name === floor || name.includes(options.only))
const rows = modes.flatMap((mode) => names.map((name) => measure(name, mode)))
rows.push(...names.map((name) => pooled(rows.filter((row) => row.contender === name))))

const heads = [
  'mode',
  'contender',
  'p50 ms',
  'x',
  'p99 ms',
  'x',
  'missed',
  'torn',
  'lost bursts',
  'calls/burst',
  'most',
]
const table = rows.map((row) => {
  const base = rows.find((other) => other.mode === row.mode && other.contender === floor)!
  const [p50Ms, p99Ms] = [quantile(row.latenciesMs, 0.5), quantile(row.latenciesMs, 0.99)]
  const ratioP50 = p50Ms / quantile(base.latenciesMs, 0.5)
  const ratioP99 = p99Ms / quantile(base.latenciesMs, 0.99)
  if (options.json) {
    const { latenciesMs: _, ...rest } = row
    console.log(JSON.stringify({ bench: 'watch', ...rest, p50Ms, p99Ms, ratioP50, ratioP99 }))
  }
  return [
    row.mode,
    row.contender,
    p50Ms.toFixed(2),
    ratioP50.toFixed(2),
    p99Ms.toFixed(2),
    ratioP99.toFixed(2),
    `${row.missed}/${row.writes}`,
    `${row.torn + row.tornInBursts}`,
    `${row.lost}/${row.bursts}`,
    row.callbacksPerBurst.toFixed(1),
    `${row.mostPerBurst}`,
  ]
})
if (!options.json) {
  const all = [heads, ...table]
  const widths = heads.map((_, column) => Math.max(...all.map((line) => line[column]!.length)))
  for (const line of all) console.log(line.map((cell, column) => cell.padEnd(widths[column]!)).join('  '))
}
