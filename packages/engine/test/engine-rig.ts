/** An engine on a source that is set by hand, and what to hold its steps open with, or have them fail. */
import { jsonSchema, start, type Component, type Json } from '../src/index.ts'
import { memory } from '../src/testing/index.ts'

export const anything = jsonSchema<Record<string, Json>>({ type: 'object' })

export async function started(components: Component[], config: Record<string, Json>, more: object = {}) {
  const source = memory(config)
  const engine = await start({
    schema: anything,
    sources: [source],
    components,
    logger: false,
    retries: { limit: 3, firstMs: 1, maxMs: 2 },
    ...more,
  })
  const set = (next: Json) => {
    source.set(next)
    return engine.reload()
  }
  return { engine, source, set }
}

export function gate() {
  let open = () => {}
  const passed = new Promise<void>((resolve) => (open = resolve))
  return { open: () => open(), passed }
}

export function throwing(what: unknown) {
  return () => {
    throw what
  }
}

export function fail(message: string) {
  return throwing(new Error(message))
}

/** What nobody handled while `work` ran, and a turn of the event loop after it. */
export async function unhandledDuring(work: () => Promise<void>): Promise<unknown[]> {
  const unhandled: unknown[] = []
  const listen = (reason: unknown) => void unhandled.push(reason)
  process.on('unhandledRejection', listen)
  try {
    await work()
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
  } finally {
    process.off('unhandledRejection', listen)
  }
  return unhandled
}
