// Whole reload of a large rule file: file on disk → validated, shared, diffed, planned, committed; beside JSON.parse,
// JSON.parse + ajv, and `yaml` on the same text. 10 rules changed, 5 added, 5 removed between two loads.
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { componentsFor, jsonSchema, start } from 'midflight'
import { file } from 'midflight/sources/file'
import { pair } from './rules.ts'
import { rulesSchema } from './rules-schema.ts'
import { median, report, sizesFrom } from './report.ts'

const schema = jsonSchema(rulesSchema)
const rows = []
for (const n of sizesFrom(process.argv)) {
  const dir = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
  const path = join(dir, 'rules.json')
  const { oldText, newText } = pair(n)
  const put = (i: number) => {
    writeFileSync(`${path}.new`, i % 2 === 0 ? oldText : newText)
    renameSync(`${path}.new`, path)
  }
  put(0)
  const { keyed } = componentsFor(schema)
  let touched = 0
  const rules = keyed({ name: 'rules', path: 'rules', key: 'id', start: () => ({}), update: () => void touched++ })
  const coldFrom = performance.now()
  const source = file(path)
  const engine = await start({ schema, sources: [{ name: source.name, load: source.load }], components: [rules], logger: false })
  const cold = performance.now() - coldFrom
  const times: number[] = []
  const rounds = n >= 100_000 ? 12 : 30
  for (let i = 1; i <= rounds; i++) {
    put(i)
    const from = performance.now()
    const outcome = await engine.reload()
    times.push(performance.now() - from)
    if (outcome.kind !== 'committed') throw new Error(outcome.kind)
  }
  const phases = engine.stats().byPhase
  await engine.close()

  const ajv = new Ajv2020({ strict: false }).compile(rulesSchema)
  const time = (work: (text: string) => unknown) => {
    const all: number[] = []
    for (let i = 0; i < Math.max(5, Math.min(20, 20_000 / n)); i++) {
      const from = performance.now()
      work(readFileSync(path, 'utf8'))
      all.push(performance.now() - from)
    }
    return median(all)
  }
  const parse = time((text) => JSON.parse(text))
  const both = time((text) => ajv(JSON.parse(text)))
  rows.push(
    { what: 'midflight: reload, 20 changes', n, ms: median(times), 'x JSON.parse': median(times) / parse, 'x JSON.parse+ajv': median(times) / both },
    { what: 'midflight: cold start', n, ms: cold, 'x JSON.parse': cold / parse, 'x JSON.parse+ajv': cold / both },
    { what: 'read + JSON.parse', n, ms: parse, 'x JSON.parse': 1, 'x JSON.parse+ajv': parse / both },
    { what: 'read + JSON.parse + ajv', n, ms: both, 'x JSON.parse': both / parse, 'x JSON.parse+ajv': 1 },
  )
  if (process.argv.includes('--phases')) console.error(phases)
  rmSync(dir, { recursive: true })
}
report('reload of a rule file', rows)
