/**
 * A program in a fleet, in a process in which the package `ws` is not installed; with `none` as the third argument
 * there is no global WebSocket either, as in Node 20. Says what it applies and how it hears of it; ends by itself
 * after limit 2, as nothing may hold it.
 */
import { registerHooks } from 'node:module'

registerHooks({
  resolve(specifier, context, nextResolve) {
    if (specifier === 'ws') throw Object.assign(new Error(`no package ${specifier}`), { code: 'ERR_MODULE_NOT_FOUND' })
    return nextResolve(specifier, context)
  },
})
const [url = '', token = '', sockets] = process.argv.slice(2)
if (sockets === 'none') Reflect.deleteProperty(globalThis, 'WebSocket')

const { controlPlane } = await import('../../src/agent/index.ts')
const { start } = await import('../../src/engine.ts')
const { componentsFor } = await import('../../src/components-for.ts')
const { jsonSchema } = await import('../../src/schema.ts')
const schema = jsonSchema({ type: 'object', properties: { limit: { type: 'integer' } }, required: ['limit'] })
const source = controlPlane({ url, config: 'shop/gateway/prod', token })
const limit = componentsFor(schema).value({
  name: 'limit',
  path: 'limit' as never,
  apply(next: unknown) {
    process.stdout.write(`${String(next)} ${source.status().via}\n`)
    if (next === 2) setTimeout(() => void engine.close(), 50)
  },
})
const engine = await start({ schema, sources: [source], components: [limit], logger: false })
