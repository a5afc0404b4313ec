/**
 * Fan-out: the time from the start of a publish until the last of N nodes has the release, checked.
 *
 *   node --conditions=midflight-source bench/fanout.ts [--n=100,1000,5000] [--cases=1k,64k,rules] [--rounds=20] [--reports=last] [--apply-ms=50]
 *     [--contenders=tcp,ws,midflight] [--per-turn=10000] [--json] [--no-restart] [--flood=5] [--profile=<directory for CPU profiles of the servers>]
 *
 * One process serves, one holds all nodes, this one says when. A round of Midflight is everything: the commit on disk
 * (SQLite, flushed), the release made and framed, the writes, at each node the digest, its report (as agents do that apply at once; `--reports=all`: three), and the
 * server's record of them. `ws` writes one frame of the same size to each socket and hears nothing back, `tcp` is that
 * without WebSocket; for a small change in something large they appear twice, with the whole and with 256 bytes.
 * Each time is the median over the rounds of what it was within a round. Ratios are to the smallest frame of `ws` in the
 * same run, with the same N. `updatesPerS`: releases made one after the other for `flood` seconds, of which each node gets
 * the newest whenever it is done with one; `settleMs` later all have the last. `applyMs`: as all nodes share one core, they answer after the time that applying takes.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import type { Runs } from 'midflight/protocol'
import type { Case } from './peers/fanout-cases.ts'
import type { NodesSetup } from './peers/fanout-nodes.ts'
import type { ServerSetup } from './peers/fanout-servers.ts'
import { median, quantile, report } from './report.ts'

const { values: options } = parseArgs({
  options: {
    n: { type: 'string', default: '100,1000,5000' },
    cases: { type: 'string', default: '1k,64k,rules' },
    rounds: { type: 'string', default: '0' },
    reports: { type: 'string', default: 'last' },
    'apply-ms': { type: 'string', default: '50' },
    contenders: { type: 'string', default: 'tcp,ws,midflight' },
    'per-turn': { type: 'string', default: '' },
    json: { type: 'boolean', default: false },
    'no-restart': { type: 'boolean', default: false },
    flood: { type: 'string', default: '5' },
    profile: { type: 'string', default: '' },
  },
})

type Contender = ServerSetup['contender']
/** Bytes that a frame of the peers has, by case. */
const sizes: Readonly<Record<Case, readonly number[]>> = { '1k': [1024], '64k': [256, 65_536], rules: [1024] }

interface Told {
  readonly type: string
  readonly seq: number
  readonly ms: number
  readonly port: number
  readonly head: Runs
  readonly times: Float64Array
  readonly errors: number
  readonly atNs: number
  readonly durableMs: number
  readonly writtenMs: number
  readonly writeCpuMs: number
  readonly stallMs: number
}

class Child {
  readonly process: ChildProcess
  private readonly waiting: { type: string; resolve: (told: Told) => void }[] = []
  private readonly early: Told[] = []

  constructor(script: string, setup: unknown) {
    this.process = fork(join(import.meta.dirname, 'peers', script), [JSON.stringify(setup)], {
      serialization: 'advanced',
      execArgv: [
        '--conditions=midflight-source',
        '--max-old-space-size=8000',
        '--disable-warning=ExperimentalWarning',
        ...(options.profile && script === 'fanout-servers.ts'
          ? ['--cpu-prof', `--cpu-prof-dir=${options.profile}`]
          : []),
      ],
    })
    this.process.on('message', (told: Told) => {
      const at = this.waiting.findIndex(({ type }) => type === told.type)
      if (at < 0) this.early.push(told)
      else this.waiting.splice(at, 1)[0]!.resolve(told)
    })
    this.process.on('exit', (code) => {
      if (code) {
        console.error(`${script} ended with ${code}`)
        process.exit(1)
      }
    })
  }

  hear(type: string): Promise<Told> {
    const at = this.early.findIndex((told) => told.type === type)
    if (at >= 0) return Promise.resolve(this.early.splice(at, 1)[0]!)
    return new Promise((resolve) => this.waiting.push({ type, resolve }))
  }

  say(message: object): void {
    this.process.send(message)
  }

  async kill(): Promise<void> {
    const ended = new Promise((resolve) => this.process.once('exit', resolve))
    // A profile is written at an orderly end only.
    if (options.profile) this.process.disconnect()
    else this.process.kill('SIGKILL')
    await ended
  }

  usage(): { cpuNs: number; rssKib: number; peakKib: number } {
    const { pid } = this.process
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    let cpuNs = 0
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      cpuNs += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, 'utf8').split(' ')[0])
    }
    const of = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+)`).exec(status)?.[1])
    return { cpuNs, rssKib: of('VmRSS'), peakKib: of('VmHWM') }
  }
}

const nowNs = (): number => Number(process.hrtime.bigint())
const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

async function measure(
  contender: Contender,
  which: Case,
  n: number,
  sizeBytes: number,
): Promise<Record<string, string | number>> {
  const directory = mkdtempSync(join(tmpdir(), 'midflight-fanout-'))
  const limits = options['per-turn'] ? { writesPerTurn: Number(options['per-turn']) } : {}
  const setup: ServerSetup = { contender, sizeBytes, case: which, directory, port: 0, limits }
  let server = new Child('fanout-servers.ts', setup)
  const { port, head } = await server.hear('ready')
  const before = server.usage()
  const nodesSetup: NodesSetup = {
    contender,
    count: n,
    port,
    case: which,
    head,
    reports: options.reports as NodesSetup['reports'],
    applyMs: Number(options['apply-ms']),
  }
  const nodes = new Child('fanout-nodes.ts', nodesSetup)
  await nodes.hear('welcomed')
  await pause(1500)
  const idle = server.usage()
  server.say({ type: 'reset' })
  const rounds = Number(options.rounds) || Math.max(8, Math.min(60, Math.round(60_000 / n)))
  let seq = head.number
  const p50s: number[] = []
  const p99s: number[] = []
  const lasts: number[] = []
  const durable: number[] = []
  const written: number[] = []
  const writeCpu: number[] = []
  let cpuNs = 0
  for (let i = -3; i < rounds; i++) {
    seq++
    nodes.say({ type: 'await', seq })
    await nodes.hear('awaiting')
    const cpuBefore = server.usage().cpuNs
    const startNs = nowNs()
    server.say({ type: 'publish', seq })
    const [arrived, published] = await Promise.all([nodes.hear('arrived'), server.hear('published')])
    // Reports are still coming in, and are written: that is part of what a delivery costs.
    await pause(contender === 'midflight' ? Math.max(200, n / 4) : 15)
    if (arrived.errors > 0) throw new Error(`${arrived.errors} errors were sent to nodes`)
    if (i < 0) continue
    cpuNs += server.usage().cpuNs - cpuBefore
    const ms = Array.from(arrived.times, (atNs) => (atNs - startNs) / 1e6)
    p50s.push(median(ms))
    p99s.push(quantile(ms, 0.99))
    lasts.push(Math.max(...ms))
    durable.push(published.durableMs)
    written.push(published.writtenMs)
    writeCpu.push(published.writeCpuMs)
  }
  const row: Record<string, string | number> = {
    case: which,
    n,
    contender,
    frame: contender === 'midflight' ? '' : sizeBytes,
    p50Ms: median(p50s),
    p99Ms: median(p99s),
    lastMs: median(lasts),
    cpuUs: cpuNs / 1e3 / (rounds * n),
    // Of these, for the writes alone.
    writeUs: (median(writeCpu) * 1e3) / n,
    peakMib: server.usage().peakKib / 1024,
    kibPerNode: (idle.rssKib - before.rssKib) / n,
    durableMs: median(durable),
    writtenMs: median(written),
  }
  if (contender === 'midflight') {
    // The longest time for which nothing else got a turn: the fan-out itself, or the writing of what was reported.
    server.say({ type: 'counts' })
    row.stallMs = (await server.hear('counts')).stallMs
  }
  if (contender === 'midflight' && options.flood !== '0') {
    server.say({ type: 'flood', seq: seq + 1, ms: Number(options.flood) * 1000 })
    const flooded = await server.hear('flooded')
    const endNs = nowNs()
    row.updatesPerS = ((flooded.seq - seq) * 1000) / flooded.ms
    seq = flooded.seq
    nodes.say({ type: 'await', seq })
    await nodes.hear('awaiting')
    await nodes.hear('arrived')
    row.settleMs = (nowNs() - endNs) / 1e6
  }
  if (contender === 'midflight' && !options['no-restart'] && n >= 1000) {
    await server.kill()
    const startNs = nowNs()
    server = new Child('fanout-servers.ts', { ...setup, port })
    await server.hear('ready')
    row.bootMs = (nowNs() - startNs) / 1e6
    seq++
    nodes.say({ type: 'await', seq })
    await nodes.hear('awaiting')
    server.say({ type: 'publish', seq })
    const { times } = await nodes.hear('arrived')
    row.restartMs = (Math.max(...times) - startNs) / 1e6
  }
  await nodes.kill()
  await server.kill()
  rmSync(directory, { recursive: true, force: true })
  return row
}

const rows: Record<string, string | number>[] = []
for (const which of options.cases.split(',') as Case[]) {
  for (const n of options.n.split(',').map(Number)) {
    for (const contender of options.contenders.split(',') as Contender[]) {
      for (const size of contender === 'midflight' ? [0] : sizes[which]) {
        const row = await measure(contender, which, n, size)
        rows.push(row)
        console.error(JSON.stringify(row))
      }
    }
  }
}
for (const row of rows) {
  const floor = rows.find((other) => other.contender === 'ws' && other.case === row.case && other.n === row.n)
  if (floor) row.p99Ratio = Number(row.p99Ms) / Number(floor.p99Ms)
}
report('fan-out', rows)
process.exit(0)
