// One read of a live value, in nanoseconds; the configuration changes between two batches of reads.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { watchConfig } from 'c12'
import { jsonSchema, start } from 'midflight'
import { memory } from 'midflight/testing'
import { median, report } from './report.ts'

const tree = () => ({ server: { host: 'a', port: 80 }, limits: { rps: 100, burst: 200 }, db: { pool: { max: 10 } } })

interface Contender {
  readonly read: () => number
  /** Changes the configuration between two batches, so that nothing can be folded into a constant. */
  readonly swap: () => Promise<unknown> | void
}

const contenders: Record<string, () => Promise<Contender>> = {
  async 'property of a frozen object (floor)'() {
    const config = Object.freeze({ ...tree(), limits: Object.freeze({ rps: 100 }) })
    return { read: () => config.limits.rps, swap: () => {} }
  },
  async 'holder.current, swapped'() {
    const holder = { current: tree() }
    return { read: () => holder.current.limits.rps, swap: () => void (holder.current = tree()) }
  },
  async 'midflight: engine.live'() {
    const source = memory(tree())
    const schema = jsonSchema<ReturnType<typeof tree>>({ type: 'object' })
    const engine = await start({ schema, sources: [source], logger: false })
    let burst = 0
    const swap = () => {
      source.set({ ...tree(), limits: { rps: 100, burst: burst++ } })
      return engine.reload()
    }
    return { read: () => engine.live.limits.rps, swap }
  },
  async 'Proxy over a holder'() {
    const holder = { current: tree() }
    const proxy = new Proxy({} as ReturnType<typeof tree>, {
      get: (_, key) => holder.current[key as keyof ReturnType<typeof tree>],
    })
    return { read: () => proxy.limits.rps, swap: () => void (holder.current = tree()) }
  },
  async 'c12 watchConfig().config'() {
    const cwd = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
    writeFileSync(join(cwd, 'app.config.json'), JSON.stringify(tree()))
    const watched = await watchConfig<ReturnType<typeof tree>>({ cwd, name: 'app' })
    process.once('exit', () => rmSync(cwd, { recursive: true }))
    return { read: () => (watched.config as ReturnType<typeof tree>).limits.rps, swap: () => {} }
  },
}

const times = 5_000_000

async function measure({ read, swap }: Contender): Promise<number> {
  let sum = 0
  const all: number[] = []
  for (let round = 0; round < 40; round++) {
    await swap()
    const from = process.hrtime.bigint()
    for (let i = 0; i < times; i++) sum += read()
    all.push(Number(process.hrtime.bigint() - from) / times)
  }
  if (Number.isNaN(sum)) throw new Error('read something else')
  return median(all.slice(9))
}

const { values: options } = parseArgs({ options: { only: { type: 'string' }, json: { type: 'boolean' } } })
if (options.only !== undefined) {
  console.log(await measure(await (contenders[options.only] as () => Promise<Contender>)()))
  process.exit()
}
// Each in a process of its own: a loop that has run one kind of read runs the next one slower.
const rows = Object.keys(contenders).map((what) => {
  const args = ['--conditions=midflight-source', import.meta.filename, `--only=${what}`]
  return { what, ns: Number(execFileSync(process.execPath, args, { encoding: 'utf8' })) }
})
const floor = rows.find(({ what }) => what.startsWith('holder'))?.ns ?? 1
report(
  'read of a live value',
  rows.map((row) => ({ ...row, 'x holder': row.ns / floor })),
)
