/** An engine on one source for one test, and what is waited for in it. */
import { expect, onTestFinished } from 'vitest'
import { start, type JsonObject, type Source } from '../src/index.ts'
import type { StandardSchemaV1 } from '../src/schema/types.ts'

const anything: StandardSchemaV1<unknown, JsonObject> = {
  '~standard': { version: 1, vendor: 'midflight', validate: (value) => ({ value: value as JsonObject }) },
}

export async function engineOn(source: Source) {
  const said: string[] = []
  const hear = (message: string) => void said.push(message)
  const logger = { info: hear, warn: hear, error: hear }
  const running = await start({ schema: anything, sources: [source], components: [], logger })
  onTestFinished(() => running.close())
  const waited = { timeout: 20_000, interval: 5 }
  return {
    running,
    said,
    lives: (config: unknown) => expect.poll(() => running.live, waited).toEqual(config),
    says: (text: string) => expect.poll(() => said.join('\n'), waited).toContain(text),
  }
}
