/** What the engine tells a source that wants to know: the outcome of what it loaded, and that it closes. */
import { expect, test } from 'vitest'
import { start } from '../src/engine.ts'
import type { Outcome } from '../src/outcome.ts'
import { jsonSchema } from '../src/schema.ts'
import type { Source } from '../src/source.ts'

const schema = jsonSchema({
  type: 'object',
  properties: { limit: { type: 'integer', minimum: 1 } },
  required: ['limit'],
})

function told(limits: readonly number[]) {
  const log: string[] = []
  let loads = 0
  const source: Source = {
    name: 'told',
    load: async () => {
      log.push('load')
      return { config: { limit: limits[Math.min(loads++, limits.length - 1)] as number } }
    },
    settled: (outcome: Outcome | undefined) => void log.push(outcome?.kind ?? 'only looked at'),
    close: async () => void log.push('close'),
  }
  return { source, log }
}

test('each outcome, a dry run as such, and the end', async () => {
  const { source, log } = told([1, 2, 2, 0, 3])
  const engine = await start({ schema, sources: [source], logger: false })
  for (const run of ['reload', 'reload', 'reload', 'plan'] as const) await engine[run]()
  await engine.close()
  expect(log).toEqual(
    ['load', 'committed', 'load', 'committed', 'load', 'unchanged', 'load', 'rejected', 'load'].concat([
      'only looked at',
      'close',
    ]),
  )
})

test('a start that fails: the refusal, and the end', async () => {
  const { source, log } = told([0])
  await expect(start({ schema, sources: [source], logger: false })).rejects.toThrow('cannot start')
  expect(log).toEqual(['load', 'rejected', 'close'])
})

test('a start from elsewhere is not the outcome of what it loaded', async () => {
  const { source, log } = told([0])
  const engine = await start({ schema, sources: [source], bundled: { limit: 9 }, logger: false })
  expect(log).toEqual(['load', 'rejected'])
  await engine.close()
})

test('one that throws at what it is told spoils nothing, and is a warning', async () => {
  const { source } = told([1])
  const warnings: string[] = []
  const bad: Source = {
    ...source,
    settled() {
      throw new Error('does not want to know')
    },
  }
  const logger = { info() {}, warn: (message: string) => warnings.push(message), error() {} }
  const engine = await start({ schema, sources: [bad], logger })
  expect(engine.live).toEqual({ limit: 1 })
  expect(warnings.join()).toContain('source told did not take the outcome: does not want to know')
  await engine.close()
})
