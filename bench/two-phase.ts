/**
 * Two-phase commit over N nodes: from the start of the publish until the control plane knows that all of them run it.
 *
 *   node --conditions=midflight-source bench/two-phase.ts [--n=100,1000] [--rounds=30] [--json]
 *
 * `at-once`: one acknowledged broadcast, what a publish without a rollout is. `all-at-once`: the same as a rollout.
 * `two-phase`: prepare, all votes, the decision on disk, commit, all confirmations. Beside them what the wire alone
 * takes: a bare WebSocket server that tells all and hears from all, once (`one-round`) and twice (`two-rounds`).
 * `windowMs`: from the first node that ran the new release to the last, by the nodes' one clock. Medians over the rounds;
 * ratios are to `at-once` of the same run.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { How } from './peers/two-phase-server.ts'
import { median, quantile, report } from './report.ts'

const { values: options } = parseArgs({
  options: {
    n: { type: 'string', default: '100,1000' },
    rounds: { type: 'string', default: '30' },
    json: { type: 'boolean', default: false },
  },
})

interface Told {
  readonly type: string
  readonly port: number
  readonly ms: number
  readonly commits: readonly number[]
}

function child(script: string, setup: object): ChildProcess {
  return fork(join(import.meta.dirname, 'peers', script), [JSON.stringify(setup)], {
    execArgv: ['--conditions=midflight-source', '--disable-warning=ExperimentalWarning'],
  }).setMaxListeners(Infinity)
}

function hear(process: ChildProcess, type: string): Promise<Told> {
  return new Promise((resolve, reject) => {
    const listen = (told: Told): void => {
      if (told.type !== type) return
      process.off('message', listen)
      resolve(told)
    }
    process.on('message', listen)
    process.once('exit', (code) => reject(new Error(`a process of the benchmark ended with ${code}`)))
  })
}

async function measure(n: number, contender: 'midflight' | 'ws', hows: readonly How[]) {
  const directory = mkdtempSync(join(tmpdir(), 'midflight-two-phase-'))
  const server = child('two-phase-server.ts', { contender, directory, count: n })
  const { port } = await hear(server, 'ready')
  const nodes = child('two-phase-nodes.ts', { contender, count: n, port })
  await hear(nodes, 'up')
  const rows = new Map(hows.map((how) => [how, { ms: [] as number[], windows: [] as number[] }]))
  let seq = 0
  const ask = async (): Promise<readonly number[]> => {
    const heard = hear(nodes, 'commits')
    nodes.send({})
    return (await heard).commits
  }
  // In turn, so that whatever else the machine does falls on all alike.
  for (let i = -3; i < Number(options.rounds); i++) {
    for (const how of hows) {
      await ask()
      const done = hear(server, 'done')
      server.send({ seq: ++seq, how })
      const { ms } = await done
      const commits = await ask()
      await new Promise((resolve) => setTimeout(resolve, 100 + n / 5))
      if (i < 0) continue
      rows.get(how)?.ms.push(ms)
      if (commits.length > 1) rows.get(how)?.windows.push(Math.max(...commits) - Math.min(...commits))
    }
  }
  for (const one of [nodes, server]) {
    one.removeAllListeners('exit')
    one.kill('SIGKILL')
  }
  rmSync(directory, { recursive: true, force: true })
  return rows
}

const rows: Record<string, string | number>[] = []
for (const n of options.n.split(',').map(Number)) {
  const bare = await measure(n, 'ws', ['one-round', 'two-rounds'])
  const ours = await measure(n, 'midflight', ['at-once', 'all-at-once', 'two-phase'])
  const base = median(ours.get('at-once')?.ms ?? [])
  for (const [how, { ms, windows }] of [...bare, ...ours]) {
    rows.push({
      n,
      how,
      ms: median(ms),
      p99Ms: quantile(ms, 0.99),
      ratio: median(ms) / base,
      ...(windows.length > 0 && { windowMs: median(windows), windowP99Ms: quantile(windows, 0.99) }),
    })
  }
}
report('two-phase commit', rows)
