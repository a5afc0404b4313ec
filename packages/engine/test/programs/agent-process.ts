/**
 * A program in a fleet, in a process of its own: `<url> <stateDir> [user id]`. Says over IPC each limit that it applies
 * and each warning, and does as it is told there: `status`, `open-files` until there are no more, `close-files`.
 */
import { openSync, closeSync } from 'node:fs'
import { controlPlane } from '../../src/agent/index.ts'
import { componentsFor } from '../../src/components-for.ts'
import { start } from '../../src/engine.ts'
import { jsonSchema } from '../../src/schema.ts'

const [url = '', stateDir = '', user] = process.argv.slice(2)
// Root may write everywhere.
if (user !== undefined) process.setuid?.(Number(user))

const schema = jsonSchema<{ limit: number; text?: string }>({
  type: 'object',
  properties: { limit: { type: 'integer', minimum: 1 }, text: { type: 'string' } },
  required: ['limit'],
})
const say = (message: object) => process.send?.(message)
// Those who kill it without more ado mean no harm by it.
const poisonMs = Number(process.env['MIDFLIGHT_POISON_MS'] ?? 0)
const source = controlPlane({ url, config: 'shop/gateway/prod', stateDir, poisonMs })
const limit = componentsFor(schema).value({
  name: 'limit',
  path: 'limit',
  apply(next) {
    if (next === 13) process.kill(process.pid, 'SIGKILL')
    say({ limit: next })
    if (next === 14) setTimeout(() => process.kill(process.pid, 'SIGKILL'), 300)
  },
})
const files: number[] = []
process.on('message', (told) => {
  if (told === 'status') say({ status: source.status() })
  if (told === 'close-files') for (const file of files.splice(0)) closeSync(file)
  if (told === 'open-files') {
    try {
      for (;;) files.push(openSync('/dev/null', 'r'))
    } catch (error) {
      say({ opened: (error as NodeJS.ErrnoException).code })
    }
  }
})
const logger = { info() {}, warn: (message: string) => void say({ warning: message }), error() {} }
await start({ schema, sources: [source], components: [limit], logger, retries: { limit: 0 } }).catch((error: Error) => {
  say({ refused: error.message })
  process.disconnect()
})
