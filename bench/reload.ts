/**
 * Whole reload of a large rule file: file on disk → validated, shared, diffed, planned, committed; beside reading and
 * parsing the same text, with and without ajv. 10 rules changed, 5 added, 5 removed between two loads.
 *
 * A cold start is the first thing that a process does, so each is a process of its own, on both sides: reading, parsing,
 * ajv's import and the compiling of the schema included, midflight's own import not (here it is TypeScript). With
 * running objects, a keyed component has made one for each rule; the peers have nothing like it.
 *
 *   node --conditions=midflight-source bench/reload.ts [--n=1000,10000,100000] [--phases] [--json]
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { componentsFor, jsonSchema, start } from 'midflight'
import { file } from 'midflight/sources/file'
import { pair } from './rules.ts'
import { rulesSchema } from './rules-schema.ts'
import { median, report, sizesFrom } from './report.ts'

/** Milliseconds: by the clock, and of processor time, all threads together. */
interface Cost {
  readonly ms: number
  readonly cpuMs: number
}

async function costOf(work: () => unknown): Promise<Cost> {
  const [from, cpuFrom] = [performance.now(), process.cpuUsage()]
  await work()
  const { user, system } = process.cpuUsage(cpuFrom)
  return { ms: performance.now() - from, cpuMs: (user + system) / 1000 }
}

function medianOf(costs: readonly Cost[]): Cost {
  return { ms: median(costs.map(({ ms }) => ms)), cpuMs: median(costs.map(({ cpuMs }) => cpuMs)) }
}

function engineOn(path: string, withObjects: boolean) {
  const schema = jsonSchema(rulesSchema)
  const { keyed, value } = componentsFor(schema)
  const source = file(path)
  const rules = withObjects
    ? keyed({ name: 'rules', path: 'rules', key: 'id', start: () => ({}), update: () => {} })
    : value({ name: 'rules', path: 'rules', apply: () => {} })
  // Without its trigger: the reloads here are asked for.
  const sources = [{ name: source.name, load: source.load }]
  return start({ schema, sources, components: [rules], logger: false })
}

async function parseAndAjv(path: string): Promise<void> {
  const { Ajv2020 } = await import('ajv/dist/2020.js')
  const valid = new Ajv2020({ strict: false }).compile(rulesSchema)
  if (!valid(JSON.parse(readFileSync(path, 'utf8')))) throw new Error('the rules are not valid')
}

const cold: Readonly<Record<string, (path: string) => Promise<unknown>>> = {
  'midflight: cold start': (path) => engineOn(path, false),
  'midflight: cold start, running objects': (path) => engineOn(path, true),
  'cold read + JSON.parse + ajv': parseAndAjv,
}

const [contender, coldPath] = process.argv.slice(2)
if (contender !== undefined && coldPath !== undefined && contender in cold) {
  console.log(JSON.stringify(await costOf(() => cold[contender]?.(coldPath))))
  process.exit()
}

/** Each five times, in turn, so that whatever else the machine does is shared fairly. */
function coldCosts(path: string): (Cost & { readonly what: string })[] {
  const costs = new Map<string, Cost[]>(Object.keys(cold).map((what) => [what, []]))
  for (let round = 0; round < 5; round++) {
    for (const [what, all] of costs) {
      const args = ['--conditions=midflight-source', '--max-old-space-size=12000', import.meta.filename, what, path]
      all.push(JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' })) as Cost)
    }
  }
  return [...costs].map(([what, all]) => ({ what, ...medianOf(all) }))
}

const rows: Record<string, string | number>[] = []
for (const n of sizesFrom(process.argv)) {
  const dir = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
  const path = join(dir, 'rules.json')
  const { oldText, newText } = pair(n)
  const put = (i: number): void => {
    writeFileSync(`${path}.new`, i % 2 === 0 ? oldText : newText)
    renameSync(`${path}.new`, path)
  }
  put(0)
  const engine = await engineOn(path, true)
  const reloads: Cost[] = []
  const rounds = n >= 100_000 ? 20 : 100
  for (let i = 1; i <= rounds; i++) {
    put(i)
    reloads.push(
      await costOf(async () => {
        const outcome = await engine.reload()
        if (outcome.kind !== 'committed') throw new Error(outcome.kind)
      }),
    )
  }
  if (process.argv.includes('--phases')) console.error(engine.stats().byPhase)
  await engine.close()

  const { Ajv2020 } = await import('ajv/dist/2020.js')
  const valid = new Ajv2020({ strict: false }).compile(rulesSchema)
  const repeated = async (work: (text: string) => unknown): Promise<Cost> => {
    const all: Cost[] = []
    const times = Math.max(7, Math.min(50, 20_000 / n))
    for (let i = 0; i < times; i++) all.push(await costOf(() => work(readFileSync(path, 'utf8'))))
    return medianOf(all)
  }
  const parse = await repeated((text) => JSON.parse(text))
  const both = await repeated((text) => valid(JSON.parse(text)))
  const warm = (what: string, { ms, cpuMs }: Cost) =>
    rows.push({ what, n, ms, 'cpu ms': cpuMs, 'x JSON.parse': ms / parse.ms, 'x JSON.parse+ajv': ms / both.ms })
  warm('midflight: reload, 20 changes', medianOf(reloads))
  warm('read + JSON.parse', parse)
  warm('read + JSON.parse + ajv', both)

  const costs = coldCosts(path)
  const peer = costs.at(-1) as Cost
  for (const { what, ms, cpuMs } of costs) {
    rows.push({ what, n, ms, 'cpu ms': cpuMs, 'x cold peer': ms / peer.ms, 'x its cpu': cpuMs / peer.cpuMs })
  }
  rmSync(dir, { recursive: true })
}
report('reload of a rule file', rows)
