/**
 * Durable publishes per second, beside bare `node:sqlite` that does the same least thing: the next version of a value,
 * and the head moved to it, in a log that is flushed at every commit.
 *
 *   node --conditions=midflight-source bench/commit.ts [--json] [--secs=2] [--reps=5] [--dir=/a/real/disk]
 *
 * `bare` with 64 writers puts all that wait into one transaction, which is the most that a single file can do. Contenders
 * take turns; `x` is the median of the ratios within each turn. Bare commits an opaque text. Midflight publishes rules:
 * in `all new` every one of them differs from the release before, in `small change` one does. Each is compared with the
 * head, its digest is taken and checked, and it is linked to its release.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { parseArgs } from 'node:util'
import { applyPatch, digest, share, type Json } from '../packages/engine/src/index.ts'
import { openSqlite } from '../packages/control-plane/src/stores/sqlite.ts'
import { median, quantile, report } from './report.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    secs: { type: 'string', default: '2' },
    reps: { type: 'string', default: '5' },
    dir: { type: 'string', default: tmpdir() },
  },
})

interface Contender {
  commit(): Promise<void> | void
  close(): Promise<void> | void
}

type Open = (directory: string, sizeBytes: number, writers: number) => Promise<Contender>

const bare: Open = async (directory, sizeBytes, writers) => {
  const db = new DatabaseSync(join(directory, 'bare.db'))
  db.exec('pragma journal_mode = wal; pragma synchronous = full')
  db.exec(`create table versions (key text, number integer, body text, primary key (key, number)) without rowid;
    create table heads (key text primary key, number integer); insert into heads values ('k', 0)`)
  const insert = db.prepare(`insert into versions values ('k', ?, ?)`)
  const move = db.prepare(`update heads set number = ? where key = 'k' and number = ?`)
  const body = 'x'.repeat(sizeBytes)
  let number = 0
  const one = (): void => {
    number++
    if (move.run(number, number - 1).changes !== 1) throw new Error('conflict')
    insert.run(number, body)
  }
  let waiting: (() => void)[] = []
  const group = (work: () => void): void => {
    db.exec('begin immediate')
    work()
    db.exec('commit')
  }
  const commit = (): Promise<void> =>
    new Promise((resolve) => {
      waiting.push(resolve)
      if (waiting.length > 1) return
      setImmediate(() => {
        const now = waiting
        waiting = []
        group(() => now.forEach(one))
        for (const tell of now) tell()
      })
    })
  return { commit: writers === 1 ? () => group(one) : commit, close: () => db.close() }
}

const config = 'bench'
const at = '2026-01-01T00:00:00.000Z'

async function store(directory: string, next: (number: number, head: Json | undefined) => Json): Promise<Contender> {
  const opened = await openSqlite({ directory: join(directory, 'data') })
  await opened.transaction((tx) => tx.putConfig({ name: config, createdAt: at, schema: null, rules: [], reviewers: 0 }))
  return {
    commit: () =>
      opened.transaction((tx) => {
        const parent = tx.config(config)?.head?.number ?? null
        const number = (parent ?? 0) + 1
        const before = parent === null ? undefined : tx.content(config, parent)
        const content = share(next(number, before), before, {})
        const release = { config, number, parent, createdAt: at, author: 'ada', message: '', kind: 'publish' } as const
        tx.addRelease({ ...release, digest: digest(content, before) }, content)
      }),
    close: () => opened.close(),
  }
}

/** So many rules are about `sizeBytes` long. */
const ruleOf = (i: number, limit: number): Json => ({ id: `r${i}`, limit, path: '/api/of/something/else' })
const rulesFor = (sizeBytes: number, of: (i: number) => number): Json => ({
  rules: Array.from({ length: Math.round(sizeBytes / 62) }, (_, i) => ruleOf(i, of(i))),
})

const allNew: Open = (directory, sizeBytes) => store(directory, (number) => rulesFor(sizeBytes, (i) => number + i))

const smallChange: Open = (directory, sizeBytes) => {
  const rules = Math.round(sizeBytes / 62)
  return store(directory, (number, head) =>
    head === undefined
      ? rulesFor(sizeBytes, (i) => i)
      : applyPatch(head, [{ op: 'replace', path: `/rules/${number % rules}/limit`, value: number }]),
  )
}

interface Run {
  readonly perSecond: number
  readonly latenciesMs: readonly number[]
}

async function run(open: Open, sizeBytes: number, writers: number): Promise<Run> {
  const directory = mkdtempSync(join(options.dir, 'midflight-bench-'))
  try {
    const contender = await open(directory, sizeBytes, writers)
    const latenciesMs: number[] = []
    const begun = performance.now()
    const end = begun + Number(options.secs) * 1000
    await Promise.all(
      Array.from({ length: writers }, async () => {
        while (performance.now() < end) {
          const asked = performance.now()
          await contender.commit()
          latenciesMs.push(performance.now() - asked)
        }
      }),
    )
    const perSecond = (latenciesMs.length * 1000) / (performance.now() - begun)
    await contender.close()
    return { perSecond, latenciesMs }
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const rows: Record<string, string | number>[] = []
for (const sizeBytes of [1024, 65536]) {
  for (const writers of [1, 64]) {
    const contenders: Record<string, Open> = {
      bare,
      'midflight, all new': allNew,
      'midflight, small change': smallChange,
    }
    const runs = new Map<string, Run[]>(Object.keys(contenders).map((name) => [name, []]))
    for (let rep = 0; rep < Number(options.reps); rep++) {
      for (const [name, open] of Object.entries(contenders)) runs.get(name)?.push(await run(open, sizeBytes, writers))
    }
    const bareRuns = runs.get('bare') as Run[]
    for (const [contender, its] of runs) {
      const latencies = its.flatMap((one) => one.latenciesMs)
      rows.push({
        contender,
        sizeBytes,
        writers,
        'commits/s': Math.round(median(its.map((one) => one.perSecond))),
        x: median(its.map((one, i) => one.perSecond / (bareRuns[i] as Run).perSecond)),
        'p50 ms': median(latencies),
        'p99 ms': quantile(latencies, 0.99),
      })
    }
  }
}
report('durable publishes', rows)
