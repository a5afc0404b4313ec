/**
 * A program that is not ours is given a change: from the moment the configuration is another until the program serves
 * it, by `program()`, and by a bare script in the same run, in turns: check, write beside and rename, reload, ask until
 * it shows. The script checks what is live, syncs nothing, keeps nothing for a way back, and believes its own eyes.
 *
 *   node --conditions=midflight-source bench/sidecar.ts [--json] [--only=nginx] [--runs=25] [--files=1000]
 *
 * `own ms` is what is ours of it: change to told, less the check's process. `proved ms`: from the first answer under the
 * new files until the reload has ended, in which the probes say yes, and the old files are let go. Shares are of what the
 * bare script spends in check and program.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { jsonSchema, start, type Json, type Source } from 'midflight'
import { program } from 'midflight/program'
import { file } from 'midflight/sources/file'
import { follow, followed, timesTold, type Moment, type Moments } from './peers/sidecar-phases.ts'
import { programs, type RealProgram, type Running, type Which } from './peers/sidecar-programs.ts'
import { median, quantile, report } from './report.ts'

const { values: options } = parseArgs({
  options: {
    json: { type: 'boolean', default: false },
    only: { type: 'string', default: '' },
    runs: { type: 'string', default: '25' },
    files: { type: 'string', default: '1000' },
  },
})
const [runs, many] = [Number(options.runs), Number(options.files)]
const warmUps = 3
const burst = 50
const schema = jsonSchema<Record<string, Json>>({ type: 'object' })

type Row = Record<string, string | number>
const rows: Record<'served' | 'phases' | 'burst', Row[]> = { served: [], phases: [], burst: [] }

/** One change by one of the two, milliseconds. */
interface Took {
  readonly served: number
  readonly own: number
  readonly check: number
  /** From told to the first answer under the new files. */
  readonly program: number
  readonly proved: number
  readonly phases: Readonly<Record<string, number>>
}

/** Asks until it serves the change. */
async function servedAt(running: Running, change: number): Promise<number> {
  for (const lastAt = performance.now() + 30_000; performance.now() < lastAt; await sleep(1)) {
    if ((await running.serves()) === change) return performance.now()
  }
  throw new Error(`${running.options.name} does not serve change ${change}`)
}

async function engineOn(running: Running, first: Record<string, string>) {
  let config: Record<string, Json> = first
  const source: Source = { name: 'bench', load: async () => ({ config }) }
  const component = followed(program(running.options))
  const engine = await start({
    schema,
    sources: [source],
    components: [component],
    logger: false,
    retries: { limit: 0 },
  })
  const set = (next: Record<string, Json>) => {
    config = next
    return engine.reload()
  }
  return { engine, set }
}

async function byMidflight(
  running: Running,
  set: Awaited<ReturnType<typeof engineOn>>['set'],
  change: number,
  which: Which,
) {
  const config = running.config(change, which)
  let served: Promise<number> | undefined
  const moments = follow(() => (served = servedAt(running, change)))
  const outcome = await set(config)
  moments.done = performance.now()
  if (outcome.kind !== 'committed' || served === undefined) throw new Error(JSON.stringify(outcome))
  return tookOf(moments, await served)
}

function tookOf(moments: Moments, served: number): Took {
  const at = (moment: Moment): number => {
    const ms = moments[moment]
    if (ms === undefined) throw new Error(`${moment} was not seen`)
    return ms
  }
  const between = (from: Moment, to: Moment) => at(to) - at(from)
  const check = between('checking', 'checked')
  return {
    served: served - at('asked'),
    own: between('asked', 'told') - check,
    check,
    program: served - at('told'),
    proved: at('done') - served,
    phases: {
      engine: between('asked', 'prepare') + between('prepared', 'commit'),
      render: between('prepare', 'stage'),
      stage: between('stage', 'staged'),
      'check, its process': check,
      'check, around it': between('staged', 'checking') + between('checked', 'prepared'),
      swap: between('commit', 'swapped'),
      tell: between('swapped', 'told'),
      'program serves': served - at('told'),
      'then proved': at('committed') - served,
      'let go': between('committed', 'done'),
    },
  }
}

async function byScript(running: Running, change: number, which: Which, changed: readonly string[]): Promise<Took> {
  const texts = running.texts(change, which)
  const { directory } = running.options
  const began = performance.now()
  for (const path of changed) writeFileSync(join(directory, `${path}.new`), texts.get(path) as string)
  const [command, ...args] = running.check
  const checkBegan = performance.now()
  const child = spawn(command, args, { stdio: 'ignore' })
  const [code] = (await once(child, 'exit')) as [number | null]
  const checked = performance.now()
  if (code !== 0) throw new Error(`${command} ended with ${code}`)
  for (const path of changed) renameSync(join(directory, `${path}.new`), join(directory, path))
  const told = performance.now()
  const telling = running.tell()
  const served = await servedAt(running, change)
  await telling
  const check = checked - checkBegan
  return { served: served - began, own: told - began - check, check, program: served - told, proved: 0, phases: {} }
}

/** In turns, so that what else the machine does meets both. */
async function compare({ name, start: startProgram }: RealProgram, files: number, which: Which): Promise<void> {
  const running = await startProgram(files)
  try {
    const paths = [...running.texts(0, which).keys()]
    const changed = which === 'all' ? paths : paths.slice(0, 1)
    const { engine, set } = await engineOn(running, running.config(0, which))
    const took = { midflight: [] as Took[], script: [] as Took[] }
    const rounds = files === 1 ? runs : Math.ceil(runs / 2)
    // Files of a program are not seconds old, but for those that have just changed.
    await sleep(2_000)
    for (let round = 1; round <= warmUps + rounds; round++) {
      const ours = await byMidflight(running, set, 2 * round, which)
      await sleep(50) // both let the old go after they answer
      const theirs = await byScript(running, 2 * round + 1, which, changed)
      await sleep(50)
      if (round <= warmUps) continue
      took.midflight.push(ours)
      took.script.push(theirs)
    }
    await engine.close()
    const what = files === 1 ? '1 file' : `${which === 'all' ? files : 1} of ${files} files`
    compared(name, what, took)
  } finally {
    await running.close()
  }
}

function compared(name: string, what: string, took: { readonly midflight: Took[]; readonly script: Took[] }): void {
  const of = (all: readonly Took[], key: Exclude<keyof Took, 'phases'>) => median(all.map((one) => one[key]))
  const theirs = of(took.script, 'served')
  const bare = of(took.script, 'check') + of(took.script, 'program')
  for (const [who, all] of Object.entries(took)) {
    rows.served.push({
      program: name,
      what,
      who,
      'served ms': of(all, 'served'),
      'p90 ms': quantile(
        all.map((one) => one.served),
        0.9,
      ),
      'x script': of(all, 'served') / theirs,
      'check ms': of(all, 'check'),
      'program ms': of(all, 'program'),
      'own ms': of(all, 'own'),
      'own share': of(all, 'own') / bare,
      'proved ms': who === 'midflight' ? of(all, 'proved') : '-',
    })
  }
  const phases = Object.keys(took.midflight[0]?.phases ?? {})
  const medians = phases.map((phase) => [phase, median(took.midflight.map((one) => one.phases[phase] as number))])
  rows.phases.push({ program: name, what, ...(Object.fromEntries(medians) as Row) })
}

/** Fifty changes at once; and fifty writes of the file that the configuration is in, some milliseconds apart. */
async function bursts({ name, start: startProgram }: RealProgram): Promise<void> {
  const running = await startProgram(1)
  const folder = mkdtempSync(join(realpathSync(tmpdir()), 'midflight-bench-'))
  const row = (what: string, reloads: number, ms: number) =>
    rows.burst.push({
      program: name,
      what,
      changes: burst,
      reloads,
      'x changes': reloads / burst,
      'last served ms': ms,
    })
  try {
    let before = timesTold()
    const { engine, set } = await engineOn(running, running.config(0, 'one'))
    let began = performance.now()
    const outcomes = Array.from({ length: burst }, (_, i) => set(running.config(i + 1, 'one')))
    let at = await servedAt(running, burst)
    await Promise.all(outcomes)
    row('50 requests at once', timesTold() - before, at - began)
    await engine.close()

    const path = join(folder, 'config.json')
    const put = (change: number) => {
      writeFileSync(`${path}.new`, JSON.stringify(running.config(change, 'one')))
      renameSync(`${path}.new`, path)
    }
    put(burst)
    const components = [program(running.options)]
    const following = await start({ schema, sources: [file(path)], components, logger: false })
    before = timesTold()
    began = performance.now()
    for (let i = 1; i <= burst; i++) {
      put(burst + i)
      await sleep(2)
    }
    at = await servedAt(running, 2 * burst)
    await following.reload()
    row('50 writes of its source, 2 ms apart', timesTold() - before, at - began)
    await following.close()
  } finally {
    await running.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Others are not run: what they do is what their manuals say. */
const hashicorp = 'github.com/hashicorp/consul-template/blob/main/docs/configuration.md'
const confd = 'github.com/kelseyhightower/confd/blob/master/docs'
const documented: readonly Row[] = [
  {
    who: 'consul-template',
    what: 'waits',
    does: 'not, unless `wait` is set: 5s to 10s there',
    page: `${hashicorp} (wait)`,
  },
  {
    who: 'consul-template',
    what: 'checks',
    does: 'nothing: its command runs once the file is in place',
    page: `${hashicorp} (command)`,
  },
  {
    who: 'consul-template',
    what: 'goes back',
    does: 'not; one old file is kept if asked for',
    page: `${hashicorp} (backup)`,
  },
  {
    who: 'confd',
    what: 'waits',
    does: 'polls every 600 s, or watches if told to',
    page: `${confd}/command-line-flags.md`,
  },
  {
    who: 'confd',
    what: 'checks',
    does: 'check_cmd, for each template by itself',
    page: `${confd}/template-resources.md`,
  },
]

const wanted = programs.filter(({ name }) => name.startsWith(options.only))
for (const one of wanted.filter(({ lacking }) => lacking === undefined)) {
  await compare(one, 1, 'one')
  if (one.name === 'nginx') for (const which of ['one', 'all'] as const) await compare(one, many, which)
  await bursts(one)
}
report('sidecar: change to served (bar: own 20 ms; moonshot: own share 0.1)', rows.served)
report('sidecar: phases of program(), median ms', rows.phases)
report(`sidecar: a burst of ${burst} changes (moonshot: 2 reloads)`, rows.burst)
report('sidecar: what the manuals of others say', documented)
for (const { name, lacking } of wanted) if (lacking !== undefined) console.log(`skipped ${name}: ${lacking}`)
