// Brings one configuration to an nginx: two files that belong together, and ends. Killed at any point by its tests.
import { jsonSchema, outcomeText, start } from '../../src/index.ts'
import { nginx, program } from '../../src/program/index.ts'
import { memory } from '../../src/testing/index.ts'

const [directory = '', pidFile = '', text = '', probe = 'true'] = process.argv.slice(2)
const component = program(
  nginx({
    directory,
    pidFile,
    probes: [{ command: [probe] }],
    limits: { reloadMs: 500, probeMs: 500 },
    files: [
      { path: 'sites/a.conf', from: 'a', as: 'raw' },
      { path: 'sites/b.conf', from: 'b', as: 'raw' },
      { path: 'sites/c.conf', from: 'c', as: 'raw' },
    ],
  }),
)
const config = Object.fromEntries(
  ['a', 'b', 'c'].map((name) => [name, `location = /${name} { return 200 "${text}"; }\n`]),
)
const engine = await start({
  schema: jsonSchema<Record<string, string>>({ type: 'object' }),
  sources: [memory(config)],
  components: [component],
  logger: false,
})
await engine.close()
console.log(outcomeText(engine.status().lastOutcome!))
