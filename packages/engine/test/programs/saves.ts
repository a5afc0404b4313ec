/** Saves a last good as fast as it can for a second. Arguments: the state directory, and a number for it to hold. */
import { jsonSchema, start, type Json } from '../../src/index.ts'

const [stateDir = '', n] = process.argv.slice(2)
let count = 0
const engine = await start({
  schema: jsonSchema<Record<string, Json>>({ type: 'object' }),
  sources: [
    {
      name: 'counts',
      load: async () => ({ config: { n: Number(n), count: count++, more: 'x'.repeat(count % 20_000) } }),
    },
  ],
  stateDir,
  logger: false,
})
const end = performance.now() + 1000
while (performance.now() < end) await engine.reload()
await engine.close()
