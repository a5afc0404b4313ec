/**
 * The same as `reload.ts` for YAML: a whole reload with 20 changes beside parsing the text alone, with `yaml` and with
 * js-yaml, which the engine uses. YAML is parsed whole at each reload.
 *
 *   node --conditions=midflight-source bench/yaml.ts [--n=1000,10000] [--json]
 */
import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { dump, load } from 'js-yaml'
import { componentsFor, jsonSchema, start } from 'midflight'
import { file } from 'midflight/sources/file'
import { parse } from 'yaml'
import { median, report, sizesFrom } from './report.ts'
import { rulesSchema } from './rules-schema.ts'
import { pair } from './rules.ts'

async function timed(times: number, work: (round: number) => unknown): Promise<number> {
  const all: number[] = []
  for (let round = 1; round <= times; round++) {
    const from = performance.now()
    await work(round)
    all.push(performance.now() - from)
  }
  return median(all)
}

const rows: Record<string, string | number>[] = []
const sizes = process.argv.some((arg) => arg.startsWith('--n=')) ? sizesFrom(process.argv) : [1000, 10_000]
for (const n of sizes) {
  const dir = mkdtempSync(join(tmpdir(), 'midflight-bench-'))
  const path = join(dir, 'rules.yaml')
  const { oldText, newText } = pair(n)
  const texts = [oldText, newText].map((text) => dump(JSON.parse(text)))
  const put = (round: number): void => {
    writeFileSync(`${path}.new`, texts[round % 2] as string)
    renameSync(`${path}.new`, path)
  }
  put(0)
  const schema = jsonSchema(rulesSchema)
  const { keyed } = componentsFor(schema)
  const rules = keyed({ name: 'rules', path: 'rules', key: 'id', start: () => ({}), update: () => {} })
  const source = file(path)
  const sources = [{ name: source.name, load: source.load }]
  const engine = await start({ schema, sources, components: [rules], logger: false })
  const times = n >= 10_000 ? 5 : 20
  const reload = await timed(times, async (round) => {
    put(round)
    const outcome = await engine.reload()
    if (outcome.kind !== 'committed') throw new Error(outcome.kind)
  })
  await engine.close()
  const jsYaml = await timed(times, () => load(readFileSync(path, 'utf8')))
  const yaml = await timed(Math.min(times, 5), () => parse(readFileSync(path, 'utf8')))
  for (const [what, ms] of [
    ['midflight: reload, 20 changes', reload],
    ['read + js-yaml', jsYaml],
    ['read + yaml', yaml],
  ] as const) {
    rows.push({ what, n, ms, 'x js-yaml': ms / jsYaml, 'x yaml': ms / yaml })
  }
  rmSync(dir, { recursive: true })
}
report('reload of a YAML rule file', rows)
