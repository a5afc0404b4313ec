// Has next to no file descriptor left when its program is to be checked and told, and goes on when there are some again.
import { closeSync, openSync } from 'node:fs'
import { jsonSchema, outcomeText, start, type Json } from '../../src/index.ts'
import { program, type ProgramOptions } from '../../src/program/index.ts'
import { memory } from '../../src/testing/index.ts'

const [directory = '', key = 'check'] = process.argv.slice(2)
const options: ProgramOptions = {
  name: 'p',
  directory,
  files: [{ path: 'a.conf', from: 'text', as: 'raw' }],
  limits: { reloadMs: 300, probeMs: 300 },
  ...(key === 'check' ? { check: ['true'] } : { reload: { command: ['true'] } }),
}
const source = memory({ text: '1' })
const engine = await start({
  schema: jsonSchema<Json>({ type: 'object' }),
  sources: [source],
  components: [program(options)],
  logger: false,
  retries: { limit: 0 },
})
const set = async (text: string) => {
  source.set({ text })
  return outcomeText(await engine.reload())
}
const taken: number[] = []
try {
  for (;;) taken.push(openSync('/dev/null', 'r'))
} catch {
  // So many are left that the files can be staged, and no process can be started.
  for (const file of taken.splice(-4)) closeSync(file)
}
const said = await set('2')
for (const file of taken) closeSync(file)
console.log(`${said}\n${await set('3')}`)
await engine.close()
