// Starts with a source that takes its time, and says when it is ready.
import { jsonSchema, start } from '../../src/index.ts'
import { onSignal } from '../../src/triggers/signal.ts'

const source = {
  name: 'slow',
  load: async () => {
    process.stdout.write('loading\n')
    await new Promise((resolve) => setTimeout(resolve, 300))
    return { config: { a: 1 } }
  },
}
const engine = await start({ schema: jsonSchema(true), sources: [source], triggers: [onSignal()], logger: false })
process.stdout.write('ready\n')
await engine.reload()
await engine.close()
